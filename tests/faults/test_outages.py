"""Redis, Kafka and the store go away and come back: deletions wait at most, and nothing is lost."""

import dataclasses
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack import broker
from devstack.broker import Broker
from devstack.devbroker import MockBroker
from devstack.epufs import Janitor
from devstack.keys import KeyPair
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness import http
from harness.deletions import (
    QUICK_OPTIONS,
    QUICK_WRITER,
    QUICK_WRITER_OPTIONS,
    ControlPlane,
    Deletion,
    TopicNames,
    metric,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy
from harness.stores import S3Store, Store, numbered

FILES = 3
MANY = 1500  # more than one page
BACK_WITHIN_S = 30.0  # from the broker's return to its events being taken


def planted(store: Store, files: int = FILES) -> Deletion:
    """A deletion to ask for, of an endpoint with files; those of a newer generation are to stay."""
    endpoint = Endpoint()
    store.put_many(numbered(endpoint.gen_prefix(1), files))
    store.put_many(numbered(endpoint.gen_prefix(2), FILES))
    return Deletion(endpoint, upto_gen=1)


def check_gone(store: Store, deletion: Deletion) -> None:
    newer = deletion.endpoint.gen_prefix(2)
    assert len(store.listing(newer)) == len(store.listing(deletion.prefix)) == FILES


# ---- Redis ----


def test_redis_down_killed_or_silent_stops_no_deletion(
    launch: Launcher, kafka: Broker, topics: TopicNames, folder_store: Store, tmp_path: Path
):
    redis = Redis(tmp_path / "redis")
    options = (*topics.options(), *QUICK_OPTIONS, "--redis-timeout=200ms")
    janitor = launch.janitor(folder_store, kafka, redis, *options)
    asked = []

    def ask(control: ControlPlane) -> None:
        """Returns with the deletion under way: it has yet to wait for uploads to end."""
        asked.append(planted(folder_store))
        control.publish(asked[-1])
        control.wait_accepted(asked[-1])

    def up() -> bool:
        return metric(janitor, "epufs_ledger_up") == 1

    with ControlPlane(folder_store, kafka, topics) as control:
        ask(control)
        assert not up()
        with redis:
            until(up, "Redis in use")
            ask(control)
            redis.kill()
            ask(control)
            control.completed(asked[-1])
            redis.start()
            until(up, "Redis in use again")
            ask(control)
            redis.pause()
            ask(control)
            control.completed(asked[-1])
            redis.resume()
            until(up, "Redis in use after its silence")
        for deletion in asked:
            control.completed(deletion)
            check_gone(folder_store, deletion)
        assert len(control.completions.to_end()) == len(asked)
        control.no_dead_letters()


# ---- Kafka ----


@pytest.fixture
def absent_kafka(tmp_path: Path) -> Iterator[Broker]:
    """A broker of the test's own that does not answer yet."""
    server = broker.create(tmp_path / "broker")
    try:
        if server.kind == "mock":  # it has a port only once it runs
            server.start()
            server.begin_outage()
        yield server
    finally:
        server.stop()


@dataclasses.dataclass(frozen=True)
class UsualTopics:
    deletions: str = broker.DELETIONS
    completions: str = broker.COMPLETIONS
    dead_letters: str = broker.DEAD_LETTERS

    def options(self) -> list[str]:
        return []


@pytest.mark.soak
def test_kafka_down_at_the_start_and_in_the_middle(
    launch: Launcher, absent_kafka: Broker, redis: Redis, folder_store: Store, keys: KeyPair
):
    options = QUICK_WRITER_OPTIONS
    janitor = launch.janitor(folder_store, absent_kafka, redis, *options, ready=False)
    janitor.wait_ready(path="/livez")
    assert janitor.status("/readyz") == 503
    # What comes over HTTP is worked off without Kafka, and told when there is one.
    early = planted(folder_store)
    delete_over_http(launch, folder_store, keys, early)
    wait_swept(folder_store, early)
    absent_kafka.end_outage()
    back_s = time.monotonic()
    with ControlPlane(folder_store, absent_kafka, UsualTopics()) as control:
        first = planted(folder_store)
        control.publish(first)
        control.wait_accepted(first, back_s + BACK_WITHIN_S - time.monotonic())
        janitor.wait_ready()
        control.completed(early)
        late = planted(folder_store)
        control.publish(late)
        control.wait_accepted(late)
        absent_kafka.begin_outage()
        wait_swept(folder_store, late)
        until(lambda: janitor.status("/readyz") == 503, "the outage to be noticed")
        assert folder_store.get(late.intent) is not None
        absent_kafka.end_outage()
        for deletion in (early, first, late):
            control.completed(deletion)
            check_gone(folder_store, deletion)
            ids = {event["id"] for event in control.all_completions(deletion)}
            assert ids == {f"done:{deletion.job_id}"}
        control.no_dead_letters()


def delete_over_http(launch: Launcher, store: Store, keys: KeyPair, deletion: Deletion) -> None:
    endpoint = deletion.endpoint
    token = endpoint.token(keys, deletion.upto_gen)
    writer = launch.writer(store, *QUICK_WRITER)
    assert http.delete(writer.url, endpoint.url, token).status == 200
    launch.stop(writer)


def wait_swept(store: Store, deletion: Deletion) -> None:
    until(lambda: not store.listing(deletion.endpoint.gen_prefix(1)), "the end of the sweep")


@pytest.fixture
def mock_kafka(tmp_path: Path) -> Iterator[MockBroker]:
    """The MOCK, since Apache Kafka gives a producer no fatal error when it is asked for one."""
    with MockBroker(tmp_path / "broker", topics=broker.TOPICS) as server:
        yield server


@pytest.mark.waits
@pytest.mark.soak
def test_a_producer_that_had_a_fatal_error_is_replaced(
    mock_kafka: MockBroker, launch: Launcher, redis: Redis, folder_store: Store
):
    options = (*QUICK_OPTIONS, "--upload-window=4s", "--kafka-session-timeout=6s")
    janitor = launch.janitor(folder_store, mock_kafka, redis, *options)
    pid = janitor.process.pid
    deletion = planted(folder_store)
    with ControlPlane(folder_store, mock_kafka, UsualTopics()) as control:
        control.publish(deletion)
        control.wait_accepted(deletion)
        mock_kafka.lose_sequence()  # of who publishes next: the janitor
        control.completed(deletion)
        check_gone(folder_store, deletion)
        assert len(control.all_completions(deletion)) == 1
        control.no_dead_letters()
    log = janitor.process.log.read_text(encoding="utf-8")
    assert log.count("kafka producer replaced after a fatal error") == 1
    assert janitor.process.pid == pid
    assert janitor.status("/readyz") == 200


# ---- The store ----


def test_a_store_that_fails_raises_an_alarm_until_it_is_back(
    rgw_proxy: Proxy, launch: Launcher, rgw: Rgw, keys: KeyPair
):
    behind = dataclasses.replace(rgw.s3, endpoint=rgw_proxy.url)
    store = S3Store(behind, rgw.bucket, f"t-{secrets.token_hex(6)}")
    reader = launch.reader(store, "--store-timeout=500ms")
    endpoint = Endpoint()
    token = endpoint.token(keys)

    def asked(status: int, alarm: int) -> bool:
        answer = http.get(reader.url, endpoint.file_url("lfc_state"), token)
        return answer.status == status and metric(reader, "epufs_store_alarm") == alarm

    until(lambda: asked(404, 0), "an answer of the store")
    rgw_proxy.refuse()
    until(lambda: asked(503, 1), "an alarm")
    assert metric(reader, "epufs_store_error_ratio") >= 0.25
    rgw_proxy.resume()
    until(lambda: asked(404, 0), "the alarm's end")
    log = reader.process.log.read_text(encoding="utf-8")
    assert log.count("WARN store alarm: ") == log.count("INFO store alarm is over ") == 1


@dataclasses.dataclass
class Shaky:
    """A janitor on a store behind a proxy; `control` and `store` see the store past it."""

    proxy: Proxy
    store: Store
    janitor: Janitor
    control: ControlPlane


@pytest.fixture
def shaky(
    rgw_proxy: Proxy, launch: Launcher, kafka: Broker, redis: Redis, topics: TopicNames, rgw: Rgw
) -> Iterator[Shaky]:
    prefix = f"t-{secrets.token_hex(6)}"
    behind = S3Store(dataclasses.replace(rgw.s3, endpoint=rgw_proxy.url), rgw.bucket, prefix)
    options = (*topics.options(), *QUICK_OPTIONS, "--store-timeout=2s")
    janitor = launch.janitor(behind, kafka, redis, *options)
    store = S3Store(rgw.s3, rgw.bucket, prefix)
    with ControlPlane(store, kafka, topics) as control:
        yield Shaky(rgw_proxy, store, janitor, control)


@pytest.mark.parametrize("trouble", [Proxy.refuse, Proxy.stall], ids=["refused", "stalled"])
def test_events_that_come_while_the_store_is_away_wait_for_it(
    shaky: Shaky, trouble: Callable[[Proxy], None]
):
    asked = [planted(shaky.store) for _ in range(4)]
    shaky.control.publish(asked[0])
    shaky.control.wait_accepted(asked[0])
    trouble(shaky.proxy)
    for deletion in asked[1:]:
        shaky.control.publish(deletion)

    def failures() -> float:
        return metric(shaky.janitor, "epufs_deletion_step_failures_total")

    until(lambda: failures() >= len(asked), "failures")
    assert not any(shaky.store.get(deletion.intent) for deletion in asked[1:])
    shaky.proxy.resume()
    for deletion in asked:
        shaky.control.completed(deletion)
        check_gone(shaky.store, deletion)
    shaky.control.no_dead_letters()
    ids = [f"done:{deletion.job_id}" for deletion in asked]
    assert {e["id"] for d in asked for e in shaky.control.all_completions(d)} == set(ids)


def test_a_sweep_goes_on_where_lost_connections_stopped_it(shaky: Shaky):
    deletion = planted(shaky.store, MANY)
    generation = deletion.endpoint.gen_prefix(1)
    shaky.proxy.slow_down(0.1)
    shaky.control.publish(deletion)
    for bound in (MANY, MANY * 3 // 4):
        wait_fewer(shaky.store, generation, bound)
        shaky.proxy.cut()
    shaky.proxy.resume()
    event = shaky.control.completed(deletion)
    check_gone(shaky.store, deletion)
    assert event["data"]["deleted"]["files"] <= MANY
    shaky.control.no_dead_letters()


def wait_fewer(store: Store, prefix: str, bound: int) -> None:
    until(lambda: len(store.listing(prefix)) < bound, "some progress")
