"""Debian's redis-server with an append-only file."""

import pathlib
import socket

from devstack import ports
from devstack.process import Process, require
from devstack.service import Service

START_TIMEOUT_S = 15.0


class Redis(Service):
    """Its data stay in the folder: stop() or kill(), then start(), finds them again."""

    name = "redis"

    def __init__(self, folder: pathlib.Path, *, tied: bool = True) -> None:
        super().__init__(folder, tied=tied)
        self.port = ports.free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        # fmt: off
        argv = [
            require("redis-server", "redis-server"),
            "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder),
            "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--save", "",
            "--daemonize", "no",
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
