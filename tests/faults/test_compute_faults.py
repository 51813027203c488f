"""epufs-compute killed at any moment, on a disk that is full, on one that takes nothing."""

import contextlib
import os
import pathlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from harness.chance import rounds, seeded
from harness.compute import BLOCKS, STAGING, Compute, Files, PgData, blocks
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

SMALL = 10  # files, so that the moments between two of them are many
MIB = 1 << 20


@pytest.fixture
def token(endpoint: Endpoint, keys: KeyPair) -> str:
    return endpoint.token(keys, 1)


@pytest.fixture(scope="module")
def services(module_launch: Launcher, folder_store: Store) -> tuple[Reader, Writer]:
    return module_launch.reader(folder_store), module_launch.writer(folder_store)


@pytest.fixture
def compute(tmp_path: pathlib.Path, services: tuple[Reader, Writer], token: str) -> Compute:
    reader, writer = services
    return Compute(tmp_path / "compute", reader.url, writer.url, token)


def many(mark: int) -> Files:
    files = {f"pg_stat/{number}.stat": b"%d " % mark * 2000 for number in range(SMALL)}
    return files | {BLOCKS: blocks(1000 + mark)}


def staged(pgdata: PgData) -> list[str]:
    return [path.name for path in (pgdata.path / STAGING).glob("new-*")]


def test_killed_at_any_moment_of_a_load(compute: Compute, tmp_path: pathlib.Path) -> None:
    """Each file is old or new, whole; the next load finishes the work and cleans up."""
    random = seeded()
    source = PgData(tmp_path / "source", many(1))
    assert compute.store(source).status == 0
    new, old = many(1), many(2)
    began = time.monotonic()
    assert compute.load(PgData(tmp_path / "timed", old)).status == 0
    usual_s = time.monotonic() - began
    seen: set[str] = set()
    for number in range(rounds(12)):
        pgdata = PgData(tmp_path / f"node-{number}", old)
        loading = compute.start("load", pgdata)
        time.sleep(random.uniform(0, usual_s))
        loading.kill()
        loading.communicate(timeout=20.0)
        found = {name: data for name, data in pgdata.files().items() if STAGING not in name}
        assert found.keys() == old.keys()
        for name, data in found.items():
            assert data in (old[name], new[name]), name
        changed = sum(data == new[name] for name, data in found.items())
        seen.add("before" if changed == 0 else "after" if changed == len(found) else "between")
        if staged(pgdata):
            seen.add("staged")
        done = compute.load(pgdata)
        assert done.says("files loaded").status == 0
        assert pgdata.files() == new
        assert staged(pgdata) == []
    print(f"killed {sorted(seen)}")
    assert len(seen) > 1


def test_killed_at_any_moment_of_a_store(compute: Compute, tmp_path: pathlib.Path) -> None:
    """What is in the service then can be loaded, each file old or new; the next store is taken."""
    random = seeded()
    pgdata = PgData(tmp_path / "node", many(0))
    began = time.monotonic()
    assert compute.store(pgdata).status == 0
    usual_s = time.monotonic() - began
    old = many(0)
    for number in range(1, rounds(8) + 1):
        new = many(number)
        pgdata.write(new)
        storing = compute.start("store", pgdata)
        time.sleep(random.uniform(0, usual_s))
        storing.kill()
        storing.communicate(timeout=20.0)
        reached = PgData(tmp_path / f"reached-{number}")
        words = ("files loaded", f"files={SMALL + 1}", "refused=0")
        assert compute.load(reached).says(*words).status == 0
        for name, data in reached.files().items():
            assert data in (old[name], new[name]), name
        assert compute.store(pgdata).says("files stored").status == 0
        reached = PgData(tmp_path / f"again-{number}")
        assert compute.load(reached).status == 0
        assert reached.files() == new
        old = new


