"""Uploads that race with a deletion: what is behind the tombstone fails, what is under it goes.

A store of its own, so that no janitor with a shorter upload_window takes the job up: it would hold
the completion back, which is right, for as long as this writer is there.
"""

import concurrent.futures
import socket
import threading
import time
from collections.abc import Callable

import pytest

from devstack.broker import Broker
from devstack.epufs import Writer
from devstack.keys import KeyPair
from devstack.redis import Redis
from harness import http
from harness.deletions import (
    QUICK_WRITER,
    RACE_OPTIONS,
    RACE_WINDOW_S,
    RACING_WRITER,
    ControlPlane,
    Deletion,
    TopicNames,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store


@pytest.fixture(scope="module")
def writer(module_launch: Launcher, store: Store) -> Writer:
    return module_launch.writer(store, *QUICK_WRITER)


class Uploads:
    """Threads that store files of one generation without a pause, and what they were told."""

    def __init__(self, writer: Writer, token: str, endpoint: Endpoint, mark: str) -> None:
        self.writer = writer
        self.token = token
        self.endpoint = endpoint
        self.mark = mark
        self.ended: list[tuple[float, float, int]] = []  # begin, end, status
        self._over = threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(8)
        self._tasks: list[concurrent.futures.Future[None]] = []

    def start(self, small: int, large: int, slow: int) -> None:
        kinds = [self._small] * small + [self._large] * large + [self._slow] * slow
        for number, put in enumerate(kinds):
            path = f"pg_stat/{self.mark}-{number}.stat"
            self._tasks.append(self._pool.submit(self._repeat, put, path))

    def stop(self) -> None:
        self._over.set()
        self._pool.shutdown()
        for task in self._tasks:
            task.result()

    def statuses(self) -> set[int]:
        return {status for _, _, status in self.ended}

    def _repeat(self, put: Callable[[str], int], path: str) -> None:
        while not self._over.is_set():
            began = time.time()
            status = put(path)
            self.ended.append((began, time.time(), status))

    def _send(self, path: str, body: bytes) -> int:
        return http.put(self.writer.url, self.endpoint.file_url(path), self.token, body).status

    def _small(self, path: str) -> int:
        return self._send(path, b"small")

    def _large(self, path: str) -> int:
        return self._send(path, b"L" * 300_000)

    def _slow(self, path: str) -> int:
        """A body that takes 2.8 s: within the writer's time, and longer than a sweep takes."""
        piece, pieces = b"s" * 10_000, 28
        head = (
            f"PUT {self.endpoint.file_url(path)} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {self.token}\r\nConnection: close\r\n"
            f"Content-Length: {len(piece) * pieces}\r\n\r\n"
        )
        with http.dial(self.writer.url) as connection:
            connection.sendall(head.encode())
            for _ in range(pieces):
                time.sleep(0.1)
                try:
                    connection.sendall(piece)
                except (BrokenPipeError, ConnectionResetError):
                    break  # refused already; the answer may be there
            return _status(connection)


def _status(connection: socket.socket) -> int:
    try:
        line = connection.makefile("rb").readline(100)
    except ConnectionResetError:
        return 0
    return int(line.split()[1]) if line else 0


def test_uploads_that_race_with_a_deletion_leave_nothing_and_new_ones_all_pass(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    writer: Writer,
    keys: KeyPair,
    endpoint: Endpoint,
):
    options = (*topics.options(), *RACE_OPTIONS)
    launch.janitor(store, kafka, redis, *options)
    racing = launch.writer(store, *RACING_WRITER)
    old = Uploads(racing, endpoint.token(keys, 1), endpoint, "old")
    new = Uploads(writer, endpoint.token(keys, 2), endpoint, "new")
    deletion = Deletion(endpoint, upto_gen=1)
    with ControlPlane(store, kafka, topics) as control:
        try:
            old.start(small=2, large=2, slow=4)
            new.start(small=1, large=1, slow=0)
            until(lambda: len(store.listing(endpoint.gen_prefix(1))) == 8, "files of each upload")
            control.publish(deletion)
            control.wait_accepted(deletion)
            fenced_at = time.time()
            event = control.completed(deletion)
            watch_empty(store, endpoint.gen_prefix(1), RACE_WINDOW_S)
        finally:
            old.stop()
            new.stop()
    assert not store.listing(endpoint.gen_prefix(1))
    assert event["data"]["deleted"]["files"] >= 8
    assert new.statuses() == {200}
    # 0: cut off in mid-body; 408, 504: too slow, the client or the store. What began behind the
    # tombstone never passed.
    assert old.statuses() <= {200, 410, 0, 408, 504}
    assert {status for began, _, status in old.ended if began > fenced_at} <= {410, 0, 408, 504}
    # The race took place: uploads that had passed the check ended behind the tombstone.
    assert [end for _, end, status in old.ended if status == 200 and end > fenced_at]
    assert len(store.listing(endpoint.gen_prefix(2))) == 2


def watch_empty(store: Store, prefix: str, duration_s: float) -> None:
    until_s = time.monotonic() + duration_s
    while time.monotonic() < until_s:
        assert not store.listing(prefix)
        time.sleep(0.1)
