"""What a consumer group has committed of a topic, seen by no member of it."""

import time
from typing import Any

import confluent_kafka

from devstack.broker import Broker
from harness.deletions import Topics

PARTITIONS = 4  # of the tests' topics
TIMEOUT_S = 30.0
PAUSE_S = 0.05


class Committed:
    def __init__(self, kafka: Broker, topics: Topics) -> None:
        settings = {"bootstrap.servers": kafka.bootstrap, "group.id": topics.group}
        self._consumer = confluent_kafka.Consumer(settings)
        self._parts = [
            confluent_kafka.TopicPartition(topics.deletions, n) for n in range(PARTITIONS)
        ]

    def offsets(self) -> dict[int, int]:
        """By partition; 0: none."""
        return {part.partition: max(part.offset, 0) for part in self._ask()}

    def ends(self) -> dict[int, int]:
        """What it will be once everything is done."""
        marks = self._consumer.get_watermark_offsets
        return {part.partition: marks(part, timeout=TIMEOUT_S)[1] for part in self._parts}

    def _ask(self) -> Any:
        """Again while the broker has not made out yet who coordinates the group."""
        until_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self._consumer.committed(self._parts, timeout=TIMEOUT_S)
            except confluent_kafka.KafkaException:
                if time.monotonic() > until_s:
                    raise
                time.sleep(PAUSE_S)

    def close(self) -> None:
        self._consumer.close()
