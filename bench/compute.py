"""What epufs-compute adds to a server's start and stop: a load of five files of 1 MiB, a store of three
that have changed, and `run` around a server that does nothing, each against curl moving the same bytes
between the same programs. What is left is epufs-compute's own: checks, digests, and syncing what it
places.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence

from bench.measure import median, say
from bench.part import Context
from bench.table import Table, number, spread
from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from devstack.process import DevstackError
from devstack.rgw import Rgw
from harness.compute import Compute, PgData
from harness.ids import Endpoint

MIB = 1 << 20
LOADED, STORED = 5, 3  # files


@dataclasses.dataclass
class Comparison:
    """Milliseconds of each round."""

    store: str
    load: list[float] = dataclasses.field(default_factory=list)
    curl_load: list[float] = dataclasses.field(default_factory=list)
    save: list[float] = dataclasses.field(default_factory=list)
    curl_save: list[float] = dataclasses.field(default_factory=list)
    run: list[float] = dataclasses.field(default_factory=list)
    bare: list[float] = dataclasses.field(default_factory=list)


def _timed(argv: Sequence[str]) -> float:
    began = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60.0, check=False)
    ms = (time.monotonic() - began) * 1000
    if done.returncode != 0 or "starts cold" in done.stderr:
        raise DevstackError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
    return ms


def _names() -> list[str]:
    return [f"pg_stat/{nth}.stat" for nth in range(LOADED)]


class _Side:
    """Reader, writer and an endpoint of theirs."""

    def __init__(
        self,
        folder: pathlib.Path,
        reader: Reader,
        writer: Writer,
        endpoint: Endpoint,
        keys: KeyPair,
    ) -> None:
        folder.mkdir()
        self.folder, self.endpoint = folder, endpoint
        self.reader, self.writer = reader, writer
        token = endpoint.token(keys, 1)
        self.header = folder / "header"  # so that the token is on no command line
        self.header.write_text(f"Authorization: Bearer {token}\n", encoding="ascii")
        self.compute = Compute(folder / "compute", reader.url, writer.url, token)

    def curl(self, *arguments: str) -> float:
        return _timed(["curl", "-sS", "--fail", "-H", f"@{self.header}", *arguments])


def _round(side: _Side, other: _Side, nth: int, result: Comparison) -> None:
    """`other` is the endpoint that curl stores to, so that it never meets our conditions."""
    node = PgData(side.folder / f"node-{nth}")
    target = side.folder / "got.tar"
    turns: list[Callable[[], None]] = [
        lambda: result.load.append(_timed(side.compute.argv("load", node))),
        lambda: result.curl_load.append(
            side.curl("-o", str(target), side.reader.url + side.endpoint.url)
        ),
    ]
    for turn in turns if nth % 2 else reversed(turns):
        turn()
    result.bare.append(_timed(["true"]))
    result.run.append(_timed(side.compute.argv("run", node, "--store-interval=0", "--", "true")))
    node.write({name: os.urandom(MIB) for name in _names()[:STORED]})
    result.save.append(_timed(side.compute.argv("store", node)))
    uploads: list[str] = []
    for name in _names()[:STORED]:
        url = other.writer.url + other.endpoint.file_url(name)
        uploads += ["-o", os.devnull, "-T", str(node.path / name), url]
    result.curl_save.append(other.curl("--parallel", *uploads))
    shutil.rmtree(node.path)


def _compare(
    folder: pathlib.Path, store: str, url: str, env: dict[str, str], rounds: int
) -> Comparison:
    folder.mkdir(parents=True)
    keys = KeyPair.generate()
    public = keys.save(folder / "keys")[1]
    result = Comparison(store)
    reader = Reader(folder / "logs", url, [public], env=env)
    writer = Writer(folder / "logs", url, [public], env=env)
    with reader, writer:
        side = _Side(folder / "ours", reader, writer, Endpoint(), keys)
        other = _Side(folder / "curl", reader, writer, Endpoint(), keys)
        first = PgData(folder / "first", {name: os.urandom(MIB) for name in _names()})
        _timed(side.compute.argv("store", first))
        for nth in range(rounds):
            _round(side, other, nth, result)
    return result


def _table(result: Comparison) -> Table:
    rows = []
    for title, ours, theirs in (
        (f"load of {LOADED} files of 1 MiB", result.load, result.curl_load),
        (f"store of {STORED} files of 1 MiB", result.save, result.curl_save),
        ("run, all current, against a bare start", result.run, result.bare),
    ):
        more = [a - b for a, b in zip(ours, theirs, strict=True)]
        cells = (number(median(ours)), number(median(theirs)), number(median(more)), spread(more))
        rows.append((title, *cells))
    title = f"epufs-compute on {result.store}, milliseconds, {len(result.load)} rounds"
    return Table(title, ("ours", "curl", "more", "of the rounds"), rows)


def run(context: Context) -> list[Table]:
    rounds = context.pick(25, 5)
    say(f"compute: {rounds} rounds of load, run and store, on a folder and on Ceph RGW")
    local = context.folder / "folder-store"
    local.mkdir(parents=True)
    tables = [_table(_compare(context.folder / "on-folder", "a folder", f"file://{local}", {}, rounds))]
    with Rgw(context.folder / "rgw") as rgw:
        store = f"s3://{rgw.bucket}/compute"
        on_rgw = _compare(context.folder / "on-rgw", "Ceph RGW", store, rgw.s3.env(), rounds)
    return [*tables, _table(on_rgw)]
