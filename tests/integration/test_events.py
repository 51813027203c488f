"""Deletion events on the wire: the forms that are taken, and what becomes of those that are not."""

import json
import secrets

import pytest

from devstack.kafka_client import Message
from harness.deletions import (
    SOURCE,
    TYPE,
    ControlPlane,
    Deletion,
    Mode,
)
from harness.ids import Endpoint
from harness.stores import Store, numbered


def test_every_form_of_an_event_is_taken(control: ControlPlane, folder_store: Store):
    modes: tuple[Mode, ...] = ("structured", "binary", "bare")
    asked = {}
    for mode in modes:
        deletion = Deletion(Endpoint(), upto_gen=2**64 - 1)
        folder_store.put_many(numbered(deletion.endpoint.gen_prefix(2**64 - 1), 3), b"four")
        # Above 2^63-1 a number is given as a string.
        asked[mode] = deletion, control.publish(deletion, mode=mode, upto_gen=str(2**64 - 1))
    keyless = Deletion(Endpoint(), "timeline")
    control.publish_raw(json.dumps(keyless.data()).encode())
    for mode, (deletion, event_id) in asked.items():
        event = control.check(deletion, files=3, size=12)
        assert event.get("causationid") == (None if mode == "bare" else event_id)
    control.check(keyless, files=0, size=0)


STRUCTURED = {"content-type": b"application/cloudevents+json"}
BINARY = {
    "ce_specversion": b"1.0",
    "ce_id": b"e1",
    "ce_source": SOURCE.encode(),
    "ce_type": TYPE.encode(),
}

OLD = BINARY | {"ce_specversion": b"0.3"}
OUTCOME = BINARY | {"ce_type": b"io.epufs.deletion.completed.v1"}
NO_DATA = json.dumps({"specversion": "1.0", "id": "1", "source": "s", "type": "t"}).encode()


def changed(**fields: object) -> bytes:
    """Good data for an endpoint that exists, but for these fields; "..." stands for missing."""
    data = Deletion(VICTIM, upto_gen=1).data() | fields
    return json.dumps({name: value for name, value in data.items() if value != "..."}).encode()


VICTIM = Endpoint()
KEY = VICTIM.tenant.encode()
# Class, value, key, headers, and what the error must name.
BAD = {
    "not JSON": ("parse", b'{"schema":1,', KEY, {}, "JSON"),
    "not UTF-8": ("parse", b'{"schema":1,"reason":"\xff"}', KEY, {}, "JSON"),
    "empty": ("parse", b"", KEY, {}, "no value"),
    "no value at all": ("parse", None, KEY, {}, "no value"),
    "oversized": ("parse", changed(reason="x" * 70_000), KEY, {}, "65536"),
    "an array": ("schema", b"[]", KEY, {}, "array"),
    "no schema": ("schema", changed(schema="..."), KEY, {}, "schema"),
    "another schema": ("schema", changed(schema=2), KEY, {}, "schema"),
    "unknown scope": ("schema", changed(scope="cluster"), KEY, {}, "scope"),
    "short tenant": ("schema", changed(tenant_id="abc"), KEY, {}, "tenant_id"),
    "tenant as number": ("schema", changed(tenant_id=5), KEY, {}, "tenant_id"),
    "no timeline": ("schema", changed(timeline_id=None), KEY, {}, "timeline_id"),
    "timeline too many": ("schema", changed(scope="tenant"), KEY, {}, "timeline_id"),
    "endpoint with dots": ("schema", changed(endpoint_id="../x"), KEY, {}, "endpoint_id"),
    "negative generation": ("schema", changed(upto_gen=-1), KEY, {}, "upto_gen"),
    "fractional generation": ("schema", changed(upto_gen=1.5), KEY, {}, "upto_gen"),
    "huge generation": ("schema", changed(upto_gen=2**64), KEY, {}, "too large"),
    "dry_run as text": ("schema", changed(dry_run="yes"), KEY, {}, "dry_run"),
    "not a time": ("schema", changed(not_before="tomorrow"), KEY, {}, "not_before"),
    "no data": ("schema", NO_DATA, KEY, STRUCTURED, "data"),
    "no event id": ("schema", changed(), KEY, {**BINARY, "ce_id": b""}, "id"),
    "another CloudEvents": ("schema", changed(), KEY, OLD, "specversion"),
    "a completion": ("schema", changed(), KEY, OUTCOME, "completion"),
    "another tenant's key": ("authz", changed(), secrets.token_hex(16).encode(), {}, "key"),
    "a key that is none": ("authz", changed(), b"\x00\xff", {}, "key"),
}  # fmt: skip


def letter_of(control: ControlPlane, name: str) -> Message:
    return control.dead_letters.wait_for(lambda m: m.headers.get("x-test") == name.encode())


def test_bad_events_become_dead_letters_and_the_partition_moves_on(
    control: ControlPlane, folder_store: Store
):
    folder_store.put_many(numbered(VICTIM.gen_prefix(1), 3))
    sent, good = {}, []
    for name, (_, value, key, headers, _) in BAD.items():
        marked = {**headers, "x-test": name.encode()}
        sent[name] = control.publish_raw(value, key, marked, partition=1)
        good.append(Deletion(Endpoint(), "tenant"))
        control.publish(good[-1], partition=1)
    for deletion in good:
        control.completed(deletion)
    for name, (kind, value, key, headers, named) in BAD.items():
        letter = letter_of(control, name)
        assert (letter.key, letter.value or None) == (key, value or None), name
        for header, text in headers.items():
            assert letter.headers[header] == text
        partition, offset = sent[name]
        error = letter.headers["dlq-error"] or b""
        assert named in error.decode(), name
        assert {k: v for k, v in letter.headers.items() if k.startswith("dlq-")} == {
            "dlq-topic": control.topics.deletions.encode(),
            "dlq-partition": str(partition).encode(),
            "dlq-offset": str(offset).encode(),
            "dlq-class": kind.encode(),
            "dlq-error": error,
            "dlq-attempts": b"1",
        }
    assert len(control.dead_letters.to_end()) == len(BAD)
    assert len(folder_store.listing(VICTIM.prefix)) == 3
    assert not [key for key in folder_store.listing("tombstones/") if VICTIM.tenant in key]
