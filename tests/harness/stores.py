"""The stores behind our programs, seen past them: list, read, plant and remove objects."""

import concurrent.futures
import dataclasses
import hashlib
import http.client
import itertools
import os
import pathlib
import secrets
import urllib.parse
import xml.etree.ElementTree
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

from devstack.rgw import Rgw
from devstack.s3 import S3
from harness.proxy import Proxy

Kind = Literal["folder", "s3"]

THREADS = 4
BATCH = 500


class Store(Protocol):
    """One store. Keys are relative to its prefix, as in the design: tenants/..., tombstones/..."""

    kind: Kind
    url: str
    env: dict[str, str]

    def listing(self, prefix: str = "") -> dict[str, int]:
        """Every key with the prefix, and its size."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, body: bytes) -> None: ...

    def delete(self, key: str) -> None:
        """Also of what is not there."""

    def put_many(self, keys: Iterable[str], body: bytes = b"x") -> None:
        """The same body under many keys, fast."""

    def leftovers(self) -> list[str]:
        """What uploads have left that did not become objects."""


def numbered(prefix: str, count: int) -> Iterator[str]:
    """Keys for put_many()."""
    return (f"{prefix}file-{number:06}" for number in range(count))


class FolderStore:
    """The folder driver's files; libstore/file/path.c has the rules of their names."""

    kind: Kind = "folder"
    _PIECE = 253

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root.resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self.url = f"file://{self.root}"
        self.env: dict[str, str] = {}

    def listing(self, prefix: str = "") -> dict[str, int]:
        # Only folders that can hold such keys are read: a prefix is mostly a folder's.
        whole, _, _ = prefix.rpartition("/")
        folder = self._folder(whole) if whole else self.root
        base = f"{whole}/" if whole else ""
        found = dict(self._walk(folder, base))
        return {key: size for key, size in sorted(found.items()) if key.startswith(prefix)}

    def get(self, key: str) -> bytes | None:
        try:
            return self._file(key).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, key: str, body: bytes) -> None:
        file = self._file(key)
        # Appears whole, as the driver's own files do; '%x' is a mark of nobody, so it is no object.
        draft = file.with_name(f"{secrets.token_hex(8)}%x")
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(body)
        draft.replace(file)

    def delete(self, key: str) -> None:
        self._file(key).unlink(missing_ok=True)

    def put_many(self, keys: Iterable[str], body: bytes = b"x") -> None:
        made: set[pathlib.Path] = set()
        for key in keys:
            file = self._file(key)
            if file.parent not in made:
                file.parent.mkdir(parents=True, exist_ok=True)
                made.add(file.parent)
            file.write_bytes(body)

    def leftovers(self) -> list[str]:
        return [path.name for path in self.root.glob("tmp%s/*")]

    def _folder(self, key: str) -> pathlib.Path:
        return self.root.joinpath(*itertools.chain(*map(self._pieces, key.split("/"))))

    def _file(self, key: str) -> pathlib.Path:
        *folders, name = key.split("/")
        path = self.root.joinpath(*itertools.chain(*map(self._pieces, folders)))
        *cuts, last = self._cut(name)
        return path.joinpath(*(f"{cut}%l" for cut in cuts), f"{last}%o")

    def _cut(self, part: str) -> list[str]:
        """A part in pieces of 253 bytes; what is left comes last and may be empty."""
        raw = os.fsencode(part)
        cuts = [raw[at : at + self._PIECE] for at in range(0, len(raw) + 1, self._PIECE)]
        return [os.fsdecode(cut) for cut in cuts]

    def _pieces(self, part: str) -> list[str]:
        *cuts, last = self._cut(part)
        marked = last in ("", ".", "..") or last[-2:-1] == "%"
        return [*(f"{cut}%l" for cut in cuts), f"{last}%d" if marked else last]

    def _walk(self, folder: pathlib.Path, base: str) -> Iterator[tuple[str, int]]:
        try:
            with os.scandir(folder) as found:
                entries = list(found)
        except FileNotFoundError:  # never there, or pruned meanwhile
            return
        for entry in entries:
            name, mark = entry.name, ""
            if name[-2:-1] == "%":
                name, mark = name[:-2], name[-1]
            if mark == "o":
                try:
                    yield base + name, entry.stat().st_size
                except FileNotFoundError:
                    continue
            elif mark == "l":
                yield from self._walk(pathlib.Path(entry.path), base + name)
            elif mark in ("", "d"):
                yield from self._walk(pathlib.Path(entry.path), f"{base}{name}/")