def test_a_limit_on_the_size_of_files(compute: Compute, tmp_path: pathlib.Path) -> None:
    """Stands for a full disk where none can be had."""
    source = PgData(tmp_path / "source", {"pg_stat/large.stat": b"x" * MIB, BLOCKS: blocks(3)})
    assert compute.store(source).status == 0
    old = {"pg_stat/large.stat": b"old", BLOCKS: blocks(1)}
    pgdata = PgData(tmp_path / "node", old)
    done = compute.run("load", pgdata, "--strict", wrap=["prlimit", "--fsize=200000", "--"])
    assert done.says("the endpoint starts cold", "cannot write into").status == 1
    assert pgdata.files() == old
    assert staged(pgdata) == []
    assert compute.load(pgdata).says("files=2").status == 0


def needs_mounts() -> None:
    can = os.geteuid() == 0 and subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, check=False
    )
    if not can or can.returncode != 0:
        pytest.skip("needs the right to mount")


@contextlib.contextmanager
def mounted(folder: pathlib.Path, *options: str) -> Iterator[pathlib.Path]:
    """A file system in memory at the folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", *options, "none", str(folder)], check=True, timeout=20)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


def test_a_full_disk(compute: Compute, tmp_path: pathlib.Path) -> None:
    needs_mounts()
    source = PgData(tmp_path / "source", {"pg_stat/large.stat": b"x" * MIB, BLOCKS: blocks(3)})
    assert compute.store(source).status == 0
    with mounted(tmp_path / "disk", "-o", "size=512k") as disk:
        old = {"pg_stat/large.stat": b"old", BLOCKS: blocks(1)}
        pgdata = PgData(disk / "node", old)
        done = compute.load(pgdata)
        done.says("the endpoint starts cold", "code=no_space", "No space left on device")
        assert done.status == 1
        assert pgdata.files() == old
        assert staged(pgdata) == []
        # The server starts all the same, and what it leaves is stored.
        run = compute.run("run", pgdata, "--", "true")
        assert run.says("starts cold", "no_space").says("server started").status == 0


def test_a_disk_that_takes_nothing(compute: Compute, tmp_path: pathlib.Path) -> None:
    needs_mounts()
    source = PgData(tmp_path / "source", {BLOCKS: blocks(3)})
    assert compute.store(source).status == 0
    with mounted(tmp_path / "disk") as disk:
        pgdata = PgData(disk / "node", {BLOCKS: blocks(1)})
        for fresh in (True, False):  # before and after our folder is there
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, timeout=20)
            done = compute.load(pgdata)
            assert done.says("the endpoint starts cold", "Read-only file system").status == 1
            assert compute.run("run", pgdata, "--", "true").status == 0
            assert pgdata.files() == {BLOCKS: blocks(1)}
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True, timeout=20)
            if fresh:
                assert compute.load(pgdata).says("files=1").status == 0
                pgdata.write({BLOCKS: blocks(1)})
                (pgdata.path / STAGING / "state.json").unlink()


def test_a_folder_of_somebody_else(compute: Compute, tmp_path: pathlib.Path) -> None:
    """As an ordinary user, without the right to write: told, and nothing else happens."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    pgdata = PgData(tmp_path / "node", {BLOCKS: blocks(1)})
    for path in (*compute.token_file.parents, pgdata.path):
        if str(path).startswith("/tmp/") and path.stat().st_uid == os.geteuid():
            path.chmod(0o755)
    compute.token_file.chmod(0o644)
    wrap = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    done = compute.run("load", pgdata, "--strict", wrap=wrap)
    assert done.says("the endpoint starts cold", "Permission denied").status == 1
    assert pgdata.files() == {BLOCKS: blocks(1)}


def test_root_gives_files_to_the_folder_s_owner(compute: Compute, tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files away")
    source = PgData(tmp_path / "source", {BLOCKS: blocks(3), "pg_stat/x.stat": b"x"})
    assert compute.store(source).status == 0
    pgdata = PgData(tmp_path / "node")
    for path in (pgdata.path, *pgdata.path.rglob("*")):
        os.chown(path, 65534, 65533)
    assert compute.load(pgdata).says("files=2").status == 0
    for path in (pgdata.path, *pgdata.path.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65533), path
