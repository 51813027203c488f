"""A scripted HTTP server, for answers that no server of ours gives: cut, endless, garbage, never.

It is no stand-in for reader or writer: what it says is what the test put into it, byte by byte.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from devstack import ports

# What to do with a connection on which a request's head has come.
Script = Callable[[socket.socket, bytes], None]


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """An HTTP answer; `length` is what Content-Length says, if not the truth."""
    fields = [f"Content-Length: {len(body) if length is None else length}", *headers]
    head = "\r\n".join([f"HTTP/1.1 {status} Scripted", *fields, "", ""])
    return head.encode() + body


def say(*pieces: bytes) -> Script:
    """Sends these and closes."""

    def script(client: socket.socket, _head: bytes) -> None:
        for piece in pieces:
            client.sendall(piece)

    return script


class Scripted:
    """Answers each request by its path's script, the default script, or by closing at once."""

    def __init__(self, default: Script = say(), tls: ssl.SSLContext | None = None) -> None:
        self.port = ports.free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.default = default
        self.heads: list[bytes] = []  # of all requests so far
        self._tls = tls
        self._over = threading.Event()
        self._listener: socket.socket | None = None

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()

    def wait_over(self, _client: socket.socket, _head: bytes) -> None:
        """A script: nothing is said until the test is over."""
        self._over.wait(60.0)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(60.0)
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            head = bytearray()
            while b"\r\n\r\n" not in head:
                part = client.recv(65536)
                if not part:
                    return
                head += part
            self.heads.append(bytes(head))
            self.default(client, bytes(head))
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            # Closing with unread bytes would reset what was just said.
            while client.recv(65536):
                pass
