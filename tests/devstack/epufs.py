"""The three programs of EPUFS as services: start, wait for /readyz, stop, kill -9."""

import pathlib
from collections.abc import Mapping, Sequence

from devstack import paths, ports, probe
from devstack.process import Process
from devstack.service import Service

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0


class Program(Service):
    """One of our programs. `options` are its command line without --listen."""

    program = ""

    def __init__(
        self,
        folder: pathlib.Path,
        options: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        tied: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(folder, tied=tied)
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.name = name or self.program
        program = str(paths.program(self.program))
        argv = [program, "--listen", f"127.0.0.1:{self.port}", *options]
        log = self.folder / f"{self.name}.log"
        self.process = Process(self.name, argv, log, env=env, tied=tied)

    @property
    def processes(self) -> list[Process]:
        return [self.process]

    def start(self) -> None:
        self.start_without_waiting()
        self.wait_ready()

    def start_without_waiting(self) -> None:
        """For a start that is not meant to become ready yet, such as without a broker."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process.start()

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S, path: str = "/readyz") -> None:
        self.process.wait_ready(lambda: self.status(path) == 200, timeout_s)

    def status(self, path: str) -> int | None:
        return probe.http_status(self.port, path)

    def stop(self) -> None:
        self.process.stop(STOP_TIMEOUT_S)


class _Front(Program):
    """Reader and writer: they need a store and the keys that they trust."""

    def __init__(
        self,
        folder: pathlib.Path,
        store_url: str,
        token_keys: Sequence[pathlib.Path],
        *,
        more: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        tied: bool = True,
        name: str | None = None,
    ) -> None:
        keys = ",".join(str(path) for path in token_keys)
        options = ["--store", store_url, "--token_keys", keys, *more]
        super().__init__(folder, options, env=env, tied=tied, name=name)


class Reader(_Front):
    program = "epufs-reader"


class Writer(_Front):
    program = "epufs-writer"


class Janitor(Program):
    program = "epufs-janitor"

    def __init__(
        self,
        folder: pathlib.Path,
        store_url: str,
        brokers: str,
        redis_url: str,
        *,
        more: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        tied: bool = True,
        name: str | None = None,
    ) -> None:
        # fmt: off
        options = [
            "--store", store_url, "--kafka_brokers", brokers, "--redis_url", redis_url, *more,
        ]
        # fmt: on
        super().__init__(folder, options, env=env, tied=tied, name=name)
