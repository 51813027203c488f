"""The ways to Redis: TLS, users and passwords, sentinels; and what is not one of them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import paths, ports
from devstack.broker import Broker
from devstack.certificates import Authority
from devstack.epufs import Janitor
from devstack.redis import Redis, Sentinel
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, TopicNames, metric, until
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store, numbered

PASSWORD = "hunter2-of-redis"
# As docs/operations.md has them.
RIGHTS = (
    "+@hash +@sortedset +@scripting +@connection +expire +exists +del +time +role +info "
    "+get +set +publish +subscribe &epufs:notices"
).split()
CLUSTER = "this is a Redis Cluster, which is not supported: use a single Redis or Sentinel"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "ca")


@pytest.fixture
def control(folder_store: Store, kafka: Broker, topics: TopicNames) -> Iterator[ControlPlane]:
    with ControlPlane(folder_store, kafka, topics) as plane:
        yield plane


class Starter:
    """Starts janitors that lose no time, each with a Redis of the test's choice."""

    def __init__(self, launch: Launcher, control: ControlPlane, redis: Redis) -> None:
        self._launch = launch
        self._control = control
        self._redis = redis  # what a later --redis-url replaces

    def __call__(self, url: str, *more: str) -> Janitor:
        options = (f"--redis-url={url}", *self._control.topics.options(), *QUICK_OPTIONS, *more)
        return self._launch.janitor(
            self._control.store, self._control.kafka, self._redis, "--redis-timeout=300ms", *options
        )


@pytest.fixture
def start(launch: Launcher, control: ControlPlane, redis: Redis) -> Starter:
    return Starter(launch, control, redis)


def delete_something(control: ControlPlane) -> Deletion:
    deletion = Deletion(Endpoint(), upto_gen=1)
    control.store.put_many(numbered(deletion.endpoint.gen_prefix(1), 3))
    control.publish(deletion)
    control.completed(deletion)
    return deletion


def wait_recorded(server: Redis, deletion: Deletion) -> None:
    """The record's end comes after that of the intent."""
    until(
        lambda: deletion.job_id.encode() in server.command("ZRANGE", "epufs:done", "0", "-1"),
        f"{deletion.path} among what Redis knows",
    )


def wait_up(janitor: Janitor, state: int = 1) -> None:
    until(lambda: metric(janitor, "epufs_ledger_up") == state, f"epufs_ledger_up {state}")


def log_of(janitor: Janitor) -> str:
    return janitor.process.log.read_text(encoding="utf-8")


def test_tls_a_user_and_a_password_file(
    start: Starter, control: ControlPlane, authority: Authority, tmp_path: Path
):
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n", encoding="ascii")
    user = ("--user", "janitor", "on", f">{PASSWORD}", "~epufs:*", *RIGHTS)
    with Redis(tmp_path / "redis", authority=authority, more=user) as server:
        url = server.url.replace("//", "//janitor@")
        janitor = start(
            url, f"--redis-password-file={secret}", f"--redis-ca-file={authority.certificate}"
        )
        wait_up(janitor)
        wait_recorded(server, delete_something(control))
        server.pause()
        delete_something(control)
        assert metric(janitor, "epufs_ledger_up") == 0
        server.resume()
        wait_up(janitor)
    assert PASSWORD not in log_of(janitor)


def test_a_server_of_another_authority(
    start: Starter, control: ControlPlane, authority: Authority, tmp_path: Path
):
    other = Authority(tmp_path / "ca", "another CA")
    with Redis(tmp_path / "redis", authority=authority) as server:
        janitor = start(server.url, f"--redis-ca-file={other.certificate}")
        assert metric(janitor, "epufs_ledger_up") == 0
        delete_something(control)
        assert server.command("DBSIZE") == b":0\r\n"
    assert "its certificate is refused" in log_of(janitor)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_master_dies_and_the_ledger_follows_the_sentinel(
    tls: bool, start: Starter, control: ControlPlane, authority: Authority, tmp_path: Path
):
    ca = authority if tls else None
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n", encoding="ascii")
    more = [f"--redis-sentinel-password-file={secret}"]
    if tls:
        more.append(f"--redis-ca-file={authority.certificate}")
    quick = ("--repl-diskless-sync-delay", "0")
    first = Redis(tmp_path / f"first-{tls}", authority=ca, more=quick)
    master = ("127.0.0.1", str(first.tls_port if tls else first.port))
    second = Redis(
        tmp_path / f"second-{tls}", authority=ca, more=(*quick, "--replicaof", *master)
    )
    sentinel = Sentinel(tmp_path / f"sentinel-{tls}", first, authority=ca, password=PASSWORD)
    with first, second, sentinel:
        scheme = "rediss+sentinel" if tls else "redis+sentinel"
        # The first of the two is never there.
        url = f"{scheme}://127.0.0.1:1,127.0.0.1:{sentinel.port}/{sentinel.master}"
        janitor = start(url, *more)
        wait_up(janitor)
        early = delete_something(control)
        wait_recorded(first, early)
        wait_recorded(second, early)
        until(lambda: knows_replica(sentinel), "a sentinel that knows the replica")
        first.kill()
        delete_something(control)
        until(lambda: second.command("ROLE").startswith(b"*3\r\n$6\r\nmaster"), "the failover")
        wait_up(janitor)
        wait_recorded(second, early)
        wait_recorded(second, delete_something(control))


def knows_replica(sentinel: Sentinel) -> bool:
    text = (sentinel.folder / "sentinel.conf").read_text(encoding="ascii")
    return f"sentinel known-replica {sentinel.master} " in text


def test_a_cluster_is_refused_once_and_for_all(
    start: Starter, control: ControlPlane, kafka: Broker, tmp_path: Path
):
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(ports.free_port()))
    with Redis(tmp_path / "redis", more=cluster) as server:
        janitor = start(server.url)
        wait_up(janitor, 0)
        for _ in range(2):
            delete_something(control)
            assert metric(janitor, "epufs_ledger_up") == 0
        assert log_of(janitor).count(CLUSTER) == 1
        argv = [
            str(paths.program("epufs-janitor")),
            "status",
            f"--store={control.store.url}",
            f"--redis-url={server.url}",
            f"--kafka-brokers={kafka.bootstrap}",
        ]
        for words in ([], ["--json"]):
            done = subprocess.run(
                argv + words, capture_output=True, text=True, timeout=30, check=False
            )
            assert done.returncode == 3  # degraded
            assert CLUSTER in done.stdout
