"""DELETE of endpoints, timelines and tenants over HTTP: what goes, what stays, what is refused."""

import concurrent.futures
import json

import pytest

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from harness import http
from harness.ids import Endpoint, hex32
from harness.stores import Store, numbered

NAME = "lfc_state"


def put(writer: Writer, endpoint: Endpoint, token: str, body: bytes = b"12345") -> int:
    return http.put(writer.url, endpoint.file_url(NAME), token, body).status


def deleted(writer: Writer, url: str, token: str) -> dict[str, int]:
    """Deletes, has to succeed, and returns the counts."""
    answer = http.delete(writer.url, url, token)
    assert answer.status == 200, answer
    body = answer.json()
    named = url.partition("?")[0].lstrip("/").split("/")
    assert body["tenant"] == named[1]
    assert body.get("timeline") == (named[3] if len(named) > 3 else None)
    assert body.get("endpoint") == (named[5] if len(named) > 5 else None)
    assert len(body["job_id"]) == 64
    counts: dict[str, int] = body["deleted"]
    return counts


def bystanders(writer: Writer, keys: KeyPair, endpoint: Endpoint) -> dict[Endpoint, int]:
    """Neighbours by name in every way that a prefix could be mistaken, and their generations."""
    last = endpoint.tenant[:-1] + ("0" if endpoint.tenant[-1] != "0" else "1")
    others = {
        endpoint.sibling("ep-10"): 1,
        endpoint.sibling("ep-"): 1,
        endpoint.sibling("ep-1-1"): 1,
        endpoint.sibling("ep"): 1,
        Endpoint(endpoint.tenant, hex32(), endpoint.name): 1,
        Endpoint(hex32(), endpoint.timeline, endpoint.name): 1,
        Endpoint(last, endpoint.timeline, endpoint.name): 1,
    }
    for other, gen in others.items():
        assert put(writer, other, other.token(keys, gen)) == 200
    return others


def untouched(reader: Reader, writer: Writer, keys: KeyPair, others: dict[Endpoint, int]) -> None:
    for other, gen in others.items():
        token = other.token(keys, gen)
        assert http.get(reader.url, other.file_url(NAME), token).body == b"12345"
        assert put(writer, other, token) == 200


def gone(reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, token: str) -> None:
    """The token is good, but what it is for was deleted."""
    before = store.listing(endpoint.prefix)
    http.problem(http.get(reader.url, endpoint.file_url(NAME), token), 410)
    http.problem(http.get(reader.url, endpoint.url, token), 410)
    for body in (b"x", b"x" * 100_000):
        http.problem(http.put(writer.url, endpoint.file_url(NAME), token, body), 410)
    assert store.listing(endpoint.prefix) == before
    assert store.leftovers() == []


def intents(store: Store, endpoint: Endpoint) -> list[dict[str, object]]:
    """The open deletions of the endpoint's tenant."""
    found = [json.loads(store.get(key) or b"{}") for key in store.listing("intents/")]
    return [intent for intent in found if intent.get("tenant_id") == endpoint.tenant]


