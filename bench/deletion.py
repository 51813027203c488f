"""BENCH=deletion: the janitor's deletion of many objects against the store's own ceiling, Ceph RGW.

    ceiling   batches of 1000 keys that are all known beforehand, the same number in flight
    janitor   from the event to the end of the sweep

Each removes the same number of objects, from a store of its own that holds nothing else.
"""

import functools

from bench import fleet
from bench.fleet import Fleet, Removal, Services
from bench.measure import Run, in_turns, limit_objects, median, say
from bench.part import Context
from bench.removal import Bench
from bench.table import Table, number, ratios, short, spread
from devstack.rgw import Rgw
from harness.deletions import Deletion
from harness.ids import Endpoint

IN_FLIGHT = 8  # what store_delete_prefix() takes by itself, and so the janitor
OBJECTS, TRIAL_OBJECTS = 100_000, 3000


def by_event(
    context: Context, shared: Services, bench: Bench, deletion: Deletion, count: int
) -> Removal:
    """Fills the deletion's scope, and has a janitor of its own remove it."""
    bench.fill(f"janitor/{deletion.endpoint.gen_prefix(1)}base/", count)
    store = bench.store
    janitor = Fleet(
        context.folder / "janitors", shared, f"s3://{store.bucket}/janitor", store.s3.env()
    )
    with janitor:
        return fleet.remove(janitor, deletion, count)


def _ceiling(context: Context, count: int) -> Removal:
    with Rgw(context.folder / "rgw") as rgw:
        done = Bench(context.folder, rgw, context.programs).ceiling(count)
    return Removal(done.run, 0, done.run.peak_kib / 1024)


def _janitor(context: Context, shared: Services, count: int) -> Removal:
    with Rgw(context.folder / "rgw") as rgw:
        bench = Bench(context.folder, rgw, context.programs)
        return by_event(context, shared, bench, Deletion(Endpoint(), "timeline"), count)


def run(context: Context) -> list[Table]:
    rounds = context.pick(2, 1)
    count = limit_objects(context.count(OBJECTS, TRIAL_OBJECTS))
    say(f"deletion: {count} objects on each side, {rounds} rounds")
    with fleet.services(context.folder) as shared:
        sides = in_turns(
            {
                "ceiling": functools.partial(_ceiling, context, count),
                "janitor": functools.partial(_janitor, context, shared, count),
            },
            rounds,
        )
    title = f"Deletion on Ceph RGW, {IN_FLIGHT} batches in flight"
    return [table(f"{title}; the broker was {shared.kafka.about}", sides)]


def table(title: str, sides: dict[str, list[Removal]], notes: tuple[str, ...] = ()) -> Table:
    """The first side is what the others are compared with."""
    runs: dict[str, list[Run]] = {name: [x.run for x in each] for name, each in sides.items()}
    ceiling = [run.per_s for run in next(iter(runs.values()))]
    rows = []
    for name, each in runs.items():
        rates = [run.per_s for run in each]
        ratio = ratios(rates, ceiling)
        cells = [
            number(each[0].count),
            number(median(rates)),
            short(median(ratio)),
            spread(ratio, 2),
            number(median([run.cpu_us for run in each]), 1),
            number(max(x.peak_mib for x in sides[name]), 1),
        ]
        rows.append([name, *cells])
    header = ["keys", "keys/s", "ratio", "of the rounds", "CPU ms/1000", "peak MiB"]
    return Table(title, header, rows, notes)
