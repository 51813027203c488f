"""All files of an endpoint at once: as TAR and as a list."""

import datetime
import io
import pathlib
import secrets
import subprocess
import tarfile

import pytest

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from harness import http
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

JSON = {"Accept": "application/json"}
MIB = 1 << 20

FILES = {
    "autoprewarm.blocks": secrets.token_bytes(70_001),
    "lfc_state": secrets.token_bytes(512),
    "pg_stat/empty.stat": b"",
    "pg_stat/one.stat": b"1",
    "pg_stat/ü€.stat": b"not ASCII",
    "pg_stat/a b.json": b"{}",
    "pg_stat/" + "n" * 90 + ".stat": b"98 bytes and so in the old field",
    "pg_stat/" + "n" * 93 + ".stat": b"more than the 100 bytes of that field",
    "pg_stat/" + "é" * 125 + ".stat": b"more than the 255 bytes of all fields",
    "pg_stat_statements.stat": secrets.token_bytes(300_000),
}


def stored(writer: Writer, endpoint: Endpoint, token: str, files: dict[str, bytes]) -> None:
    for path, body in files.items():
        url = endpoint.file_url(http.quoted(path))
        assert http.put(writer.url, url, token, body).status == 200


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        return {
            info.name: file.read() for info in tar if (file := tar.extractfile(info)) is not None
        }


@pytest.fixture
def full(writer: Writer, endpoint: Endpoint, keys: KeyPair) -> Endpoint:
    """An endpoint with FILES in generation 1, and others around it."""
    stored(writer, endpoint, endpoint.token(keys, 1), FILES)
    stored(writer, endpoint, endpoint.token(keys, 2), {"lfc_state": b"newer"})
    sibling = endpoint.sibling("ep-10")
    stored(writer, sibling, sibling.token(keys, 1), {"lfc_state": b"sibling"})
    return endpoint


def test_the_archive_is_what_was_stored(reader: Reader, full: Endpoint, keys: KeyPair) -> None:
    answer = http.get(reader.url, full.url, full.token(keys, 1))
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/x-tar"
    assert answer.header("Content-Length") == str(len(answer.body))
    assert len(answer.body) % 512 == 0
    assert members(answer.body) == FILES
    head = http.call(reader.url, "HEAD", full.url, token=full.token(keys, 1))
    assert (head.status, head.body) == (200, b"")
    assert head.header("Content-Length") == str(len(answer.body))


def test_gnu_tar_unpacks_it(
    reader: Reader, full: Endpoint, keys: KeyPair, tmp_path: pathlib.Path
) -> None:
    archive = http.get(reader.url, full.url, full.token(keys, 1)).body
    done = subprocess.run(
        ["tar", "-xf", "-", "-C", str(tmp_path)], input=archive, capture_output=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, b"")
    found = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert found == FILES


def test_the_list_says_what_is_there(reader: Reader, full: Endpoint, keys: KeyPair) -> None:
    token = full.token(keys, 1)
    answer = http.get(reader.url, full.url, token, headers=JSON)
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/json"
    body = answer.json()
    assert (body["tenant"], body["timeline"]) == (full.tenant, full.timeline)
    assert (body["endpoint"], body["gen"]) == (full.name, "1")
    assert {file["path"]: file["size"] for file in body["files"]} == {
        path: len(content) for path, content in FILES.items()
    }
    now = datetime.datetime.now(datetime.UTC)
    for file in body["files"]:
        head = http.call(reader.url, "HEAD", full.file_url(http.quoted(file["path"])), token=token)
        assert head.header("ETag") == f'"{file["version"]}"'
        assert head.header("Content-Length") == str(file["size"])
        age = now - datetime.datetime.fromisoformat(file["modified"])
        assert -5 < age.total_seconds() < 120


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/x-tar"),
        ("application/x-tar", "application/x-tar"),
        ("application/x-tar, application/json", "application/x-tar"),
        ("application/json", "application/json"),
        ("Application/JSON; q=0.9", "application/json"),
    ],
)
def test_what_the_client_accepts(
    reader: Reader, endpoint: Endpoint, keys: KeyPair, accept: str, kind: str
) -> None:
    answer = http.get(reader.url, endpoint.url, endpoint.token(keys), headers={"Accept": accept})
    assert (answer.status, answer.header("Content-Type")) == (200, kind)


