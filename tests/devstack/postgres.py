"""A private PostgreSQL 15 (Debian's): a cluster in a folder, a Unix socket, no TCP port.

PostgreSQL refuses to run as root. When we are root, everything of it runs as the user postgres,
whom its package brings; as_user() is the command line's beginning for that. Nothing of Debian's own
clusters is touched, and none has to run.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from devstack import paths
from devstack.process import DevstackError, log_tail, run, wait_for

BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
USER = "postgres"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0

SETTINGS = {
    "listen_addresses": "",
    "shared_preload_libraries": "pg_prewarm,pg_stat_statements",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "fsync": "off",  # of the server alone: what it leaves behind is no test of disks
    "pg_prewarm.autoprewarm_interval": "0",  # at the stop
    "max_parallel_workers_per_gather": "0",
    "log_line_prefix": "%m [%p] ",
}


def as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--"]


def require() -> None:
    if not (BIN / "postgres").exists():
        raise DevstackError(f"{BIN}/postgres is not installed (Debian: postgresql-15)")


class Workplace:
    """A folder that the server's user can use, with the program of ours that it runs; `with`
    removes it. A folder below root's home or pytest's own would be closed to that user."""

    def __init__(self) -> None:
        require()
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="epufs-pg-"))
        self.path.chmod(0o755)
        self.compute = self.path / "epufs-compute"
        shutil.copy2(paths.program("epufs-compute"), self.compute)
        self.compute.chmod(0o755)
        self.give(self.path)

    def give(self, path: pathlib.Path) -> None:
        """To the server's user."""
        if os.geteuid() == 0:
            shutil.chown(path, USER, USER)

    def folder(self, name: str) -> pathlib.Path:
        path = self.path / name
        path.mkdir()
        self.give(path)
        return path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def call(argv: Sequence[str | os.PathLike[str]], timeout_s: float = 120.0) -> str:
    """One of PostgreSQL's programs, as its user."""
    home = pwd.getpwnam(USER).pw_dir if os.geteuid() == 0 else os.environ.get("HOME", "/")
    return run([*as_user(), *argv], env={"HOME": home, "LC_ALL": "C.UTF-8"}, timeout_s=timeout_s)


def forget_cached(folder: pathlib.Path) -> None:
    """Has the kernel drop what it holds of these files, as on a node that never read them."""
    os.sync()
    for path in folder.rglob("*"):
        try:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError:
            continue


class Postgres:
    """One cluster. `wrap` in start() is what runs the server: epufs-compute, or nothing."""

    def __init__(self, workplace: Workplace, name: str) -> None:
        self.workplace = workplace
        self.name = name
        self.pgdata = workplace.path / name
        self.socket = workplace.folder(f"{name}-socket")
        self.log = workplace.path / f"{name}.log"
        self._server: subprocess.Popen[bytes] | None = None

    # ---- The folder ----

    def init(self) -> None:
        # fmt: off
        call([
            BIN / "initdb", "--pgdata", self.pgdata, "--username", USER, "--auth", "trust",
            "--locale", "C.UTF-8", "--no-sync", "--no-instructions",
        ])
        # fmt: on
        with (self.pgdata / "postgresql.conf").open("a", encoding="ascii") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())

    def backup_to(self, folder: pathlib.Path) -> None:
        # fmt: off
        call([
            BIN / "pg_basebackup", "--pgdata", folder, "--host", self.socket, "--username", USER,
            "--checkpoint", "fast", "--wal-method", "fetch", "--no-sync",
        ])
        # fmt: on

    def restore(self, backup: pathlib.Path) -> None:
        call(["cp", "-a", backup, self.pgdata])

    def throw_away(self) -> None:
        shutil.rmtree(self.pgdata)

    # ---- The server ----

    def argv(self) -> list[str]:
        return [str(BIN / "postgres"), "-D", str(self.pgdata), "-k", str(self.socket)]

    def start(self, wrap: Sequence[str] = (), env: Mapping[str, str] | None = None) -> float:
        """Returns how many seconds it took until it answered."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._server = subprocess.Popen(
                [*as_user(), *wrap, *self.argv()],
                cwd=self.workplace.path,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            )
        self._wait_up()
        return time.monotonic() - began

    def _wait_up(self) -> None:
        ready = b"database system is ready to accept connections"
        before = self.log.stat().st_size and self.said(ready.decode())

        def is_up() -> bool:
            return self.said(ready.decode()) > before or self._answers()

        wait_for(is_up, START_TIMEOUT_S, f"{self.name} is up", log=self.log, failed=self._ended)

    def _answers(self) -> bool:
        argv = [str(BIN / "pg_isready"), "--quiet", "--host", str(self.socket)]
        return subprocess.run(argv, capture_output=True, timeout=20.0, check=False).returncode == 0

    def _ended(self) -> str | None:
        assert self._server
        status = self._server.poll()
        return None if status is None else f"it ended with status {status}"

    def said(self, words: str) -> int:
        """How often the log has these words."""
        return self.log.read_text(encoding="utf-8", errors="replace").count(words)

    def wait_said(self, words: str, timeout_s: float = 60.0) -> None:
        wait_for(lambda: self.said(words) > 0, timeout_s, f"'{words}'", log=self.log)

    def stop(self) -> int:
        """The fast shutdown; returns the status of what start() started."""
        assert self._server
        server, self._server = self._server, None
        server.send_signal(signal.SIGINT)
        try:
            return server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise DevstackError(f"{self.name} does not stop:\n{log_tail(self.log)}") from error

    def kill_wrapper(self) -> None:
        """kill -9 of what start() started, and nothing else."""
        assert self._server
        self._server.kill()
        self._server.wait(20.0)

    def kill(self) -> None:
        """Whatever still runs."""
        if self._server:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(20.0)
            self._server = None

    # ---- Queries ----

    def sql(self, text: str) -> str:
        """What psql prints of it, without headings."""
        # fmt: off
        return call([
            BIN / "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
            "--set", "ON_ERROR_STOP=1", "--host", self.socket, "--username", USER,
            "--command", text,
        ]).strip()
        # fmt: on

    def pgbench(self, *arguments: str) -> str:
        return call([BIN / "pgbench", "--host", self.socket, "--username", USER, *arguments, USER])
