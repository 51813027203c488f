"""kill -9 and SIGTERM of the programs at bad moments: what was accepted ends, whatever dies."""

import contextlib
import dataclasses
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable

import pytest

from devstack.broker import Broker
from devstack.epufs import Janitor, Writer
from devstack.keys import KeyPair
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness import http
from harness.deletions import (
    QUICK_OPTIONS,
    QUICK_WRITER,
    ControlPlane,
    Deletion,
    TopicNames,
    forget_writers,
    metric,
    parse,
    rfc3339,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy, Side
from harness.stores import S3Store, Store, numbered

# What Kafka waits for a member that is silent; the least that a broker takes.
SESSION = "--kafka-session-timeout=6s"
# RGW takes some 500 objects a second, so there are fewer of them.
MANY = {"folder": 10_000, "s3": 3_000}


def options(topics: TopicNames) -> list[str]:
    return [*topics.options(), *QUICK_OPTIONS, SESSION]


def restart(janitor: Janitor) -> None:
    """It may not become ready before it is killed again."""
    janitor.start_without_waiting()


# ---- Random moments ----


class Killer:
    """Kills a janitor again and again while it deletes."""

    def __init__(self, janitor: Janitor, store: Store, prefix: str, files: int) -> None:
        seed = int(os.environ.get("EPUFS_SEED") or random.randrange(2**32))
        print(f"EPUFS_SEED={seed} repeats these moments")
        self._random = random.Random(seed)
        self._janitor = janitor
        self._store = store
        self._prefix = prefix
        self._files = files

    def left(self) -> int:
        return len(self._store.listing(self._prefix))

    def when_some_are_gone(self) -> None:
        number = self._random.randrange(self._files // 10, self._files)
        self._kill(f"{number} were left", lambda: self.left() <= number)

    def some_time(self, at_most_s: float) -> None:
        pause_s = self._random.uniform(0, at_most_s)
        until_s = time.monotonic() + pause_s
        self._kill(f"{pause_s:.2f} s passed", lambda: time.monotonic() > until_s)

    def _kill(self, when: str, now: Callable[[], bool]) -> None:
        until(now, when)
        self._janitor.kill()
        print(f"killed when {when}: {self.left()} files left")
        restart(self._janitor)


def test_kill_9_at_any_moment_of_a_large_deletion(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    endpoint: Endpoint,
):
    files = MANY[store.kind]
    store.put_many(numbered(endpoint.gen_prefix(1), files), b"four")
    store.put_many(numbered(endpoint.gen_prefix(2), 100))
    janitor = launch.janitor(store, kafka, redis, *options(topics))
    deletion = Deletion(endpoint, upto_gen=1)
    killer = Killer(janitor, store, endpoint.gen_prefix(1), files)
    with ControlPlane(store, kafka, topics) as control:
        control.publish(deletion)
        killer.when_some_are_gone()
        for _ in range(3):
            killer.some_time(2.0)
        control.completed(deletion)
        check_ended(control, store, deletion, at_most=files)
    assert len(store.listing(endpoint.gen_prefix(2))) == 100


def check_ended(control: ControlPlane, store: Store, deletion: Deletion, at_most: int) -> None:
    """One completion, perhaps told twice; what a kill kept from being counted may be missing."""
    events = control.all_completions(deletion)
    assert events
    assert {event["id"] for event in events} == {f"done:{deletion.job_id}"}
    assert all(event["data"]["deleted"]["files"] <= at_most for event in events)
    assert deletion.tombstone
    assert store.get(deletion.tombstone)
    if deletion.scope == "endpoint" and deletion.upto_gen is not None:
        assert not store.listing(deletion.endpoint.gen_prefix(deletion.upto_gen))
    else:
        assert not store.listing(deletion.prefix)
    control.no_dead_letters()


# ---- Chosen moments ----


@pytest.mark.parametrize("side", ["request", "answer"])
def test_kill_9_before_the_offset_is_committed_brings_the_event_again(
    rgw_proxy: Proxy,
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    rgw: Rgw,
    endpoint: Endpoint,
    side: Side,
):
    """`request`: between tombstone and intent. `answer`: between intent and offset."""
    prefix = f"t-{secrets.token_hex(6)}"
    store = S3Store(rgw.s3, rgw.bucket, prefix)
    behind = S3Store(dataclasses.replace(rgw.s3, endpoint=rgw_proxy.url), rgw.bucket, prefix)
    store.put_many(numbered(endpoint.gen_prefix(1), 20))
    store.put_many(numbered(endpoint.gen_prefix(2), 5))
    janitor = launch.janitor(behind, kafka, redis, *options(topics))
    deletion = Deletion(endpoint, upto_gen=1)
    with ControlPlane(store, kafka, topics) as control:
        hold = rgw_proxy.hold(f"PUT /{rgw.bucket}/{prefix}/intents/".encode(), side)
        control.publish(deletion)
        hold.wait()
        if side == "answer":
            control.wait_accepted(deletion)
        assert store.get(endpoint.tombstone(1)) is not None
        assert (store.get(deletion.intent) is not None) == (side == "answer")
        assert len(store.listing(endpoint.gen_prefix(1))) == 20
        janitor.kill()
        rgw_proxy.cut()
        rgw_proxy.resume()
        janitor.start()
        control.check(deletion, files=20, size=20)
        assert len(store.listing(endpoint.prefix)) == 5


def test_a_delayed_deletion_stays_delayed_when_others_find_its_intent(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    folder_store: Store,
    endpoint: Endpoint,
):
    folder_store.put_many(numbered(endpoint.gen_prefix(1), 3))
    janitor = launch.janitor(folder_store, kafka, redis, *options(topics))
    deletion = Deletion(endpoint, upto_gen=1)
    due = time.time() + 6
    with ControlPlane(folder_store, kafka, topics) as control:
        control.publish(deletion, not_before=rfc3339(due))
        control.wait_accepted(deletion)
        janitor.kill()
        janitor.start()
        launch.janitor(folder_store, kafka, redis, *options(topics))
        while time.time() < int(due):
            files = folder_store.listing(endpoint.prefix)
            assert len(files) == 3 or time.time() >= int(due)
            time.sleep(0.05)
        control.completed(deletion)
        check_ended(control, folder_store, deletion, at_most=3)


# ---- Two janitors ----


def test_two_janitors_share_the_work_and_one_takes_over_from_the_other(
    launch: Launcher, kafka: Broker, redis: Redis, topics: TopicNames, folder_store: Store
):
    janitors = [launch.janitor(folder_store, kafka, redis, *options(topics)) for _ in range(2)]
    asked: list[Deletion] = []

    def ask(count: int) -> None:
        for _ in range(count):
            deletion = Deletion(Endpoint(), "tenant")
            folder_store.put_many(numbered(deletion.endpoint.gen_prefix(1), 3))
            asked.append(deletion)
            control.publish(deletion)

    def both_work() -> bool:
        ask(4)
        return all(metric(janitor, "epufs_deletions_accepted_total") > 0 for janitor in janitors)

    with ControlPlane(folder_store, kafka, topics) as control:
        until(both_work, "events for both", timeout_s=60)
        ask(8)
        janitors[0].kill()
        ask(8)
        for deletion in asked:
            control.completed(deletion)
        assert not folder_store.listing("tenants/")
        ids = {parse(message)["id"] for message in control.completions.to_end()}
        assert ids == {f"done:{deletion.job_id}" for deletion in asked}
        control.no_dead_letters()
    assert janitors[1].alive()


# ---- The writer ----


def test_kill_9_of_the_writer_in_mid_upload_leaves_no_file(
    launch: Launcher, store: Store, keys: KeyPair, endpoint: Endpoint
):
    writer = launch.writer(store, *QUICK_WRITER)
    url, token = endpoint.file_url("lfc_state"), endpoint.token(keys, 1)
    begin_upload(writer, url, token)
    writer.kill()
    assert not store.listing(endpoint.prefix)
    writer.start()
    assert not store.listing(endpoint.prefix)
    assert http.put(writer.url, url, token, b"whole").status == 200
    assert store.listing(endpoint.prefix) == {endpoint.key("lfc_state", 1): 5}
    forget_writers(store)


def test_a_writer_that_was_stopped_completes_no_upload_behind_its_time(
    launch: Launcher, store: Store, keys: KeyPair, endpoint: Endpoint
):
    """What the janitor waits for: a process that sleeps through the window must not end an upload
    when it wakes, although the whole body lies in its socket and the store still waits for it."""
    writer = launch.writer(store, *QUICK_WRITER)
    url, token = endpoint.file_url("lfc_state"), endpoint.token(keys, 1)
    # So large that most of it has passed through the writer when the rest is sent.
    connection = begin_upload(writer, url, token, size=20_000_000)
    writer.pause()
    # The kernel's buffers may be full until the writer goes on.
    rest = threading.Thread(target=send_rest, args=(connection,))
    rest.start()
    time.sleep(2.5)
    writer.resume()
    answer = connection.recv(100)
    rest.join()
    assert not answer.startswith(b"HTTP/1.1 200"), answer
    assert not store.listing(endpoint.prefix)
    assert http.put(writer.url, url, token, b"whole").status == 200
    launch.stop(writer)
    forget_writers(store)


# The last bytes of an upload, which begin_upload() keeps back.
REST = 1000


def send_rest(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it may be answered, and cut, before
        connection.sendall(b"x" * REST)


def begin_upload(writer: Writer, url: str, token: str, size: int = 1_000_000) -> socket.socket:
    """Sends all but the last bytes of a file that is larger than what the writer collects."""
    connection = http.dial(writer.url)
    head = (
        f"PUT {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    connection.sendall(head.encode() + b"x" * (size - REST))
    return connection
