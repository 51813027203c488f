"""Removing many objects: libstore, the tools that others use, and what the store can do at most.

The ceiling is bench/objects delete: the same DeleteObjects requests, all of whose keys are known
before the clock starts. A tool runs from its start to its end, listing included.
"""

import dataclasses
import functools
import pathlib
import uuid
from collections.abc import Callable, Sequence
from typing import Protocol

from bench import measure
from bench.fakestore import DISTANT, NEAR, FakeStore, about
from bench.measure import Run
from bench.tools import Place, Tool
from devstack.process import DevstackError, run
from devstack.rgw import Rgw
from devstack.s3 import S3
from devstack.versitygw import VersityGw

CEILING = "ceiling"
IN_FLIGHT = 8  # libstore's default
FILL_IN_FLIGHT = 32
BURST = 2000  # deletions that the throttling store lets through at once: two batches


Remover = Callable[[Place], tuple[Run, str]]


class Store(Protocol):
    """What both the fake store and a real one are."""

    s3: S3
    bucket: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One round of one side."""

    run: Run
    slow_down: int = 0  # answers of 503; the fake store only
    trouble: str = ""  # why it ended before all keys were gone


@dataclasses.dataclass(frozen=True)
class Part:
    """One comparison: a row for each side, an outcome for each round."""

    title: str
    sides: dict[str, list[Outcome]]


@dataclasses.dataclass(frozen=True)
class Counts:
    """How many keys a tool of each kind gets; see Tool.kind."""

    many: int
    serial: int
    single: int

    def of(self, tool: Tool) -> int:
        return {"many": self.many, "serial": self.serial, "single": self.single}[tool.kind]

    def in_all(self, tools: Sequence[Tool], rounds: int) -> int:
        """What the store has held in the end, the ceiling's included."""
        return rounds * (self.many + sum(self.of(tool) for tool in tools))


