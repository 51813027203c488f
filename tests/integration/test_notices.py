"""What janitors tell of themselves on Redis: followed live, kept for status, and relied on by nothing."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import paths
from devstack.broker import Broker
from devstack.redis import Redis
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, TopicNames, metric, until
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store, numbered

OFTEN = "--notice-interval=200ms"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def control(folder_store: Store, kafka: Broker, topics: TopicNames) -> Iterator[ControlPlane]:
    with ControlPlane(folder_store, kafka, topics) as plane:
        yield plane


def command(*words: str, store: Store, redis: Redis) -> list[str]:
    program = str(paths.program("epufs-janitor"))
    return [program, *words, f"--store={store.url}", f"--redis-url={redis.url}"]


@contextlib.contextmanager
def watching(log: Path, *words: str, store: Store, redis: Redis) -> Iterator[None]:
    argv = command("watch", *words, store=store, redis=redis)
    with log.open("w") as out, subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.terminate()


def notices(log: Path) -> list[dict[str, Any]]:
    """The whole lines of what was printed so far."""
    lines = log.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_deletions_can_be_followed_live(
    launch: Launcher,
    kafka: Broker,
    own_redis: Redis,
    control: ControlPlane,
    folder_store: Store,
    endpoint: Endpoint,
    tmp_path: Path,
):
    log, text, others = (tmp_path / name for name in ("json", "text", "others"))
    options = (*control.topics.options(), *QUICK_OPTIONS, OFTEN, "--delete-rate=5000")
    deletion = Deletion(endpoint, upto_gen=1)
    folder_store.put_many(numbered(endpoint.gen_prefix(1), 3))
    follow = {"store": folder_store, "redis": own_redis}
    with (
        watching(log, "--json", **follow),
        watching(text, f"--tenant={endpoint.tenant}", **follow),
        watching(others, "--json", f"--tenant={Endpoint().tenant}", **follow),
    ):
        janitor = launch.janitor(folder_store, kafka, own_redis, *options)
        until(lambda: notices(log) and notices(others), "the first heartbeat")
        control.publish(deletion)
        control.completed(deletion)
        until(lambda: '"done"' in log.read_text(), "the notice of its end")
        until(lambda: " done " in text.read_text(), "the line of its end")
        launch.stop(janitor)
        until(lambda: notices(log)[-1]["stopping"], "the farewell")
        until(lambda: "has stopped" in text.read_text(), "the line of the farewell")
    beat = notices(log)[-1]
    assert beat["schema"] == 1
    assert beat["lanes"]["small"] == {"workers": 16, "running": 0, "due": 0}
    assert (beat["delete_rate"], beat["troubles"], beat["every_ms"]) == (5000, [], 200)
    jobs = [job for notice in notices(log) for job in notice["jobs"]]
    assert {job["job_id"] for job in jobs} == {deletion.job_id}
    assert {"draining", "done"} <= {job["state"] for job in jobs}
    assert (jobs[-1]["files"], jobs[-1]["scope"], jobs[-1]["left"]) == (3, deletion.path, True)
    assert not jobs[0]["left"]
    assert not [job for notice in notices(others) for job in notice["jobs"]]


def test_status_tells_of_each_janitor_that_lives(
    launch: Launcher, kafka: Broker, own_redis: Redis, control: ControlPlane, folder_store: Store
):
    def told() -> list[dict[str, Any]]:
        argv = command("status", "--json", store=folder_store, redis=own_redis)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
        return json.loads(done.stdout)["janitors"]

    options = (*control.topics.options(), *QUICK_OPTIONS, OFTEN)
    first, second = (
        launch.janitor(folder_store, kafka, own_redis, *options, *more)
        for more in ((), ("--tenant-delete-rate=70", "--workers=3"))
    )
    until(lambda: len(told()) == 2, "both heartbeats")
    assert sorted(beat["tenant_delete_rate"] for beat in told()) == [0, 70]
    assert sorted(beat["lanes"]["accept"]["workers"] for beat in told()) == [3, 16]
    assert [beat["lanes"]["big"]["workers"] for beat in told()] == [4, 4]
    text = subprocess.run(
        command("status", store=folder_store, redis=own_redis),
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "70/s a tenant" in text
    launch.stop(first)
    assert [beat["tenant_delete_rate"] for beat in told()] == [70]
    second.process.kill()
    until(lambda: not told(), "the end of the heartbeat of the dead one")


def test_on_a_terminal_it_is_a_picture(
    launch: Launcher, kafka: Broker, own_redis: Redis, control: ControlPlane, folder_store: Store
):
    deletion = Deletion(Endpoint(), upto_gen=1)
    options = (*control.topics.options(), *QUICK_OPTIONS, OFTEN)
    ours, terminal = os.openpty()
    argv = command("watch", "--for=60s", store=folder_store, redis=own_redis)
    with subprocess.Popen(argv, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        launch.janitor(folder_store, kafka, own_redis, *options)
        control.publish(deletion)
        seen = b""
        while deletion.job_id[:10].encode() not in seen:
            seen += os.read(ours, 65536)
        process.terminate()
    os.close(ours)
    assert seen.startswith(b"\033[2J\033[H\033[KJANITOR")
    assert seen.endswith(b"\033[J") or b"\033[J\033[H" in seen


@pytest.mark.parametrize("rights", [(), ("+publish",)], ids=["no-channel", "not-this-channel"])
def test_deletions_go_on_without_them(
    launch: Launcher,
    kafka: Broker,
    own_redis: Redis,
    control: ControlPlane,
    folder_store: Store,
    endpoint: Endpoint,
    rights: tuple[str, ...],
):
    """A user as he was before there were notices."""
    before = "+@hash +@sortedset +@scripting +@connection +expire +exists +del +time +role +info"
    more = (*before.split(), "+set", *rights)
    own_redis.command("ACL", "SETUSER", "old", "on", ">secret", "~epufs:*", *more)
    url = own_redis.url.replace("//", "//old:secret@")
    options = (*control.topics.options(), *QUICK_OPTIONS, OFTEN, f"--redis-url={url}")
    janitor = launch.janitor(folder_store, kafka, own_redis, *options)
    deletion = Deletion(endpoint, upto_gen=1)
    folder_store.put_many(numbered(endpoint.gen_prefix(1), 3))
    control.publish(deletion)
    control.completed(deletion)
    log = janitor.process.log
    until(lambda: "notices are not sent" in log.read_text(), "the line that says so")
    assert metric(janitor, "epufs_ledger_up") == 1
    assert "ledger is down" not in log.read_text()
    time.sleep(1)
    assert log.read_text().count("notices are not sent") == 1


def test_who_follows_survives_an_outage_of_redis(
    launch: Launcher,
    kafka: Broker,
    own_redis: Redis,
    control: ControlPlane,
    folder_store: Store,
    tmp_path: Path,
):
    log = tmp_path / "log"
    options = (*control.topics.options(), *QUICK_OPTIONS, OFTEN)
    with watching(log, "--json", store=folder_store, redis=own_redis):
        launch.janitor(folder_store, kafka, own_redis, *options)
        until(lambda: notices(log), "the first heartbeat")
        own_redis.kill()
        until(lambda: "trying again" in log.read_text(), "word of the outage")
        count = len(notices(log))
        own_redis.start()
        until(lambda: len(notices(log)) > count, "the heartbeat after it")
        assert "Redis is back" in log.read_text()


def test_watch_says_why_there_is_nothing_to_see(own_redis: Redis, folder_store: Store):
    def fails(*words: str) -> str:
        argv = [*command("watch", store=folder_store, redis=own_redis), *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    assert "no janitor runs with this Redis" in fails("--for=500ms")
    assert "expected redis_url" in fails("--redis-url=")
    own_redis.kill()
    assert "trying again" in fails("--for=500ms")
