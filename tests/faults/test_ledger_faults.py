"""Redis that has forgotten everything, is full, or takes no writes: deletions go on without it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devstack import ports
from devstack.broker import Broker
from devstack.epufs import Janitor
from devstack.redis import Redis
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, TopicNames, metric, until
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store, numbered

pytestmark = pytest.mark.waits

MANY = 3000


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    """Before `launch`, so that it outlives the programs."""
    with Redis(tmp_path / "redis") as server:
        yield server


def planted(store: Store, files: int = 3) -> Deletion:
    endpoint = Endpoint()
    store.put_many(numbered(endpoint.gen_prefix(1), files))
    store.put_many(numbered(endpoint.gen_prefix(2), 3))
    return Deletion(endpoint, upto_gen=1)


def check_gone(store: Store, deletion: Deletion) -> None:
    newer = deletion.endpoint.gen_prefix(2)
    assert len(store.listing(newer)) == len(store.listing(deletion.prefix)) == 3


def in_mid_sweep(janitor: Janitor, store: Store, deletion: Deletion) -> None:
    until(lambda: metric(janitor, "epufs_deleted_files_total") > 0, "the sweep's begin")
    assert len(store.listing(deletion.prefix)) > 3


def test_a_flush_in_mid_sweep_is_no_harm(
    own_redis: Redis, launch: Launcher, kafka: Broker, topics: TopicNames, folder_store: Store
):
    """The lease and the cursor go. Two janitors, so that there is somebody to take the job."""
    options = (*topics.options(), *QUICK_OPTIONS, "--delete-rate=1000")
    janitors = [launch.janitor(folder_store, kafka, own_redis, *options) for _ in range(2)]
    deletion = planted(folder_store, MANY)

    def begun() -> bool:
        return any(metric(janitor, "epufs_deleted_files_total") > 0 for janitor in janitors)

    with ControlPlane(folder_store, kafka, topics) as control:
        control.publish(deletion)
        until(begun, "the sweep's begin")
        assert own_redis.command("FLUSHALL") == b"+OK\r\n"
        control.completed(deletion)
        check_gone(folder_store, deletion)
        # Without a lease two may have ended it; the id tells that it is one and the same.
        assert {e["id"] for e in control.all_completions(deletion)} == {f"done:{deletion.job_id}"}
        control.no_dead_letters()
    assert all(metric(janitor, "epufs_ledger_up") == 1 for janitor in janitors)


def fill_up(redis: Redis) -> None:
    assert redis.command("CONFIG", "SET", "maxmemory", "1") == b"+OK\r\n"


def give_room(redis: Redis) -> None:
    assert redis.command("CONFIG", "SET", "maxmemory", "0") == b"+OK\r\n"


def make_replica(redis: Redis) -> None:
    """Of nobody: it takes no writes, and still answers what it is asked."""
    assert redis.command("REPLICAOF", "127.0.0.1", str(ports.free_port())) == b"+OK\r\n"


def make_master(redis: Redis) -> None:
    assert redis.command("REPLICAOF", "NO", "ONE") == b"+OK\r\n"


@pytest.mark.parametrize(
    ("trouble", "mend"),
    [(fill_up, give_room), (make_replica, make_master)],
    ids=["full", "read-only"],
)
def test_a_redis_that_takes_no_writes_stops_no_deletion(
    own_redis: Redis,
    launch: Launcher,
    kafka: Broker,
    topics: TopicNames,
    folder_store: Store,
    trouble: Callable[[Redis], None],
    mend: Callable[[Redis], None],
):
    options = (*topics.options(), *QUICK_OPTIONS, "--delete-rate=1000")
    janitor = launch.janitor(folder_store, kafka, own_redis, *options)

    def up() -> bool:
        return metric(janitor, "epufs_ledger_up") == 1

    early, late = planted(folder_store, MANY), planted(folder_store)
    with ControlPlane(folder_store, kafka, topics) as control:
        control.publish(early)
        in_mid_sweep(janitor, folder_store, early)
        trouble(own_redis)
        until(lambda: not up(), "the alarm")
        control.publish(late)
        for deletion in (late, early):
            control.completed(deletion)
            check_gone(folder_store, deletion)
        assert not up()
        mend(own_redis)
        until(up, "Redis in use again")
        after = planted(folder_store)
        control.publish(after)
        event = control.completed(after)
        assert event["data"]["attempts"] == 1
        assert len(control.completions.to_end()) == 3
        control.no_dead_letters()
    log = janitor.process.log.read_text(encoding="utf-8")
    assert log.count("kafka partitions assigned") == 1