class Bench:
    """One store, and what removes its objects."""

    def __init__(self, folder: pathlib.Path, store: Store, programs: pathlib.Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.store = store
        self.programs = programs

    def _objects(self, what: str, place: Place, in_flight: int) -> Run:
        argv = [
            *(str(self.programs / "objects"), what, f"s3://{place.bucket}", place.prefix),
            *(str(place.count), str(in_flight)),
        ]
        return Run.parse(run(argv, env=place.s3.env(), timeout_s=_timeout_s(place.count)))

    def fill(self, prefix: str, count: int) -> Place:
        place = Place(self.store.s3, self.store.bucket, prefix, count)
        if isinstance(self.store, FakeStore):
            self.store.define_keys(place.prefix, count)
        else:
            self._objects("fill", place, FILL_IN_FLIGHT)
        return place

    def _is_empty(self, place: Place) -> bool:
        query = {"list-type": "2", "prefix": place.prefix, "max-keys": "1"}
        status, body = self.store.s3.request("GET", f"/{place.bucket}", query=query)
        if status != 200:
            raise DevstackError(f"listing {place.prefix}: {status} {body!r}")
        return b"<Contents>" not in body

    def _counters(self) -> dict[str, int]:
        if isinstance(self.store, FakeStore):
            return self.store.counters()
        return {"slow_down": 0, "keys_deleted": 0}

    def _remove(self, name: str, count: int, how: Remover, may_fail: bool) -> Outcome:
        place = self.fill(f"bench/{uuid.uuid4().hex}/", count)
        before = self._counters()
        done, trouble = how(place)
        after = self._counters()
        slow_down = after["slow_down"] - before["slow_down"]
        if not trouble and self._is_empty(place):
            return Outcome(done, slow_down)
        trouble = trouble or "keys are left, and it did not say so"
        deleted = after["keys_deleted"] - before["keys_deleted"]
        if not (may_fail and deleted):
            raise DevstackError(f"{name}: {trouble}")
        return Outcome(dataclasses.replace(done, count=deleted), slow_down, trouble)

    def ceiling(self, count: int) -> Outcome:
        def how(place: Place) -> tuple[Run, str]:
            return self._objects("delete", place, IN_FLIGHT), ""

        return self._remove(CEILING, count, how, may_fail=False)

    def tool(self, tool: Tool, count: int, may_fail: bool = False) -> Outcome:
        def how(place: Place) -> tuple[Run, str]:
            argv, env = tool.argv(place), tool.env(place, self.home)
            return measure.run_whole(argv, env, count, _timeout_s(count))

        return self._remove(tool.name, count, how, may_fail)

    def compare(
        self, title: str, tools: Sequence[Tool], counts: Counts, rounds: int, may_fail: bool = False
    ) -> Part:
        """The ceiling, then the tools, the first of which is ours and may not fail."""
        sides: dict[str, Callable[[], Outcome]] = {}
        sides[CEILING] = functools.partial(self.ceiling, counts.many)
        for tool in tools:
            allowed = may_fail and tool is not tools[0]
            sides[tool.name] = functools.partial(self.tool, tool, counts.of(tool), allowed)
        return Part(title, measure.in_turns(sides, rounds))


def _timeout_s(count: int) -> float:
    return 120 + count / 20


def _counts(objects: int, serial: int, single: int) -> Counts:
    return Counts(objects, max(objects // serial, 1), max(objects // single, 1))


# ---- The parts ----


def against_distant(
    folder: pathlib.Path, programs: pathlib.Path, tools: Sequence[Tool], objects: int, rounds: int
) -> Part:
    """A store of which only the distance is felt."""
    counts = _counts(objects, serial=10, single=200)
    with FakeStore(folder, programs / "fakestore", **DISTANT) as store:
        title = f"fake store that answers late ({about(DISTANT)})"
        return Bench(folder, store, programs).compare(title, tools, counts, rounds)


def _real_counts(objects: int) -> Counts:
    return _counts(objects, serial=4, single=10)


def against_rgw(
    folder: pathlib.Path, programs: pathlib.Path, tools: Sequence[Tool], objects: int, rounds: int
) -> Part:
    """A real store on this machine, which is the limit for all but the slowest."""
    counts = _real_counts(objects)
    in_all = counts.in_all(tools, rounds)
    fit = measure.limit_objects(in_all)
    if fit < in_all:
        counts = _real_counts(objects * fit // in_all)
    with Rgw(folder / "rgw") as rgw:
        return Bench(folder, rgw, programs).compare("Ceph RGW", tools, counts, rounds)


def against_versitygw(
    folder: pathlib.Path, programs: pathlib.Path, tools: Sequence[Tool], objects: int, rounds: int
) -> Part:
    """Another one, over a folder: each object is a file."""
    with VersityGw(folder / "versitygw") as gateway:
        bench = Bench(folder, gateway, programs)
        return bench.compare("versitygw", tools, _real_counts(objects), rounds)


def against_throttling(
    folder: pathlib.Path,
    programs: pathlib.Path,
    tools: Sequence[Tool],
    objects: int,
    keys_per_s: int,
    rounds: int,
) -> Part:
    """As distant, and it takes so many deletions a second. Other tools may give up."""
    counts = _counts(objects, serial=3, single=60)
    limits = {"keys_per_second": keys_per_s, "burst": BURST}
    with FakeStore(folder, programs / "fakestore", **DISTANT, **limits) as store:
        title = f"fake store that takes {keys_per_s} deletions a second, {BURST} at once"
        bench = Bench(folder, store, programs)
        return bench.compare(title, tools, counts, rounds, may_fail=True)


def memory(
    folder: pathlib.Path, programs: pathlib.Path, ours: Tool, counts: Sequence[int], rounds: int
) -> dict[int, list[Run]]:
    """Ours alone, with so many keys, on a store that is near: as fast as we can."""
    with FakeStore(folder, programs / "fakestore", **NEAR) as store:
        bench = Bench(folder, store, programs)
        results: dict[int, list[Run]] = {count: [] for count in counts}
        for _ in range(rounds):
            for count in counts:
                results[count].append(bench.tool(ours, count).run)
        return results
