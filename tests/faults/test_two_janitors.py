"""Several janitors of one group: they share the work, and each deletion is completed once."""

import collections
import dataclasses
import time

import pytest

from devstack.broker import Broker
from devstack.epufs import Writer
from devstack.keys import KeyPair
from devstack.redis import Redis
from harness import http
from harness.chance import rounds, size
from harness.deletions import (
    QUICK_OPTIONS,
    QUICK_WRITER,
    QUICK_WRITER_OPTIONS,
    ControlPlane,
    Deletion,
    TopicNames,
    metric,
    parse,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

pytestmark = pytest.mark.waits

JOBS = size("JOBS", 100)
AT_ONCE = 5  # endpoints that are deleted at the same time
SCANS_S = 1.5  # some intervals of QUICK_OPTIONS


@pytest.mark.soak
@pytest.mark.parametrize("janitors", [2, 3])
def test_each_job_is_completed_once(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    folder_store: Store,
    janitors: int,
):
    """No fault at all. The scanner of each sees the jobs of the others all the time."""
    running = [
        launch.janitor(folder_store, kafka, redis, *topics.options(), *QUICK_OPTIONS)
        for _ in range(janitors)
    ]
    deletions = [Deletion(Endpoint(), upto_gen=1) for _ in range(JOBS)]
    for deletion in deletions:
        folder_store.put(deletion.endpoint.key("lfc_state", 1), b"four")
    with ControlPlane(folder_store, kafka, topics) as control:
        for deletion in deletions:
            control.publish(deletion)
        until(lambda: not folder_store.listing("intents/"), "the end of all", 60.0 + JOBS / 2)
        time.sleep(SCANS_S)
        told = collections.Counter(parse(m)["id"] for m in control.completions.to_end())
        assert set(told) == {f"done:{d.job_id}" for d in deletions}
        assert set(told.values()) == {1}
        control.no_dead_letters()
    assert not folder_store.listing("tenants/")
    assert sum(metric(j, "epufs_deletions_completed_total") for j in running) == JOBS


@pytest.mark.soak
@pytest.mark.parametrize("asked_by", ["event", "HTTP"])
@pytest.mark.parametrize("janitors", [1, 2])
def test_what_is_stored_after_a_deletion_without_a_generation_stays(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    keys: KeyPair,
    janitors: int,
    asked_by: str,
):
    writer = launch.writer(store, *QUICK_WRITER)
    for _ in range(janitors):
        launch.janitor(store, kafka, redis, *topics.options(), *QUICK_WRITER_OPTIONS)
    with ControlPlane(store, kafka, topics) as control:
        for _ in range(rounds(1, share=4 * AT_ONCE)):
            again = [Reattached(control, writer, keys) for _ in range(AT_ONCE)]
            for one in again:
                one.delete(asked_by)
            for one in again:
                one.store_anew()
            for one in again:
                control.completed(one.deletion)
            time.sleep(SCANS_S / 3)
            for one in again:
                one.check()
        control.no_dead_letters()


@dataclasses.dataclass
class Reattached:
    """An endpoint without generations that is deleted, and in use again as soon as that may be."""

    control: ControlPlane
    writer: Writer
    keys: KeyPair
    endpoint: Endpoint = dataclasses.field(default_factory=Endpoint)

    @property
    def deletion(self) -> Deletion:
        return Deletion(self.endpoint)

    @property
    def key(self) -> str:
        return self.endpoint.key("lfc_state", 0)

    def delete(self, asked_by: str) -> None:
        self.control.store.put(self.key, b"old")
        if asked_by == "event":
            self.control.publish(self.deletion)
            return
        token = self.endpoint.token(self.keys)
        assert http.delete(self.writer.url, self.endpoint.url, token).status == 200
        assert self.control.store.get(self.key) is None

    def store_anew(self) -> None:
        """The first sweep is over when the file is gone; what is stored now is newer."""
        until(lambda: self.control.store.get(self.key) is None, "the first sweep")
        url, token = self.endpoint.file_url("lfc_state"), self.endpoint.token(self.keys)
        assert http.put(self.writer.url, url, token, b"new").status == 200

    def check(self) -> None:
        assert self.control.store.get(self.key) == b"new"
        assert list(self.control.store.listing(self.endpoint.prefix)) == [self.key]


def test_an_event_that_meets_anothers_open_job_is_not_lost(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    folder_store: Store,
    endpoint: Endpoint,
):
    """Events of one endpoint over all partitions, so that they reach different janitors: whatever
    was stored before the last of them is gone in the end."""
    for _ in range(2):
        launch.janitor(folder_store, kafka, redis, *topics.options(), *QUICK_OPTIONS)
    deletion = Deletion(endpoint)
    keys = [endpoint.key(f"pg_stat/{n}.stat", 0) for n in range(12)]
    with ControlPlane(folder_store, kafka, topics) as control:
        for n, key in enumerate(keys):
            folder_store.put(key, b"four")
            control.publish(deletion, partition=n % 4)
            time.sleep(0.3)
        until(
            lambda: not folder_store.listing(endpoint.prefix)
            and not folder_store.listing("intents/"),
            "the end of all",
        )
        assert control.all_completions(deletion)


def test_a_second_event_brings_a_delayed_job_forward(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    folder_store: Store,
):
    """Delayed jobs take no room from others, and the sooner time wins, whoever hears of it."""
    options = (*topics.options(), *QUICK_OPTIONS, "--max-open-jobs=10")
    for _ in range(2):
        launch.janitor(folder_store, kafka, redis, *options)
    delayed = [Deletion(Endpoint(), upto_gen=1) for _ in range(25)]
    now = Deletion(Endpoint(), upto_gen=1)
    with ControlPlane(folder_store, kafka, topics) as control:
        for deletion in delayed:
            control.publish(deletion, not_before="2999-01-01T00:00:00Z")
        for deletion in delayed:
            control.wait_accepted(deletion)
        control.publish(now)
        control.completed(now, 20.0)
        for partition, deletion in enumerate(delayed[:4]):
            control.publish(deletion, partition=3 - partition)
            control.completed(deletion, 20.0)
        assert len(folder_store.listing("intents/")) == 21


def test_an_intent_under_a_wrong_name_is_left_alone(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    folder_store: Store,
    endpoint: Endpoint,
):
    deletion = Deletion(endpoint, upto_gen=1)
    folder_store.put(endpoint.key("lfc_state", 1), b"four")
    folder_store.put(endpoint.key("lfc_state", 2), b"four")
    launch.janitor(folder_store, kafka, redis, *topics.options(), *QUICK_OPTIONS)
    with ControlPlane(folder_store, kafka, topics) as control:
        control.publish(dataclasses.replace(deletion, upto_gen=9), not_before="2999-01-01T00:00:00Z")
        other = dataclasses.replace(deletion, upto_gen=9)
        control.wait_accepted(other)
        intent = folder_store.get(other.intent)
        assert intent
        folder_store.put(deletion.intent, intent)
        time.sleep(SCANS_S)
        assert folder_store.get(deletion.intent) == intent
        assert not control.completions.to_end()
        assert len(folder_store.listing(endpoint.prefix)) == 2
        control.publish(deletion)  # the right one takes its place
        control.completed(deletion)
        assert list(folder_store.listing(endpoint.prefix)) == [endpoint.key("lfc_state", 2)]
