"""The janitor's deletion of many objects against the store's own DeleteObjects ceiling.

    ceiling   batches of 1000 keys that are all known beforehand, the same number in flight
    libstore  store_delete_prefix(), which lists while it deletes
    janitor   from the publishing of the event to the end of the sweep

The two smaller sides run before and after the janitor, so that neither has the fresher store.
"""

import dataclasses
import json
import pathlib
import re
import time
import urllib.request
import uuid

from bench import measure
from bench.measure import Run
from devstack import broker, kafka_client
from devstack.broker_base import Broker
from devstack.epufs import Janitor
from devstack.process import DevstackError, run, wait_for
from devstack.redis import Redis
from devstack.rgw import Rgw

IN_FLIGHT = 8  # what store_delete_prefix() takes by itself, and so the janitor
FILL_IN_FLIGHT = 32
DELETED = "epufs_deleted_files_total"
PREFIX = "bench"


@dataclasses.dataclass
class Comparison:
    broker: str
    ceiling: list[Run] = dataclasses.field(default_factory=list)
    libstore: list[Run] = dataclasses.field(default_factory=list)
    janitor: list[Run] = dataclasses.field(default_factory=list)
    janitor_peak_mib: float = 0
    janitor_idle_mib: float = 0


class Bench:
    """One store, and the program that fills and empties it."""

    def __init__(self, rgw: Rgw, objects: pathlib.Path) -> None:
        self.rgw = rgw
        self.objects = objects
        self.url = f"s3://{rgw.bucket}/{PREFIX}"

    def _run(self, what: str, prefix: str, count: int, in_flight: int) -> Run:
        argv = [str(self.objects), what, self.url, prefix, str(count), str(in_flight)]
        line = run(argv, env=self.rgw.s3.env(), timeout_s=120 + count / 50)
        return Run.parse(line)

    def fill(self, prefix: str, count: int) -> None:
        self._run("fill", prefix, count, FILL_IN_FLIGHT)

    def remove(self, what: str, count: int) -> Run:
        """`delete` is the ceiling, `purge` is libstore's."""
        prefix = f"{what}/{uuid.uuid4().hex}/"
        self.fill(prefix, count)
        return self._run(what, prefix, count, IN_FLIGHT)


def compare(folder: pathlib.Path, rgw: Rgw, objects: pathlib.Path, count: int) -> Comparison:
    bench = Bench(rgw, objects)
    part = max(count // 4, 1)
    with Redis(folder / "redis") as redis, broker.start(folder / "broker") as kafka:
        result = Comparison(kafka.about)
        for step in ("delete", "purge", "janitor", "purge", "delete"):
            if step == "janitor":
                _remove_timeline(folder, bench, redis, kafka, count, result)
            else:
                removal = bench.remove(step, part)
                (result.ceiling if step == "delete" else result.libstore).append(removal)
    return result


def _remove_timeline(
    folder: pathlib.Path,
    bench: Bench,
    redis: Redis,
    kafka: Broker,
    count: int,
    result: Comparison,
) -> None:
    tenant, timeline = uuid.uuid4().hex, uuid.uuid4().hex
    scope = f"tenants/{tenant}/timelines/{timeline}/"
    bench.fill(f"{scope}endpoints/ep-bench/{1:016x}/pgdata/base/", count)
    janitor = Janitor(
        folder / "janitor",
        bench.url,
        kafka.bootstrap,
        redis.url,
        more=["--upload-window", "1s"],
        env=bench.rgw.s3.env(),
    )
    with (
        janitor,
        kafka_client.TopicReader(kafka.bootstrap, broker.COMPLETIONS) as completions,
    ):
        pid = janitor.process.pid
        result.janitor_idle_mib = measure.peak_mib(pid)
        cpu_before_s = measure.cpu_seconds(pid)
        began = time.monotonic()
        kafka_client.publish(
            kafka.bootstrap,
            broker.DELETIONS,
            _event(tenant, timeline),
            key=tenant.encode(),
            headers={"content-type": b"application/cloudevents+json"},
        )
        wait_for(
            lambda: _metric(janitor, DELETED) >= count,
            120 + count / 50,
            f"the sweep of {count} objects",
            log=janitor.process.log,
        )
        seconds = time.monotonic() - began
        cpu_s = measure.cpu_seconds(pid) - cpu_before_s
        done = completions.wait_for(lambda message: timeline.encode() in (message.value or b""), 60)
        _check_completion(done, count)
        result.janitor.append(Run(count, seconds, cpu_s))
        result.janitor_peak_mib = measure.peak_mib(pid)


def _event(tenant: str, timeline: str) -> bytes:
    data = {
        "schema": 1,
        "scope": "timeline",
        "tenant_id": tenant,
        "timeline_id": timeline,
        "reason": "benchmark",
        "requested_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    envelope = {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": "/bench",
        "type": "io.epufs.deletion.requested.v1",
        "data": data,
    }
    return json.dumps(envelope).encode()


def _metric(janitor: Janitor, name: str) -> float:
    with urllib.request.urlopen(f"{janitor.url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    match = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    if not match:
        raise DevstackError(f"the janitor has no metric {name}")
    return float(match[1])


def _check_completion(message: kafka_client.Message, count: int) -> None:
    files = json.loads(message.value or b"")["data"]["deleted"]["files"]
    if files != count:
        raise DevstackError(f"the completion says {files} files, expected {count}")
