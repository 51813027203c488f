"""BENCH=beside: deletions of small endpoints alone, and while a large tenant is being removed.

The small ones come at an even pace. Each one's time runs from its event to its completion, less the
upload window; of those beside the large deletion only the ones count that were asked for before it
was over. On a folder, and on Ceph RGW.
"""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence

from bench import fleet
from bench.endpoints import FILES, Small
from bench.fleet import WINDOW_S, Fleet, Message, Services
from bench.measure import in_turns, limit_objects, median, say
from bench.part import Context
from bench.removal import FILL_IN_FLIGHT
from bench.table import Table, number, ratios, short, spread
from devstack import kafka_client
from devstack.process import run as run_program
from devstack.rgw import Rgw
from harness.deletions import Deletion
from harness.ids import Endpoint

SMALL, TRIAL_SMALL = 1000, 100
LARGE, TRIAL_LARGE = 200_000, 10_000
SMALL_PER_S = 20
TIMEOUT_S = 1800


@dataclasses.dataclass(frozen=True)
class Place:
    url: str
    env: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Times:
    """Of one round: how long each small deletion took, sorted."""

    ms: list[float]

    def at(self, share: float) -> float:
        return self.ms[min(int(len(self.ms) * share), len(self.ms) - 1)]


@dataclasses.dataclass(frozen=True)
class Bench:
    context: Context
    shared: Services
    place: Callable[[], contextlib.AbstractContextManager[Place]]  # an empty store
    small: int
    large: int

    def alone(self) -> Times:
        return self._round(None)

    def beside(self) -> Times:
        return self._round(Deletion(Endpoint(), "tenant"))

    def _round(self, large: Deletion | None) -> Times:
        with self.place() as place:
            small = Small(self.context.programs, place.url, place.env, self.small).plant()
            if large:
                self._fill(place, large)
            with self._fleet(place) as janitor:
                janitor.wait_for_partitions()
                if large:
                    fleet.publish(janitor.kafka, janitor.topics.deletions, [Message.of(large)])
                    janitor.wait_for_metric(fleet.DELETED, 1, 60)
                asked = _ask(janitor, small)
                ended = _ends(janitor, len(small) + (large is not None))
        over = ended[large.job_id] - WINDOW_S if large else math.inf
        return _times(asked, ended, over)

    def _fleet(self, place: Place) -> Fleet:
        return Fleet(self.context.folder / "janitors", self.shared, place.url, place.env)

    def _fill(self, place: Place, large: Deletion) -> None:
        prefix = large.endpoint.gen_prefix(1)
        argv = [str(self.context.programs / "objects"), "fill", place.url, prefix]
        argv += [str(self.large), str(FILL_IN_FLIGHT)]
        run_program(argv, env=place.env, timeout_s=TIMEOUT_S)


def _ask(janitor: Fleet, deletions: Sequence[Deletion]) -> dict[str, float]:
    """Publishes them; when each was, by its job."""
    asked: dict[str, float] = {}

    def paced() -> Iterator[Message]:
        began = time.time()
        for nth, deletion in enumerate(deletions):
            time.sleep(max(began + nth / SMALL_PER_S - time.time(), 0))
            asked[deletion.job_id] = time.time()
            yield Message.of(deletion)

    fleet.publish(janitor.kafka, janitor.topics.deletions, paced())
    return asked


def _ends(janitor: Fleet, count: int) -> dict[str, float]:
    """When each job's completion was sent."""
    janitor.wait_for_metric(fleet.COMPLETED, count, TIMEOUT_S)
    with kafka_client.TopicReader(janitor.kafka.bootstrap, janitor.topics.completions) as reader:
        messages = reader.to_end()
    return {json.loads(m.value or b"")["data"]["job_id"]: m.time_ms / 1000 for m in messages}


def _times(asked: dict[str, float], ended: dict[str, float], over: float) -> Times:
    """Of those that were asked for before `over`."""
    took = [
        1000 * (ended[job] - began - WINDOW_S) for job, began in asked.items() if began < over
    ]
    return Times(sorted(took))


# ---- The stores ----


@contextlib.contextmanager
def _folder(context: Context) -> Iterator[Place]:
    root = context.folder / uuid.uuid4().hex
    try:
        yield Place(f"file://{root}", {})
    finally:
        shutil.rmtree(root)


@contextlib.contextmanager
def _rgw(folder: pathlib.Path) -> Iterator[Place]:
    with Rgw(folder / "rgw") as rgw:
        yield Place(f"s3://{rgw.bucket}/beside", rgw.s3.env())


def run(context: Context) -> list[Table]:
    small = context.pick(SMALL, TRIAL_SMALL)
    large = context.count(LARGE, TRIAL_LARGE)
    limited = limit_objects(large)
    tables = []
    with fleet.services(context.folder) as shared:
        for name, place, count, rounds in (
            ("a folder", functools.partial(_folder, context), large, context.pick(3, 1)),
            ("Ceph RGW", functools.partial(_rgw, context.folder), limited, 1),
        ):
            say(f"beside: {small} small deletions, a large one of {count} objects, {rounds} rounds")
            bench = Bench(context, shared, place, small, count)
            sides = in_turns({"alone": bench.alone, "beside": bench.beside}, rounds)
            title = (
                f"Deletions of endpoints with {FILES} files, {SMALL_PER_S} a second, on {name},"
                f" alone and beside one of {number(count)} objects"
            )
            tables.append(_table(f"{title}; the broker was {shared.kafka.about}", sides))
    return tables


def _table(title: str, sides: dict[str, list[Times]]) -> Table:
    alone = [times.at(0.99) for times in sides["alone"]]
    rows = []
    for name, each in sides.items():
        p99 = [times.at(0.99) for times in each]
        of_alone = ratios(p99, alone)
        cells = [
            number(min(len(times.ms) for times in each)),
            number(median([times.at(0.5) for times in each])),
            number(median(p99)),
            short(median(of_alone)),
            spread(of_alone, 2),
            number(max(times.ms[-1] for times in each)),
        ]
        rows.append([name, *cells])
    header = ["deletions", "p50 ms", "p99 ms", "p99 ratio", "of the rounds", "max ms"]
    return Table(title, header, rows)
