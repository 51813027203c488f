"""The mock broker: tests/tools/devbroker.c. In memory: stopping it loses every message."""

import pathlib
import signal
from collections.abc import Mapping

from devstack import kafka_client, paths
from devstack.broker_base import Broker
from devstack.process import Process

START_TIMEOUT_S = 15.0


class MockBroker(Broker):
    """Unlike other services it picks its port itself, anew at each start.

    kill() and stop() are final for its messages; begin_outage() is the kind of failure to use.
    """

    name = "devbroker"
    kind = "mock"
    about = "a MOCK of Kafka (librdkafka's), in memory only"

    def __init__(
        self, folder: pathlib.Path, *, topics: Mapping[str, int], tied: bool = True
    ) -> None:
        super().__init__(folder, tied=tied)
        self._bootstrap_file = self.folder / "bootstrap"
        argv: list[str | pathlib.Path] = [paths.program("devbroker")]
        argv += ["--bootstrap-file", self._bootstrap_file]
        for name, partitions in topics.items():
            argv += ["--topic", f"{name}:{partitions}"]
        self._process = Process("devbroker", argv, self.folder / "devbroker.log", tied=tied)

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    @property
    def bootstrap(self) -> str:
        return self._bootstrap_file.read_text(encoding="ascii").strip()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bootstrap_file.unlink(missing_ok=True)
        self._process.start()
        self._process.wait_ready(self._bootstrap_file.exists, START_TIMEOUT_S)
        self._process.wait_ready(lambda: kafka_client.answers(self.bootstrap), START_TIMEOUT_S)

    def begin_outage(self) -> None:
        self._signal(signal.SIGUSR1, "outage begins")

    def end_outage(self) -> None:
        self._signal(signal.SIGUSR2, "outage ends")

    def lose_sequence(self) -> None:
        """Who publishes next is told that a message before is missing: with idempotence fatal."""
        self._signal(signal.SIGALRM, "a sequence is lost")

    def _signal(self, number: int, answer: str) -> None:
        """Sends a signal and waits until the log says that it was obeyed."""

        def answers() -> int:
            return self._process.log.read_text(encoding="utf-8").count(answer)

        before = answers()
        self._process.signal(number)
        self._process.wait_ready(lambda: answers() > before, START_TIMEOUT_S)
