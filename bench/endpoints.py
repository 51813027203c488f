"""BENCH=endpoints: deletions of endpoints with three files each, end to end, against a bare loop.

    loop      bench/endpoints: the S3 requests that the protocol needs, and nothing else
    janitor   from the first event to the last completion, less the upload window

Both have as many requests in flight as a janitor has workers that can have one for a small
deletion. How many requests each side needs is counted on the fake store in the same run.
"""

import dataclasses
import pathlib
import uuid
from collections.abc import Mapping

from bench import fleet
from bench.fakestore import FakeStore
from bench.fleet import Fleet, Services
from bench.measure import Run, in_turns, limit_objects, median, say
from bench.part import Context
from bench.removal import Store
from bench.table import Table, number, ratios, short, spread
from devstack.process import run as run_program
from devstack.rgw import Rgw
from harness.deletions import Deletion
from harness.ids import Endpoint

FILES = 3
WORKERS = 4  # threads of each lane
IN_FLIGHT = 2 * WORKERS  # accepting, and carrying small deletions out
FILL_IN_FLIGHT = 32
KINDS = ("put", "uploads", "list", "batch", "delete", "get", "head", "other")


@dataclasses.dataclass(frozen=True)
class Bench:
    """One store, and both sides."""

    folder: pathlib.Path
    shared: Services
    small: "Small"

    def loop(self) -> Run:
        return self.small.program("delete", self.small.fill(), IN_FLIGHT)

    def janitor(self) -> Run:
        deletions = self.small.plant()
        with self.fleet() as janitor:
            done = fleet.burst(janitor, deletions)
            _check_files(janitor, FILES * self.small.count)
        return done.run

    def fleet(self) -> Fleet:
        workers = f"--workers={WORKERS}"
        folder, store = self.folder / "janitors", self.small
        return Fleet(folder, self.shared, store.url, store.env, more=[workers])


@dataclasses.dataclass(frozen=True)
class Small:
    """Endpoints with FILES files each, as bench/endpoints makes them, in a store of any kind."""

    programs: pathlib.Path
    url: str
    env: Mapping[str, str]
    count: int

    def program(self, what: str, mark: str, in_flight: int) -> Run:
        argv = [str(self.programs / "endpoints"), what, self.url, mark, str(self.count)]
        timeout_s = 120 + self.count / 10
        return Run.parse(run_program([*argv, str(in_flight)], env=self.env, timeout_s=timeout_s))

    def fill(self) -> str:
        mark = uuid.uuid4().hex[:8]
        self.program("fill", mark, FILL_IN_FLIGHT)
        return mark

    def plant(self) -> list[Deletion]:
        """Makes new ones, and what asks for their end."""
        mark = self.fill()
        ids = (f"{mark}{number:024d}" for number in range(self.count))
        return [Deletion(Endpoint(name, name, "ep-bench"), upto_gen=1) for name in ids]


def _bench(context: Context, shared: Services, store: Store, count: int) -> Bench:
    url, env = f"s3://{store.bucket}/endpoints", store.s3.env()
    return Bench(context.folder, shared, Small(context.programs, url, env, count))


def _check_files(janitor: Fleet, expected: int) -> None:
    janitor.wait_for_metric(fleet.DELETED, expected, 10)


def run(context: Context) -> list[Table]:
    rounds = context.pick(3, 1)
    wanted = context.pick(2000, 200)
    kept = 2 * rounds * (FILES + 2)  # objects for each endpoint, in both sides' rounds
    count = limit_objects(kept * wanted) // kept
    say(f"endpoints: {count} deletions of {FILES} files, {rounds} rounds")
    with fleet.services(context.folder) as shared:
        requests = _count_requests(context, shared)
        with Rgw(context.folder / "rgw") as rgw:
            bench = _bench(context, shared, rgw, count)
            sides = in_turns({"loop": bench.loop, "janitor": bench.janitor}, rounds)
    return [_table(shared, sides), requests]


def _table(shared: Services, sides: dict[str, list[Run]]) -> Table:
    floor = [run.per_s for run in sides["loop"]]
    rows = []
    for name, runs in sides.items():
        rates = [run.per_s for run in runs]
        each = ratios(rates, floor)
        cells = [
            number(runs[0].count),
            number(median(rates)),
            short(median(each)),
            spread(each, 2),
            number(median([run.cpu_us / 1000 for run in runs]), 2),
        ]
        rows.append([name, *cells])
    return Table(
        f"Deletions of endpoints with {FILES} files on Ceph RGW, {IN_FLIGHT} requests in flight;"
        f" the broker was {shared.kafka.about}",
        ["deletions", "done/s", "ratio", "of the rounds", "CPU ms each"],
        rows,
    )


def _count_requests(context: Context, shared: Services) -> Table:
    count, rows = 200, []
    with FakeStore(context.folder, context.programs / "fakestore") as store:
        bench = _bench(context, shared, store, count)
        for name, side in (("loop", bench.loop), ("janitor", bench.janitor)):
            before = store.counters()
            side()
            after = store.counters()
            used = {kind: after[kind] - before[kind] for kind in KINDS}
            used["put"] -= FILES * count  # the filling
            each = [used[kind] / count for kind in KINDS]
            rows.append([name, *(number(value, 2) for value in each), number(sum(each), 2)])
    return Table(
        f"S3 requests for each of {count} deletions, counted on the fake store",
        [*KINDS, "all"],
        rows,
        ["the janitor's also look at the store's clock, at writers' times, and for open intents"],
    )
