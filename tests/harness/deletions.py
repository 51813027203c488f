"""Deletions as the control plane sees them: the event, its completion, and what is left."""

import dataclasses
import datetime
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from devstack import kafka_client
from devstack.broker import Broker
from devstack.epufs import Program
from devstack.kafka_client import Message, TopicReader
from devstack.process import wait_for
from harness import http
from harness.ids import Endpoint
from harness.stores import Store

Scope = Literal["endpoint", "timeline", "tenant"]
Mode = Literal["structured", "binary", "bare"]

TYPE = "io.epufs.deletion.requested.v1"
SOURCE = "/tests/control-plane"
TIMEOUT_S = 60.0

# Short times for uploads that race with a deletion. The janitor's window is their sum, which it
# learns from the store as well; that the store's clock comes in whole seconds gives it another one
# for a busy machine.
RACING_WRITER = ("--upload-expiry=2s", "--upload-timeout=4s", "--store-idle-timeout=2s")
RACE_UPLOAD_S = 4  # its upload_timeout
RACE_WINDOW_S = 8
# For a writer whose uploads are over before anything is deleted; and what a janitor needs for it.
QUICK_WRITER = ("--upload-expiry=2s", "--upload-timeout=2s", "--store-idle-timeout=0")
QUICK_WRITER_WINDOW = "--upload-window=4s"
_COMMON = ("--intent-scan-interval=300ms", "--lease=2s")
RACE_OPTIONS = (f"--upload-window={RACE_WINDOW_S}s", *_COMMON)
# For deletions that nobody uploads against, in a store that no writer has told its times in.
QUICK_OPTIONS = ("--upload-window=1s", *_COMMON)
QUICK_WRITER_OPTIONS = (QUICK_WRITER_WINDOW, *_COMMON)


@dataclasses.dataclass(frozen=True)
class Deletion:
    """What an event asks for."""

    endpoint: Endpoint
    scope: Scope = "endpoint"
    upto_gen: int | None = None
    dry_run: bool = False

    @property
    def path(self) -> str:
        """Of the scope; a completion's subject."""
        e = self.endpoint
        urls = {"endpoint": e.url, "timeline": e.timeline_url, "tenant": e.tenant_url}
        return urls[self.scope][1:]

    @property
    def prefix(self) -> str:
        return f"{self.path}/"

    @property
    def job_id(self) -> str:
        gen = "-" if self.upto_gen is None else str(self.upto_gen)
        text = f"{self.path}\n{gen}" + ("\ndry-run" if self.dry_run else "")
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def intent(self) -> str:
        return f"intents/{self.job_id}"

    @property
    def tombstone(self) -> str | None:
        """Its key; None: this deletion leaves none."""
        e = self.endpoint
        if self.dry_run or (self.scope == "endpoint" and self.upto_gen is None):
            return None
        if self.scope == "endpoint":
            return e.tombstone(self.upto_gen or 0)
        if self.scope == "timeline":
            return f"tombstones/timeline/{e.tenant}/{e.timeline}"
        return f"tombstones/tenant/{e.tenant}"

    def data(self, **more: Any) -> dict[str, Any]:
        """The event's data. A field given as None is left out."""
        e = self.endpoint
        fields: dict[str, Any] = {"schema": 1, "scope": self.scope, "tenant_id": e.tenant}
        if self.scope != "tenant":
            fields["timeline_id"] = e.timeline
        if self.scope == "endpoint":
            fields |= {"endpoint_id": e.name, "upto_gen": self.upto_gen}
        if self.dry_run:
            fields["dry_run"] = True
        return {name: value for name, value in (fields | more).items() if value is not None}


def envelope(
    data: Mapping[str, Any], mode: Mode, event_id: str
) -> tuple[bytes, dict[str, bytes] | None]:
    """Value and headers of a message."""
    body = json.dumps(data).encode()
    attributes = {"specversion": "1.0", "id": event_id, "source": SOURCE, "type": TYPE}
    if mode == "bare":
        return body, None
    if mode == "binary":
        headers = {f"ce_{name}": value.encode() for name, value in attributes.items()}
        return body, headers | {"content-type": b"application/json"}
    event = attributes | {"datacontenttype": "application/json", "data": data}
    return json.dumps(event).encode(), {"content-type": b"application/cloudevents+json"}


class TopicNames(Protocol):
    @property
    def deletions(self) -> str: ...
    @property
    def completions(self) -> str: ...
    @property
    def dead_letters(self) -> str: ...
    def options(self) -> list[str]:
        """For the janitor's command line."""


