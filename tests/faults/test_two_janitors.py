"""Several janitors of one group: they share the work, and each deletion is completed once."""

import collections
import dataclasses
import os
import time

import pytest

from devstack.broker import Broker
from devstack.redis import Redis
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, TopicNames, metric, parse, until
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

pytestmark = pytest.mark.waits

JOBS = int(os.environ.get("EPUFS_JOBS", "100"))
SCANS_S = 1.5  # some intervals of QUICK_OPTIONS


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
        until(lambda: not folder_store.listing("intents/"), "the end of all", 120.0)
        time.sleep(SCANS_S)
        told = collections.Counter(parse(m)["id"] for m in control.completions.to_end())
        assert set(told) == {f"done:{d.job_id}" for d in deletions}
        assert set(told.values()) == {1}
        control.no_dead_letters()
    assert not folder_store.listing("tenants/")
    assert sum(metric(j, "epufs_deletions_completed_total") for j in running) == JOBS


@pytest.mark.parametrize("janitors", [1, 2])
def test_what_is_stored_after_a_deletion_without_a_generation_stays(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    janitors: int,
):
    for _ in range(janitors):
        launch.janitor(store, kafka, redis, *topics.options(), *QUICK_OPTIONS)
    with ControlPlane(store, kafka, topics) as control:
        for _ in range(5):
            endpoint = Endpoint()
            deletion = Deletion(endpoint)
            store.put(endpoint.key("lfc_state", 0), b"old")
            control.publish(deletion)
            # The first sweep is over when the file is gone; what is stored now is newer.
            until(lambda: store.get(endpoint.key("lfc_state", 0)) is None, "the first sweep")
            store.put(endpoint.key("lfc_state", 0), b"new")
            control.completed(deletion)
            time.sleep(SCANS_S / 3)
            assert store.get(endpoint.key("lfc_state", 0)) == b"new"


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
