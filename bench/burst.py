"""A burst of endpoint deletions: completions a second with one janitor and with two.

On Ceph RGW, of endpoints that hold nothing, so that it is the protocol that is measured: tombstone,
intent, the listings of sweep and verification, completion. The clock runs from the first event to
the last completion, less the upload window, which everybody waits for.
"""

import contextlib
import dataclasses
import pathlib
import time
import uuid
from collections.abc import Iterator

from bench import measure
from devstack import broker, kafka_client
from devstack.broker_base import Broker
from devstack.epufs import Janitor
from devstack.process import DevstackError, wait_for
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness.deletions import Deletion, envelope
from harness.ids import Endpoint

PARTITIONS = 8
WINDOW_S = 1


@dataclasses.dataclass(frozen=True)
class Burst:
    janitors: int
    events: int
    seconds: float
    cpu_s: float  # of the janitors
    peak_mib: float  # of the larger one

    @property
    def per_s(self) -> float:
        return self.events / self.seconds


@dataclasses.dataclass
class Comparison:
    broker: str
    rounds: list[list[Burst]] = dataclasses.field(default_factory=list)


def compare(folder: pathlib.Path, rgw: Rgw, events: int, rounds: int) -> Comparison:
    with Redis(folder / "redis") as redis, broker.start(folder / "broker") as kafka:
        result = Comparison(kafka.about)
        for number in range(rounds):
            both = [
                _burst(folder / f"{number}-{count}", rgw, redis, kafka, count, events)
                for count in ((1, 2) if number % 2 == 0 else (2, 1))
            ]
            result.rounds.append(sorted(both, key=lambda burst: burst.janitors))
    return result


def _messages(deletions: list[Deletion]) -> Iterator[tuple[bytes, bytes]]:
    for deletion in deletions:
        value, _ = envelope(deletion.data(), "bare", uuid.uuid4().hex)
        yield deletion.endpoint.tenant.encode(), value


def _burst(
    folder: pathlib.Path, rgw: Rgw, redis: Redis, kafka: Broker, janitors: int, events: int
) -> Burst:
    mark = uuid.uuid4().hex[:8]
    names = [f"{name}.{mark}" for name in ("deletions", "completions", "deadletter")]
    kafka_client.create_topics(kafka.bootstrap, dict.fromkeys(names, PARTITIONS))
    deletions = [Deletion(Endpoint(), upto_gen=1) for _ in range(events)]
    options = [
        f"--upload-window={WINDOW_S}s",
        f"--deletions-topic={names[0]}",
        f"--completions-topic={names[1]}",
        f"--deadletter-topic={names[2]}",
        f"--kafka-group=g-{mark}",
    ]
    running: list[Janitor] = []
    try:
        for number in range(janitors):
            janitor = Janitor(
                folder,
                f"s3://{rgw.bucket}/burst",
                kafka.bootstrap,
                redis.url,
                more=options,
                env=rgw.s3.env(),
                name=f"janitor-{number}",
            )
            running.append(janitor)
            janitor.start()
        return _measure(running, kafka, names, deletions)
    finally:
        for janitor in running:
            janitor.process.stop(20.0)


def _have(completions: kafka_client.TopicReader, count: int) -> bool:
    with contextlib.suppress(DevstackError):  # a new topic may have no leader yet
        return len(completions.to_end()) >= count
    return False


def _measure(
    running: list[Janitor], kafka: Broker, names: list[str], deletions: list[Deletion]
) -> Burst:
    pids = [janitor.process.pid for janitor in running]
    with kafka_client.TopicReader(kafka.bootstrap, names[1]) as completions:
        publisher = kafka_client.Publisher(kafka.bootstrap)
        cpu_before_s = sum(map(measure.cpu_seconds, pids))
        began = time.monotonic()
        for key, value in _messages(deletions):
            publisher.send(names[0], value, key=key)
        publisher.flush(60)
        wait_for(
            lambda: _have(completions, len(deletions)),
            120 + len(deletions) / 20,
            f"{len(deletions)} completions",
            log=running[0].process.log,
        )
        seconds = time.monotonic() - began - WINDOW_S
        cpu_s = sum(map(measure.cpu_seconds, pids)) - cpu_before_s
        peak = max(map(measure.peak_mib, pids))
    return Burst(len(running), len(deletions), seconds, cpu_s, peak)
