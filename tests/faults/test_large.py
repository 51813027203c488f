"""Deletions of many objects: whoever goes on with one begins at its cursor in Redis, and small ones
pass by. `make soak` does it with 100,000 objects and more."""

import time

import pytest

from devstack.broker import Broker
from devstack.kafka_client import Publisher
from devstack.redis import Redis
from harness.chance import size
from harness.deletions import (
    QUICK_OPTIONS,
    ControlPlane,
    Deletion,
    TopicNames,
    envelope,
    parse,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.records import record, wait_cursor
from harness.stores import Store, numbered

pytestmark = [pytest.mark.waits, pytest.mark.soak]

KEYS = size("KEYS", 1200)  # more than a batch
LARGE = KEYS + size("KEYS", 0)  # twice as many at full size
SMALL = size("JOBS", 20)
SMALL_FILES = ("autoprewarm.blocks", "lfc_state", "pg_stat/a.stat")
# Long enough to look at what a sweep has left before the verification removes it.
LONG_WINDOW = f"--upload-window={5 + KEYS // 2000}s"
# So slow that the sweep is under way when it is looked at.
SLOWLY = f"--tenant-delete-rate={max(20, KEYS // 100)}"
# The same, where a lease is waited for: it is as long as the pause between two batches and more.
LESS_SLOWLY = f"--tenant-delete-rate={max(200, KEYS // 100)}"
TIMEOUT_S = 60 + KEYS / 100
SIGTERM_S = 10.0
BATCH_S = 0.5  # from a batch's first key to its last


def options(topics: TopicNames, *more: str) -> list[str]:
    return [*topics.options(), *QUICK_OPTIONS, "--kafka-session-timeout=6s", *more]


class Witness:
    """An object in front of the cursor, stored while nobody sweeps: a sweep that goes on from there
    leaves it to the verification; one from the beginning takes it first."""

    def __init__(self, store: Store, redis: Redis, deletion: Deletion, left: list[str]) -> None:
        cursor = wait_cursor(store, redis, deletion)
        self.key = deletion.endpoint.key("a-witness", 1)
        self._behind = left[0]
        assert self.key < cursor < self._behind
        self._store = store
        store.put(self.key, b"four")

    def check(self) -> None:
        """While another janitor goes on with the deletion."""
        until(lambda: self._store.get(self._behind) is None, "progress", TIMEOUT_S)
        time.sleep(BATCH_S)
        assert self._store.get(self.key) is not None, "the sweep began anew"


def test_kill_9_in_mid_sweep_and_another_janitor_goes_on_from_the_cursor(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    endpoint: Endpoint,
):
    store.put_many(numbered(endpoint.gen_prefix(1), KEYS), b"four")
    store.put_many(numbered(endpoint.gen_prefix(2), 20))
    deletion = Deletion(endpoint, upto_gen=1)
    first = launch.janitor(store, kafka, redis, *options(topics, LESS_SLOWLY))
    with ControlPlane(store, kafka, topics) as control:
        control.publish(deletion)
        wait_cursor(store, redis, deletion)
        first.kill()
        left = list(store.listing(endpoint.gen_prefix(1)))
        print(f"killed when {len(left)} of {KEYS} were left")
        assert 0 < len(left) < KEYS
        witness = Witness(store, redis, deletion, left)
        launch.janitor(store, kafka, redis, *options(topics, LONG_WINDOW))
        witness.check()
        event = control.completed(deletion, TIMEOUT_S)
        assert list(store.listing(endpoint.prefix)) == list(numbered(endpoint.gen_prefix(2), 20))
        assert event["data"]["attempts"] >= 2
        assert len(left) + 1 <= event["data"]["deleted"]["files"] <= KEYS + 1
        ids = {parse(message)["id"] for message in control.completions.to_end()}
        assert ids == {f"done:{deletion.job_id}"}
        control.no_dead_letters()


def publish_all(control: ControlPlane, deletions: list[Deletion]) -> None:
    publisher = Publisher(control.kafka.bootstrap)
    for deletion in deletions:
        value, headers = envelope(deletion.data(), "structured", deletion.job_id)
        key = deletion.endpoint.tenant.encode()
        publisher.send(control.topics.deletions, value, key=key, headers=headers)
    publisher.flush()


def test_small_deletions_pass_a_large_one_and_sigterm_leaves_its_cursor(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    endpoint: Endpoint,
):
    large = Deletion(endpoint, "tenant")
    store.put_many(numbered(endpoint.gen_prefix(1), LARGE), b"four")
    small = [Deletion(Endpoint(), upto_gen=1) for _ in range(SMALL)]
    keys = [d.endpoint.key(name, 1) for d in small for name in SMALL_FILES]
    store.put_many(keys, b"four")
    janitor = launch.janitor(store, kafka, redis, *options(topics, SLOWLY))
    with ControlPlane(store, kafka, topics) as control:
        control.publish(large)
        wait_cursor(store, redis, large)
        publish_all(control, small)
        for deletion in small:
            control.completed(deletion, TIMEOUT_S)
        assert record(store, redis, large)["state"] == "sweeping"
        assert store.listing(endpoint.gen_prefix(1))
        began = time.monotonic()
        launch.stop(janitor)  # checks for status 0
        assert time.monotonic() - began < SIGTERM_S
        left = list(store.listing(endpoint.gen_prefix(1)))
        print(f"{len(left)} of {LARGE} were left at the end")
        assert 0 < len(left) < LARGE
        assert control.all_completions(large) == []
        witness = Witness(store, redis, large, left)
        launch.janitor(store, kafka, redis, *options(topics, LONG_WINDOW))
        witness.check()
        event = control.completed(large, TIMEOUT_S)
        # Taken up by one and then by the other; and the first, which ended in order, has told of
        # all that it had removed.
        assert event["data"]["attempts"] >= 2
        assert event["data"]["deleted"]["files"] == LARGE + 1
        told = [parse(message)["id"] for message in control.completions.to_end()]
        assert sorted(told) == sorted(f"done:{d.job_id}" for d in (large, *small))
        control.no_dead_letters()
    assert not store.listing("tenants/" + endpoint.tenant)
