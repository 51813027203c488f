"""BENCH=burst: a burst of endpoint deletions, completions a second with one janitor and with two.

The endpoints hold nothing, so that it is the protocol that is measured: tombstone, intent, the
listings of sweep and verification, completion. On Ceph RGW, which shares the cores of this machine
with the janitors, and on the fake store, which only takes its time, as a real S3 does.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

from bench import fleet
from bench.fakestore import LIKE_S3, FakeStore, about
from bench.fleet import Burst, Fleet, Services
from bench.measure import in_turns, median, say
from bench.part import Context
from bench.removal import Store
from bench.table import Table, number, ratios, short, spread
from devstack.rgw import Rgw
from harness.deletions import Deletion
from harness.ids import Endpoint


@dataclasses.dataclass(frozen=True)
class Side:
    name: str
    janitors: int = 1
    more: tuple[str, ...] = ()


ONE, TWO = Side("1 janitor"), Side("2 janitors", 2)
WIDE = Side("1 janitor, workers=64", more=("--workers=64",))


def run(context: Context) -> list[Table]:
    events = context.pick(10_000, 400)
    say(f"burst: {events} endpoint deletions at once, with one janitor and with two")
    with fleet.services(context.folder) as shared:
        with Rgw(context.folder / "rgw") as rgw:
            real = _compare(context, shared, rgw, (ONE, TWO), events)
        with FakeStore(context.folder, context.programs / "fakestore", **LIKE_S3) as fake:
            late = _compare(context, shared, fake, (ONE, TWO, WIDE), events)
    return [
        _table("Ceph RGW", shared, real),
        _table(f"the fake store ({about(LIKE_S3)})", shared, late),
    ]


def _compare(
    context: Context, shared: Services, store: Store, sides: Sequence[Side], events: int
) -> dict[str, list[Burst]]:
    rounds = context.pick(2, 1)
    return in_turns(
        {
            side.name: functools.partial(_once, context.folder, shared, store, side, events)
            for side in sides
        },
        rounds,
    )


def _once(
    folder: pathlib.Path, shared: Services, store: Store, side: Side, events: int
) -> Burst:
    deletions = [Deletion(Endpoint(), upto_gen=1) for _ in range(events)]
    janitors = Fleet(
        folder / "janitors",
        shared,
        f"s3://{store.bucket}/burst",
        store.s3.env(),
        size=side.janitors,
        more=side.more,
    )
    with janitors:
        return fleet.burst(janitors, deletions)


def _table(store: str, shared: Services, sides: dict[str, list[Burst]]) -> Table:
    rates = {name: [b.run.per_s for b in bursts] for name, bursts in sides.items()}
    of_one = rates[ONE.name]
    rows = []
    for name, bursts in sides.items():
        each = ratios(rates[name], of_one)
        cells = [
            number(bursts[0].run.count),
            number(median(rates[name])),
            short(median(each)),
            spread(each, 2),
            number(median([b.run.cpu_us / 1000 for b in bursts]), 2),
            number(max(b.peak_mib for b in bursts), 1),
        ]
        rows.append([name, *cells])
    return Table(
        f"Burst of endpoint deletions on {store}; the broker was {shared.kafka.about}",
        ["deletions", "done/s", "ratio", "of the rounds", "CPU ms each", "peak MiB"],
        rows,
    )
