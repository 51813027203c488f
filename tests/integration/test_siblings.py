"""The reader's option sibling_reads, and loads from a sibling: a new endpoint warms up from another
one's files."""

import io
import pathlib
import tarfile

import pytest

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from harness import http
from harness.compute import BLOCKS, Compute, PgData, blocks, fixture
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def open_reader(module_launch: Launcher, store: Store) -> Reader:
    """With the option on; `reader` is one without."""
    return module_launch.reader(store, "--sibling-reads")


@pytest.fixture
def sibling(endpoint: Endpoint) -> Endpoint:
    """The other endpoint, of whose files this is about."""
    return endpoint.sibling("ep-2")


@pytest.fixture
def token(endpoint: Endpoint, keys: KeyPair) -> str:
    """Not the sibling's: generation 1 of its own endpoint."""
    return endpoint.token(keys, 1)


def put(writer: Writer, endpoint: Endpoint, keys: KeyPair, gen: int, body: bytes) -> None:
    url = endpoint.file_url(BLOCKS)
    assert http.put(writer.url, url, endpoint.token(keys, gen), body).status == 200


def members(body: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as tar:
        return {info.name: file.read() for info in tar if (file := tar.extractfile(info))}


def reads(reader: Reader, endpoint: Endpoint, token: str) -> dict[str, http.Answer]:
    """Everything that a reader knows to do."""
    url = endpoint.file_url(BLOCKS)
    return {
        "get": http.get(reader.url, url, token),
        "head": http.call(reader.url, "HEAD", url, token=token),
        "range": http.get(reader.url, url, token, headers={"Range": "bytes=0-1"}),
        "tar": http.get(reader.url, endpoint.url, token),
        "list": http.get(reader.url, endpoint.url, token, headers=JSON),
    }


def statuses(reader: Reader, endpoint: Endpoint, token: str) -> dict[str, int]:
    return {name: answer.status for name, answer in reads(reader, endpoint, token).items()}


def all_are(status: int) -> dict[str, int]:
    return dict.fromkeys(("get", "head", "range", "tar", "list"), status)


def test_the_highest_generation_is_read(
    open_reader: Reader, writer: Writer, sibling: Endpoint, token: str, keys: KeyPair
) -> None:
    for gen in (1, 9, 3, 0x10):  # the order of hexadecimal digits is that of numbers
        put(writer, sibling, keys, gen, b"of generation %d" % gen)
    put(writer, sibling.sibling("ep-22"), keys, 99, b"of a similar name")
    found = reads(open_reader, sibling, token)
    assert found["get"].body == b"of generation 16"
    assert found["head"].header("Content-Length") == "16"
    assert (found["range"].status, found["range"].body) == (206, b"of")
    assert members(found["tar"].body) == {BLOCKS: b"of generation 16"}
    listed = found["list"].json()
    assert (listed["endpoint"], listed["gen"], len(listed["files"])) == ("ep-2", "16", 1)


def test_it_is_off_unless_asked_for(
    reader: Reader, writer: Writer, sibling: Endpoint, token: str, keys: KeyPair
) -> None:
    put(writer, sibling, keys, 1, b"x")
    assert statuses(reader, sibling, token) == all_are(403)


def test_one_reads_and_never_writes(
    open_reader: Reader, writer: Writer, sibling: Endpoint, token: str, keys: KeyPair
) -> None:
    put(writer, sibling, keys, 1, b"x")
    url = sibling.file_url(BLOCKS)
    assert http.put(writer.url, url, token, b"y").status == 403
    assert http.delete(writer.url, url, token).status == 403
    assert http.delete(writer.url, sibling.url, token).status == 403
    assert http.put(open_reader.url, url, token, b"y").status == 405
    assert http.get(open_reader.url, url, token).body == b"x"


def test_others_are_refused(
    open_reader: Reader, writer: Writer, endpoint: Endpoint, token: str, keys: KeyPair
) -> None:
    """Another timeline, another tenant, and tokens that are no endpoint's."""
    strangers = [
        Endpoint(endpoint.tenant, name="ep-2"),
        Endpoint(timeline=endpoint.timeline, name="ep-2"),
        Endpoint(name=endpoint.name),
    ]
    for stranger in strangers:
        put(writer, stranger, keys, 1, b"x")
        assert statuses(open_reader, stranger, token) == all_are(403)
    whole = {"tenant_id": endpoint.tenant, "timeline_id": endpoint.timeline}
    for prefix in (keys.token(**whole), keys.token(tenant_id=endpoint.tenant)):
        assert statuses(open_reader, endpoint.sibling("ep-2"), prefix) == all_are(403)


def test_the_own_generation_stays_the_token_s(
    open_reader: Reader, writer: Writer, endpoint: Endpoint, token: str, keys: KeyPair
) -> None:
    put(writer, endpoint, keys, 1, b"old")
    put(writer, endpoint, keys, 2, b"new")
    assert http.get(open_reader.url, endpoint.file_url(BLOCKS), token).body == b"old"


def test_deleted_generations_are_not_served(
    open_reader: Reader,
    writer: Writer,
    store: Store,
    sibling: Endpoint,
    token: str,
    keys: KeyPair,
) -> None:
    """Not even while their files are still there."""
    for gen in (1, 2, 3):
        put(writer, sibling, keys, gen, b"of generation %d" % gen)
    store.put(sibling.tombstone(2), b"{}")  # and nobody has swept yet
    assert reads(open_reader, sibling, token)["get"].body == b"of generation 3"
    store.put(sibling.tombstone(3), b"{}")
    assert statuses(open_reader, sibling, token) == all_are(410)
    put(writer, sibling, keys, 4, b"attached anew")
    assert reads(open_reader, sibling, token)["get"].body == b"attached anew"


@pytest.mark.parametrize("scope", ["timeline", "tenant"])
def test_nothing_of_what_was_deleted_above(
    open_reader: Reader,
    writer: Writer,
    store: Store,
    sibling: Endpoint,
    token: str,
    keys: KeyPair,
    scope: str,
) -> None:
    put(writer, sibling, keys, 1, b"x")
    ids = sibling.tenant if scope == "tenant" else f"{sibling.tenant}/{sibling.timeline}"
    store.put(f"tombstones/{scope}/{ids}", b"{}")
    assert statuses(open_reader, sibling, token) == all_are(410)


def test_one_without_files(open_reader: Reader, sibling: Endpoint, token: str) -> None:
    found = reads(open_reader, sibling, token)
    assert (found["get"].status, found["head"].status) == (404, 404)
    assert (found["tar"].status, members(found["tar"].body)) == (200, {})
    assert found["list"].json()["files"] == []


# ---- Loads ----


@pytest.fixture
def warm(
    tmp_path: pathlib.Path, reader: Reader, writer: Writer, sibling: Endpoint, keys: KeyPair
) -> Compute:
    """The sibling's compute, which has stored its files."""
    compute = Compute(tmp_path / "warm", reader.url, writer.url, sibling.token(keys, 7))
    assert compute.store(PgData(tmp_path / "warm" / "pgdata", fixture())).status == 0
    return compute


def test_a_replica_starts_warm(
    tmp_path: pathlib.Path, open_reader: Reader, writer: Writer, warm: Compute, token: str
) -> None:
    """It loads the sibling's files, stores its own, and the sibling's stay what they were."""
    replica = Compute(tmp_path / "replica", open_reader.url, writer.url, token)
    pgdata = PgData(tmp_path / "replica" / "pgdata")
    assert replica.load(pgdata).says("nothing has been stored yet").status == 0
    done = replica.load(pgdata, "--from-endpoint=ep-2")
    assert done.says("files loaded", "files=3").status == 0
    assert pgdata.files() == fixture()
    pgdata.write({BLOCKS: blocks(8)})
    assert replica.store(pgdata).says("files stored", "files=3").status == 0
    own, other = PgData(tmp_path / "own"), PgData(tmp_path / "other")
    assert replica.load(own).status == 0
    assert own.files() == fixture() | {BLOCKS: blocks(8)}
    assert warm.load(other).status == 0
    assert other.files() == fixture()


def test_a_replica_of_another_cluster_does_not(
    tmp_path: pathlib.Path, open_reader: Reader, writer: Writer, warm: Compute, token: str
) -> None:
    replica = Compute(tmp_path / "replica", open_reader.url, writer.url, token)
    pgdata = PgData(tmp_path / "replica" / "pgdata", system_identifier=5)
    done = replica.load(pgdata, "--from-endpoint=ep-2")
    assert done.says("the files are not loaded", "this is 5").status == 0
    assert pgdata.files() == {}


def test_without_the_option_it_starts_cold(
    tmp_path: pathlib.Path, reader: Reader, writer: Writer, warm: Compute, token: str
) -> None:
    replica = Compute(tmp_path / "replica", reader.url, writer.url, token)
    pgdata = PgData(tmp_path / "replica" / "pgdata")
    done = replica.load(pgdata, "--from-endpoint=ep-2")
    assert done.says("the endpoint starts cold", "answered 403").status == 1
    assert replica.run("run", pgdata, "--from-endpoint=ep-2", "--", "true").status == 0
    wrong = replica.run("run", pgdata, "--from-endpoint=../ep-2", "--", "true")
    assert wrong.says("from_endpoint", "expected an endpoint's id").status == 2
