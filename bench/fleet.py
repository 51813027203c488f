"""Janitors as one group on topics of their own, and what is measured of them from outside."""

import contextlib
import dataclasses
import json
import pathlib
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import confluent_kafka

from bench import measure
from bench.measure import Run
from devstack import broker, kafka_client
from devstack.broker_base import Broker
from devstack.epufs import Janitor
from devstack.process import DevstackError, wait_for
from devstack.redis import Redis
from harness.deletions import Deletion, Topics, envelope, metric

PARTITIONS = 8
WINDOW_S = 1
COMPLETED = "epufs_deletions_completed_total"
DELETED = "epufs_deleted_files_total"
STOP_S = 20.0
PUBLISH_S = 120.0


@dataclasses.dataclass(frozen=True)
class Services:
    """What all janitors of a part share."""

    redis: Redis
    kafka: Broker

    def redis_commands(self) -> int:
        """How many it has processed, those of scripts and this one's forerunner included."""
        text = self.redis.command("INFO", "stats").decode()
        match = re.search(r"total_commands_processed:(\d+)", text)
        if not match:
            raise DevstackError(f"redis told no total_commands_processed: {text[:200]!r}")
        return int(match[1])


@contextlib.contextmanager
def services(folder: pathlib.Path) -> Iterator[Services]:
    with Redis(folder / "redis") as redis, broker.start(folder / "broker") as kafka:
        yield Services(redis, kafka)


def new_topics(kafka: Broker) -> Topics:
    mark = uuid.uuid4().hex[:8]
    names = [f"{name}.{mark}" for name in ("deletions", "completions", "deadletter")]
    kafka_client.create_topics(kafka.bootstrap, dict.fromkeys(names, PARTITIONS))
    return Topics(*names, group=f"g-{mark}")


@dataclasses.dataclass(frozen=True)
class Message:
    key: bytes
    value: bytes
    headers: Mapping[str, bytes] | None
    partition: int | None = None

    @classmethod
    def of(cls, deletion: Deletion, **more: object) -> "Message":
        value, headers = envelope(deletion.data(**more), "structured", uuid.uuid4().hex)
        return cls(deletion.endpoint.tenant.encode(), value, headers)


def publish(kafka: Broker, topic: str, messages: Iterable[Message]) -> None:
    """Each one as it comes: an iterable may take its time."""
    publisher = kafka_client.Publisher(kafka.bootstrap)
    for m in messages:
        publisher.send(topic, m.value, key=m.key, headers=m.headers, partition=m.partition)
    publisher.flush(PUBLISH_S)


def _partitions(topic: str) -> list[confluent_kafka.TopicPartition]:
    return [confluent_kafka.TopicPartition(topic, number) for number in range(PARTITIONS)]


def _consumer(kafka: Broker, group: str) -> confluent_kafka.Consumer:
    return confluent_kafka.Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})


def count_messages(kafka: Broker, topic: str) -> int:
    consumer = _consumer(kafka, "bench-count")
    try:
        ends = [consumer.get_watermark_offsets(p, timeout=30) for p in _partitions(topic)]
    finally:
        consumer.close()
    return sum(high - low for low, high in ends)


def count_committed(kafka: Broker, topics: Topics) -> int:
    """How many messages of the deletions the group is done with."""
    consumer = _consumer(kafka, topics.group)
    try:
        found = consumer.committed(_partitions(topics.deletions), timeout=30)
    finally:
        consumer.close()
    return sum(max(p.offset, 0) for p in found)


def _assigned(janitor: Janitor) -> int:
    """How many partitions it was given last, as its log tells."""
    text = janitor.process.log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"kafka partitions assigned partitions=(\d+)", text)
    return int(found[-1]) if found else 0


