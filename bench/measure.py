"""What a round yields, and how rounds become one figure."""

import dataclasses
import os
import pathlib
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from devstack.paths import ROOT
from devstack.process import DevstackError, require, run

CONNECTIONS = 64
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_REPORT = ROOT / "bench" / "report.lua"

Round = TypeVar("Round")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads."""
    text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def peak_mib(pid: int) -> float:
    """The most memory that was resident at a time."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    match = re.search(r"^VmHWM:\s+(\d+) kB", text, re.MULTILINE)
    if not match:
        raise DevstackError(f"/proc/{pid}/status has no VmHWM")
    return int(match[1]) / 1024


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
