"""Uploads of which the test sends each part when it wants to."""

import contextlib
import socket
import threading

from devstack.epufs import Writer
from harness import http


class Upload:
    """A PUT on a connection of its own. Nothing is sent before start()."""

    def __init__(self, writer: Writer, url: str, token: str, body: bytes) -> None:
        self._writer = writer
        self._body = body
        self._head = (
            f"PUT {url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode()
        self._socket: socket.socket | None = None
        self._sender: threading.Thread | None = None
        self._sent = 0

    def start(self, keep: int = 0) -> "Upload":
        """Sends the head and all of the body but its last `keep` bytes."""
        self._socket = http.dial(self._writer.url)
        self._send(self._head + self._body[: len(self._body) - keep])
        self._sent = len(self._body) - keep
        return self

    def finish(self) -> None:
        """Sends the rest."""
        self._send(self._body[self._sent :])
        self._sent = len(self._body)

    def status(self) -> int:
        """0: cut off without an answer."""
        assert self._socket
        if self._sender:
            self._sender.join()
        with self._socket, contextlib.suppress(ConnectionResetError):
            line = self._socket.makefile("rb").readline(100)
            return int(line.split()[1]) if line else 0
        return 0

    def _send(self, data: bytes) -> None:
        """In a thread: who is stopped takes nothing once the kernel's buffers are full."""
        if self._sender:
            self._sender.join()
        self._sender = threading.Thread(target=self._send_all, args=(data,), daemon=True)
        self._sender.start()

    def _send_all(self, data: bytes) -> None:
        assert self._socket
        with contextlib.suppress(OSError):  # it may be answered, and cut, before
            self._socket.sendall(data)