def test_an_endpoint_without_files(reader: Reader, endpoint: Endpoint, keys: KeyPair) -> None:
    token = endpoint.token(keys, 5)
    archive = http.get(reader.url, endpoint.url, token)
    assert (archive.status, archive.body) == (200, bytes(1024))
    assert http.get(reader.url, endpoint.url, token, headers=JSON).json()["files"] == []


def test_a_deleted_endpoint(
    reader: Reader, writer: Writer, endpoint: Endpoint, keys: KeyPair
) -> None:
    token = endpoint.token(keys, 3)
    stored(writer, endpoint, token, {"lfc_state": b"x"})
    assert http.delete(writer.url, endpoint.url, token).status == 200
    for headers in ({}, JSON):
        http.problem(http.get(reader.url, endpoint.url, token, headers=headers), 410)
    http.problem(http.get(reader.url, endpoint.file_url("lfc_state"), token), 410)
    assert http.get(reader.url, endpoint.url, endpoint.token(keys, 4)).status == 200


def test_more_files_than_allowed(
    launch: Launcher, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    reader = launch.reader(store, "--endpoint-max-files=3")
    for number in range(3):
        store.put(endpoint.key(f"f{number}"), b"x")
    assert len(members(http.get(reader.url, endpoint.url, endpoint.token(keys)).body)) == 3
    store.put(endpoint.key("f3"), b"x")
    for headers in ({}, JSON):
        answer = http.get(reader.url, endpoint.url, endpoint.token(keys), headers=headers)
        http.problem(answer, 507)


def test_more_files_than_a_page_of_the_store(
    launch: Launcher, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    reader = launch.reader(store, "--endpoint-max-files=2000")
    paths = [f"f{number:04}" for number in range(1050)]
    store.put_many([endpoint.key(path) for path in paths], b"abc")
    token = endpoint.token(keys)
    assert members(http.get(reader.url, endpoint.url, token).body) == dict.fromkeys(paths, b"abc")
    listed = http.get(reader.url, endpoint.url, token, headers=JSON).json()
    assert [file["path"] for file in listed["files"]] == paths


# ---- An archive that cannot be what was listed ----

# The reader is held up by a client that takes nothing, so it cannot have come to the last file
# when that is changed: what the sockets hold between them is far less than the files before it.
BIG_FILES = 6
BIG_BYTES = 4 * MIB
LAST = "last"


def _planted(store: Store, endpoint: Endpoint) -> None:
    body = secrets.token_bytes(BIG_BYTES)
    for number in range(BIG_FILES):
        store.put(endpoint.key(f"big{number}"), body)
    store.put(endpoint.key(LAST), b"a" * 1000)


def test_an_archive_for_a_slow_client_is_whole(
    reader: Reader, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """What the next tests rest on: slowness alone does no harm."""
    _planted(store, endpoint)
    slow = http.SlowGet(reader.url, endpoint.url, endpoint.token(keys))
    body, whole = slow.rest()
    assert whole
    assert members(body)[LAST] == b"a" * 1000


@pytest.mark.parametrize("change", ["vanishes", "changes", "grows", "shrinks"])
def test_an_archive_breaks_off_when_a_file(
    reader: Reader, store: Store, endpoint: Endpoint, keys: KeyPair, change: str
) -> None:
    _planted(store, endpoint)
    slow = http.SlowGet(reader.url, endpoint.url, endpoint.token(keys))
    if change == "vanishes":
        store.delete(endpoint.key(LAST))
    else:
        size = {"changes": 1000, "grows": 5000, "shrinks": 10}[change]
        store.put(endpoint.key(LAST), b"b" * size)
    body, whole = slow.rest()
    assert not whole
    assert len(body) < int(slow.answer.headers["Content-Length"])
    # The cut is inside the member, where every program notices it, also one that is not told.
    with pytest.raises(tarfile.ReadError):
        members(body)
    tar_list = subprocess.run(["tar", "-tf", "-"], input=body, capture_output=True, timeout=30)
    assert tar_list.returncode != 0
    assert b"Unexpected EOF" in tar_list.stderr
