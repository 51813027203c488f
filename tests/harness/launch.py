"""Our programs, held to a clean end: status 0, no sanitizer report, no token in the log."""

import pathlib
import re
import signal
from collections.abc import Sequence

from devstack.broker import Broker
from devstack.epufs import Janitor, Program, Reader, Writer
from devstack.redis import Redis
from harness.stores import Store

# "eyJ" is how the head and the claims of every JWT begin.
_UNWANTED = re.compile(
    r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|ThreadSanitizer"
    r"|eyJ[A-Za-z0-9_-]{8}"
)
# A second for a balancer to notice that a program is leaving; here nobody has to notice.
_NO_DELAY = "--drain-delay=0"
LOG_TAIL = 6000  # characters of a log that a failed test shows


def check_log(program: Program) -> None:
    text = program.process.log.read_text(encoding="utf-8", errors="replace")
    found = _UNWANTED.search(text)
    assert not found, f"{program.name}'s log:\n{text[found.start() : found.start() + 4000]}"


def check_end(program: Program, status: int | None) -> None:
    """Status 0, unless the test killed it."""
    check_log(program)
    tail = _tail(program.process.log, 2000)
    assert status in (0, -signal.SIGKILL), f"{program.name} ended with {status}:\n{tail}"


def _tail(log: pathlib.Path, length: int) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-length:]


class Launcher:
    """Starts programs and stops them all at the end, the youngest first.

    A program that the test has ended with kill -9 is fine; one that crashed is not. forget() is
    for those whose end the test judges by itself.
    """

    def __init__(self, folder: pathlib.Path, public_key: pathlib.Path) -> None:
        self.folder = folder
        self.public_key = public_key
        self._programs: list[Program] = []

    def reader(
        self,
        store: Store,
        *more: str,
        token_keys: Sequence[pathlib.Path] | None = None,
        ready: bool = True,
    ) -> Reader:
        reader = Reader(
            self.folder,
            store.url,
            token_keys or [self.public_key],
            more=self._options(more),
            env=store.env,
            name=self._name("reader"),
        )
        self._start(reader, ready)
        return reader

    def writer(
        self,
        store: Store,
        *more: str,
        token_keys: Sequence[pathlib.Path] | None = None,
        ready: bool = True,
    ) -> Writer:
        writer = Writer(
            self.folder,
            store.url,
            token_keys or [self.public_key],
            more=self._options(more),
            env=store.env,
            name=self._name("writer"),
        )
        self._start(writer, ready)
        return writer

    def janitor(
        self, store: Store, kafka: Broker, redis: Redis, *more: str, ready: bool = True
    ) -> Janitor:
        janitor = Janitor(
            self.folder,
            store.url,
            kafka.bootstrap,
            redis.url,
            more=self._options(more),
            env=store.env,
            name=self._name("janitor"),
        )
        self._start(janitor, ready)
        return janitor

    def stop(self, program: Program) -> None:
        """SIGTERM and a clean end, now."""
        self.forget(program)
        check_end(program, program.process.stop(40.0))

    def forget(self, program: Program) -> None:
        self._programs.remove(program)

    def stop_all(self) -> None:
        """Stops every program, also when the end of one is not clean; then complains."""
        ended = [(p, p.process.stop(40.0)) for p in reversed(self._programs)]
        self._programs.clear()
        for program, status in ended:
            check_end(program, status)

    def logs(self) -> dict[str, str]:
        """The end of each program's log, also of those that are over."""
        files = sorted(self.folder.glob("*.log"))
        return {file.name: _tail(file, LOG_TAIL) for file in files}

    def _name(self, program: str) -> str:
        taken = len(list(self.folder.glob(f"{program}-*.log")))
        return f"{program}-{taken + 1}"

    def _options(self, more: Sequence[str]) -> list[str]:
        delayed = any(option.startswith("--drain-delay") for option in more)
        return [*more] if delayed else [_NO_DELAY, *more]

    def _start(self, program: Program, ready: bool) -> None:
        self._programs.append(program)
        program.start_without_waiting()
        if ready:
            program.wait_ready()
