"""make bench: the reader against nginx, the janitor against the store's own ceiling, and two janitors
against one.

    BENCH=reader | deletion | burst   one of the three only
    BENCH_OBJECTS=100000      what the janitor deletes
    QUICK=1                   a short trial: few rounds, 3000 objects

docs/bench.md says how to read the table.
"""

import argparse
import dataclasses
import datetime
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from bench import burst, deletion, proxies
from bench.measure import CONNECTIONS, Load, Run, limit_objects, median, say
from devstack.process import DevstackError
from devstack.rgw import Rgw

@dataclasses.dataclass(frozen=True)
class Plan:
    rounds: int
    round_s: int
    objects: int
    events: int
    bursts: int

    @classmethod
    def make(cls, quick: bool, objects: int) -> "Plan":
        return cls(3, 2, min(objects, 3000), 300, 1) if quick else cls(8, 4, objects, 10_000, 2)


# ---- The reader ----


def print_loads(result: proxies.Comparison) -> None:
    def row(name: str, unit: str, value: Callable[[Load], float], digits: int) -> None:
        ours, theirs = [value(x) for x in result.reader], [value(x) for x in result.nginx]
        ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
        say(
            f"  {name:<14}{median(ours):>11.{digits}f}{median(theirs):>11.{digits}f} {unit:<6}"
            f"{median(ratios):>7.2f}   {ratios[0]:.2f} to {ratios[-1]:.2f}"
        )

    say(f"\nGET of 4 KiB, {CONNECTIONS} connections, {result.store}, {len(result.reader)} rounds")
    say(f"  {'':<14}{'reader':>11}{'nginx':>11} {'':<6}{'ratio':>7}   of the rounds")
    row("requests/s", "", lambda x: x.requests_per_s, 0)
    row("CPU/request", "µs", lambda x: x.cpu_us, 1)
    row("p50", "ms", lambda x: x.p50_ms, 2)
    row("p99", "ms", lambda x: x.p99_ms, 2)


def bench_reader(folder: pathlib.Path, plan: Plan) -> list[proxies.Comparison]:
    say(f"reader: {plan.rounds} rounds of {plan.round_s} s for each side and store")
    with Rgw(folder / "rgw") as rgw:
        behind_rgw = proxies.against_rgw(folder / "on-rgw", rgw, plan.rounds, plan.round_s)
    behind_files = proxies.against_files(folder / "on-files", plan.rounds, plan.round_s)
    return [behind_files, behind_rgw]


# ---- Deletion ----


def bench_deletion(folder: pathlib.Path, objects: pathlib.Path, plan: Plan) -> deletion.Comparison:
    count = limit_objects(plan.objects)
    say(f"deletion: the janitor removes {count} objects, the others {2 * (count // 4)} in two halves")
    with Rgw(folder / "rgw-deletion") as rgw:
        return deletion.compare(folder, rgw, objects, count)


def rate(parts: Sequence[Run]) -> float:
    return sum(x.count for x in parts) / sum(x.seconds for x in parts)


def cpu_ms_per_1000(parts: Sequence[Run]) -> float:
    return 1e6 * sum(x.cpu_seconds for x in parts) / sum(x.count for x in parts)


def print_removals(result: deletion.Comparison) -> None:
    say(
        f"\nDeletion on Ceph RGW, {deletion.IN_FLIGHT} batches in flight;"
        f" the broker was {result.broker}"
    )
    say(f"  {'':<10}{'keys':>9}{'keys/s':>9}{'ratio':>8}{'CPU ms/1000':>13}   keys/s of the parts")
    ceiling = rate(result.ceiling)
    for name, parts in (
        ("ceiling", result.ceiling),
        ("libstore", result.libstore),
        ("janitor", result.janitor),
    ):
        each = ", ".join(f"{x.per_s:.0f}" for x in parts)
        say(
            f"  {name:<10}{sum(x.count for x in parts):>9}{rate(parts):>9.0f}"
            f"{rate(parts) / ceiling:>8.2f}{cpu_ms_per_1000(parts):>13.1f}   {each}"
        )
    say(
        f"  the janitor's peak memory: {result.janitor_peak_mib:.1f} MiB,"
        f" {result.janitor_idle_mib:.1f} MiB before the event"
    )


# ---- Bursts ----


def bench_burst(folder: pathlib.Path, plan: Plan) -> burst.Comparison:
    say(f"burst: {plan.events} endpoint deletions at once, with one janitor and with two")
    with Rgw(folder / "rgw-burst") as rgw:
        return burst.compare(folder / "burst", rgw, plan.events, plan.bursts)


def print_bursts(result: burst.Comparison) -> None:
    say(f"\nBurst of endpoint deletions on Ceph RGW; the broker was {result.broker}")
    say(f"  {'janitors':<10}{'events':>8}{'done/s':>8}{'ratio':>8}{'CPU ms/1000':>13}{'MiB':>7}")
    for each in result.rounds:
        for b in each:
            say(
                f"  {b.janitors:<10}{b.events:>8}{b.per_s:>8.0f}{b.per_s / each[0].per_s:>8.2f}"
                f"{1e6 * b.cpu_s / b.events:>13.0f}{b.peak_mib:>7.1f}"
            )


# ---- All of it ----


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Ratios against peers.")
    parser.add_argument("--objects-program", required=True, type=pathlib.Path)
    parser.add_argument("--only", choices=["reader", "deletion", "burst"])
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    plan = Plan.make(arguments.quick, max(arguments.objects, 8))
    began = time.monotonic()
    loads: list[proxies.Comparison] = []
    removals: deletion.Comparison | None = None
    bursts: burst.Comparison | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="epufs-bench-") as text:
            folder = pathlib.Path(text)
            if arguments.only in (None, "reader"):
                loads = bench_reader(folder, plan)
            if arguments.only in (None, "deletion"):
                removals = bench_deletion(folder, arguments.objects_program.resolve(), plan)
            if arguments.only in (None, "burst"):
                bursts = bench_burst(folder, plan)
    except DevstackError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    say(
        f"\n{datetime.date.today()}, {os.cpu_count()} cores shared by the load, the store and both"
        f" sides; {time.monotonic() - began:.0f} s"
    )
    for load in loads:
        print_loads(load)
    if removals:
        print_removals(removals)
    if bursts:
        print_bursts(bursts)
    say(
        "\nOn in the reader: token check, own signature, metrics, access log with request ids to a"
        "\nfile, 1 thread. nginx: 1 worker, kept connections, access log to a file. 1.00 is equal."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
