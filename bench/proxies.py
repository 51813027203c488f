"""BENCH=reader: the reader against nginx proxy_pass, the same object of the same store, in turns.

nginx forwards a request as it comes. The reader does more: it checks the token, makes a signature
of its own for each request to the store, has metrics and an access log with a request id.
"""

import dataclasses
import hashlib
import os
import pathlib
import shutil
import uuid
from collections.abc import Callable

from bench import measure, nginx
from bench.measure import CONNECTIONS, Load, median, say
from bench.part import Context
from bench.table import Table, number, ratios, spread
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


def run(context: Context) -> list[Table]:
    rounds, duration_s = context.pick(8, 3), context.pick(4, 2)
    say(f"reader: {rounds} rounds of {duration_s} s for each side and store")
    with Rgw(context.folder / "rgw") as rgw:
        behind_rgw = against_rgw(context.folder / "on-rgw", rgw, rounds, duration_s)
    behind_files = against_files(context.folder / "on-files", rounds, duration_s)
    return [_table(behind_files), _table(behind_rgw)]


def _table(result: Comparison) -> Table:
    def row(name: str, value: Callable[[Load], float], digits: int) -> list[str]:
        ours, theirs = [value(x) for x in result.reader], [value(x) for x in result.nginx]
        each = ratios(ours, theirs)
        return [
            name,
            number(median(ours), digits),
            number(median(theirs), digits),
            number(median(each), 2),
            spread(each, 2),
        ]

    return Table(
        f"GET of 4 KiB, {CONNECTIONS} connections, {result.store}, {len(result.reader)} rounds",
        ["reader", "nginx", "ratio", "of the rounds"],
        [
            row("requests/s", lambda x: x.requests_per_s, 0),
            row("CPU/request, µs", lambda x: x.cpu_us, 1),
            row("p50, ms", lambda x: x.p50_ms, 2),
            row("p99, ms", lambda x: x.p99_ms, 2),
        ],
        [
            "on in the reader: token check, own signature, metrics, access log with request ids to a",
            "file, 1 thread; nginx: 1 worker, kept connections, access log to a file",
        ],
    )


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
