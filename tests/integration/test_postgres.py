"""The whole story with a real PostgreSQL: warm up, stop, store; on another node restore a backup,
load, start warm; detach the endpoint, and nothing of it is left; attach it anew, and it begins clean.

The services are real as well: Ceph RGW, Kafka, Redis, reader, writer and janitor. What it prints
(-s) is of this one run on this machine.
"""

import shutil
from collections.abc import Iterator

import pytest

from devstack import postgres
from devstack.broker import Broker
from devstack.keys import KeyPair
from devstack.postgres import Postgres, Workplace
from devstack.process import DevstackError
from devstack.redis import Redis
from harness import pgnode
from harness.compute import BLOCKS, MANIFEST, STATEMENTS
from harness.deletions import (
    QUICK_WRITER,
    QUICK_WRITER_OPTIONS,
    ControlPlane,
    Deletion,
    Topics,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.pgnode import LOOKUPS, PREWARMED, First, Node
from harness.stores import Store

PGSTAT = "pg_stat/pgstat.stat"
Urls = tuple[str, str]


@pytest.fixture(scope="module")
def workplace() -> Iterator[Workplace]:
    try:
        place = Workplace()
    except DevstackError as error:
        pytest.skip(str(error))
    with place:
        yield place


@pytest.fixture(scope="module")
def new_cluster(workplace: Workplace) -> Postgres:
    """What initdb made, for all to copy."""
    cluster = Postgres(workplace, "new")
    cluster.init()
    return cluster


class Nodes:
    """Makes nodes by name, and ends what still runs on them."""

    def __init__(self, workplace: Workplace, urls: Urls) -> None:
        self._workplace = workplace
        self._urls = urls
        self._made: list[Postgres] = []

    def __call__(self, name: str, token: str) -> Node:
        node = Node(self._workplace, name, self._urls, token)
        self._made.append(node.cluster)
        return node

    def kill_all(self) -> None:
        for cluster in self._made:
            cluster.kill()


@pytest.fixture(scope="module")
def urls(module_launch: Launcher, s3_store: Store) -> Urls:
    reader = module_launch.reader(s3_store, "--sibling-reads")
    return reader.url, module_launch.writer(s3_store, *QUICK_WRITER).url


@pytest.fixture
def nodes(workplace: Workplace, urls: Urls) -> Iterator[Nodes]:
    made = Nodes(workplace, urls)
    yield made
    made.kill_all()


def test_warm_restart_detach_and_attach_anew(
    workplace: Workplace,
    new_cluster: Postgres,
    nodes: Nodes,
    module_launch: Launcher,
    s3_store: Store,
    kafka: Broker,
    redis: Redis,
    topics: Topics,
    keys: KeyPair,
    endpoint: Endpoint,
) -> None:
    module_launch.janitor(s3_store, kafka, redis, *topics.options(), *QUICK_WRITER_OPTIONS)
    backup = workplace.path / "backup"
    token = endpoint.token(keys, 1)

    # A first node: fill it, back it up, warm it up, stop it.
    first = nodes("first", token)
    first.cluster.restore(new_cluster.pgdata)
    first.start()
    assert first.said("the endpoint starts cold", "nothing has been stored yet")
    pgnode.fill(first.cluster)
    first.cluster.backup_to(backup)
    pgnode.warm_up(first.cluster)
    assert pgnode.known_calls(first.cluster) == LOOKUPS
    assert first.cluster.stop() == 0
    assert first.said("files stored", "files=3")
    first.cluster.throw_away()
    stored = s3_store.listing(endpoint.gen_prefix(1))
    names = {key.removeprefix(endpoint.gen_prefix(1)) for key in stored}
    assert names == {BLOCKS, STATEMENTS, PGSTAT, MANIFEST}

    # Another node, from the backup: cold, as it would be without these files.
    bare = nodes("bare", token).cluster
    bare.restore(backup)
    postgres.forget_cached(bare.pgdata)
    bare_start_s = bare.start()
    assert pgnode.known_calls(bare) == 0
    cold_ms = pgnode.first_lookups_ms(bare)
    cold = First.of(bare)
    assert bare.said(PREWARMED) == 0
    bare.stop()
    bare.throw_away()

    # And warm.
    second = nodes("second", token)
    second.cluster.restore(backup)
    shutil.rmtree(backup)
    postgres.forget_cached(second.cluster.pgdata)
    start_s = second.start()
    assert second.said("files loaded", "files=3", "refused=0")
    second.cluster.wait_said(PREWARMED)
    assert pgnode.known_calls(second.cluster) == LOOKUPS  # it knows what the first node ran
    warm_ms = pgnode.first_lookups_ms(second.cluster)
    warm = First.of(second.cluster)
    for name, lookup_ms, query in (("cold", cold_ms, cold), ("warm", warm_ms, warm)):
        print(
            f"\n{name}: first lookups {lookup_ms:.2f} ms; first scan {query.ms:.0f} ms,"
            f" {query.read} pages read, hit ratio {query.ratio:.3f}",
            end="",
        )
    print(f"\nstart: {bare_start_s:.2f} s bare, {start_s:.2f} s with the load")
    assert warm.ratio > 0.99 > cold.ratio
    assert warm.read * 10 < cold.read

    # The endpoint is detached while its server runs.
    deletion = Deletion(endpoint, "endpoint", upto_gen=1)
    with ControlPlane(s3_store, kafka, topics) as control:
        control.publish(deletion)
        control.check(deletion, len(stored), sum(stored.values()))
    assert s3_store.listing(endpoint.prefix) == {}
    # A late store is refused, which is no reason not to stop.
    assert second.cluster.stop() == 0
    assert second.said("not everything was stored", "answered 410")
    assert s3_store.listing(endpoint.prefix) == {}

    # Attached anew: the old generation's files are nowhere, and it stores its own.
    third = nodes("third", endpoint.token(keys, 2))
    third.move_from(second)
    for path in (BLOCKS, STATEMENTS, PGSTAT):  # as a node that never was this endpoint's
        (third.cluster.pgdata / path).unlink()
    third.start()
    assert third.said("the endpoint starts cold", "nothing has been stored yet")
    assert pgnode.known_calls(third.cluster) == 0
    assert third.cluster.stop() == 0
    assert third.said("files stored", "files=3", "unchanged=0")
    again = {key.removeprefix(endpoint.gen_prefix(2)) for key in s3_store.listing(endpoint.prefix)}
    assert again == names


def test_a_killed_wrapper_stops_the_server(
    new_cluster: Postgres, nodes: Nodes, keys: KeyPair, endpoint: Endpoint
) -> None:
    node = nodes("orphan", endpoint.token(keys, 1))
    node.cluster.restore(new_cluster.pgdata)
    node.start()
    node.cluster.kill_wrapper()
    node.cluster.wait_said("received fast shutdown request")
    node.cluster.wait_said("database system is shut down")


def test_a_replica_starts_with_the_primary_s_files(
    new_cluster: Postgres, nodes: Nodes, keys: KeyPair, endpoint: Endpoint
) -> None:
    """Another endpoint of the same timeline, on a node that has no such files."""
    primary = nodes("primary", endpoint.token(keys, 1))
    primary.cluster.restore(new_cluster.pgdata)
    primary.start()
    primary.cluster.sql("CREATE EXTENSION pg_stat_statements; CREATE TABLE t AS SELECT 1 AS one")
    assert primary.cluster.stop() == 0
    replica = nodes("replica", endpoint.sibling("ep-2").token(keys, 1))
    replica.move_from(primary)
    (replica.cluster.pgdata / STATEMENTS).unlink()
    replica.start(f"--from-endpoint={endpoint.name}")
    assert replica.said("files loaded")
    known = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'CREATE TABLE t%'"
    assert replica.cluster.sql(known) == "1"
    assert replica.cluster.stop() == 0
    assert replica.said("files stored", "files=3")
