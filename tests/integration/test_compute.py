"""epufs-compute against reader and writer: what is stored comes back, and only that."""

import functools
import json
import pathlib
import subprocess
import threading
import time

import pytest

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from devstack.process import wait_for
from harness import http
from harness.compute import (
    BLOCKS,
    MANIFEST,
    STAGING,
    STATEMENTS,
    Compute,
    PgData,
    blocks,
    fixture,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy
from harness.stores import Store

MIB = 1 << 20
LONG = "pg_stat/" + "n" * 110 + ".stat"
PGSTAT = "pg_stat/pgstat.stat"


@pytest.fixture
def token(endpoint: Endpoint, keys: KeyPair) -> str:
    return endpoint.token(keys, 1)


@pytest.fixture
def compute(tmp_path: pathlib.Path, reader: Reader, writer: Writer, token: str) -> Compute:
    return Compute(tmp_path / "compute", reader.url, writer.url, token)


@pytest.fixture
def first(tmp_path: pathlib.Path) -> PgData:
    """Where a server has left its files."""
    return PgData(tmp_path / "first", fixture())


@pytest.fixture
def second(tmp_path: pathlib.Path) -> PgData:
    """The same cluster on another node."""
    return PgData(tmp_path / "second")


def listing(reader: Reader, endpoint: Endpoint, token: str) -> dict[str, int]:
    answer = http.get(reader.url, endpoint.url, token, headers={"Accept": "application/json"})
    assert answer.status == 200
    return {file["path"]: file["size"] for file in answer.json()["files"]}


# ---- There and back ----


def test_files_come_back_as_they_were(compute: Compute, first: PgData, second: PgData) -> None:
    assert compute.store(first).says("files stored", "files=3").status == 0
    second.write({BLOCKS: blocks(3)})  # as a base backup may have brought it
    done = compute.load(second)
    assert done.says("files loaded", "files=3", "refused=0").status == 0
    assert second.files() == fixture()
    assert all(second.mode(name) == 0o600 for name in fixture())
    assert second.mode(STAGING) == 0o700
    again = compute.load(second)
    assert again.says("files loaded", "files=0", "current=3").status == 0
    assert compute.store(second).says("files stored", "files=0", "unchanged=3").status == 0


def test_sizes_and_long_paths(
    compute: Compute, tmp_path: pathlib.Path, second: PgData, reader: Reader
) -> None:
    large = (b"%063d\n" * 1) % 7 * (100 * MIB // 64)
    files = {
        "pg_stat/empty.stat": b"",
        "pg_stat/one.stat": b"1",
        "pg_stat/large.stat": large,
        LONG: b"a path of more than the 100 bytes of TAR's old field",
        BLOCKS: blocks(100_000),
    }
    assert len(large) == 100 * MIB
    node = PgData(tmp_path / "node", files)
    assert compute.store(node, "--store-timeout=60s").says("files stored", "files=5").status == 0
    assert compute.load(second, "--load-timeout=60s").says("files loaded", "files=5").status == 0
    assert second.files() == files


def test_nothing_stored_is_a_cold_start(compute: Compute, second: PgData) -> None:
    done = compute.load(second)
    assert done.says("the endpoint starts cold", "nothing has been stored yet").status == 0
    assert second.files() == {}


def test_what_is_no_cluster_yet_is_left_alone(compute: Compute, tmp_path: pathlib.Path) -> None:
    """initdb wants its folder empty."""
    empty = tmp_path / "empty"
    empty.mkdir()
    for command in ("load", "store"):
        assert compute.run(command, empty).says("pgdata is no PostgreSQL cluster", "PG_VERSION")
        assert list(empty.iterdir()) == []
    missing = compute.load(tmp_path / "missing")
    assert missing.says("starts cold", "cannot open the folder").status == 1


def test_a_cluster_without_files_stores_nothing(
    compute: Compute, second: PgData, reader: Reader, endpoint: Endpoint, token: str
) -> None:
    assert compute.store(second).says("files stored", "files=0").status == 0
    assert listing(reader, endpoint, token) == {}


def test_only_what_changed_is_stored(
    compute: Compute, first: PgData, reader: Reader, endpoint: Endpoint, token: str
) -> None:
    assert compute.store(first).status == 0
    first.write({BLOCKS: blocks(7)})
    assert compute.store(first).says("files=1", "unchanged=2").status == 0
    (first.path / STATEMENTS).unlink()  # as the server does when it has read it
    assert compute.store(first).says("files=0", "unchanged=2").status == 0
    sizes = {name: len(data) for name, data in fixture().items()} | {BLOCKS: len(blocks(7))}
    found = listing(reader, endpoint, token)
    assert {name: size for name, size in found.items() if name != MANIFEST} == sizes
    assert found[MANIFEST] > 0


# ---- What does not travel ----


def test_only_known_files_are_stored(
    compute: Compute, first: PgData, reader: Reader, endpoint: Endpoint, token: str
) -> None:
    first.write({"postgresql.conf": b"x", "pg_hba.conf": b"x", "pg_stat/x.tmp": b"x"})
    (first.path / "pg_stat" / "link.stat").symlink_to("/etc/passwd")
    assert compute.store(first).says("link.stat", "a file is not stored").status == 0
    assert set(listing(reader, endpoint, token)) == {*fixture(), MANIFEST}


def test_what_postgres_would_not_take_is_not_stored(
    compute: Compute, first: PgData, reader: Reader, endpoint: Endpoint, token: str
) -> None:
    first.write({BLOCKS: b"<<9>>\n", STATEMENTS: b"", "lfc_state": b"not a state"})
    done = compute.store(first)
    done.says(BLOCKS, "promises 9 blocks and has 0").says(STATEMENTS, "it is empty")
    assert done.says("lfc_state", "does not begin as").status == 0
    assert set(listing(reader, endpoint, token)) == {PGSTAT, MANIFEST}


@pytest.mark.parametrize(
    ("major", "identifier", "words"),
    [
        (16, 7_000_000_000_000_000_001, "the files are of PostgreSQL 15, the cluster is of 16"),
        (15, 5, "the files are of the cluster 7000000000000000001, this is 5"),
    ],
)
def test_another_cluster_gets_nothing(
    compute: Compute,
    first: PgData,
    tmp_path: pathlib.Path,
    major: int,
    identifier: int,
    words: str,
) -> None:
    assert compute.store(first).status == 0
    other = PgData(tmp_path / "other", major=major, system_identifier=identifier)
    done = compute.load(other)
    assert done.says("the files are not loaded", words).says("starts cold").status == 0
    assert other.files() == {}
    # What it stores takes the place of those, and is its own from then on.
    other.write({BLOCKS: blocks(5)})
    assert compute.store(other).says("files stored", "files=1").status == 0
    back = PgData(tmp_path / "back", major=major, system_identifier=identifier)
    assert compute.load(back).says("files loaded", "files=1").status == 0
    assert back.files() == {BLOCKS: blocks(5)}


def test_files_without_their_manifest_stay_out(
    compute: Compute,
    second: PgData,
    writer: Writer,
    endpoint: Endpoint,
    token: str,
) -> None:
    url = endpoint.file_url(BLOCKS)
    assert http.put(writer.url, url, token, blocks(3)).status == 200
    done = compute.load(second)
    assert done.says("the files are not loaded", "there is no manifest").status == 0
    assert second.files() == {}


def test_a_content_that_the_manifest_does_not_know_stays_out(
    compute: Compute,
    first: PgData,
    second: PgData,
    writer: Writer,
    endpoint: Endpoint,
    token: str,
) -> None:
    assert compute.store(first).status == 0
    assert http.put(writer.url, endpoint.file_url(BLOCKS), token, blocks(3)).status == 200
    done = compute.load(second)
    done.says(BLOCKS, "the manifest does not have this content")
    assert done.says("files loaded", "files=2", "refused=1").status == 0
    assert BLOCKS not in second.files()


# ---- Who may overwrite whom ----


def test_a_replaced_compute_overwrites_nothing(
    compute: Compute, first: PgData, second: PgData, tmp_path: pathlib.Path
) -> None:
    assert compute.store(first).status == 0
    assert compute.load(second).status == 0
    second.write({BLOCKS: blocks(20)})
    assert compute.store(second).says("files=1").status == 0
    first.write({BLOCKS: blocks(10)})  # it does not know that it was replaced
    done = compute.store(first)
    assert done.says("not everything was stored", "another compute has stored it").status == 1
    third = PgData(tmp_path / "third")
    assert compute.load(third).says("files loaded", "files=3", "refused=0").status == 0
    assert third.files() == second.files()


def test_a_load_makes_it_the_newest_again(compute: Compute, first: PgData, second: PgData) -> None:
    assert compute.store(first).status == 0
    assert compute.load(second).status == 0
    second.write({BLOCKS: blocks(20)})
    assert compute.store(second).status == 0
    first.write({BLOCKS: blocks(10)})
    done = compute.load(first)
    assert done.says(BLOCKS, "it has changed since it was stored").status == 0
    assert first.files()[BLOCKS] == blocks(10)
    assert compute.store(first).says("files=1").status == 0


def test_a_store_after_a_load_that_failed(
    compute: Compute, first: PgData, second: PgData, tmp_path: pathlib.Path, token: str
) -> None:
    """The state is void then; what is in the service is learned from its list."""
    assert compute.store(first).status == 0
    assert compute.load(second).status == 0
    first.write({BLOCKS: blocks(2)})
    assert compute.store(first).status == 0
    nowhere = Compute(tmp_path / "x", "http://127.0.0.1:9", "http://127.0.0.1:9", token)
    assert nowhere.load(second, "--retries=0").says("starts cold").status == 1
    second.write({BLOCKS: blocks(4)})
    assert compute.store(second).says("files=3").status == 0
    third = PgData(tmp_path / "third")
    assert compute.load(third).says("files loaded", "files=3").status == 0
    assert third.files()[BLOCKS] == blocks(4)


@pytest.mark.parametrize("marker", [MANIFEST, BLOCKS])
def test_an_upload_whose_answer_was_lost_is_ours(
    reader: Reader,
    writer: Writer,
    first: PgData,
    second: PgData,
    tmp_path: pathlib.Path,
    endpoint: Endpoint,
    token: str,
    marker: str,
) -> None:
    """Killed between an upload and its answer: the next store knows its own file again."""
    with Proxy(writer.port) as proxy:
        compute = Compute(tmp_path / "compute", reader.url, proxy.url, token)
        assert compute.store(first).status == 0
        first.write({BLOCKS: blocks(10)})
        hold = proxy.hold(f"/pgdata/{marker}".encode(), "answer")
        storing = compute.start("store", first)
        hold.wait()
        arrived = functools.partial(_is_there, reader, endpoint, token, first, marker)
        wait_for(arrived, 20.0, f"{marker} in the store")
        storing.kill()
        storing.wait(20.0)
        proxy.cut()
        proxy.resume()
        first.write({BLOCKS: blocks(11)})
        assert compute.store(first).says("files stored", "files=1").status == 0
        assert compute.load(second).says("files loaded", "files=3").status == 0
        assert second.files()[BLOCKS] == blocks(11)


def _is_there(
    reader: Reader, endpoint: Endpoint, token: str, pgdata: PgData, name: str
) -> bool:
    """Whether the upload of `name` has come to its end behind the answer that is held."""
    body = http.get(reader.url, endpoint.file_url(name), token).body
    if name == BLOCKS:
        return body == pgdata.files()[BLOCKS]
    return len(json.loads(body)["files"][BLOCKS]) == 2


def test_another_generation_begins_with_nothing(
    compute: Compute, first: PgData, second: PgData, endpoint: Endpoint, keys: KeyPair
) -> None:
    assert compute.store(first).status == 0
    compute.set_token(endpoint.token(keys, 2))
    assert compute.load(second).says("nothing has been stored yet").status == 0
    assert second.files() == {}
    assert compute.store(first).says("files stored", "files=3", "unchanged=0").status == 0


# ---- The token ----


def test_the_token_may_stand_in_the_environment(
    reader: Reader,
    writer: Writer,
    first: PgData,
    second: PgData,
    tmp_path: pathlib.Path,
    token: str,
) -> None:
    compute = Compute(tmp_path / "c", reader.url, writer.url, "unused")
    compute.token_file.unlink()
    bare = "--token-file="
    env = {"EPUFS_TOKEN": token}
    assert compute.run("store", first, bare, env=env).status == 0
    assert compute.run("load", second, bare, env=env).says("files loaded").status == 0
    missing = compute.run("load", second, bare)
    assert missing.says("starts cold", "there is no token").status == 0


def test_bad_tokens_are_told_apart(
    compute: Compute, second: PgData, keys: KeyPair, endpoint: Endpoint
) -> None:
    for token, words in [
        ("", "is empty"),
        ("not a token", "no JSON Web Token"),
        ("abc", "the token is not an endpoint's"),
        (keys.token(scope="epufs:admin"), "the token is not an endpoint's"),
        (KeyPair.generate().token(**_claims(endpoint)), "answered 401"),
        (keys.token(**_claims(endpoint), exp=1000), "answered 401: the token has expired"),
    ]:
        compute.set_token(token)
        assert compute.load(second).says("starts cold", words).status == 1
    compute.token_file.unlink()
    assert compute.load(second).says("starts cold", "cannot read the token's file").status == 1


def _claims(endpoint: Endpoint) -> dict[str, str]:
    return {
        "tenant_id": endpoint.tenant,
        "timeline_id": endpoint.timeline,
        "endpoint_id": endpoint.name,
    }


def test_a_token_that_changes_is_taken_up(
    compute: Compute, first: PgData, keys: KeyPair, endpoint: Endpoint
) -> None:
    """Between two stores of `run`, and without a restart."""
    server = ["--", "sleep", "30"]
    running = compute.start("run", first, "--store-interval=300ms", *server)
    try:
        wait_for(lambda: (first.path / STAGING / "state.json").exists(), 20.0, "the first load")
        compute.set_token(keys.token(**_claims(endpoint), gen=1, exp=1000))
        time.sleep(0.6)
        compute.set_token(endpoint.token(keys, 1))
        first.write({BLOCKS: blocks(6)})
        loaded = PgData(first.path.with_name("loaded"))
        wait_for(
            lambda: compute.load(loaded).status == 0 and loaded.files().get(BLOCKS) == blocks(6),
            20.0,
            "a store with the new token",
        )
    finally:
        running.terminate()
        log, _ = running.communicate(timeout=20.0)
    assert "answered 401" in log and "files stored" in log


# ---- Deleted ----


def test_a_deleted_generation_is_told(
    compute: Compute, first: PgData, second: PgData, writer: Writer, endpoint: Endpoint, token: str
) -> None:
    assert compute.store(first).status == 0
    assert http.delete(writer.url, endpoint.url, token).status == 200
    assert compute.load(second).says("starts cold", "answered 410").status == 1
    first.write({BLOCKS: blocks(2)})
    assert compute.store(first).says("not everything was stored", "answered 410").status == 1
    assert second.files() == {}


# ---- A writer that takes less ----


def test_what_the_writer_refuses_does_not_hold_up_the_rest(
    launch: Launcher,
    folder_store: Store,
    endpoint: Endpoint,
    token: str,
    first: PgData,
    second: PgData,
    tmp_path: pathlib.Path,
) -> None:
    reader = launch.reader(folder_store)
    writer = launch.writer(folder_store, f"--known-files={BLOCKS}=16,pg_stat/*.stat,*.json")
    compute = Compute(tmp_path / "c", reader.url, writer.url, token)
    first.write({"lfc_state": b"\x28\xb5\x2f\xfd state"})
    done = compute.store(first)
    done.says(BLOCKS, "answered 413").says("lfc_state", "answered 422")
    assert done.says("not everything was stored", "files=2", "failed=2").status == 1
    assert compute.load(second).says("files loaded", "files=2").status == 0


def test_two_runs_at_once_wait_for_each_other(compute: Compute, first: PgData) -> None:
    """Such as a preStop hook beside the wrapper's own store."""
    results: list[int] = []

    def store() -> None:
        results.append(compute.store(first).status)

    threads = [threading.Thread(target=store) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0, 0, 0, 0]


def test_help_and_config(compute: Compute, first: PgData) -> None:
    for command in ("load", "store", "run"):
        text = compute.run(command, first, "--help").log
        assert "Example:\n  epufs-compute" in text and "EPUFS_TOKEN" in text
    shown = compute.run("run", first, "--print-config", "--", "postgres")
    assert "store_interval = 5m" in shown.log
    wrong = subprocess.run(
        compute.argv("load", first, "--url=ftp://x"), capture_output=True, text=True, timeout=20.0
    )
    assert wrong.returncode == 0 and "expected http[s]://host[:port]" in wrong.stderr
    unknown = subprocess.run(
        compute.argv("fetch", first), capture_output=True, text=True, timeout=20.0
    )
    assert unknown.returncode == 2 and "expected load, store or run" in unknown.stderr
