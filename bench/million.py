"""BENCH=million: a tenant of a million objects on the fake store, which answers as late as a distant
one: the janitor against batches of known keys, its memory against that with few objects, and what
it asks of Redis."""

import functools

from bench import deletion, fleet
from bench.deletion import by_event
from bench.fakestore import DISTANT, FakeStore, about
from bench.fleet import Removal, Services
from bench.measure import in_turns, median, say
from bench.part import Context
from bench.removal import Bench
from bench.table import Table, number
from devstack.process import DevstackError
from harness.deletions import Deletion
from harness.ids import Endpoint

OBJECTS, TRIAL_OBJECTS, FEW_OBJECTS = 1_000_000, 60_000, 20_000
STORE = DISTANT | {"get_ms": 40, "put_ms": 40}


class Asked:
    """Redis commands for 1000 objects, one number a round."""

    def __init__(self, shared: Services) -> None:
        self.shared = shared
        self.per_1000: list[float] = []

    def janitor(self, context: Context, bench: Bench, count: int) -> Removal:
        before = self.shared.redis_commands()
        done = by_event(context, self.shared, bench, Deletion(Endpoint(), "tenant"), count)
        asked = self.shared.redis_commands() - before - 1  # the first question itself
        self.per_1000.append(1000 * asked / count)
        return done


def _ceiling(bench: Bench, count: int) -> Removal:
    outcome = bench.ceiling(count)
    return Removal(outcome.run, 0, outcome.run.peak_kib / 1024)


def run(context: Context) -> list[Table]:
    rounds = context.pick(3, 1)
    count = context.count(OBJECTS, TRIAL_OBJECTS)
    if count < FEW_OBJECTS:
        raise DevstackError(f"million: expected BENCH_OBJECTS of at least {FEW_OBJECTS}")
    say(f"million: {count} objects of a tenant on the fake store, {rounds} rounds")
    with fleet.services(context.folder) as shared:
        asked, few = Asked(shared), Asked(shared)
        with FakeStore(context.folder, context.programs / "fakestore", **STORE) as store:
            bench = Bench(context.folder, store, context.programs)
            sides = in_turns(
                {
                    "ceiling": functools.partial(_ceiling, bench, count),
                    "janitor": functools.partial(asked.janitor, context, bench, count),
                    "janitor, few": functools.partial(few.janitor, context, bench, FEW_OBJECTS),
                },
                rounds,
            )
    notes = (
        f"Redis commands for 1000 objects: {number(median(asked.per_1000), 2)}, with few"
        f" {number(median(few.per_1000), 2)}; those within scripts count too",
    )
    title = f"Deletion of a tenant on the fake store ({about(STORE)})"
    return [deletion.table(f"{title}; the broker was {shared.kafka.about}", sides, notes)]
