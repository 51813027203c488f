"""epufs-compute run: the wrapper around a server. A shell stands for the server here; the real one
is in test_postgres.py."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from devstack.epufs import Reader, Writer
from devstack.keys import KeyPair
from devstack.process import wait_for
from harness.compute import BLOCKS, STAGING, Compute, PgData, Run, blocks, check_log, fixture
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.scripted import Scripted
from harness.stores import Store


@pytest.fixture
def token(endpoint: Endpoint, keys: KeyPair) -> str:
    return endpoint.token(keys, 1)


@pytest.fixture
def compute(
    tmp_path: pathlib.Path, folder_reader: Reader, folder_writer: Writer, token: str
) -> Compute:
    return Compute(tmp_path / "compute", folder_reader.url, folder_writer.url, token)


@pytest.fixture(scope="module")
def folder_reader(module_launch: Launcher, folder_store: Store) -> Reader:
    return module_launch.reader(folder_store)


@pytest.fixture(scope="module")
def folder_writer(module_launch: Launcher, folder_store: Store) -> Writer:
    return module_launch.writer(folder_store)


@pytest.fixture
def pgdata(tmp_path: pathlib.Path) -> PgData:
    return PgData(tmp_path / "pgdata", fixture())


class Wrapped:
    """`epufs-compute run` with a shell's script as the server, which prints "up" when it runs."""

    def __init__(self, compute: Compute, pgdata: PgData, script: str, *options: str) -> None:
        self.log_file = pgdata.path.with_name("run.log")
        self.pgdata = pgdata
        server = ["/bin/sh", "-c", f"echo up $$; {script}"]
        # A shell cannot trap what its parent ignored, as a job in the background ignores SIGINT.
        argv = ["env", "--default-signal", *compute.argv("run", pgdata, *options, "--", *server)]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "EPUFS_TOKEN": "not.for.servers"},
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def wait_said(self, word: str) -> None:
        wait_for(lambda: word in self.log, 20.0, f"'{word}'", log=self.log_file)

    def wait_up(self) -> int:
        """The server's pid."""
        self.wait_said("up ")
        wait_for(lambda: re.search(r"up \d+\n", self.log) is not None, 20.0, "its pid")
        found = re.search(r"up (\d+)\n", self.log)
        assert found
        return int(found[1])

    def end(self) -> Run:
        try:
            status = self.process.wait(30.0)
        finally:
            if self.process.poll() is None:  # a failure leaves nothing running
                os.killpg(self.process.pid, signal.SIGKILL)
        check_log(self.log)
        return Run(status, self.log)


