"""Events that can never work, and that can hardly be told of: no partition stops for one."""

import base64
import dataclasses
import json
import secrets

import pytest

from devstack import kafka_client
from devstack.kafka import Kafka
from devstack.redis import Redis
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, Topics, metric
from harness.ids import Endpoint, hex32
from harness.launch import Launcher
from harness.stores import Store

KEY = hex32().encode()


@dataclasses.dataclass(frozen=True)
class Poison:
    """A message, and whether it goes into the bucket since it cannot be published as it came."""

    value: bytes | None
    key: bytes | None = KEY
    headers: int = 0
    stored: bool = True

    def named_headers(self) -> dict[str, bytes]:
        return {f"header-{number}": b"value" for number in range(self.headers)}


# A client takes messages of 1,000,000 bytes, and a dead letter has headers more.
POISON = {
    "not JSON": Poison(b"{", stored=False),
    "no value": Poison(None, stored=False),
    "no key": Poison(b"{", key=None),  # a compacted topic takes none without
    "neither": Poison(None, key=None),
    "999,900 bytes": Poison(b"x" * 999_900),
    "999,990 bytes": Poison(b"x" * 999_990),
    "2 MB": Poison(b"x" * 2_000_000),
    "65 headers": Poison(b"{", headers=65),
    "as many headers as there may be": Poison(b"{", headers=64, stored=False),
    "a million bytes of a good event": Poison(b" " * 1_000_000 + b'{"schema":1}'),
}


@pytest.fixture
def poison_topics(real_kafka: Kafka) -> Topics:
    """One partition, so that every event is behind the one before; large ones are taken."""
    mark = secrets.token_hex(4)
    made = Topics(f"deletions.{mark}", f"completions.{mark}", f"deadletter.{mark}", f"g-{mark}")
    create = kafka_client.create_topics
    create(real_kafka.bootstrap, {made.deletions: 1}, config={"max.message.bytes": "4000000"})
    create(real_kafka.bootstrap, {made.completions: 1})
    create(real_kafka.bootstrap, {made.dead_letters: 1}, config={"cleanup.policy": "compact"})
    return made


def letter_key(topics: Topics, partition: int, offset: int) -> str:
    return f"deadletters/{topics.deletions}/{partition}-{offset:020}"


def check_stored(store: Store, key: str, poison: Poison) -> None:
    letter = json.loads(store.get(key) or b"{}")
    for name, value in (("key_base64", poison.key), ("value_base64", poison.value)):
        kept = letter[name]
        assert (None if kept is None else base64.b64decode(kept)) == value
    kept_headers = {h["name"]: base64.b64decode(h["value_base64"]) for h in letter["headers"]}
    assert kept_headers == poison.named_headers()


def test_no_event_stops_those_behind_it(
    launch: Launcher, real_kafka: Kafka, redis: Redis, poison_topics: Topics, folder_store: Store
):
    topics = poison_topics
    options = (*topics.options(), *QUICK_OPTIONS)
    janitor = launch.janitor(folder_store, real_kafka, redis, *options)
    behind: list[Deletion] = []
    places: dict[str, tuple[int, int]] = {}

    def ask() -> None:
        deletion = Deletion(Endpoint(), upto_gen=1)
        folder_store.put(deletion.endpoint.key("lfc_state", 1), b"four")
        control.publish(deletion)
        behind.append(deletion)

    with ControlPlane(folder_store, real_kafka, topics) as control:
        for name, poison in POISON.items():
            places[name] = control.publish_raw(poison.value, poison.key, poison.named_headers())
            ask()
            wait_letter(control, places[name][1])
        for deletion in behind:
            control.check(deletion, files=1, size=4)
        stored = set()
        for name, poison in POISON.items():
            key = letter_key(topics, *places[name])
            assert (folder_store.get(key) is not None) == poison.stored, name
            if poison.stored:
                stored.add(key)
                check_stored(folder_store, key, poison)
        check_letters(control, places)
        assert metric(janitor, "epufs_dead_letters_total") == len(POISON)
        # Nothing of it was left uncommitted: the next one begins behind them all.
        launch.stop(janitor)
        again = launch.janitor(folder_store, real_kafka, redis, *options)
        ask()
        control.check(behind[-1], files=1, size=4)
        assert len(control.completions.to_end()) == len(behind)
        check_letters(control, places)
        assert set(folder_store.listing("deadletters/")) == stored
        assert metric(again, "epufs_dead_letters_total") == 0


def wait_letter(control: ControlPlane, offset: int) -> None:
    """One at a time: a broker refuses what comes in one batch with a message that it refuses."""
    wanted = str(offset).encode()
    control.dead_letters.wait_for(lambda letter: letter.headers["dlq-offset"] == wanted)


def test_each_of_many_at_once_is_told_of_once(
    launch: Launcher, real_kafka: Kafka, redis: Redis, poison_topics: Topics, folder_store: Store
):
    """Also those that a broker refuses for their neighbours."""
    topics = poison_topics
    with ControlPlane(folder_store, real_kafka, topics) as control:
        publisher = kafka_client.Publisher(real_kafka.bootstrap)
        for number in range(600):
            poison = Poison(b"{", key=KEY if number % 3 else None)
            publisher.send(topics.deletions, poison.value, key=poison.key)
        offsets = {offset for _, offset in publisher.flush()}
        deletion = Deletion(Endpoint(), upto_gen=1)
        control.publish(deletion)
        launch.janitor(folder_store, real_kafka, redis, *topics.options(), *QUICK_OPTIONS)
        control.completed(deletion)
        for offset in offsets:
            wait_letter(control, offset)
        told = [int(m.headers["dlq-offset"] or b"-1") for m in control.dead_letters.to_end()]
        assert sorted(told) == sorted(offsets)
        for letter in control.dead_letters.seen:
            stored = letter.headers.get("dlq-stored")
            assert stored is None or folder_store.get(stored.decode()) is not None


def check_letters(control: ControlPlane, places: dict[str, tuple[int, int]]) -> None:
    """One for each, which names where it is kept when it could not be published."""
    told = {}
    letters = control.dead_letters.to_end()
    for letter in letters:
        headers = letter.headers
        told[int(headers["dlq-offset"] or b"-1")] = headers.get("dlq-stored"), letter
    assert len(letters) == len(told) == len(places)
    for name, (_, offset) in places.items():
        stored, letter = told[offset]
        assert (stored is not None) == POISON[name].stored, name
        if stored:
            assert stored.startswith(b"deadletters/")
            assert letter.key == stored
        else:
            assert (letter.key, letter.value) == (POISON[name].key, POISON[name].value)
