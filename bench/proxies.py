"""The reader against nginx proxy_pass: the same object of the same store, in turns.

nginx forwards a request as it comes. The reader does more: it checks the token, makes a signature
of its own for each request to the store, has metrics and an access log with a request id.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import uuid

from bench import measure, nginx
from bench.measure import Load
from devstack.epufs import Reader
from devstack.keys import KeyPair
from devstack.process import DevstackError
from devstack.rgw import Rgw
from devstack.s3 import S3

OBJECT_BYTES = 4096
PREFIX = "bench"
WARM_UP_S = 1


@dataclasses.dataclass(frozen=True)
class Target:
    """One object: how the reader's clients name it, and where the store has it."""

    tenant: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    timeline: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    endpoint: str = "ep-bench"
    gen: int = 1
    file: str = "pg_stat_statements.stat"

    @property
    def path(self) -> str:
        scope = f"tenants/{self.tenant}/timelines/{self.timeline}/endpoints/{self.endpoint}"
        return f"/{scope}/pgdata/{self.file}"

    def key(self) -> str:
        return self.path.lstrip("/").replace("/pgdata/", f"/{self.gen:016x}/pgdata/")


@dataclasses.dataclass(frozen=True)
class Comparison:
    store: str
    reader: list[Load]
    nginx: list[Load]


def against_files(folder: pathlib.Path, rounds: int, duration_s: int) -> Comparison:
    """A plain nginx that serves the object as a file is faster than any S3 server, so what is
    measured is the proxy. It ignores the signature."""
    target, bucket = Target(), "epufs"
    path = folder / "root" / bucket / PREFIX / target.key()
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(OBJECT_BYTES))
    with nginx.files_of(folder / "root", folder / "nginx-store") as store:
        s3 = S3(store.url, "bench", "not-checked")
        return _compare(
            "static nginx as the store", folder, target, s3, bucket, {}, rounds, duration_s
        )


def against_rgw(folder: pathlib.Path, rgw: Rgw, rounds: int, duration_s: int) -> Comparison:
    """wrk sends nginx a request that is signed for the store; it stays valid for 15 minutes."""
    target = Target()
    path = f"/{rgw.bucket}/{PREFIX}/{target.key()}"
    status, answer = rgw.s3.request("PUT", path, body=os.urandom(OBJECT_BYTES))
    if status != 200:
        raise DevstackError(f"PUT {path}: {status} {answer!r}")
    host = rgw.s3.endpoint.rpartition("/")[2]
    signed = rgw.s3.signed("GET", host, path, "", hashlib.sha256(b"").hexdigest())
    del signed["host"]  # nginx sets the same
    return _compare("Ceph RGW", folder, target, rgw.s3, rgw.bucket, signed, rounds, duration_s)


def _compare(
    name: str,
    folder: pathlib.Path,
    target: Target,
    s3: S3,
    bucket: str,
    signed: dict[str, str],
    rounds: int,
    duration_s: int,
) -> Comparison:
    keys = KeyPair.generate()
    _, public = keys.save(folder / "keys")
    token = keys.endpoint_token(target.tenant, target.timeline, target.endpoint, gen=target.gen)
    reader = Reader(
        folder / "reader",
        f"s3://{bucket}/{PREFIX}",
        [public],
        more=["--threads", "1"],
        env=s3.env(),
    )
    store_port = int(s3.endpoint.rpartition(":")[2])
    proxy = nginx.proxy_to(store_port, folder / "nginx")
    stored_at = f"{proxy.url}/{bucket}/{PREFIX}/{target.key()}"
    with reader, proxy:
        bearer = {"Authorization": f"Bearer {token}"}
        sides = {
            "reader": lambda: measure.load(
                reader.url + target.path, bearer, reader.process.pid, duration_s
            ),
            "nginx": lambda: measure.load(stored_at, signed, proxy.worker, duration_s),
        }
        measure.load(reader.url + target.path, bearer, reader.process.pid, WARM_UP_S)
        measure.load(stored_at, signed, proxy.worker, WARM_UP_S)
        results = measure.in_turns(sides, rounds)
    for logs in ("reader", "nginx"):
        shutil.rmtree(folder / logs)  # a line for each request: some hundred MiB
    return Comparison(name, results["reader"], results["nginx"])
