"""The tests' own view of a store, against what the programs make of it."""

import secrets

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from harness import http, stores
from harness.ids import Endpoint
from harness.stores import Store


def test_what_a_program_stored_is_seen(
    store: Store, writer: Writer, endpoint: Endpoint, keys: KeyPair
) -> None:
    name = "pg_stat/" + "x" * 245 + ".stat"
    assert len(name.split("/")[1]) == 250
    assert http.put(writer.url, endpoint.file_url(name), endpoint.token(keys), b"abc").status == 200
    assert store.listing(endpoint.prefix) == {endpoint.key(name): 3}
    assert store.get(endpoint.key(name)) == b"abc"
    store.delete(endpoint.key(name))
    assert store.listing(endpoint.tenant_prefix) == {}


def test_what_is_planted_is_what_a_program_reads(
    store: Store, reader: Reader, endpoint: Endpoint, keys: KeyPair
) -> None:
    names = ["a", "pg_stat/x.stat", "50%s", "%", "..x", "l" * 253, "l" * 254, "l" * 400]
    body = secrets.token_bytes(10)
    for name in names:
        store.put(endpoint.key(name), body)
    token = endpoint.token(keys)
    listed = http.get(reader.url, endpoint.url, token, headers={"Accept": "application/json"})
    assert sorted(f["path"] for f in listed.json()["files"]) == sorted(names)
    assert store.listing(endpoint.prefix) == {endpoint.key(n): 10 for n in sorted(names)}
    assert store.listing(endpoint.key("l" * 253)) == {
        endpoint.key("l" * n): 10 for n in (253, 254, 400)
    }
    assert http.get(reader.url, endpoint.file_url("pg_stat/x.stat"), token).body == body


def test_many_objects_are_planted(store: Store, endpoint: Endpoint) -> None:
    keys = list(stores.numbered(endpoint.gen_prefix(3), 1100))
    store.put_many(keys)
    assert store.listing(endpoint.prefix) == dict.fromkeys(keys, 1)
