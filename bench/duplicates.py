"""BENCH=duplicates: events that ask again and again for what is open already, a second, against a
bare librdkafka consumer of the same topic.

    open      the deletions are under way in this janitor: an event is read, and that is all
    delayed   they wait for their time, as intents in the store: an event looks there

The clock of either side runs from the first message to the last.
"""

import dataclasses
import functools
import pathlib
import time
import uuid
from collections.abc import Iterator, Sequence

from bench import fleet
from bench.fakestore import LIKE_S3, FakeStore, about
from bench.fleet import Fleet, Message, Services
from bench.measure import Run, in_turns, median, say
from bench.part import Context
from bench.table import Table, number, ratios, short, spread
from devstack.broker_base import Broker
from devstack.process import run as run_program
from devstack.process import wait_for
from harness.deletions import Deletion, Topics, rfc3339
from harness.ids import Endpoint

DELETIONS = 64  # that are asked for again and again, over all partitions
ACCEPTED = "epufs_deletions_accepted_total"
OUTSTANDING = "epufs_messages_outstanding"
LOOK_S = 0.02
QUIET_S = 2.0  # no message for so long: they are all done with
STAYS_OPEN = "--upload-window=24h"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    messages: int
    delayed: bool = False
    store: dict[str, int] = dataclasses.field(default_factory=dict)  # the fake store's delays


def run(context: Context) -> list[Table]:
    cases = [
        Case("open", context.pick(100_000, 20_000)),
        Case("delayed", context.pick(10_000, 2000), delayed=True),
        Case("delayed, late store", context.pick(2000, 400), delayed=True, store=LIKE_S3),
    ]
    rounds = context.pick(3, 1)
    say(f"duplicates: {', '.join(f'{c.messages} {c.name}' for c in cases)}; {rounds} rounds")
    with fleet.services(context.folder) as shared:
        rows = [
            row
            for number_, case in enumerate(cases)
            for row in _rows(case, _compare(context, shared, case, number_, rounds))
        ]
    return [
        Table(
            f"Duplicate events, of {DELETIONS} deletions; the broker was {shared.kafka.about}",
            ["messages", "messages/s", "ratio", "of the rounds", "CPU µs each"],
            rows,
            [f"late store: {about(LIKE_S3)}; else the fake store without delays"],
        )
    ]


def _events(case: Case) -> list[Message]:
    """One for each deletion."""
    later = rfc3339(time.time() + 86400)
    deletions = [Deletion(Endpoint(), upto_gen=1) for _ in range(DELETIONS)]
    more = {"not_before": later} if case.delayed else {}
    return [Message.of(deletion, **more) for deletion in deletions]


def _open(
    folder: pathlib.Path, shared: Services, store: FakeStore, events: Sequence[Message]
) -> None:
    """Has them accepted, so that what is measured finds them open from the first message on."""
    with _fleet(folder, shared, store, fleet.new_topics(shared.kafka)) as janitor:
        fleet.publish(shared.kafka, janitor.topics.deletions, events)
        janitor.wait_for_metric(ACCEPTED, len(events), 60)


def _fleet(
    folder: pathlib.Path, shared: Services, store: FakeStore, topics: Topics
) -> Fleet:
    url, env = f"s3://{store.bucket}/duplicates", store.s3.env()
    return Fleet(folder, shared, url, env, topics=topics, more=[STAYS_OPEN])


def _compare(
    context: Context, shared: Services, case: Case, number_: int, rounds: int
) -> dict[str, list[Run]]:
    folder = context.folder / f"case-{number_}"
    topics, events = fleet.new_topics(shared.kafka), _events(case)
    again = (events[number_ % DELETIONS] for number_ in range(case.messages))
    fleet.publish(shared.kafka, topics.deletions, again)
    with FakeStore(folder, context.programs / "fakestore", **case.store) as store:
        _open(folder, shared, store, events)
        janitor = functools.partial(_janitor, folder, shared, store, topics, case)
        bare = functools.partial(_bare, context.programs, shared.kafka, topics, case)
        return in_turns({"bare consumer": bare, "janitor": janitor}, rounds)


def _new_group() -> str:
    return f"g-{uuid.uuid4().hex[:8]}"


def _bare(programs: pathlib.Path, kafka: Broker, topics: Topics, case: Case) -> Run:
    argv = [str(programs / "consume"), kafka.bootstrap, topics.deletions, _new_group()]
    return Run.parse(run_program([*argv, str(case.messages)], timeout_s=300))


def _janitor(
    folder: pathlib.Path, shared: Services, store: FakeStore, topics: Topics, case: Case
) -> Run:
    topics = dataclasses.replace(topics, group=_new_group())
    with _fleet(folder, shared, store, topics) as janitor:
        seconds, cpu_s = _watch(janitor, 60 + case.messages / 10)
        wait_for(
            lambda: fleet.count_committed(shared.kafka, topics) == case.messages,
            10,
            "the commit of all messages",
            log=janitor.janitors[0].process.log,
        )
    return Run(case.messages, seconds, cpu_s)


def _watch(janitor: Fleet, timeout_s: float) -> tuple[float, float]:
    """Seconds from the first message to the last, and the CPU that they took."""
    first = last = 0.0
    cpu_first = cpu_last = 0.0
    until = time.monotonic() + timeout_s
    while time.monotonic() < until and (not first or time.monotonic() - last < QUIET_S):
        if janitor.metric(OUTSTANDING) > 0:
            last, cpu_last = time.monotonic(), janitor.cpu_seconds()
            first, cpu_first = first or last, cpu_first or cpu_last
        time.sleep(LOOK_S)
    return last - first, cpu_last - cpu_first


def _rows(case: Case, sides: dict[str, list[Run]]) -> Iterator[list[str]]:
    floor = [run.per_s for run in sides["bare consumer"]]
    for name, runs in sides.items():
        rates = [run.per_s for run in runs]
        each = ratios(rates, floor)
        yield [
            f"{case.name}: {name}",
            number(runs[0].count),
            number(median(rates)),
            short(median(each)),
            spread(each, 4 if max(each) < 0.1 else 2),
            number(median([run.cpu_us for run in runs]), 1),
        ]
