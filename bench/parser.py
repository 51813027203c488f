"""BENCH=parser: heads of messages, read by http/ and by http_parser, with which Node.js was made."""

import functools

from bench.measure import Run, in_turns, median, say
from bench.part import Context
from bench.table import Table, number, ratios, short, spread
from devstack.process import run as run_program

COUNT, TRIAL_COUNT = 2_000_000, 100_000
SAMPLES = {
    "request": "a compute's GET",
    "browser": "a browser's GET",
    "answer": "an answer of the store",
}
TIMEOUT_S = 120.0


def run(context: Context) -> list[Table]:
    count, rounds = context.pick(COUNT, TRIAL_COUNT), context.pick(9, 3)
    program = str(context.programs / "parse")

    def read(side: str, sample: str) -> Run:
        argv = [program, side, sample, str(count)]
        return Run.parse(run_program(argv, timeout_s=TIMEOUT_S))

    rows = []
    for sample, name in SAMPLES.items():
        say(f"parser: {name}, {count} times, {rounds} rounds")
        sides = in_turns(
            {side: functools.partial(read, side, sample) for side in ("ours", "http_parser")},
            rounds,
        )
        ns = {side: [r.cpu_seconds * 1e9 / r.count for r in runs] for side, runs in sides.items()}
        of = ratios(ns["ours"], ns["http_parser"])
        cells = [number(median(ns["ours"])), number(median(ns["http_parser"]))]
        rows.append([name, *cells, short(median(of)), spread(of, 2)])
    header = ["ns", "http_parser ns", "ratio", "of the rounds"]
    return [Table("Heads of messages, CPU of each", header, rows)]