@dataclasses.dataclass(frozen=True)
class Topics:
    """One janitor group's own topics."""

    deletions: str
    completions: str
    dead_letters: str
    group: str

    def options(self) -> list[str]:
        """For the janitor's command line."""
        return [
            f"--deletions-topic={self.deletions}",
            f"--completions-topic={self.completions}",
            f"--deadletter-topic={self.dead_letters}",
            f"--kafka-group={self.group}",
        ]


class ControlPlane:
    """Publishes events, and reads completions and dead letters."""

    def __init__(self, store: Store, kafka: Broker, topics: TopicNames) -> None:
        self.store = store
        self.kafka = kafka
        self.topics = topics
        self.completions = TopicReader(kafka.bootstrap, topics.completions)
        self.dead_letters = TopicReader(kafka.bootstrap, topics.dead_letters)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.completions.close()
        self.dead_letters.close()

    def publish(
        self,
        deletion: Deletion,
        *,
        event_id: str | None = None,
        mode: Mode = "structured",
        partition: int | None = None,
        **more: Any,
    ) -> str:
        """Returns the event's id."""
        event_id = event_id or secrets.token_hex(8)
        value, headers = envelope(deletion.data(**more), mode, event_id)
        self.publish_raw(value, deletion.endpoint.tenant.encode(), headers, partition)
        return event_id

    def publish_raw(
        self,
        value: bytes | None,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        partition: int | None = None,
    ) -> tuple[int, int]:
        return kafka_client.publish(
            self.kafka.bootstrap,
            self.topics.deletions,
            value,
            key=key,
            headers=headers,
            partition=partition,
        )

    def completed(self, deletion: Deletion, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """The completion, once the job has ended: that is, once its intent is gone too."""
        done_id = f"done:{deletion.job_id}"
        message = self.completions.wait_for(lambda m: parse(m)["id"] == done_id, timeout_s)
        self.wait_ended(deletion, timeout_s)
        assert message.key == deletion.endpoint.tenant.encode()
        return parse(message)

    def wait_ended(self, deletion: Deletion, timeout_s: float = TIMEOUT_S) -> None:
        wait_for(
            lambda: self.store.get(deletion.intent) is None,
            timeout_s,
            f"the end of {deletion.path}",
        )

    def wait_accepted(self, deletion: Deletion, timeout_s: float = TIMEOUT_S) -> None:
        wait_for(
            lambda: self.store.get(deletion.intent) is not None,
            timeout_s,
            f"the intent of {deletion.path}",
        )

    def all_completions(self, deletion: Deletion) -> list[dict[str, Any]]:
        """What there is of the job by now: a failure or the like is among it, under another id."""
        events = [parse(message) for message in self.completions.to_end()]
        return [event for event in events if event["data"]["job_id"] == deletion.job_id]

    def further_completion(self, deletion: Deletion, seen: int) -> None:
        """Waits for one more than have been seen."""
        until(lambda: len(self.all_completions(deletion)) > seen, "a further completion")

    def check(
        self, deletion: Deletion, files: int, size: int, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Waits for the end and checks it: one completion, right counts, nothing left open."""
        event = self.completed(deletion, timeout_s)
        assert event["data"]["deleted"] == {"files": files, "bytes": size}
        assert event["data"]["outcome"] == "completed"
        told = self.all_completions(deletion)  # it may have been held, or have failed, before
        assert [e for e in told if e["data"]["outcome"] == "completed"] == [event]
        if deletion.tombstone:
            assert self.store.get(deletion.tombstone) is not None
        return event

    def no_dead_letters(self) -> None:
        letters = self.dead_letters.to_end()
        assert not letters, [message.headers for message in letters]


def rfc3339(seconds: float) -> str:
    when = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(message: Message) -> dict[str, Any]:
    event = json.loads(message.value or b"{}")
    assert isinstance(event, dict)
    return event


def forget_writers(store: Store) -> None:
    """What a writer told that was killed would hold completions back for ten minutes."""
    for key in store.listing("writers/"):
        store.delete(key)


def metric(program: Program, name: str) -> float:
    """One number of /metrics."""
    for line in http.call(program.url, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"{program.name} has no metric {name}")


def until(done: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    wait_for(lambda: bool(done()), timeout_s, what)


def stays_empty(store: Store, prefix: str, duration_s: float) -> None:
    """Looks all the time; for what must not appear any more."""
    until_s = time.monotonic() + duration_s
    while time.monotonic() < until_s:
        found = store.listing(prefix)
        assert not found, found
        time.sleep(0.05)
