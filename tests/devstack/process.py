"""A server process: start with a log file, wait until ready, stop for certain."""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

LOG_TAIL_LINES = 25
PAUSE_TIMEOUT_S = 10.0
RECORD_SUFFIX = ".running"


class DevstackError(Exception):
    """A service did not do what it should; the text says which, what and why."""


def require(program: str, package: str) -> str:
    """The full path of a program, or an error that names Debian's package with it."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not path:
        raise DevstackError(f"{program} is not installed (Debian: {package})")
    return path


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float = 30.0,
) -> str:
    """Runs a short command to its end and returns what it printed."""
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise DevstackError(f"{argv[0]} did not end within {timeout_s:g} s") from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "nothing").strip()[-2000:]
        raise DevstackError(f"{argv[0]} failed ({error.returncode}): {said}") from error
    return done.stdout


def log_tail(log: pathlib.Path, lines: int = LOG_TAIL_LINES) -> str:
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return "\n".join(text.splitlines()[-lines:])


def wait_for(
    done: Callable[[], bool],
    timeout_s: float,
    what: str,
    *,
    log: pathlib.Path | None = None,
    failed: Callable[[], str | None] = lambda: None,
) -> None:
    """Polls until done() is true. `failed` may end the wait early by naming a reason."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.01
    while not done():
        reason = failed()
        if reason is None and time.monotonic() > deadline:
            reason = f"not within {timeout_s:g} s"
        if reason is not None:
            tail = f"\n--- the end of {log} ---\n{log_tail(log)}" if log else ""
            raise DevstackError(f"{what}: {reason}{tail}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.2)


def _stat_fields(task: int | str) -> list[str]:
    """The fields of /proc/TASK/stat after the command name; empty when there is no such process.

    TASK is a pid, or PID/task/TID for one thread.
    """
    try:
        text = pathlib.Path(f"/proc/{task}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def stands_still(pid: int) -> bool:
    """Whether SIGSTOP has reached every thread. One that ended does nothing either."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    states = [_stat_fields(f"{pid}/task/{thread}")[:1] for thread in threads]
    return ["T"] in states and all(state in ([], ["T"], ["Z"], ["X"]) for state in states)


def start_ticks(pid: int) -> int:
    """When the process started. With the pid it names one process, even after pids are reused."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0


@dataclasses.dataclass(frozen=True)
class Running:
    """A process that somebody started: enough to see and to end it from another program."""

    name: str
    pid: int
    ticks: int

    @classmethod
    def load(cls, record: pathlib.Path) -> "Running":
        return cls(**json.loads(record.read_text(encoding="utf-8")))

    def save(self, record: pathlib.Path) -> None:
        draft = record.with_suffix(".tmp")
        draft.write_text(json.dumps(dataclasses.asdict(self)) + "\n", encoding="utf-8")
        draft.replace(record)

    def alive(self) -> bool:
        fields = _stat_fields(self.pid)
        return bool(fields) and fields[0] not in "ZX" and int(fields[19]) == self.ticks

    def signal(self, number: int) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP, and a bounded wait until it holds: on a busy machine a thread runs on for a
        while after kill() has returned."""
        self.signal(signal.SIGSTOP)
        wait_for(
            lambda: stands_still(self.pid),
            PAUSE_TIMEOUT_S,
            f"{self.name} (pid {self.pid}) does not stand still",
            failed=lambda: None if self.alive() else "it is not running",
        )

    def stop(self, grace_s: float = 10.0) -> None:
        """SIGTERM, a bounded wait, then SIGKILL to the whole group. A paused process is woken."""
        if not self.alive():
            return
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        deadline = time.monotonic() + grace_s
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()

    def kill(self) -> None:
        # The leader's pid is the group's id; children it left behind go with it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        wait_for(lambda: not self.alive(), 10.0, f"the end of {self.name} (pid {self.pid})")


class Process:
    """A server of ours. It has its own process group and appends to its own log.

    With `tied` (the default) the kernel kills it when the thread that started it ends, so a test
    run that is killed leaves nothing behind: start it from the main thread. Without, it outlives
    us, and the record beside its log (NAME.running) lets another program end it.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        log: pathlib.Path,
        *,
        env: Mapping[str, str] | None = None,
        tied: bool = True,
    ) -> None:
        self.name = name
        self.argv = [os.fspath(part) for part in argv]
        self.log = log
        self.env = dict(env or {})
        self.tied = tied
        self._child: subprocess.Popen[bytes] | None = None
        self._running: Running | None = None

    @property
    def pid(self) -> int:
        return self.running().pid

    def running(self) -> Running:
        if self._running is None:
            raise DevstackError(f"{self.name} was not started")
        return self._running

    def alive(self) -> bool:
        return self._running is not None and self._running.alive()

    def start(self) -> None:
        if self.alive():
            raise DevstackError(f"{self.name} is already running (pid {self.pid})")
        self._reap()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                (self._tie() if self.tied else []) + self.argv,
                env={**os.environ, **self.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running = Running(self.name, self._child.pid, start_ticks(self._child.pid))
        if not self.tied:
            self._running.save(self.log.with_suffix(RECORD_SUFFIX))

    def _tie(self) -> list[str]:
        """The command line before ours that has the kernel kill it when we die.

        The shell sees whether we died before that was arranged.
        """
        check = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
        arrange = [require("setpriv", "util-linux"), "--pdeathsig", "KILL", "--"]
        return [*arrange, "/bin/sh", "-c", check, str(os.getpid())]

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        wait_for(
            ready, timeout_s, f"{self.name} is not ready", log=self.log, failed=self._ended_early
        )

    def _ended_early(self) -> str | None:
        if self.alive():
            return None
        return f"it ended with status {self._reap()}"

    def _reap(self) -> int | None:
        return self._child.wait(timeout=10.0) if self._child else None

    def wait_end(self, timeout_s: float) -> int:
        """Waits until it ends by itself; returns its status (negative: a signal)."""
        if self._child is None:
            raise DevstackError(f"{self.name} was not started")
        wait_for(lambda: not self.alive(), timeout_s, f"{self.name} does not end", log=self.log)
        return self._child.wait(timeout=10.0)

    def signal(self, number: int) -> None:
        self.running().signal(number)

    def pause(self) -> None:
        """Stops it in its tracks, every thread: connections stay open and nothing answers."""
        self.running().pause()

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self, grace_s: float = 10.0) -> int | None:
        """Ends it; returns its status, or None when it never ran."""
        if self._running is not None:
            self._running.stop(grace_s)
        return self._reap()

    def kill(self) -> None:
        """kill -9, with whatever it started itself."""
        if self.alive():
            self.running().kill()
        self._reap()
