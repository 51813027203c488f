"""bench/fakestore, the mock of an S3 server, as a service."""

import http.client
import json
import pathlib
import urllib.parse
from collections.abc import Mapping

from devstack import ports, probe
from devstack.process import DevstackError, Process
from devstack.s3 import S3
from devstack.service import Service

START_TIMEOUT_S = 10.0
# What a distant S3 takes, as measured on others' stores; see docs/bench.md.
DISTANT = {"list_ms": 80, "batch_ms": 250, "delete_ms": 40}
NEAR = {"list_ms": 8, "batch_ms": 25, "delete_ms": 4}
# What small requests to an S3 of the same region take, about.
LIKE_S3 = {"list_ms": 15, "batch_ms": 20, "delete_ms": 10, "get_ms": 10, "put_ms": 15}


def about(delays: Mapping[str, int]) -> str:
    """For the title of a table."""
    return ", ".join(f"{name.removesuffix('_ms')} {ms} ms" for name, ms in delays.items())


class FakeStore(Service):
    name = "fakestore"
    bucket = "bench"

    def __init__(self, folder: pathlib.Path, program: pathlib.Path, **options: int) -> None:
        """options: those of the program, such as list_ms=80."""
        super().__init__(folder)
        self.port = ports.free_port()
        self.s3 = S3(f"http://127.0.0.1:{self.port}", "bench-access", "bench-secret")
        argv = [str(program), "--port", str(self.port)]
        for name, value in options.items():
            argv += [f"--{name.replace('_', '-')}", str(value)]
        self._process = Process(self.name, argv, self.folder / "fakestore.log")

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    def start(self) -> None:
        self._process.start()
        self._process.wait_ready(lambda: probe.tcp_open(self.port), START_TIMEOUT_S)

    def _ask(self, method: str, target: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise DevstackError(f"fakestore: {method} {target}: {answer.status} {body!r}")
        return body

    def define_keys(self, prefix: str, count: int) -> None:
        """count keys below the prefix, 10,000 to a folder; all are there (again)."""
        query = urllib.parse.urlencode({"prefix": prefix, "count": count, "split": 4})
        self._ask("PUT", f"/__keys?{query}")

    def counters(self) -> dict[str, int]:
        return json.loads(self._ask("GET", "/__counters"))
