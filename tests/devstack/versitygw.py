"""versitygw: an S3 server over a folder, which may keep versions.

Debian has no package of it: `deploy/install-deps versitygw` builds it into the cache. Keys live on
as names of files, so it cannot have a key that is the folder of another, nor long segments.
"""

import os
import pathlib
import shutil

from devstack import paths, ports, probe
from devstack.process import DevstackError, Process, wait_for
from devstack.s3 import S3
from devstack.service import Service

ACCESS_KEY = "test"
SECRET_KEY = "testing"
START_TIMEOUT_S = 20.0
VERSIONING = (
    b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Status>Enabled</Status></VersioningConfiguration>"
)


def program() -> str:
    """The full path, or an error that says how to get it."""
    path = shutil.which("versitygw") or str(paths.cache() / "bin" / "versitygw")
    if not os.access(path, os.X_OK):
        raise DevstackError("versitygw is not installed (deploy/install-deps versitygw)")
    return path


def enable_versioning(s3: S3, bucket: str) -> None:
    status, answer = s3.request("PUT", f"/{bucket}", query={"versioning": ""}, body=VERSIONING)
    if status != 200:
        raise DevstackError(f"bucket {bucket}: versioning: {status} {answer.decode()[:200]}")


class VersityGw(Service):
    """One bucket without versions, and one with. The data stay in the folder."""

    name = "versitygw"

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        bucket: str = "epufs",
        versioned_bucket: str = "versioned",
        tied: bool = True,
    ) -> None:
        super().__init__(folder, tied=tied)
        self.bucket = bucket
        self.versioned_bucket = versioned_bucket
        self.port = ports.free_port()
        self.s3 = S3(f"http://127.0.0.1:{self.port}", ACCESS_KEY, SECRET_KEY)
        self._data = self.folder / "data"
        self._versions = self.folder / "versions"
        # fmt: off
        argv = [
            program(), "--port", f"127.0.0.1:{self.port}", "--keep-alive", "--quiet",
            "posix", "--versioning-dir", str(self._versions), str(self._data),
        ]
        # fmt: on
        env = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        log = self.folder / "versitygw.log"
        self._process = Process("versitygw", argv, log, env=env, tied=tied)

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    def start(self) -> None:
        for folder in (self._data, self._versions):
            folder.mkdir(parents=True, exist_ok=True)
        self._process.start()
        self._process.wait_ready(self.answers, START_TIMEOUT_S)
        for bucket in (self.bucket, self.versioned_bucket):
            self._make_bucket(bucket)
        enable_versioning(self.s3, self.versioned_bucket)

    def answers(self) -> bool:
        return probe.http_status(self.port, "/") is not None

    def _make_bucket(self, bucket: str) -> None:
        def made() -> bool:
            try:
                return self.s3.request("PUT", f"/{bucket}")[0] in (200, 409)
            except OSError:
                return False

        wait_for(made, START_TIMEOUT_S, f"making the bucket {bucket}", log=self._process.log)
