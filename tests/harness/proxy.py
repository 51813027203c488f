"""A TCP proxy in front of a server, which can refuse, stall, slow down, cut, hold one request, and
set the clock ahead that the server's answers tell.

The server itself knows nothing of the trouble: what it has answered stays true, as it does when it
is the network that fails.
"""

import contextlib
import email.utils
import re
import socket
import threading
import time
from types import TracebackType
from typing import Literal, Self

from devstack import ports
from devstack.process import DevstackError

Side = Literal["request", "answer"]

_CHUNK = 65536
_DATE = re.compile(rb"(?i)(\r\ndate: )([^\r]{29})(?=\r\n)")


class Hold:
    """A trap for one request: `reached` is set when it has been caught."""

    def __init__(self, marker: bytes, side: Side) -> None:
        self.marker = marker
        self.side = side
        self.reached = threading.Event()

    def wait(self, timeout_s: float = 30.0) -> None:
        if not self.reached.wait(timeout_s):
            raise DevstackError(f"no request with {self.marker!r} within {timeout_s:g} s")


class _Link:
    """One client's connection and ours to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.held: Side | None = None
        self.over = False

    def end(self) -> None:
        self.over = True
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Its port is chosen when it is made and stays. `with` opens and closes it."""

    def __init__(self, target_port: int) -> None:
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._target_port = target_port
        self._changed = threading.Condition()  # guards all below
        self._listener: socket.socket | None = None
        self._links: set[_Link] = set()
        self._stalled = False
        self._delay_s = 0.0
        self._ahead_s = 0
        self._hold: Hold | None = None

    # ---- What a test asks for ----

    def refuse(self) -> None:
        """As if the server were not there: what is open breaks, what comes is refused."""
        with self._changed:
            listener, self._listener = self._listener, None
        if listener:
            # Wakes accept(), which close() alone does not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def stall(self) -> None:
        """Connections are taken, and no byte passes either way."""
        with self._changed:
            self._stalled = True

    def slow_down(self, delay_s: float) -> None:
        """Each piece of a request waits so long before it goes on."""
        with self._changed:
            self._delay_s = delay_s

    def set_clock_ahead(self, ahead_s: int) -> None:
        """Answers tell a later time in Date; 0: the right one."""
        with self._changed:
            self._ahead_s = ahead_s

    def cut(self) -> None:
        """Breaks what is open, once."""
        with self._changed:
            for link in self._links:
                link.end()
            self._changed.notify_all()

    def hold(self, marker: bytes, side: Side) -> Hold:
        """The next request with these bytes gets no further than to them; or does, but not its
        answer."""
        with self._changed:
            self._hold = Hold(marker, side)
            return self._hold

    def resume(self) -> None:
        """Everything passes again, what was held included."""
        with self._changed:
            self._stalled = False
            self._delay_s = 0.0
            self._hold = None
            for link in self._links:
                link.held = None
            self._changed.notify_all()
        self._listen()

    # ---- How it is done ----

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()

    def _listen(self) -> None:
        with self._changed:
            if self._listener:
                return
            listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # refuse() has closed it
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target_port))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._join(_Link(client, server), listener)

    def _join(self, link: _Link, listener: socket.socket) -> None:
        with self._changed:
            if self._listener is not listener:  # refuse() came in between
                link.end()
            self._links.add(link)
        threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: _Link) -> None:
        back = threading.Thread(target=self._pump, args=(link, "answer"), daemon=True)
        back.start()
        self._pump(link, "request")
        back.join()
        with self._changed:
            self._links.discard(link)
        link.client.close()
        link.server.close()

    def _pump(self, link: _Link, side: Side) -> None:
        """Either side's end is the end of both: HTTP needs no half-open connections."""
        source, sink = link.client, link.server
        if side == "answer":
            source, sink = sink, source
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if side == "request" and (before := self._spring(link, data)):
                    sink.sendall(data[:before])
                    data = data[before:]
                if not self._pass(link, side):
                    break
                sink.sendall(self._set_date(data) if side == "answer" else data)
        with self._changed:
            link.end()
            self._changed.notify_all()

    def _pass(self, link: _Link, side: Side) -> bool:
        """Waits until the data may go on; False: never, the link is over."""
        with self._changed:
            delay_s = self._delay_s if side == "request" else 0.0
            while not link.over and (self._stalled or link.held == side):
                self._changed.wait()
        time.sleep(delay_s)
        return not link.over

    def _set_date(self, data: bytes) -> bytes:
        with self._changed:
            ahead_s = self._ahead_s

        def later(found: re.Match[bytes]) -> bytes:
            t_s = email.utils.parsedate_to_datetime(found[2].decode()).timestamp() + ahead_s
            return found[1] + email.utils.formatdate(t_s, usegmt=True).encode()

        return _DATE.sub(later, data) if ahead_s else data

    def _spring(self, link: _Link, data: bytes) -> int:
        """How many bytes of a request still pass before it is held; 0: none, or it is not."""
        with self._changed:
            hold = self._hold
            if not hold or hold.marker not in data:
                return 0
            link.held = hold.side
            self._hold = None
            hold.reached.set()
            return data.index(hold.marker) if hold.side == "request" and not self._stalled else 0
