"""The main job from the first token to the last deletion. Each chapter checks what it tells."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from demo.actors import Compute, ControlPlane, Files, Operator, load
from demo.stage import Stage, expect
from demo.watch import Order, Watch
from devstack import broker, paths
from devstack.kafka_client import TopicReader
from harness.deletions import Deletion, Scope
from harness.ids import Endpoint

FIXTURES = paths.ROOT / "tests" / "fixtures"
FILE = "autoprewarm.blocks"
CROWD = 50  # endpoints
MALFORMED = b'{"schema":1,"scope":"tenant","tenant_id":"all of them"}'


@dataclasses.dataclass
class Tally:
    stored: int = 0
    compared: int = 0
    deletions: int = 0
    files_deleted: int = 0
    bytes_deleted: int = 0


class Story:
    """One run on one stack; `with` closes its readers of topics."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.stage = Stage()
        self.tally = Tally()
        self._control_plane = ControlPlane(env)
        self._completions = TopicReader(env["KAFKA_BOOTSTRAP"], broker.COMPLETIONS)
        self._dead_letters = TopicReader(env["KAFKA_BOOTSTRAP"], broker.DEAD_LETTERS)
        self._watch = Watch(self.stage, Operator(env), self._completions)
        self._public_key = pathlib.Path(env["JWT_PRIVATE_KEY_FILE"]).with_suffix(".pub")
        self._first = load(FIXTURES / "pgdata")
        self._later = load(FIXTURES / "pgdata-later")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._completions.close()
        self._dead_letters.close()

    def play(self) -> None:
        self._attach()
        self._store()
        self._read_back()
        self._attach_again()
        self._delete_old_generation()
        self._others_are_intact()
        self._malformed_event()
        self._store_crowds()
        self._delete_crowds()

    # ---- One endpoint ----

    def _attach(self) -> None:
        self.stage.chapter("The control plane attaches endpoints: each gets a token")
        endpoint = Endpoint()
        self._old = self._control_plane.attach(endpoint, 1)
        self._neighbour = self._control_plane.attach(endpoint.sibling("ep-10"), 1)
        self.stage.say(
            f"key     Ed25519; reader and writer know its public half, {self._public_key.name}",
            f"where   tenant {endpoint.tenant}, timeline {endpoint.timeline}",
            f"tokens  {self._old}; and a neighbour of a similar name: {self._neighbour}",
        )

    def _store(self) -> None:
        self.stage.chapter("PostgreSQL 15 has stopped: the writer takes its files")
        self._put(self._old, self._first)
        self._put(self._neighbour, self._first)

    def _put(self, compute: Compute, files: Files) -> None:
        compute.store(files)
        self.tally.stored += len(files)
        for name, data in files.items():
            self.stage.say(f"PUT 200  {compute}  {len(data):6} bytes  {name}")

    def _read_back(self) -> None:
        self.stage.chapter("Before PostgreSQL starts again: the reader gives them back")
        answer = self._old.get(FILE)
        expect(answer.status == 200, f"GET {FILE} was answered {answer.status}, not 200")
        expect(answer.body == self._first[FILE], f"{FILE} came back with other bytes")
        self.tally.compared += 1
        self.stage.say(f"GET 200  {self._old}  one file, {FILE}: the same byte for byte")
        size = self._compare(self._old, self._first)
        self.stage.say(
            f"GET 200  {self._old}  all as a TAR of {size} bytes:"
            f" {len(self._first)} files, the same byte for byte"
        )

    def _compare(self, compute: Compute, files: Files) -> int:
        """Returns the size of the TAR."""
        got, size = compute.tar()
        expect(sorted(got) == sorted(files), f"{compute}: {sorted(got)}, not {sorted(files)}")
        for name, data in files.items():
            expect(got[name] == data, f"{compute}: {name} came back with other bytes")
        self.tally.compared += len(files)
        return size

    def _attach_again(self) -> None:
        self.stage.chapter("The endpoint is attached anew: generation 2, with a token of its own")
        self._new = self._control_plane.attach(self._old.endpoint, 2)
        expect(self._new.listing() == [], "generation 2 does not begin empty")
        self.stage.say("it begins empty, and stores what its PostgreSQL wrote later")
        self._put(self._new, self._later)

    # ---- Its old generation goes ----

    def _delete_old_generation(self) -> None:
        self.stage.chapter(f"An event on {broker.DELETIONS}: ep-1 goes, up to generation 1")
        size = sum(map(len, self._first.values()))
        self._first_order = Order(
            Deletion(self._old.endpoint, "endpoint", upto_gen=1), len(self._first), size
        )
        event_id = self._control_plane.request(self._first_order.deletion)
        events = self._watch.until_completed({event_id: self._first_order}, self._old_is_refused)
        self._count(self._first_order)
        self.stage.say(f"the completion on {broker.COMPLETIONS}:")
        self.stage.say(
            *(f"  {line}" for line in json.dumps(events[event_id], indent=2).split("\n"))
        )

    def _count(self, order: Order) -> None:
        self.tally.deletions += 1
        self.tally.files_deleted += order.files
        self.tally.bytes_deleted += order.size

    def _old_is_refused(self) -> None:
        self._refused([self._old], "PUT")
        self.stage.say(f"PUT 410  {self._old}: the token is refused already")

    def _refused(self, computes: Sequence[Compute], *methods: str) -> None:
        for compute in computes:
            for method in methods:
                put = method == "PUT"
                status = compute.put(FILE, b"too late") if put else compute.get(FILE).status
                expect(status == 410, f"{compute}: {method} was answered {status}, not 410")

    def _others_are_intact(self) -> None:
        self.stage.chapter("What was not meant is intact, and the old token stays refused")
        self._check_intact()
        self._refused([self._old], "PUT", "GET")
        self.stage.say(f"PUT 410  {self._old}", f"GET 410  {self._old}")

    def _check_intact(self) -> None:
        for compute, files in ((self._new, self._later), (self._neighbour, self._first)):
            self._compare(compute, files)
            self.stage.say(f"GET 200  {compute}: {len(files)} files, the same byte for byte")

    def _malformed_event(self) -> None:
        self.stage.chapter("A malformed event deletes nothing and holds nothing up")
        tenant = self._old.endpoint.tenant
        place = self._control_plane.publish(MALFORMED, tenant)
        letter = self._dead_letters.wait_for(
            lambda m: (
                (m.headers.get("dlq-partition"), m.headers.get("dlq-offset"))
                == (b"%d" % place[0], b"%d" % place[1])
            )
        )
        expect(letter.value == MALFORMED, f"the dead letter is not what was sent: {letter.value!r}")
        self.stage.say(
            f"sent     {MALFORMED.decode()}", f"it is on {broker.DEAD_LETTERS} now, with"
        )
        for name, value in letter.headers.items():
            if name.startswith("dlq-") and value is not None:
                self.stage.say(f"  {name:<14} {value.decode()}")

    # ---- A timeline and a tenant go ----

    def _store_crowds(self) -> None:
        timeline, tenant = Endpoint(), Endpoint()
        self._bystander = self._control_plane.attach(Endpoint(tenant=timeline.tenant), 1)
        self._on_timeline = self._crowd([timeline])
        self._of_tenant = self._crowd([tenant, Endpoint(tenant=tenant.tenant)])
        self._timeline_order = self._order("timeline", self._on_timeline)
        self._tenant_order = self._order("tenant", self._of_tenant)
        everybody = [*self._on_timeline, *self._of_tenant, self._bystander]
        self.stage.chapter(f"{len(everybody)} more endpoints store their files")
        for compute in everybody:
            compute.store(self._first)
        self.tally.stored += len(everybody) * len(self._first)
        for order in (self._timeline_order, self._tenant_order):
            self.stage.say(f"{order.name}: {order.files} files, {order.size:,} bytes")
        self.stage.say("and one endpoint of the same tenant as that timeline, on another one")

    def _crowd(self, timelines: Sequence[Endpoint]) -> list[Compute]:
        """CROWD endpoints, spread evenly over the timelines."""
        return [
            self._control_plane.attach(timeline.sibling(f"ep-{number}"), 1)
            for timeline in timelines
            for number in range(CROWD // len(timelines))
        ]

    def _order(self, scope: Scope, crowd: Sequence[Compute]) -> Order:
        size = sum(map(len, self._first.values()))
        files = len(crowd) * len(self._first)
        return Order(Deletion(crowd[0].endpoint, scope), files, len(crowd) * size)

    def _delete_crowds(self) -> None:
        self.stage.chapter("Events for that timeline, that tenant, and once more for ep-1")
        again = self._control_plane.request(self._first_order.deletion)
        timeline = self._control_plane.request(self._timeline_order.deletion)
        tenant = self._control_plane.request(self._tenant_order.deletion, "binary")
        orders = {
            timeline: self._timeline_order,
            tenant: self._tenant_order,
            again: self._first_order,
        }
        self._watch.until_completed(orders, self._crowds_are_refused)
        self._count(self._timeline_order)
        self._count(self._tenant_order)
        self.stage.say(
            "three completions; the repeated one has the id and the counts it had before"
        )
        everybody = [*self._on_timeline, *self._of_tenant]
        self._refused(everybody, "PUT", "GET")
        self.stage.say(f"PUT 410, GET 410  all {len(everybody)} endpoints")
        self._check_intact()
        self._compare(self._bystander, self._first)
        self.stage.say("GET 200  the endpoint on the other timeline: the same byte for byte")

    def _crowds_are_refused(self) -> None:
        everybody = [*self._on_timeline, *self._of_tenant]
        self._refused(everybody, "PUT")
        self.stage.say(f"PUT 410  all {len(everybody)} tokens are refused already")