class Fleet:
    """Some janitors; `with` starts and stops them."""

    def __init__(
        self,
        folder: pathlib.Path,
        shared: Services,
        store_url: str,
        env: Mapping[str, str],
        *,
        size: int = 1,
        topics: Topics | None = None,
        more: Sequence[str] = (),
    ) -> None:
        self.kafka = shared.kafka
        self.topics = topics or new_topics(shared.kafka)
        options = [f"--upload-window={WINDOW_S}s", *self.topics.options(), *more]
        self.janitors = [
            Janitor(
                folder / self.topics.group,
                store_url,
                shared.kafka.bootstrap,
                shared.redis.url,
                more=options,
                env=env,
                name=f"janitor-{number}",
            )
            for number in range(size)
        ]

    def __enter__(self) -> Self:
        try:
            for janitor in self.janitors:
                janitor.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for janitor in self.janitors:
            janitor.process.stop(STOP_S)

    @property
    def _pids(self) -> list[int]:
        return [janitor.process.pid for janitor in self.janitors]

    def wait_for_partitions(self) -> None:
        """Until each has its share of the topic, so that no rebalance falls into what is measured."""
        share = PARTITIONS // len(self.janitors)
        wait_for(
            lambda: all(_assigned(janitor) == share for janitor in self.janitors),
            60,
            f"{share} partitions for each janitor",
            log=self.janitors[0].process.log,
        )

    def metric(self, name: str) -> float:
        """The sum over all of them."""
        return sum(metric(janitor, name) for janitor in self.janitors)

    def cpu_seconds(self) -> float:
        return sum(map(measure.cpu_seconds, self._pids))

    def peak_mib(self) -> float:
        """Of the largest one."""
        return max(map(measure.peak_mib, self._pids))

    def wait_for_metric(self, name: str, value: float, timeout_s: float) -> None:
        wait_for(
            lambda: self.metric(name) >= value,
            timeout_s,
            f"{name} of {value:.0f}",
            log=self.janitors[0].process.log,
        )


@dataclasses.dataclass(frozen=True)
class Burst:
    """Many deletions at once."""

    run: Run  # count: deletions; the upload window is not in its seconds
    peak_mib: float


def burst(fleet: Fleet, deletions: Sequence[Deletion]) -> Burst:
    """From the first event to the end of the last deletion, less the upload window."""
    count = len(deletions)
    messages = [Message.of(deletion) for deletion in deletions]
    fleet.wait_for_partitions()
    cpu_before_s = fleet.cpu_seconds()
    began = time.monotonic()
    publish(fleet.kafka, fleet.topics.deletions, messages)
    fleet.wait_for_metric(COMPLETED, count, 120 + count / 10)
    seconds = time.monotonic() - began - WINDOW_S
    run = Run(count, seconds, fleet.cpu_seconds() - cpu_before_s)
    told = count_messages(fleet.kafka, fleet.topics.completions)
    if told < count:
        raise DevstackError(f"{told} completions of {count} deletions")
    return Burst(run, fleet.peak_mib())


@dataclasses.dataclass(frozen=True)
class Removal:
    """One large deletion."""

    run: Run  # count: objects
    idle_mib: float
    peak_mib: float


def remove(fleet: Fleet, deletion: Deletion, count: int) -> Removal:
    """From the event to the end of the sweep; its completion must name the exact count."""
    fleet.wait_for_partitions()
    idle_mib, cpu_before_s = fleet.peak_mib(), fleet.cpu_seconds()
    began = time.monotonic()
    publish(fleet.kafka, fleet.topics.deletions, [Message.of(deletion)])
    fleet.wait_for_metric(DELETED, count, 120 + count / 50)
    seconds = time.monotonic() - began
    run = Run(count, seconds, fleet.cpu_seconds() - cpu_before_s)
    with kafka_client.TopicReader(fleet.kafka.bootstrap, fleet.topics.completions) as completions:
        told = completions.wait_for(lambda message: True, 60)
    files = json.loads(told.value or b"")["data"]["deleted"]["files"]
    if files != count:
        raise DevstackError(f"the completion says {files} files, expected {count}")
    return Removal(run, idle_mib, fleet.peak_mib())
