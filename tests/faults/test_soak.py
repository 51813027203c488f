"""Programs killed, frozen and ended at random moments while they work; then what is in the bucket
is compared with what should be there. `make soak` does it for long."""

import collections
import contextlib
import dataclasses
import http.client
import random
import threading
import time

import pytest

from devstack.broker import Broker
from devstack.epufs import Janitor, Program, Reader, Writer
from devstack.keys import KeyPair
from devstack.kafka_client import Publisher
from devstack.redis import Redis
from harness import http as client
from harness.chance import rounds, seeded
from harness.deletions import (
    QUICK_OPTIONS,
    RACE_OPTIONS,
    RACE_WINDOW_S,
    RACING_WRITER,
    ControlPlane,
    Deletion,
    TopicNames,
    envelope,
    parse,
    stays_empty,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher, check_end
from harness.stores import Store

pytestmark = pytest.mark.soak

SESSION = "--kafka-session-timeout=6s"
CLIENTS = 3
TIMEOUT_S = 180.0
LONGEST_FREEZE_S = 3.0  # longer than a lease
BETWEEN_S = 1.5
NAMES = ("lfc_state", "autoprewarm.blocks", "pg_stat/a.stat")


# ---- What should be there ----


@dataclasses.dataclass
class Attachment:
    """One endpoint's life: generation after generation, each deleted once the next one is there.

    Only its own client touches it until the end.
    """

    endpoint: Endpoint = dataclasses.field(default_factory=Endpoint)
    gen: int = 1
    deleted: list[Deletion] = dataclasses.field(default_factory=list)
    # By file, of the generation that is current: what was stored last, None: nothing, and what may
    # have been stored at any time since.
    files: dict[str, bytes | None] = dataclasses.field(default_factory=dict)
    doubtful: dict[str, set[bytes]] = dataclasses.field(default_factory=dict)

    def stored(self, name: str, body: bytes, told: bool) -> None:
        self.files.setdefault(name, None)
        if told:
            self.files[name] = body
        else:
            self.doubtful.setdefault(name, set()).add(body)

    def moved(self, deletion: Deletion) -> None:
        self.deleted.append(deletion)
        self.gen += 1
        self.files = {}
        self.doubtful = {}

    def may_be(self, name: str, found: bytes | None) -> bool:
        """Of the current generation."""
        return found == self.files.get(name) or found in self.doubtful.get(name, set())

    def check(self, store: Store) -> None:
        old = [k for gen in range(self.gen) for k in store.listing(self.endpoint.gen_prefix(gen))]
        assert not old, "files of a generation whose deletion was completed"
        for name in self.files:
            found = store.get(self.endpoint.key(name, self.gen))
            where = f"{name} of generation {self.gen}"
            assert self.may_be(name, found), f"{where} is not what was stored last"


class Client(threading.Thread):
    """A fleet of endpoints that upload, read, move on and have their past deleted, all the time."""

    def __init__(
        self,
        writer: Writer,
        reader: Reader,
        control: ControlPlane,
        keys: KeyPair,
        chance: random.Random,
    ) -> None:
        super().__init__(daemon=True)
        self.writer = writer
        self.reader = reader
        self.keys = keys
        self.attachments = [Attachment() for _ in range(4)]
        self.statuses: collections.Counter[int] = collections.Counter()
        self.reads = 0
        self.failure: BaseException | None = None
        self._control = control
        self._publisher = Publisher(control.kafka.bootstrap)
        self._chance = chance
        self._over = threading.Event()

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._step(self._chance.choice(self.attachments))
        except BaseException as failure:  # pylint: disable=broad-exception-caught
            self.failure = failure

    def end(self) -> None:
        self._over.set()
        self.join()
        if self.failure:
            raise self.failure

    def _step(self, a: Attachment) -> None:
        if a.files and self._chance.random() < 0.15:
            self._move(a)
        elif a.files and self._chance.random() < 0.3:
            self._get(a, self._chance.choice(NAMES))
        else:
            self._put(a, self._chance.choice(NAMES))

    def _get(self, a: Attachment, name: str) -> None:
        url, token = a.endpoint.file_url(name), a.endpoint.token(self.keys, a.gen)
        try:
            answer = client.get(self.reader.url, url, token, timeout_s=10.0)
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
            return
        if answer.status in (200, 404):
            found = answer.body if answer.status == 200 else None
            assert a.may_be(name, found), f"read {name} of generation {a.gen}"
            self.reads += 1

    def _put(self, a: Attachment, name: str) -> None:
        size = self._chance.choice((0, 100, 60_000, 70_000, 400_000))
        body = self._chance.randbytes(8) + b"x" * size
        status = 0
        url, token = a.endpoint.file_url(name), a.endpoint.token(self.keys, a.gen)
        with contextlib.suppress(OSError, http.client.HTTPException):
            status = client.put(self.writer.url, url, token, body, timeout_s=10.0).status
        # The current generation's token is never refused for a deletion.
        assert status != 410, f"generation {a.gen} of {a.endpoint.url}"
        self.statuses[status] += 1
        a.stored(name, body, status == 200)
        if status == 0:
            time.sleep(0.05)

    def _move(self, a: Attachment) -> None:
        """Now and then an event is repeated, or an older one comes once more."""
        deletion = Deletion(a.endpoint, upto_gen=a.gen)
        a.moved(deletion)
        self._publish(deletion)
        if self._chance.random() < 0.3:
            self._publish(self._chance.choice(a.deleted))

    def _publish(self, deletion: Deletion) -> None:
        value, headers = envelope(deletion.data(), "structured", f"{self._chance.random()}")
        key = deletion.endpoint.tenant.encode()
        self._publisher.send(self._control.topics.deletions, value, key=key, headers=headers)
        self._publisher.flush()


# ---- What goes wrong ----


class Chaos:
    """Kills, freezes and ends programs, and starts them again. In the main thread only."""

    def __init__(self, programs: list[Program], chance: random.Random) -> None:
        self._programs = programs
        self._chance = chance

    def round(self) -> None:
        time.sleep(self._chance.uniform(0, BETWEEN_S))
        program = self._chance.choice(self._programs)
        what = self._chance.choice((self._kill, self._freeze, self._freeze, self._end))
        print(f"{what.__name__[1:]} {program.name}")
        what(program)

    def _kill(self, program: Program) -> None:
        program.kill()
        program.start_without_waiting()

    def _freeze(self, program: Program) -> None:
        if not program.alive():
            return
        program.pause()
        time.sleep(self._chance.uniform(0, LONGEST_FREEZE_S))
        program.resume()

    def _end(self, program: Program) -> None:
        program.wait_ready(path="/livez")  # before that a signal is nothing it knows of
        check_end(program, program.process.stop(40.0))
        program.start_without_waiting()


def test_whatever_dies_or_sleeps_the_bucket_is_as_it_should_be(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    keys: KeyPair,
):
    chance = seeded()
    options = (*topics.options(), *RACE_OPTIONS, SESSION)
    janitors = [launch.janitor(store, kafka, redis, *options) for _ in range(2)]
    writer = launch.writer(store, *RACING_WRITER)
    reader = launch.reader(store)
    programs = [*janitors, writer, reader]
    chaos = Chaos(programs, chance)
    with ControlPlane(store, kafka, topics) as control:
        clients = [
            Client(writer, reader, control, keys, random.Random(chance.random()))
            for _ in range(CLIENTS)
        ]
        for one in clients:
            one.start()
        for _ in range(rounds(5)):
            chaos.round()
        for program in programs:
            program.wait_ready()
        for one in clients:
            one.end()
        until(lambda: not store.listing("intents/"), "the end of all deletions", TIMEOUT_S)
        attachments = [a for one in clients for a in one.attachments]
        asked = {f"done:{d.job_id}" for a in attachments for d in a.deleted}
        until(lambda: told(control) >= asked, "a completion of each", TIMEOUT_S)
        until(lambda: not store.listing("intents/"), "the end of what came again", TIMEOUT_S)
        assert told(control) == asked
        control.no_dead_letters()
        for a in attachments:
            a.check(store)
        time.sleep(RACE_WINDOW_S)
        for a in attachments:
            a.check(store)
    statuses = sum((one.statuses for one in clients), collections.Counter[int]())
    reads = sum(one.reads for one in clients)
    print(f"{len(asked)} deletions; uploads were told {dict(statuses)}; {reads} reads")
    assert statuses[200] > 0
    assert reads > 0
    assert asked


def told(control: ControlPlane) -> set[str]:
    return {str(parse(message)["id"]) for message in control.completions.to_end()}


# ---- SIGTERM ----


class Asker(threading.Thread):
    """Asks for deletions all the time."""

    def __init__(self, store: Store, kafka: Broker, topics: TopicNames) -> None:
        super().__init__(daemon=True)
        self.asked: list[Deletion] = []
        self._store = store
        self._topics = topics
        self._publisher = Publisher(kafka.bootstrap)
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            deletion = Deletion(Endpoint(), upto_gen=1)
            self._store.put(deletion.endpoint.key("lfc_state", 1), b"four")
            value, headers = envelope(deletion.data(), "structured", deletion.job_id)
            key = deletion.endpoint.tenant.encode()
            self._publisher.send(self._topics.deletions, value, key=key, headers=headers)
            self._publisher.flush()
            self.asked.append(deletion)

    def end(self) -> list[Deletion]:
        self._over.set()
        self.join()
        return self.asked


def test_what_a_janitor_leaves_at_sigterm_comes_again(
    launch: Launcher, kafka: Broker, redis: Redis, topics: TopicNames, folder_store: Store
):
    """No offset is committed of what was only begun. Status 0 each time."""
    chance = seeded()
    options = (*topics.options(), *QUICK_OPTIONS, SESSION)
    janitor: Janitor = launch.janitor(folder_store, kafka, redis, *options)
    asker = Asker(folder_store, kafka, topics)
    asker.start()
    for _ in range(rounds(4)):
        time.sleep(chance.uniform(0, BETWEEN_S))
        check_end(janitor, janitor.process.stop(40.0))
        janitor.start_without_waiting()
        janitor.wait_ready(path="/livez")  # before that a signal is nothing it knows of
    asked = asker.end()
    janitor.wait_ready()
    wanted = {f"done:{deletion.job_id}" for deletion in asked}
    with ControlPlane(folder_store, kafka, topics) as control:
        until(lambda: told(control) >= wanted, f"the end of {len(wanted)}", TIMEOUT_S)
        until(lambda: not folder_store.listing("intents/"), "the end of all", TIMEOUT_S)
        assert told(control) == wanted
        stays_empty(folder_store, "tenants/", 0.5)
        control.no_dead_letters()