def alive(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in "ZX"


def test_load_serve_store(compute: Compute, pgdata: PgData, tmp_path: pathlib.Path) -> None:
    assert Wrapped(compute, pgdata, "exit 0").end().says("files stored", "files=3").status == 0
    other = PgData(tmp_path / "other")
    script = f"cp {other.path}/{BLOCKS} {tmp_path}/seen"
    done = Wrapped(compute, other, script).end()
    assert done.says("files loaded", "files=3").says("unchanged=3").status == 0
    assert (tmp_path / "seen").read_bytes() == fixture()[BLOCKS]  # it was there before the server
    log = done.log
    assert log.index("files loaded") < log.index("up ") < log.index("server ended")


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_the_status_is_kept(compute: Compute, pgdata: PgData, script: str, status: int) -> None:
    done = Wrapped(compute, pgdata, script).end()
    assert done.status == status
    assert ("files stored" in done.log) == (status == 0)  # only after a clean stop


def test_no_such_server(compute: Compute, pgdata: PgData) -> None:
    missing = compute.run("run", pgdata, "--", "/nowhere/postgres", "-D", "x")
    assert missing.says("the server cannot be started", "/nowhere/postgres").status == 127
    folder = compute.run("run", pgdata, "--", "/etc")
    assert folder.says("the server cannot be started").status == 126


def test_no_service_is_no_reason_not_to_start(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    nowhere = Compute(tmp_path / "c", "http://127.0.0.1:9", "http://127.0.0.1:9", token)
    done = Wrapped(nowhere, pgdata, "exit 0", "--retries=0").end()
    assert done.says("starts cold", "Couldn't connect").says("not everything").status == 0
    nowhere.token_file.unlink()
    done = Wrapped(nowhere, pgdata, "exit 3").end()
    assert done.says("starts cold", "the token's file").status == 3


def test_a_silent_service_delays_by_the_timeout_only(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    with Scripted() as server:
        server.default = server.wait_over
        compute = Compute(tmp_path / "c", server.url, server.url, token)
        began = time.monotonic()
        options = ("--load-timeout=400ms", "--store-timeout=400ms")
        assert Wrapped(compute, pgdata, "exit 0", *options).end().status == 0
        assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("name", ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"])
def test_signals_are_passed_on(compute: Compute, pgdata: PgData, name: str) -> None:
    script = f"trap 'echo got {name}; exit 7' {name}; while :; do sleep 0.05; done"
    wrapped = Wrapped(compute, pgdata, script)
    wrapped.wait_up()
    time.sleep(0.1)  # until the trap is set
    wrapped.process.send_signal(getattr(signal, f"SIG{name}"))
    assert wrapped.end().says(f"got {name}").status == 7


def test_signals_mean_to_the_server_what_they_meant(compute: Compute, pgdata: PgData) -> None:
    """No mask and no ignored signal is left over from us."""
    script = "exec grep -E '^Sig(Blk|Ign)' /proc/self/status"
    done = Wrapped(compute, pgdata, script).end()
    masks = dict(re.findall(r"^Sig(Blk|Ign):\t([0-9a-f]+)$", done.log, re.MULTILINE))
    usual = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    mine = dict(re.findall(r"^Sig(Blk|Ign):\t([0-9a-f]+)$", usual, re.MULTILINE))
    assert masks["Blk"] == mine["Blk"]
    # What Python ignores, Popen puts right.
    assert int(masks["Ign"], 16) & ~int(mine["Ign"], 16) == 0


def test_the_server_does_not_get_the_token(compute: Compute, pgdata: PgData) -> None:
    done = Wrapped(compute, pgdata, "env | grep ^EPUFS_TOKEN || echo none of them").end()
    assert done.says("none of them").status == 0


def test_a_killed_wrapper_leaves_no_server(compute: Compute, pgdata: PgData) -> None:
    script = "trap 'sleep 0.2; exit 0' INT; while :; do sleep 0.05; done"
    wrapped = Wrapped(compute, pgdata, script)
    server = wrapped.wait_up()
    time.sleep(0.1)
    assert alive(server)
    wrapped.process.kill()
    wait_for(lambda: not alive(server), 10.0, "the end of the server")


def test_a_stop_before_the_server_is_up(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    with Scripted() as server:
        server.default = server.wait_over
        compute = Compute(tmp_path / "c", server.url, server.url, token)
        wrapped = Wrapped(compute, pgdata, "exit 0", "--load-timeout=30s")
        wait_for(lambda: bool(server.heads), 20.0, "a load under way")
        wrapped.process.terminate()
        done = wrapped.end()
    assert done.status == 143
    assert "up " not in done.log


def test_a_second_stop_cuts_the_last_store_short(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    with Scripted() as server:
        server.default = server.wait_over
        compute = Compute(tmp_path / "c", server.url, server.url, token)
        options = ("--load-timeout=100ms", "--store-timeout=30s")
        wrapped = Wrapped(compute, pgdata, "exit 0", *options)
        wrapped.wait_said("server ended")
        began = time.monotonic()
        wrapped.process.terminate()
        assert wrapped.end().status == 0  # the server's
        assert time.monotonic() - began < 5.0


def test_files_are_stored_while_it_runs(
    compute: Compute, pgdata: PgData, tmp_path: pathlib.Path
) -> None:
    wrapped = Wrapped(compute, pgdata, "exec sleep 30", "--store-interval=200ms")
    wrapped.wait_up()
    wrapped.wait_said("files stored")
    pgdata.write({BLOCKS: blocks(12)})
    loaded = PgData(tmp_path / "loaded")
    wait_for(
        lambda: compute.load(loaded).status == 0 and loaded.files().get(BLOCKS) == blocks(12),
        20.0,
        "the changed file",
    )
    wrapped.process.terminate()
    assert wrapped.end().status == 143


def test_a_store_that_hangs_holds_nobody_up(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    """The server's end is seen at once, and the store is killed for the last one."""
    with Scripted() as server:
        server.default = server.wait_over
        compute = Compute(tmp_path / "c", server.url, server.url, token)
        options = ("--load-timeout=100ms", "--store-timeout=1s", "--store-interval=100ms")
        script = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
        wrapped = Wrapped(compute, pgdata, script, *options)
        wrapped.wait_up()
        seen = len(server.heads)
        wait_for(lambda: len(server.heads) > seen, 20.0, "a store under way")
        began = time.monotonic()
        wrapped.process.terminate()
        assert wrapped.end().status == 0
        assert time.monotonic() - began < 5.0
    assert (pgdata.path / STAGING).is_dir()


def test_who_is_left_to_us_is_buried(compute: Compute, pgdata: PgData) -> None:
    """As process 1 of a container: here in a namespace of process ids, where that can be had."""
    wrap = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*wrap, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to make namespaces")
    script = "(sleep 0.1 &); sleep 0.5; cat /proc/[0-9]*/stat | grep -c ' Z ' || true"
    done = compute.run("run", pgdata, "--", "/bin/sh", "-c", script, wrap=wrap)
    assert done.status == 0
    assert [line for line in done.log.splitlines() if line.isdigit()] == ["0"], done.log