def test_an_endpoint(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    others = bystanders(writer, keys, endpoint)
    for gen in (0, 1, 2, 3):
        assert put(writer, endpoint, endpoint.token(keys, gen)) == 200
    assert deleted(writer, endpoint.url, endpoint.token(keys, 2)) == {"files": 3, "bytes": 15}
    assert store.listing(endpoint.prefix) == {endpoint.key(NAME, 3): 5}
    assert list(store.listing(endpoint.tombstone(2)[:-16])) == [endpoint.tombstone(2)]
    (intent,) = intents(store, endpoint)
    assert (intent["swept_files"], intent["swept_bytes"]) == (3, 15)  # for the completion
    for gen in (0, 1, 2):
        gone(reader, writer, store, endpoint, endpoint.token(keys, gen))
    for gen in (3, 4):
        assert put(writer, endpoint, endpoint.token(keys, gen), b"newer") == 200
        newer = http.get(reader.url, endpoint.file_url(NAME), endpoint.token(keys, gen))
        assert newer.body == b"newer"
    untouched(reader, writer, keys, others)


def test_an_endpoint_by_the_control_plane(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    for gen in (1, 2**64 - 1):
        assert put(writer, endpoint, endpoint.token(keys, gen)) == 200
    service = keys.service_token()
    assert deleted(writer, f"{endpoint.url}?upto_gen=1", service)["files"] == 1
    gone(reader, writer, store, endpoint, endpoint.token(keys, 1))
    assert put(writer, endpoint, endpoint.token(keys, 2)) == 200
    assert deleted(writer, f"{endpoint.url}?upto_gen={2**64 - 1}", service)["files"] == 2
    gone(reader, writer, store, endpoint, endpoint.token(keys, 2**64 - 1))
    assert store.listing(endpoint.prefix) == {}


def test_an_endpoint_without_generations(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """The weaker promise: what is there goes, and a later upload is not refused."""
    others = bystanders(writer, keys, endpoint)
    token = endpoint.token(keys)
    assert put(writer, endpoint, token) == 200
    assert put(writer, endpoint, endpoint.token(keys, 1)) == 200
    assert deleted(writer, endpoint.url, token) == {"files": 1, "bytes": 5}
    assert store.listing(endpoint.prefix) == {endpoint.key(NAME, 1): 5}
    http.problem(http.get(reader.url, endpoint.file_url(NAME), token), 404)
    assert store.listing(f"tombstones/endpoint/{endpoint.tenant}/") == {}
    assert put(writer, endpoint, token) == 200
    untouched(reader, writer, keys, others)


@pytest.mark.parametrize("scope", ["timeline", "tenant"])
def test_a_wider_scope(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair, scope: str
) -> None:
    others = bystanders(writer, keys, endpoint)
    inside = {
        other
        for other in others
        if other.tenant == endpoint.tenant
        and (scope == "tenant" or other.timeline == endpoint.timeline)
    }
    for gen in (0, 1, 2**64 - 1):
        assert put(writer, endpoint, endpoint.token(keys, gen)) == 200
    files = 3 + len(inside)
    url, tombstone, token = {
        "timeline": (
            endpoint.timeline_url,
            f"tombstones/timeline/{endpoint.tenant}/{endpoint.timeline}",
            keys.prefix_token(endpoint.tenant, endpoint.timeline),
        ),
        "tenant": (
            endpoint.tenant_url,
            f"tombstones/tenant/{endpoint.tenant}",
            keys.prefix_token(endpoint.tenant),
        ),
    }[scope]
    assert deleted(writer, url, token) == {"files": files, "bytes": 5 * files}
    assert store.listing(f"{url[1:]}/") == {}
    assert list(store.listing(tombstone)) == [tombstone]
    (intent,) = intents(store, endpoint)
    assert intent["scope"] == scope
    for other in [endpoint, *inside]:
        for gen in (0, 1, 2**64 - 1):
            gone(reader, writer, store, other, other.token(keys, gen))
    untouched(reader, writer, keys, {o: gen for o, gen in others.items() if o not in inside})


def test_repeated_deletions(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """The second time there is nothing left to do, and nothing newer is touched."""
    token = endpoint.token(keys, 1)
    assert put(writer, endpoint, token) == 200
    assert deleted(writer, endpoint.url, token) == {"files": 1, "bytes": 5}
    newer = endpoint.token(keys, 2)
    assert put(writer, endpoint, newer) == 200
    for _ in range(3):
        assert deleted(writer, endpoint.url, token) == {"files": 0, "bytes": 0}
    assert deleted(writer, endpoint.url, endpoint.token(keys, 0))["files"] == 0
    assert http.get(reader.url, endpoint.file_url(NAME), newer).body == b"12345"
    assert len(store.listing(endpoint.tombstone(1))) == 1
    gone(reader, writer, store, endpoint, token)


def test_the_trace_goes_with_it(
    writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for parent, kept in ((trace, trace), ("strange", None), ("0" * 64, None)):
        other = Endpoint()
        answer = http.delete(
            writer.url, other.url, other.token(keys, 1), headers={"traceparent": parent}
        )
        assert answer.status == 200
        (intent,) = intents(store, other)
        assert intent["traceparent"] == kept


def test_what_was_never_there(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """It is fenced all the same: an upload may be under way."""
    token = keys.prefix_token(endpoint.tenant)
    assert deleted(writer, endpoint.tenant_url, token) == {"files": 0, "bytes": 0}
    gone(reader, writer, store, endpoint, endpoint.token(keys, 1))


def test_deletions_at_the_same_time(
    writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    store.put_many(numbered(endpoint.gen_prefix(1), 200))
    urls = [endpoint.url, endpoint.timeline_url, endpoint.tenant_url] * 3
    service = keys.service_token()
    with concurrent.futures.ThreadPoolExecutor(len(urls)) as pool:
        answers = list(
            pool.map(
                lambda url: http.delete(
                    writer.url, url + ("?upto_gen=1" if url == endpoint.url else ""), service
                ),
                urls,
            )
        )
    assert [answer.status for answer in answers] == [200] * len(urls)
    assert store.listing(endpoint.tenant_prefix) == {}
    assert len(intents(store, endpoint)) == 3


def test_more_than_a_page(writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair) -> None:
    endpoints = [Endpoint(endpoint.tenant, hex32(), f"ep-{n}") for n in range(4)]
    for other in endpoints:
        store.put_many(numbered(other.gen_prefix(1), 280), b"abc")
    assert deleted(writer, endpoint.tenant_url, keys.service_token()) == {
        "files": 1120,
        "bytes": 3360,
    }
    assert store.listing(endpoint.tenant_prefix) == {}


def test_the_wrong_token_deletes_nothing(
    writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    assert put(writer, endpoint, endpoint.token(keys, 1)) == 200
    before = store.listing()
    stranger = Endpoint()
    wrong = [
        stranger.token(keys, 1),
        endpoint.sibling("ep-10").token(keys, 1),
        keys.prefix_token(stranger.tenant),
        keys.prefix_token(endpoint.tenant, stranger.timeline),
    ]
    for token in wrong:
        for url in (endpoint.url, endpoint.timeline_url, endpoint.tenant_url):
            http.problem(http.delete(writer.url, url, token), 403)
    http.problem(http.call(writer.url, "DELETE", endpoint.tenant_url), 401)
    for url in (endpoint.timeline_url, endpoint.tenant_url):
        answer = http.delete(writer.url, f"{url}?upto_gen=1", keys.service_token())
        assert "upto_gen" in http.problem(answer, 400)
    assert store.listing() == before
