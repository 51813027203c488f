"""What a round yields, and how rounds become one figure."""

import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from devstack.paths import ROOT
from devstack.process import DevstackError, require, run

CONNECTIONS = 64
# Ceph's store in memory needs so much for an object of 16 bytes; see limit_objects().
KIB_PER_OBJECT = 120
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_REPORT = ROOT / "bench" / "report.lua"

Round = TypeVar("Round")
_POLL_S = 0.005


@dataclasses.dataclass(frozen=True)
class Run:
    """What one program did in one round."""

    count: int  # keys, or requests
    seconds: float
    cpu_seconds: float
    peak_kib: int = 0

    @classmethod
    def parse(cls, line: str) -> "Run":
        """What our own programs print (bench/program.h)."""
        return cls(**json.loads(line))

    @property
    def per_s(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        """For each key or request."""
        return self.cpu_seconds * 1e6 / self.count


def run_whole(
    argv: Sequence[str], env: Mapping[str, str], count: int, timeout_s: float
) -> tuple[Run, str]:
    """Measures a program from its start to its end; also what it says when it fails, or "".

    env is all of its environment. Its peak of memory is looked at every few milliseconds.
    """
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        peak_kib, pid = 0, 0
        while not pid:
            peak_kib = max(peak_kib, _peak_kib(child.pid) or 0)
            time.sleep(_POLL_S)
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if not pid and time.monotonic() - began > timeout_s:
                child.kill()
                child.wait()
                raise DevstackError(f"{argv[0]} did not end within {timeout_s:g} s")
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()[-500:].decode(errors="replace").strip()
    done = Run(count, seconds, usage.ru_utime + usage.ru_stime, peak_kib)
    return done, (text or f"status {child.returncode}") if child.returncode else ""


def say(text: str = "") -> None:
    print(text, flush=True)


def limit_objects(wanted: int) -> int:
    """As many objects as half of the free memory holds."""
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    match = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    room = int(match[1]) // 2 // KIB_PER_OBJECT if match else wanted
    if room < wanted:
        say(f"only {room} objects instead of {wanted}: Ceph keeps them in memory")
    return min(room, wanted)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _peak_kib(pid: int) -> int | None:
    try:
        text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) if match else None


def peak_mib(pid: int) -> float:
    """The most memory that was resident at a time."""
    kib = _peak_kib(pid)
    if kib is None:
        raise DevstackError(f"/proc/{pid}/status has no VmHWM")
    return kib / 1024


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def in_turns(sides: Mapping[str, Callable[[], Round]], rounds: int) -> dict[str, list[Round]]:
    """Runs each side once a round; every other round goes backwards, so that neither side is
    always the one that follows the other."""
    results: dict[str, list[Round]] = {name: [] for name in sides}
    for number in range(rounds):
        names = list(sides)
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(sides[name]())
    return results


@dataclasses.dataclass(frozen=True)
class Load:
    """One round of wrk against one process."""

    requests_per_s: float
    cpu_us: float  # of the process, for each request
    p50_ms: float
    p99_ms: float


def load(url: str, headers: Mapping[str, str], pid: int, duration_s: int) -> Load:
    """Keeps 64 connections busy. A round with any failed request does not count: it raises."""
    flags = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    # fmt: off
    argv = [
        require("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{duration_s}s",
        "-s", str(_REPORT), *flags, url,
    ]
    # fmt: on
    before = cpu_seconds(pid)
    output = run(argv, timeout_s=duration_s + 30)
    cpu_s = cpu_seconds(pid) - before
    match = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", output, re.MULTILINE)
    if not match:
        raise DevstackError(f"wrk printed no result: {output[-500:]}")
    requests, duration_us, p50_us, p99_us, errors = (int(text) for text in match.groups())
    if errors or not requests:
        raise DevstackError(f"{url}: {requests} requests with {errors} errors")
    return Load(
        requests_per_s=requests / (duration_us / 1e6),
        cpu_us=cpu_s * 1e6 / requests,
        p50_ms=p50_us / 1000,
        p99_ms=p99_us / 1000,
    )