class S3Store:
    """A prefix of a bucket."""

    kind: Kind = "s3"

    def __init__(self, s3: S3, bucket: str, prefix: str) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.prefix = prefix
        self.url = f"s3://{bucket}/{prefix}"
        self.env = s3.env()

    def listing(self, prefix: str = "") -> dict[str, int]:
        found: dict[str, int] = {}
        query = {"list-type": "2", "prefix": f"{self.prefix}/{prefix}"}
        while True:
            status, body = self.s3.request("GET", f"/{self.bucket}", query=query)
            assert status == 200, body
            page = xml.etree.ElementTree.fromstring(body)
            for item in page.iterfind("{*}Contents"):
                key = item.findtext("{*}Key") or ""
                found[key.removeprefix(f"{self.prefix}/")] = int(item.findtext("{*}Size") or 0)
            token = page.findtext("{*}NextContinuationToken")
            if not token:
                return found
            query["continuation-token"] = token

    def get(self, key: str) -> bytes | None:
        status, body = self.s3.request("GET", self._path(key))
        assert status in (200, 404), body
        return body if status == 200 else None

    def put(self, key: str, body: bytes) -> None:
        status, answer = self.s3.request("PUT", self._path(key), body=body)
        assert status == 200, answer

    def delete(self, key: str) -> None:
        status, answer = self.s3.request("DELETE", self._path(key))
        assert status in (204, 404), answer

    def put_many(self, keys: Iterable[str], body: bytes = b"x") -> None:
        wanted = list(keys)
        batches = [wanted[at : at + BATCH] for at in range(0, len(wanted), BATCH)]
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda batch: self._put_batch(batch, body), batches))

    def _put_batch(self, keys: Iterable[str], body: bytes) -> None:
        """On one connection: a new one for each object would take twice the time."""
        host = urllib.parse.urlsplit(self.s3.endpoint).netloc
        body_hash = hashlib.sha256(body).hexdigest()
        connection = http.client.HTTPConnection(host, timeout=30.0)
        try:
            for key in keys:
                path = urllib.parse.quote(self._path(key), safe="/-_.~")
                connection.request(
                    "PUT", path, body, self.s3.signed("PUT", host, path, "", body_hash)
                )
                answer = connection.getresponse()
                assert (answer.read(), answer.status)[1] == 200, f"{key}: {answer.status}"
        finally:
            connection.close()

    def leftovers(self) -> list[str]:
        query = {"uploads": "", "prefix": f"{self.prefix}/"}
        status, body = self.s3.request("GET", f"/{self.bucket}", query=query)
        assert status == 200, body
        page = xml.etree.ElementTree.fromstring(body)
        return [item.findtext("{*}Key") or "" for item in page.iterfind("{*}Upload")]

    def _path(self, key: str) -> str:
        return f"/{self.bucket}/{self.prefix}/{key}"


def make(kind: Kind, folder: pathlib.Path, rgw: Rgw | None) -> Store:
    """An empty store that nobody else uses; `rgw` is what "s3" needs."""
    if kind == "folder":
        return FolderStore(folder / "store")
    assert rgw is not None
    return S3Store(rgw.s3, rgw.bucket, f"t-{secrets.token_hex(6)}")


def behind(store: S3Store, proxy: Proxy) -> S3Store:
    """The same store by way of the proxy."""
    s3 = dataclasses.replace(store.s3, endpoint=proxy.url)
    return S3Store(s3, store.bucket, store.prefix)


def fresh_s3(rgw: Rgw) -> S3Store:
    """A prefix of a test's own."""
    return S3Store(rgw.s3, rgw.bucket, f"t-{secrets.token_hex(6)}")
