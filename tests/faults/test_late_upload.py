"""An upload whose process is stopped beyond the deadline, or dies, never becomes whole later.

The server is a socket that takes the body slowly, and goes on doing so while the process stands
still. What it has taken then may only be what had left the process in time, and little more than
that waits in the kernel: never the rest of the body.
"""

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from devstack import paths

pytestmark = pytest.mark.waits

BODY = 440_000
DEADLINE_S = 0.6
BEYOND_S = 1.2  # after the deadline
PIECE = 4096
PIECES_PER_S = 50  # the whole body takes 2 s: in time it cannot be done
LIMIT_S = 10.0


class SlowPeer:
    """Answers 200 to a whole request only."""

    def __init__(self) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * PIECE)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.began = threading.Event()
        self.taken = 0
        self.reset = self.whole = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def _serve(self) -> None:
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT_S)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(PIECE)
        self.taken = len(head.partition(b"\r\n\r\n")[2])
        self.began.set()
        try:
            while self.taken < BODY and (piece := connection.recv(PIECE)):
                self.taken += len(piece)
                time.sleep(1 / PIECES_PER_S)
            self.whole = self.taken == BODY
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        except ConnectionError:
            self.reset = True
        finally:
            connection.close()

    def join(self) -> None:
        self._thread.join(LIMIT_S)
        self.listener.close()
        assert not self._thread.is_alive()


@pytest.fixture
def peer() -> Iterator[SlowPeer]:
    slow = SlowPeer()
    yield slow
    slow.listener.close()


def begin(peer: SlowPeer, kind: str) -> subprocess.Popen[str]:
    """The process once the first of its body has arrived, soon after its deadline was set."""
    timeout_ms = str(int(DEADLINE_S * 1000))
    process = subprocess.Popen(
        [paths.program("late-put"), peer.url(), kind, str(BODY), timeout_ms],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert peer.began.wait(LIMIT_S)
    return process


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.4])
@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_a_stopped_process_sends_no_more(peer: SlowPeer, kind: str, after_s: float) -> None:
    process = begin(peer, kind)
    time.sleep(after_s)
    process.send_signal(signal.SIGSTOP)
    time.sleep(DEADLINE_S + BEYOND_S - after_s)
    taken = peer.taken
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=LIMIT_S)
    peer.join()
    print(kind, after_s, taken, peer.taken, err)
    assert out.split() == ["begun", "timeout"]
    assert peer.reset and not peer.whole
    assert peer.taken == taken < BODY / 2


@pytest.mark.parametrize("kind", ["memory", "stream"])
def test_a_dead_process_leaves_no_upload_behind(peer: SlowPeer, kind: str) -> None:
    process = begin(peer, kind)
    process.kill()
    process.communicate(timeout=LIMIT_S)
    peer.join()
    print(kind, peer.taken)
    assert peer.reset and not peer.whole
