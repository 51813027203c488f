"""The consumer group under stress: partitions that come and go, a broker that hears nothing of the
work for long, pauses. An offset is committed only once what is before it is an intent."""

import re
import threading
import time
from collections.abc import Iterator

import pytest

from devstack.broker import Broker
from devstack.kafka import Kafka
from devstack.epufs import Janitor
from devstack.kafka_client import Publisher, TopicReader
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness.chance import seeded, size
from harness.committed import PARTITIONS, Committed
from harness.deletions import (
    QUICK_OPTIONS,
    ControlPlane,
    Deletion,
    TopicNames,
    Topics,
    envelope,
    metric,
    parse,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher, check_end
from harness.proxy import Proxy
from harness.stores import S3Store, Store, behind, fresh_s3, numbered

pytestmark = [pytest.mark.waits, pytest.mark.soak]

SESSION_S = 6
SESSION = f"--kafka-session-timeout={SESSION_S}s"  # the least that a broker takes
SECONDS = size("SECONDS", 10)
EVENTS = size("JOBS", 80)
EVERY_S = 5.0
TIMEOUT_S = 120.0


def log_of(janitor: Janitor) -> str:
    return janitor.process.log.read_text(encoding="utf-8")


def assignments(janitor: Janitor) -> list[int]:
    """How many partitions it was given, each time."""
    told = re.findall(r"kafka partitions assigned partitions=(\d+)", log_of(janitor))
    return [int(number) for number in told]


# ---- What was committed, and what stands of it ----


class Auditor(threading.Thread):
    """Looks all the time whether what is committed stands in the store: the tombstone, and the
    intent or, once that is gone, the completion."""

    def __init__(self, store: Store, kafka: Broker, topics: Topics) -> None:
        super().__init__(daemon=True)
        self.looks = self.audited = 0
        self.failures: list[str] = []
        self._store = store
        self._completions = TopicReader(kafka.bootstrap, topics.completions)
        self._told: set[str] = set()
        self._parsed = 0  # of the completions
        self._committed = Committed(kafka, topics)
        self._lock = threading.Lock()
        self._events: dict[tuple[int, int], Deletion] = {}  # under the lock
        self._next = dict.fromkeys(range(PARTITIONS), 0)
        self._over = threading.Event()

    def published(self, where: tuple[int, int], deletion: Deletion) -> None:
        with self._lock:
            self._events[where] = deletion

    def run(self) -> None:
        while not self._over.wait(0.02):
            self._look()
        self._look()

    def end(self) -> None:
        self._over.set()
        self.join()
        self._committed.close()
        self._completions.close()

    def _look(self) -> None:
        self.looks += 1
        for partition, offset in self._committed.offsets().items():
            while self._next[partition] < offset and self._audit(partition):
                self._next[partition] += 1

    def _audit(self, partition: int) -> bool:
        """False: it is not known yet what the event is."""
        where = partition, self._next[partition]
        with self._lock:
            deletion = self._events.get(where)
        if not deletion:
            return False
        self.audited += 1
        if not self._stands(deletion):
            self.failures.append(f"offset {where[1]} of partition {partition} is committed")
        return True

    def _stands(self, deletion: Deletion) -> bool:
        assert deletion.tombstone
        tombstone, intent = self._store.get(deletion.tombstone), self._store.get(deletion.intent)
        if tombstone is None:
            return False
        # The completion is published before the intent goes.
        return intent is not None or self._is_told(f"done:{deletion.job_id}")

    def _is_told(self, done_id: str) -> bool:
        if done_id not in self._told:
            seen = self._completions.to_end()
            self._told |= {parse(message)["id"] for message in seen[self._parsed :]}
            self._parsed = len(seen)
        return done_id in self._told


class Events:
    """Publishes deletions of endpoints with a file, one by one: the place of each is known."""

    def __init__(self, store: Store, kafka: Broker, topics: Topics, auditor: Auditor) -> None:
        self.asked: list[Deletion] = []
        self._store = store
        self._topic = topics.deletions
        self._auditor = auditor
        self._publisher = Publisher(kafka.bootstrap)

    def publish(self, count: int) -> None:
        new = [Deletion(Endpoint(), upto_gen=1) for _ in range(count)]
        self._store.put_many([d.endpoint.key("lfc_state", 1) for d in new], b"four")
        for deletion in new:
            value, headers = envelope(deletion.data(), "structured", deletion.job_id)
            key = deletion.endpoint.tenant.encode()
            self._publisher.send(self._topic, value, key=key, headers=headers)
            (where,) = self._publisher.flush()
            self._auditor.published(where, deletion)
        self.asked += new


@pytest.fixture
def slow_store(rgw_proxy: Proxy, rgw: Rgw) -> Iterator[tuple[S3Store, S3Store]]:
    """As it is, and as the janitors see it: accepting takes long enough to be looked at."""
    store = fresh_s3(rgw)
    rgw_proxy.slow_down(0.02)
    yield store, behind(store, rgw_proxy)


def test_no_offset_is_committed_before_its_intent_while_members_come_and_go(
    slow_store: tuple[S3Store, S3Store],
    launch: Launcher,
    real_kafka: Kafka,
    redis: Redis,
    topics: Topics,
):
    store, seen = slow_store
    options = (*topics.options(), *QUICK_OPTIONS, SESSION)
    chance = seeded()
    always = [launch.janitor(seen, real_kafka, redis, *options) for _ in range(2)]
    guest = launch.janitor(seen, real_kafka, redis, *options, ready=False)
    auditor = Auditor(store, real_kafka, topics)
    events = Events(store, real_kafka, topics, auditor)
    auditor.start()
    changes = max(2, round(SECONDS / EVERY_S))
    for number in range(changes):
        next_s = time.monotonic() + EVERY_S
        events.publish(EVENTS // changes)
        time.sleep(chance.uniform(0, 0.5))
        if guest.alive():
            leave(guest, kill=chance.random() < 0.25)
        else:
            guest.start_without_waiting()
        time.sleep(max(0.0, next_s - time.monotonic()))
    committed = Committed(real_kafka, topics)
    until(lambda: committed.offsets() == committed.ends(), "all to be committed", TIMEOUT_S)
    committed.close()
    until(lambda: not store.listing("intents/"), "the end of all", TIMEOUT_S)
    auditor.end()
    rebalances = len(assignments(always[0]))
    print(f"{len(events.asked)} events, {rebalances} rebalances, {auditor.looks} looks")
    assert not auditor.failures
    assert auditor.audited == len(events.asked)
    assert rebalances > changes // 2  # of a kill the group hears late, perhaps with the next change
    with ControlPlane(store, real_kafka, topics) as control:
        ids = {parse(message)["id"] for message in control.completions.to_end()}
        assert ids == {f"done:{deletion.job_id}" for deletion in events.asked}
        control.no_dead_letters()
    assert not store.listing("tenants/")


def leave(janitor: Janitor, kill: bool) -> None:
    if kill:
        janitor.kill()
        return
    janitor.wait_ready(path="/livez")  # before that a signal is nothing it knows of
    check_end(janitor, janitor.process.stop(40.0))


# ---- A member that is busy ----


def test_work_that_takes_longer_than_the_poll_interval_costs_no_membership(
    rgw_proxy: Proxy,
    launch: Launcher,
    real_kafka: Kafka,
    redis: Redis,
    topics: Topics,
    rgw: Rgw,
):
    """An acceptance that waits for its store, with no room for further events, and a sweep."""
    store = fresh_s3(rgw)
    long, late = Deletion(Endpoint(), upto_gen=1), Deletion(Endpoint(), upto_gen=1)
    interval_s = SESSION_S  # it may not be less
    store.put_many(numbered(long.endpoint.gen_prefix(1), 20), b"four")
    options = (
        *topics.options(),
        *QUICK_OPTIONS,
        SESSION,
        f"--kafka.consumer.max.poll.interval.ms={interval_s * 1000}",
        "--max-outstanding=1",
        "--tenant-delete-rate=2",
    )
    janitor = launch.janitor(behind(store, rgw_proxy), real_kafka, redis, *options)
    with ControlPlane(store, real_kafka, topics) as control:
        began = time.monotonic()
        control.publish(long)
        until(lambda: metric(janitor, "epufs_deleted_files_total") > 0, "the sweep's begin")
        rgw_proxy.stall()
        control.publish(late)
        until(lambda: metric(janitor, "epufs_messages_outstanding") == 1, "the event")
        time.sleep(interval_s + 2)
        assert metric(janitor, "epufs_messages_outstanding") == 1
        rgw_proxy.resume()
        control.check(late, files=0, size=0)
        control.check(long, files=20, size=80)
        assert time.monotonic() - began > interval_s
        control.no_dead_letters()
    assert assignments(janitor) == [PARTITIONS]
    assert "partitions revoked" not in log_of(janitor)
    assert "MAX_POLL" not in log_of(janitor)


# ---- Paused partitions ----


def test_partitions_that_left_while_paused_are_consumed_when_they_are_back(
    rgw_proxy: Proxy,
    launch: Launcher,
    real_kafka: Kafka,
    redis: Redis,
    topics: Topics,
    rgw: Rgw,
):
    """librdkafka keeps a partition paused that was revoked meanwhile."""
    store = fresh_s3(rgw)
    options = (*topics.options(), *QUICK_OPTIONS, SESSION)
    seen = behind(store, rgw_proxy)
    paused = launch.janitor(seen, real_kafka, redis, *options, "--max-outstanding=2")

    def ask(each: int) -> list[Deletion]:
        asked = [Deletion(Endpoint(), upto_gen=1) for _ in range(each * PARTITIONS)]
        for number, deletion in enumerate(asked):
            control.publish(deletion, partition=number % PARTITIONS)
        return asked

    with ControlPlane(store, real_kafka, topics) as control:
        until(lambda: assignments(paused) == [PARTITIONS], "all partitions")
        rgw_proxy.stall()
        asked = ask(3)
        until(lambda: metric(paused, "epufs_messages_outstanding") == 2, "the pause")
        other = launch.janitor(store, real_kafka, redis, *options)
        until(lambda: assignments(paused)[1:] == [PARTITIONS // 2], "the other's share")
        rgw_proxy.resume()
        for deletion in asked:
            control.completed(deletion)
        launch.stop(other)
        until(lambda: assignments(paused)[-1] == PARTITIONS, "the partitions' coming back")
        for deletion in ask(1):
            control.completed(deletion)
        control.no_dead_letters()
