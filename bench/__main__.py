"""make bench: reader, janitor and epufs-compute against peers, as ratios.

    BENCH=reader       the reader against nginx
    BENCH=deletion     the janitor's deletion of many objects against the store's own ceiling
    BENCH=million      the same on the fake store, with its memory and what it asks of Redis
    BENCH=endpoints    deletions of small endpoints against a bare loop of the same requests
    BENCH=beside       the same alone, and beside a large deletion
    BENCH=burst        a burst of them, one janitor against two
    BENCH=duplicates   events that ask again for what is open, against a bare consumer
    BENCH=compute      what epufs-compute adds to a server's start and stop
    BENCH=parser       heads of HTTP messages against another parser

    BENCH_OBJECTS=N    what deletion (100,000), million (1,000,000) and beside (200,000) remove
    QUICK=1            a short trial: few rounds, small counts

Without BENCH all of them, one after the other. docs/bench.md says how to read the tables.
"""

import argparse
import datetime
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

from bench import beside, burst, compute, deletion, duplicates, endpoints, million, parser, proxies
from bench.measure import say
from bench.part import Context
from bench.table import Table
from devstack.process import DevstackError

PARTS: dict[str, Callable[[Context], list[Table]]] = {
    "reader": proxies.run,
    "deletion": deletion.run,
    "million": million.run,
    "endpoints": endpoints.run,
    "beside": beside.run,
    "burst": burst.run,
    "duplicates": duplicates.run,
    "compute": compute.run,
    "parser": parser.run,
}


def run_part(name: str, arguments: argparse.Namespace) -> list[Table]:
    with tempfile.TemporaryDirectory(prefix=f"epufs-bench-{name}-") as folder:
        context = Context(
            folder=pathlib.Path(folder),
            programs=arguments.programs.resolve(),
            quick=arguments.quick,
            objects=arguments.objects,
        )
        return PARTS[name](context)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    arguments = argparse.ArgumentParser(prog="bench", description="Ratios against peers.")
    arguments.add_argument("--programs", required=True, type=pathlib.Path)
    arguments.add_argument("--only", choices=PARTS)
    arguments.add_argument("--objects", type=int)
    arguments.add_argument("--quick", action="store_true")
    return arguments.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    wanted = [arguments.only] if arguments.only else list(PARTS)
    began = time.monotonic()
    tables: list[Table] = []
    status = 0
    try:
        for name in wanted:
            tables += run_part(name, arguments)
    except DevstackError as error:
        print(f"bench: {name}: {error}", file=sys.stderr)
        status = 1
    say(
        f"\n{datetime.date.today()}, {os.cpu_count()} cores shared by the load, the stores and both"
        f" sides; {time.monotonic() - began:.0f} s. Medians of the rounds; 1.00 is equal."
    )
    for table in tables:
        table.print()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
