"""The deletion protocol from outside: an event goes in; the files go, and one completion comes."""

import dataclasses
import datetime
import json
import secrets
import time
from collections.abc import Iterator

import pytest

from devstack.broker import Broker
from devstack.epufs import Janitor, Writer
from devstack.keys import KeyPair
from devstack.redis import Redis
from harness import http
from harness.deletions import (
    QUICK_WRITER,
    QUICK_WRITER_OPTIONS,
    ControlPlane,
    Deletion,
    TopicNames,
    parse,
    rfc3339,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store, numbered

FILES = {"autoprewarm.blocks": b"a" * 1000, "lfc_state": b"l" * 70, "pg_stat/a.stat": b""}
FILES_BYTES = 1070


@pytest.fixture(scope="module", autouse=True)
def janitor(
    module_launch: Launcher,
    store: Store,
    kafka: Broker,
    redis: Redis,
    store_topics: TopicNames,
) -> Janitor:
    options = (*store_topics.options(), *QUICK_WRITER_OPTIONS)
    return module_launch.janitor(store, kafka, redis, *options)


@pytest.fixture(scope="module")
def writer(module_launch: Launcher, store: Store) -> Writer:
    return module_launch.writer(store, *QUICK_WRITER)


@pytest.fixture(scope="module")
def control(
    store: Store, kafka: Broker, store_topics: TopicNames, janitor: Janitor
) -> Iterator[ControlPlane]:
    with ControlPlane(store, kafka, store_topics) as plane:
        yield plane


def plant(store: Store, endpoint: Endpoint, gen: int) -> None:
    for path, body in FILES.items():
        store.put(endpoint.key(path, gen), body)


def seconds(rfc3339_text: str) -> float:
    return datetime.datetime.fromisoformat(rfc3339_text).timestamp()


# ---- What goes, and what stays ----


def test_an_endpoint_event_removes_its_generations_and_nothing_else(
    control: ControlPlane, store: Store, endpoint: Endpoint
):
    neighbours = [
        endpoint.sibling("ep-10"),
        endpoint.sibling("ep-"),
        endpoint.sibling("EP-1"),
        dataclasses.replace(endpoint, timeline=secrets.token_hex(16)),
        dataclasses.replace(endpoint, tenant=secrets.token_hex(16)),
    ]
    for gen in (0, 7, 8, 2**63):
        plant(store, endpoint, gen)
    for neighbour in neighbours:
        plant(store, neighbour, 7)
    deletion = Deletion(endpoint, upto_gen=7)
    began = time.time()
    event_id = control.publish(
        deletion, reason="reassigned", requested_at="2026-01-02T03:04:05Z", traceparent="ignored"
    )
    event = control.check(deletion, files=6, size=2 * FILES_BYTES)
    assert sorted(store.listing(endpoint.prefix)) == sorted(
        endpoint.key(path, gen) for path in FILES for gen in (8, 2**63)
    )
    for neighbour in neighbours:
        assert len(store.listing(neighbour.prefix)) == 3, neighbour
    tombstone = json.loads(store.get(endpoint.tombstone(7)) or b"")
    assert tombstone["job_id"] == deletion.job_id
    check_fields(event, deletion, event_id, began)


def check_fields(event: dict[str, object], deletion: Deletion, event_id: str, began: float) -> None:
    data = event.pop("data")
    assert isinstance(data, dict)
    assert began - 1 <= seconds(str(event.pop("time"))) <= time.time() + 1
    assert str(event.pop("source")).startswith("/epufs/janitor/")
    assert event == {
        "specversion": "1.0",
        "id": f"done:{deletion.job_id}",
        "type": "io.epufs.deletion.completed.v1",
        "subject": deletion.path,
        "datacontenttype": "application/json",
        "causationid": event_id,
    }
    times = [seconds(data.pop(f"{name}_at")) for name in ("started", "completed")]
    assert began - 1 <= times[0] <= times[1] <= time.time() + 1
    # A second ahead at most: the store's clock, rounded up.
    assert began - 1 <= seconds(data.pop("accepted_at")) <= times[1] + 1
    assert data.pop("attempts") == 1
    assert data == deletion.data() | {
        "job_id": deletion.job_id,
        "outcome": "completed",
        "deleted": {"files": 6, "bytes": 2 * FILES_BYTES},
        "counts_are": "at_least",
        "causation_id": event_id,
        "requested_at": "2026-01-02T03:04:05Z",
        "reason": "reassigned",
        "dry_run": False,
        "not_before": None,
        "tokens_expire_by": None,
        "error": None,
        "subsumed_by": None,
    }


def test_a_timeline_and_a_tenant_of_2500_objects_go_whole(control: ControlPlane, store: Store):
    one, other, bystander = Endpoint(), Endpoint(), Endpoint()
    for name in ("ep-1", "ep-10", "x"):
        plant(store, one.sibling(name), 3)
    elsewhere = dataclasses.replace(one, timeline=secrets.token_hex(16))
    for still in (elsewhere, bystander):
        plant(store, still, 0)
    for number in range(5):
        spread = dataclasses.replace(other, timeline=secrets.token_hex(16), name=f"ep-{number}")
        store.put_many(numbered(spread.gen_prefix(number), 500), b"four")
    timeline, tenant = Deletion(one, "timeline"), Deletion(other, "tenant")
    for deletion in (timeline, tenant):
        control.publish(deletion)
    control.check(tenant, files=2500, size=10_000)
    control.check(timeline, files=9, size=3 * FILES_BYTES)
    assert not store.listing(tenant.prefix)
    assert not store.listing(timeline.prefix)
    for still in (elsewhere, bystander):
        assert len(store.listing(still.prefix)) == 3


def test_repeated_and_late_events_change_nothing(
    control: ControlPlane, store: Store, endpoint: Endpoint
):
    for gen in (0, 1, 2):
        plant(store, endpoint, gen)
    deletion, older = Deletion(endpoint, upto_gen=1), Deletion(endpoint, upto_gen=0)
    first = control.publish(deletion)
    control.publish(deletion, event_id=first)
    control.publish(deletion)
    control.wait_accepted(deletion)
    control.publish(deletion, mode="bare")
    event = control.completed(deletion)
    before = {key: store.get(key) for key in store.listing(endpoint.prefix)}
    assert sorted(before) == sorted(endpoint.key(path, 2) for path in FILES)
    control.publish(older)
    for event_id in (first, None):
        seen = len(control.all_completions(deletion))
        control.publish(deletion, event_id=event_id)
        control.further_completion(deletion, seen)
        control.wait_ended(deletion)
    again = control.all_completions(deletion)
    # What came while the job was open belongs to it; each of the later two ran it anew.
    assert len(again) == 3
    for other in again:
        assert other["id"] == event["id"]
        assert other["data"]["deleted"] == {"files": 6, "bytes": 2 * FILES_BYTES}
    control.check(older, files=0, size=0)
    assert {key: store.get(key) for key in store.listing(endpoint.prefix)} == before


# ---- Kinds of deletions ----


def test_a_delayed_deletion_fences_at_once_and_removes_later(
    control: ControlPlane, store: Store, writer: Writer, keys: KeyPair, endpoint: Endpoint
):
    plant(store, endpoint, 1)
    deletion = Deletion(endpoint, upto_gen=1)
    # Past what an undelayed one takes from its event to its end.
    due = time.time() + 4
    control.publish(deletion, not_before=rfc3339(due))
    control.wait_accepted(deletion)
    url = endpoint.file_url("lfc_state")
    assert http.put(writer.url, url, endpoint.token(keys, 1), b"x").status == 410
    assert http.put(writer.url, url, endpoint.token(keys, 2), b"x").status == 200
    gone_at = None
    while not gone_at:
        moment = time.time()  # before the look
        if len(store.listing(endpoint.gen_prefix(1))) < 3:
            gone_at = time.time()
        assert moment < due + 30
        time.sleep(0.05)
    assert gone_at >= int(due)
    event = control.check(deletion, files=3, size=FILES_BYTES)
    assert event["data"]["not_before"] == rfc3339(due)
    assert store.get(endpoint.key("lfc_state", 2)) == b"x"


def test_a_dry_run_counts_and_leaves_everything(
    control: ControlPlane, store: Store, writer: Writer, keys: KeyPair, endpoint: Endpoint
):
    plant(store, endpoint, 1)
    dry = [
        Deletion(endpoint, upto_gen=1, dry_run=True),
        Deletion(endpoint, "timeline", dry_run=True),
        Deletion(endpoint, "tenant", dry_run=True),
    ]
    for deletion in dry:
        control.publish(deletion)
    for deletion in dry:
        event = control.check(deletion, files=3, size=FILES_BYTES)
        assert event["data"]["dry_run"] is True
    assert len(store.listing(endpoint.prefix)) == 3
    assert not [key for key in store.listing("tombstones/") if endpoint.tenant in key]
    url, token = endpoint.file_url("lfc_state"), endpoint.token(keys, 1)
    assert http.put(writer.url, url, token, b"x").status == 200


def test_an_endpoint_event_without_a_generation_means_generation_0(
    control: ControlPlane, store: Store, writer: Writer, keys: KeyPair, endpoint: Endpoint
):
    for gen in (0, 1):
        plant(store, endpoint, gen)
    deletion = Deletion(endpoint)
    control.publish(deletion)
    control.check(deletion, files=3, size=FILES_BYTES)
    assert sorted(store.listing(endpoint.prefix)) == sorted(endpoint.key(path, 1) for path in FILES)
    assert not [key for key in store.listing("tombstones/") if endpoint.tenant in key]
    url, token = endpoint.file_url("lfc_state"), endpoint.token(keys)
    assert http.put(writer.url, url, token, b"x").status == 200


def test_without_a_generation_each_event_is_a_deletion_of_its_own(
    control: ControlPlane, store: Store, endpoint: Endpoint
):
    """Nothing fences the endpoint, so it may fill again; the job's id stays the same."""
    deletion = Deletion(endpoint)
    for run in range(3):
        plant(store, endpoint, 0)
        # Published before the one before has ended: only its last look at the store counts.
        control.publish(deletion)
        control.further_completion(deletion, run)
        counts = control.all_completions(deletion)[run]["data"]["deleted"]
        assert counts == {"files": 3, "bytes": FILES_BYTES}
        assert not store.listing(endpoint.prefix)
    control.wait_ended(deletion)


def test_the_janitor_verifies_and_completes_an_http_deletion(
    control: ControlPlane, store: Store, writer: Writer, keys: KeyPair, endpoint: Endpoint
):
    for name in ("ep-1", "ep-10"):
        plant(store, endpoint.sibling(name), 4)
    token = keys.prefix_token(endpoint.tenant, endpoint.timeline)
    answer = http.delete(writer.url, endpoint.timeline_url, token)
    assert answer.status == 200
    assert answer.json()["deleted"] == {"files": 6, "bytes": 2 * FILES_BYTES}
    deletion = Deletion(endpoint, "timeline")
    event = control.completed(deletion)
    assert "causationid" not in event
    assert (event["data"]["reason"], event["data"]["causation_id"]) == ("http", None)
    assert control.all_completions(deletion) == [event]
    assert deletion.tombstone
    assert store.get(deletion.tombstone)
    assert not store.listing(endpoint.timeline_prefix)


# ---- The end ----


def test_no_job_of_all_these_was_left_open_or_completed_twice(
    control: ControlPlane, store: Store, janitor: Janitor
):
    """Runs last, and so sees what came late."""
    assert not store.listing("intents/")
    ids = [parse(message)["id"] for message in control.completions.to_end()]
    repeated = {job for job in ids if ids.count(job) > 1}
    assert len(repeated) <= 2, "only the jobs that were asked for again may be there more than once"
    assert janitor.alive()
