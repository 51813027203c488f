"""make bench-store: libstore against other S3 tools, a throttling store, libcurl and bare sockets.

    BENCH=delete | throttle | memory | transfer | tls   one part only
    BENCH_OBJECTS=200000   what is deleted on the fake store; a tenth of it on real ones
    QUICK=1                a short trial: one round, few objects

docs/bench.md says how to read the tables.
"""

import argparse
import dataclasses
import datetime
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

from bench import removal, tools, transfers
from bench.measure import Run, median, say
from bench.removal import CEILING, Outcome, Part
from bench.table import Table, number, ratios, short, spread
from bench.transfers import Result
from devstack import versitygw
from devstack.process import DevstackError

PARTS = ("delete", "throttle", "memory", "transfer", "tls")
THROTTLE_KEYS_PER_S = 3500


@dataclasses.dataclass(frozen=True)
class Plan:
    objects: int  # deleted on the fake store
    real_objects: int  # on a real one, which takes about a millisecond to store and one to delete
    throttle_objects: int
    memory_counts: tuple[int, int]
    transfer_scale: float
    tls_count: int
    rounds: int
    real_rounds: int
    transfer_rounds: int

    @classmethod
    def make(cls, quick: bool, objects: int) -> "Plan":
        real = max(objects // 10, 1)
        if quick:
            return cls(
                min(objects, 20_000), min(real, 2000), 8000, (20_000, 200_000), 0.1, 40, 1, 1, 1
            )
        return cls(objects, real, 60_000, (20_000, 2_000_000), 1.0, 200, 3, 2, 3)


@dataclasses.dataclass
class Results:
    removals: list[Part] = dataclasses.field(default_factory=list)
    throttled: list[Part] = dataclasses.field(default_factory=list)
    memory: dict[int, list[Run]] = dataclasses.field(default_factory=dict)
    transfers: list[Result] = dataclasses.field(default_factory=list)
    tls: dict[str, list[Run]] = dataclasses.field(default_factory=dict)


# ---- Figures ----


def rates(outcomes: Sequence[Outcome]) -> list[float]:
    return [x.run.per_s for x in outcomes]


def print_removal(part: Part) -> None:
    ceiling = rates(part.sides[CEILING])
    rows = []
    for name, outcomes in part.sides.items():
        each = ratios(rates(outcomes), ceiling)
        cells = [
            number(outcomes[0].run.count),
            number(median(rates(outcomes))),
            short(median(each)),
            f"{short(min(each))} to {short(max(each))}",
            number(median([x.run.cpu_us for x in outcomes]), 1),
            number(max(x.run.peak_kib for x in outcomes) / 1024, 1),
        ]
        rows.append([name, *cells])
    Table(
        f"Deletion, {part.title}; {len(ceiling)} rounds",
        ["keys", "keys/s", "ratio", "of the rounds", "CPU ms/1000", "peak MiB"],
        rows,
    ).print()


def print_throttled(part: Part) -> None:
    rows, notes = [], []
    for name, outcomes in part.sides.items():
        refused = [60_000 * x.slow_down / x.run.count for x in outcomes]
        cells = [
            number(outcomes[0].run.count),
            number(median(rates(outcomes))),
            spread(rates(outcomes)),
            number(median(refused)),
        ]
        rows.append([name, *cells])
        for trouble in sorted({x.trouble for x in outcomes if x.trouble}):
            notes.append(f"{name} gave up: {' '.join(trouble.split())[:90]}")
    Table(
        f"Deletion, {part.title}; {len(part.sides[CEILING])} rounds",
        ["keys", "keys/s", "of the rounds", "503 per 60,000 keys"],
        rows,
        notes,
    ).print()


def print_memory(results: dict[int, list[Run]]) -> None:
    rows = []
    for count, runs in results.items():
        peaks = [x.peak_kib / 1024 for x in runs]
        rate = median([x.per_s for x in runs])
        rows.append([number(count), number(median(peaks), 1), spread(peaks, 1), number(rate)])
    Table(
        f"Peak memory of libstore's deletion, {len(next(iter(results.values())))} rounds",
        ["peak MiB", "of the rounds", "keys/s"],
        rows,
    ).print()


def size_name(size: int) -> str:
    return f"{size >> 20} MiB" if size >> 20 else f"{size >> 10} KiB"


def print_transfers(results: Sequence[Result]) -> None:
    rounds = len(results[0].sides["raw"])
    for what in ("get", "put"):
        say(f"\n{what.upper()}, fake store, {rounds} rounds; ratios are libstore's to the other's")
        say(f"  {'':<15}{'CPU µs/request':^25}{'ratio to':>15}{'requests/s':>24}{'ratio to':>12}")
        say(
            f"  {'size':<8}{'at':>5}{'libstore':>10}{'curl':>8}{'raw':>9}{'curl':>8}{'raw':>7}"
            f"{'libstore':>12}{'curl':>8}{'raw':>8}{'curl':>8}   CPU to raw, of the rounds"
        )
        for result in results:
            if result.case.what == what:
                print_transfer(result)


def print_transfer(result: Result) -> None:
    cpu = {side: [x.cpu_us for x in runs] for side, runs in result.sides.items()}
    rate = {side: [x.per_s for x in runs] for side, runs in result.sides.items()}
    to_curl, to_raw = ratios(cpu["libstore"], cpu["curl"]), ratios(cpu["libstore"], cpu["raw"])
    digits = 1 if median(cpu["raw"]) < 100 else 0
    cpu_text = [f"{median(cpu[side]):.{digits}f}" for side in ("libstore", "curl", "raw")]
    rate_digits = 1 if median(rate["raw"]) < 100 else 0
    rate_text = [f"{median(rate[side]):.{rate_digits}f}" for side in ("libstore", "curl", "raw")]
    say(
        f"  {size_name(result.case.bytes):<8}{result.case.in_flight:>5}"
        f"{cpu_text[0]:>10}{cpu_text[1]:>8}{cpu_text[2]:>9}"
        f"{median(to_curl):>8.2f}{median(to_raw):>7.2f}"
        f"{rate_text[0]:>12}{rate_text[1]:>8}{rate_text[2]:>8}"
        f"{median(ratios(rate['libstore'], rate['curl'])):>8.2f}   {spread(to_raw, 2)}"
    )


def print_tls(results: dict[str, list[Run]]) -> None:
    ours, curl = ([x.cpu_us for x in results[side]] for side in ("libstore", "curl"))
    each = ratios(ours, curl)
    say(f"\nCPU of a GET of 4 KiB on a new TLS connection, {len(ours)} rounds")
    say(
        f"  libstore {median(ours):.0f} µs, libcurl's defaults {median(curl):.0f} µs,"
        f" ratio {median(each):.3f} ({spread(each, 3)})"
    )


# ---- Running ----


def _has_versitygw() -> bool:
    try:
        versitygw.program()
    except DevstackError:
        return False
    return True


def bench_delete(folder: pathlib.Path, programs: pathlib.Path, plan: Plan) -> list[Part]:
    sides = [tools.ours(programs), *tools.others()]
    say(f"delete: {plan.objects} objects on the fake store, {plan.rounds} rounds")
    parts = [
        removal.against_distant(folder / "distant", programs, sides, plan.objects, plan.rounds)
    ]
    reals = {"Ceph RGW": removal.against_rgw}
    if _has_versitygw():
        reals["versitygw"] = removal.against_versitygw
    for name, against in reals.items():
        say(f"delete: {plan.real_objects} objects on {name}, {plan.real_rounds} rounds")
        home = folder / name.replace(" ", "-")
        parts.append(against(home, programs, sides, plan.real_objects, plan.real_rounds))
    return parts


def run_parts(
    wanted: Sequence[str], folder: pathlib.Path, programs: pathlib.Path, plan: Plan
) -> Results:
    results = Results()
    if "delete" in wanted:
        results.removals = bench_delete(folder, programs, plan)
    if "throttle" in wanted:
        say(f"throttle: {plan.throttle_objects} objects at {THROTTLE_KEYS_PER_S} keys/s")
        results.throttled = [
            removal.against_throttling(
                folder / "throttle",
                programs,
                [tools.ours(programs), *tools.others()],
                plan.throttle_objects,
                THROTTLE_KEYS_PER_S,
                plan.real_rounds,
            )
        ]
    if "memory" in wanted:
        say(f"memory: {plan.memory_counts[0]} and {plan.memory_counts[1]} objects")
        results.memory = removal.memory(
            folder / "memory", programs, tools.ours(programs), plan.memory_counts, plan.real_rounds
        )
    if "transfer" in wanted:
        say(f"transfer: {plan.transfer_rounds} rounds")
        results.transfers = transfers.compare(
            folder / "transfer", programs, plan.transfer_scale, plan.transfer_rounds
        )
    if "tls" in wanted:
        say(f"tls: {plan.tls_count} connections a round")
        (folder / "tls").mkdir()
        results.tls = transfers.compare_tls(folder / "tls", programs, plan.tls_count, plan.rounds)
    return results


def print_results(results: Results) -> None:
    for part in results.removals:
        print_removal(part)
    for part in results.throttled:
        print_throttled(part)
    if results.memory:
        print_memory(results.memory)
    if results.transfers:
        print_transfers(results.transfers)
    if results.tls:
        print_tls(results.tls)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.store", description="libstore against peers.")
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--objects", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    plan = Plan.make(arguments.quick, max(arguments.objects, 100))
    wanted = (arguments.only,) if arguments.only else PARTS
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="epufs-bench-") as text:
            results = run_parts(wanted, pathlib.Path(text), arguments.programs.resolve(), plan)
    except DevstackError as error:
        print(f"bench-store: {error}", file=sys.stderr)
        return 1
    say(
        f"\n{datetime.date.today()}, {os.cpu_count()} cores shared by both sides and the store;"
        f" {time.monotonic() - began:.0f} s"
    )
    print_results(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
