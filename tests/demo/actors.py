"""Those who use EPUFS: a compute with its token, the control plane with events, an operator."""

import dataclasses
import io
import json
import pathlib
import secrets
import tarfile
from collections.abc import Mapping
from typing import Any

from demo.stage import expect
from devstack import broker, kafka_client, paths
from devstack.keys import KeyPair
from devstack.process import run
from harness import http
from harness.deletions import Deletion, Mode, envelope
from harness.ids import Endpoint

# Paths below PGDATA, and the bytes.
Files = Mapping[str, bytes]


def load(folder: pathlib.Path) -> Files:
    """The files below a folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@dataclasses.dataclass(frozen=True)
class Compute:
    """One endpoint attached in one generation. It holds a token for just that."""

    endpoint: Endpoint
    gen: int
    token: str
    reader: str
    writer: str

    def __str__(self) -> str:
        return f"{self.endpoint.name}, generation {self.gen}"

    def put(self, name: str, data: bytes) -> int:
        return http.put(self.writer, self.endpoint.file_url(name), self.token, data).status

    def get(self, name: str) -> http.Answer:
        return http.get(self.reader, self.endpoint.file_url(name), self.token)

    def store(self, files: Files) -> None:
        for name, data in files.items():
            status = self.put(name, data)
            expect(status == 200, f"{self}: PUT {name} was answered {status}, not 200")

    def listing(self) -> list[Mapping[str, Any]]:
        answer = http.get(
            self.reader, self.endpoint.url, self.token, headers={"Accept": "application/json"}
        )
        expect(answer.status == 200, f"{self}: the list was answered {answer.status}, not 200")
        files: list[Mapping[str, Any]] = answer.json()["files"]
        return files

    def tar(self) -> tuple[Files, int]:
        """The files in the endpoint's TAR, and the size of the TAR."""
        answer = http.get(self.reader, self.endpoint.url, self.token)
        expect(answer.status == 200, f"{self}: the TAR was answered {answer.status}, not 200")
        files = {}
        with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member)
                files[member.name] = content.read() if content else b""
        return files, len(answer.body)


class ControlPlane:
    """Has the private key, attaches endpoints, and publishes what is to be deleted."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._keys = KeyPair.load(pathlib.Path(env["JWT_PRIVATE_KEY_FILE"]))

    def attach(self, endpoint: Endpoint, gen: int) -> Compute:
        token = endpoint.token(self._keys, gen)
        return Compute(endpoint, gen, token, self._env["READER_URL"], self._env["WRITER_URL"])

    def request(self, deletion: Deletion, mode: Mode = "structured") -> str:
        """Publishes a CloudEvent; returns its id."""
        event_id = f"demo-{secrets.token_hex(4)}"
        value, headers = envelope(deletion.data(reason="demo"), mode, event_id)
        self.publish(value, deletion.endpoint.tenant, headers)
        return event_id

    def publish(
        self, value: bytes, key: str, headers: Mapping[str, bytes] | None = None
    ) -> tuple[int, int]:
        """Returns where it is: partition and offset."""
        return kafka_client.publish(
            self._env["KAFKA_BOOTSTRAP"],
            broker.DELETIONS,
            value,
            key=key.encode(),
            headers=headers,
        )


class Operator:
    """Looks at deletions with the janitor's own command."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def jobs(self) -> Mapping[str, Mapping[str, Any]]:
        """By job id: what is open, and what was completed lately."""
        # fmt: off
        argv = [
            str(paths.program("epufs-janitor")), "status", "--json", "--log_level=warn",
            "--store", self._env["STORE_URL"], "--redis_url", self._env["REDIS_URL"],
        ]
        # fmt: on
        status = json.loads(run(argv, env=self._env))
        return {job["job_id"]: job for job in [*status["completed"], *status["open"]]}
