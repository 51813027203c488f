"""Debian's redis-server with an append-only file, and its sentinel."""

import pathlib
import socket
from collections.abc import Sequence

from devstack import ports, probe
from devstack.certificates import Authority
from devstack.process import Process, require
from devstack.service import Service

START_TIMEOUT_S = 15.0


def _tls_options(folder: pathlib.Path, authority: Authority) -> dict[str, str]:
    identity = authority.identity(f"redis-{folder.name}")
    return {
        "tls-cert-file": str(identity.certificate),
        "tls-key-file": str(identity.key),
        "tls-ca-cert-file": str(authority.certificate),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
    }


class Redis(Service):
    """Its data stay in the folder: stop() or kill(), then start(), finds them again.

    With an authority it also listens for TLS at `tls_port`, and `url` is that. `more` are further
    words of its command line.
    """

    name = "redis"

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        tied: bool = True,
        authority: Authority | None = None,
        more: Sequence[str] = (),
    ) -> None:
        super().__init__(folder, tied=tied)
        self.port = ports.free_port()
        self.tls_port = ports.free_port() if authority else 0
        self.url = f"redis://127.0.0.1:{self.port}"
        tls: list[str] = []
        if authority:
            self.url = f"rediss://127.0.0.1:{self.tls_port}"
            settings = _tls_options(self.folder, authority) | {"tls-port": str(self.tls_port)}
            tls = [word for name, value in settings.items() for word in (f"--{name}", value)]
        # fmt: off
        argv = [
            require("redis-server", "redis-server"),
            "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder),
            "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", "",
            "--daemonize", "no", *tls, *more,
        ]
        # fmt: on
        self._process = Process("redis", argv, self.folder / "redis.log", tied=tied)

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process.start()
        self._process.wait_ready(self.answers, START_TIMEOUT_S)

    def command(self, *words: str, timeout_s: float = 2.0) -> bytes:
        """The raw first part of a reply: enough for PING, FLUSHALL and the like."""
        with socket.create_connection(("127.0.0.1", self.port), timeout_s) as connection:
            request = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
            connection.sendall(request.encode())
            return connection.recv(4096)

    def answers(self) -> bool:
        try:
            return self.command("PING") == b"+PONG\r\n"
        except OSError:
            return False


class Sentinel(Service):
    """One that decides alone (quorum 1), and soon, over the master of the name `master`."""

    name = "sentinel"
    master = "epufs"

    def __init__(
        self,
        folder: pathlib.Path,
        watched: Redis,
        *,
        tied: bool = True,
        authority: Authority | None = None,
        password: str | None = None,
    ) -> None:
        super().__init__(folder, tied=tied)
        self.port = ports.free_port()
        self._watched_port = watched.tls_port if authority else watched.port
        self._authority = authority
        self._password = password
        self._config = self.folder / "sentinel.conf"
        argv = [require("redis-sentinel", "redis-sentinel"), str(self._config)]
        self._process = Process("sentinel", argv, self.folder / "sentinel.log", tied=tied)

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._config.exists():  # the sentinel keeps what it knows in there
            self._config.write_text(self._settings(), encoding="ascii")
        self._process.start()
        self._process.wait_ready(lambda: probe.tcp_open(self.port), START_TIMEOUT_S)

    def _settings(self) -> str:
        settings = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder)}
        if self._authority:
            settings |= _tls_options(self.folder, self._authority)
            settings |= {"port": "0", "tls-port": str(self.port)}
        if self._password:
            settings["requirepass"] = self._password
        name = self.master
        lines = [f"{key} {value}" for key, value in settings.items()] + [
            f"sentinel monitor {name} 127.0.0.1 {self._watched_port} 1",
            f"sentinel down-after-milliseconds {name} 500",
            f"sentinel failover-timeout {name} 3000",
        ]
        return "\n".join(lines) + "\n"
