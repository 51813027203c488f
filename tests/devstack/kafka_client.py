"""Publishing to a broker and reading it back, always with a bound.

Works alike on Apache Kafka and on the mock, but for create_topics(): the mock has no admin API.
Uses Debian's python3-confluent-kafka.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import confluent_kafka
from confluent_kafka import admin

from devstack.process import DevstackError, wait_for

TIMEOUT_S = 30.0
MAX_BYTES = 8_000_000  # of a message; what a topic takes is less, as a rule

# The client logs every refused connection; while a server starts or rests that is no news.
_quiet = logging.getLogger("devstack.kafka_client")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


@dataclasses.dataclass(frozen=True)
class Message:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]
    time_ms: int  # its producer's clock; Unix time


def _settings(bootstrap: str) -> dict[str, Any]:
    """Back within half a second after an outage; the client's own limit is 10 s."""
    return {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
        "logger": _quiet,
    }


def _admin(bootstrap: str) -> admin.AdminClient:
    return admin.AdminClient(_settings(bootstrap))


def topics(bootstrap: str, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
    """The broker's topics and how many partitions each has."""
    metadata = _admin(bootstrap).list_topics(timeout=timeout_s)
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def answers(bootstrap: str, timeout_s: float = 2.0) -> bool:
    try:
        topics(bootstrap, timeout_s)
    except confluent_kafka.KafkaException:
        return False
    return True


def create_topics(
    bootstrap: str,
    wanted: Mapping[str, int],
    timeout_s: float = TIMEOUT_S,
    *,
    config: Mapping[str, str] | None = None,
) -> None:
    """Makes topics, on Apache Kafka only; those that exist already are left alone."""
    settings = dict(config or {})
    new = [admin.NewTopic(name, count, 1, config=settings) for name, count in wanted.items()]
    client = _admin(bootstrap)
    results = client.create_topics(new, operation_timeout=timeout_s, request_timeout=timeout_s)
    for name, result in results.items():
        try:
            result.result(timeout_s)
        except confluent_kafka.KafkaException as error:
            if error.args[0].code() != confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                raise DevstackError(f"topic {name}: {error}") from error
    # The controller has made them; the broker tells its clients of them a moment later.
    wait_for(
        lambda: wanted.keys() <= topics(bootstrap, timeout_s).keys(),
        timeout_s,
        f"the broker's knowing of {', '.join(wanted)}",
    )


class Publisher:
    """A producer that answers for its messages: flush() fails unless every one was taken."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = confluent_kafka.Producer(
            _settings(bootstrap)
            | {"enable.idempotence": True, "linger.ms": 5, "message.max.bytes": MAX_BYTES}
        )
        self._errors: list[str] = []
        self._sent: list[tuple[int, int]] = []

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        partition: int | None = None,
    ) -> None:
        where = {} if partition is None else {"partition": partition}
        pairs = list((headers or {}).items())
        while True:
            with contextlib.suppress(BufferError):
                self._producer.produce(
                    topic, value, key, headers=pairs, on_delivery=self._delivered, **where
                )
                return
            self._producer.poll(0.1)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self._sent.append((message.partition(), message.offset()))
        else:
            self._errors.append(str(error))

    def flush(self, timeout_s: float = TIMEOUT_S) -> list[tuple[int, int]]:
        """Waits for the reports; returns (partition, offset) of each message, in their order."""
        left = self._producer.flush(timeout_s)
        if left or self._errors:
            why = self._errors[0] if self._errors else f"not within {timeout_s:g} s"
            raise DevstackError(f"{left + len(self._errors)} messages were not taken: {why}")
        sent, self._sent = self._sent, []
        return sent


def publish(
    bootstrap: str,
    topic: str,
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Mapping[str, bytes] | None = None,
    partition: int | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, int]:
    """Sends one message and waits until the broker has it; returns (partition, offset)."""
    publisher = Publisher(bootstrap)
    publisher.send(topic, value, key=key, headers=headers, partition=partition)
    return publisher.flush(timeout_s)[0]


class TopicReader:
    """Reads a topic from its beginning, outside any consumer group, and keeps what it has seen."""

    def __init__(self, bootstrap: str, topic: str, timeout_s: float = TIMEOUT_S) -> None:
        self.topic = topic
        self.seen: list[Message] = []
        self._consumer = confluent_kafka.Consumer(
            _settings(bootstrap)
            | {
                "group.id": "devstack-reader",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 50,
                "fetch.error.backoff.ms": 50,
            }
        )
        self._partitions = [
            confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING)
            for number in self._find(timeout_s)
        ]
        self._consumer.assign(self._partitions)

    def _find(self, timeout_s: float) -> list[int]:
        try:
            metadata = self._consumer.list_topics(self.topic, timeout=timeout_s)
        except confluent_kafka.KafkaException as error:
            raise DevstackError(f"topic {self.topic}: {error}") from error
        found = list(metadata.topics[self.topic].partitions)
        if not found:
            raise DevstackError(f"there is no topic {self.topic}")
        return found

    def poll(self, timeout_s: float) -> Message | None:
        """The next message, or None when there was none in that time."""
        got = self._consumer.poll(timeout_s)
        if got is None or got.error():  # an error: the broker rests; the client tries again
            return None
        message = Message(
            self.topic,
            got.partition(),
            got.offset(),
            got.key(),
            got.value(),
            dict(got.headers() or []),
            got.timestamp()[1],
        )
        self.seen.append(message)
        return message

    def to_end(self, timeout_s: float = TIMEOUT_S) -> Sequence[Message]:
        """Reads up to the end as it is now; returns everything seen since the beginning."""
        deadline = time.monotonic() + timeout_s
        ends = self._ends(timeout_s)
        while not self._reached(ends):
            if time.monotonic() > deadline:
                raise DevstackError(f"the end of {self.topic} was not reached in {timeout_s:g} s")
            self.poll(0.2)
        return self.seen

    def _ends(self, timeout_s: float) -> dict[int, int]:
        """The offset after the last message of each partition that holds any."""
        deadline = time.monotonic() + timeout_s
        ends = {}
        for partition in self._partitions:
            low, high = self._watermarks(partition, deadline)
            if high > low:
                ends[partition.partition] = high
        return ends

    def _watermarks(
        self, partition: confluent_kafka.TopicPartition, deadline: float
    ) -> tuple[int, int]:
        """A broker that has just come back may say that it does not lead the partition yet."""
        while True:
            left_s = max(deadline - time.monotonic(), 0.1)
            try:
                low, high = self._consumer.get_watermark_offsets(partition, timeout=left_s)
            except confluent_kafka.KafkaException as error:
                if time.monotonic() > deadline:
                    raise DevstackError(f"the end of {self.topic}: {error}") from error
                time.sleep(0.2)
            else:
                return low, high

    def _reached(self, ends: Mapping[int, int]) -> bool:
        reached = {message.partition: message.offset + 1 for message in self.seen}
        return all(reached.get(partition, 0) >= end for partition, end in ends.items())

    def wait_for(self, wanted: Callable[[Message], bool], timeout_s: float = TIMEOUT_S) -> Message:
        """The first message since the beginning that is wanted, waiting for it if need be."""
        for message in self.seen:
            if wanted(message):
                return message
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            next_one = self.poll(0.2)
            if next_one and wanted(next_one):
                return next_one
        raise DevstackError(
            f"{self.topic}: none of {len(self.seen)} messages is the awaited one"
            f" after {timeout_s:g} s"
        )

    def close(self) -> None:
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
