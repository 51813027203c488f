"""The message broker: Apache Kafka where it can be had, else librdkafka's mock."""

import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Literal

from devstack.broker_base import COMPLETIONS, DEAD_LETTERS, DELETIONS, TOPICS, Broker
from devstack.devbroker import MockBroker
from devstack.kafka import Kafka, Unavailable, fetch
from devstack.process import DevstackError

__all__ = ["COMPLETIONS", "DEAD_LETTERS", "DELETIONS", "TOPICS", "Broker", "create", "start"]

Kind = Literal["auto", "kafka", "mock"]


def create(
    folder: pathlib.Path,
    kind: Kind = "auto",
    *,
    topics: Mapping[str, int] = TOPICS,
    tied: bool = True,
) -> Broker:
    """A broker, not started yet. "auto" says in one line when it has to take the mock and why.

    EPUFS_BROKER=kafka or EPUFS_BROKER=mock in the environment settles what "auto" means.
    """
    wanted = os.environ.get("EPUFS_BROKER", "auto") if kind == "auto" else kind
    if wanted == "mock":
        return MockBroker(folder, topics=topics, tied=tied)
    if wanted == "kafka":
        return Kafka(folder, fetch(), topics=topics, tied=tied)
    if wanted != "auto":
        raise DevstackError(f"EPUFS_BROKER is '{wanted}', not auto, kafka or mock")
    try:
        return Kafka(folder, fetch(), topics=topics, tied=tied)
    except Unavailable as error:
        line = f"Apache Kafka cannot be had ({error}): librdkafka's MOCK broker takes its place"
        print(f"devstack: {line}", file=sys.stderr, flush=True)
        return MockBroker(folder, topics=topics, tied=tied)


def start(
    folder: pathlib.Path,
    kind: Kind = "auto",
    *,
    topics: Mapping[str, int] = TOPICS,
    tied: bool = True,
) -> Broker:
    """Like create(), and started."""
    return create(folder, kind, topics=topics, tied=tied).__enter__()
