"""The compute side: a folder that passes for PGDATA, and epufs-compute at work on it."""

import dataclasses
import os
import pathlib
import re
import struct
import subprocess
from collections.abc import Mapping, Sequence

from devstack import paths
from devstack.keys import KeyPair
from harness.ids import Endpoint

FIXTURES = paths.ROOT / "tests" / "fixtures"
TIMEOUT_S = 60.0
SYSTEM_IDENTIFIER = 7_000_000_000_000_000_001
STAGING = "pgsql_tmp.epufs"
MANIFEST = "epufs_manifest.json"
BLOCKS = "autoprewarm.blocks"
STATEMENTS = "pg_stat/pg_stat_statements.stat"
# As in harness.launch.
_UNWANTED = re.compile(
    r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|ThreadSanitizer"
    r"|eyJ[A-Za-z0-9_-]{8}"
)

Files = dict[str, bytes]


def fixture(folder: str = "pgdata") -> Files:
    """What a PostgreSQL 15 wrote."""
    root = FIXTURES / folder
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def blocks(count: int) -> bytes:
    """A list of blocks as pg_prewarm writes it."""
    lines = "".join(f"5,1663,16384,0,{number}\n" for number in range(count))
    return f"<<{count}>>\n{lines}".encode()


class PgData:
    """A cluster's folder, as far as epufs-compute looks at it: no server could start on it."""

    def __init__(
        self,
        path: pathlib.Path,
        files: Mapping[str, bytes] | None = None,
        *,
        major: int = 15,
        system_identifier: int = SYSTEM_IDENTIFIER,
    ) -> None:
        self.path = path
        path.mkdir(mode=0o700)
        (path / "PG_VERSION").write_text(f"{major}\n", encoding="ascii")
        for folder in ("global", "pg_stat"):
            (path / folder).mkdir(mode=0o700)
        head = struct.pack("=QI", system_identifier, 1300)
        (path / "global" / "pg_control").write_bytes(head.ljust(8192, b"\0"))
        self.write(files or {})

    def write(self, files: Mapping[str, bytes]) -> None:
        """As the server does it: beside, then renamed."""
        for name, data in files.items():
            target = self.path / name
            draft = target.with_name(f"{target.name}.tmp")
            draft.write_bytes(data)
            draft.replace(target)

    def files(self) -> Files:
        """All but what makes it a cluster, and our own folder's state."""
        found = (path for path in self.path.rglob("*") if path.is_file())
        named = {path.relative_to(self.path).as_posix(): path for path in found}
        own = ("PG_VERSION", "global/pg_control", f"{STAGING}/state.json")
        return {name: path.read_bytes() for name, path in sorted(named.items()) if name not in own}

    def mode(self, name: str) -> int:
        return (self.path / name).stat().st_mode & 0o7777


@dataclasses.dataclass(frozen=True)
class Run:
    """How one call of epufs-compute ended."""

    status: int
    log: str

    def says(self, *words: str) -> "Run":
        """Checks that a line of the log has all these words."""
        lines = self.log.splitlines()
        assert any(all(word in line for word in words) for line in lines), (words, self.log)
        return self


class Compute:
    """One endpoint's epufs-compute. The token goes by a file, as it would in use."""

    def __init__(
        self,
        folder: pathlib.Path,
        url: str,
        writer_url: str,
        token: str,
        *options: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.token_file = folder / "token"
        self.set_token(token)
        self.urls = (f"--url={url}", f"--writer-url={writer_url}")
        self.options = options

    def set_token(self, token: str) -> None:
        draft = self.token_file.with_suffix(".new")
        draft.write_text(f"{token}\n", encoding="ascii")
        draft.replace(self.token_file)

    def argv(self, command: str, pgdata: PgData | pathlib.Path, *more: str) -> list[str]:
        path = pgdata.path if isinstance(pgdata, PgData) else pgdata
        # fmt: off
        return [
            str(paths.program("epufs-compute")), command, f"--pgdata={path}", *self.urls,
            f"--token-file={self.token_file}", *self.options, *more,
        ]
        # fmt: on

    def start(
        self, command: str, pgdata: PgData | pathlib.Path, *more: str, wrap: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*wrap, *self.argv(command, pgdata, *more)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        command: str,
        pgdata: PgData | pathlib.Path,
        *more: str,
        wrap: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Run:
        done = subprocess.run(
            [*wrap, *self.argv(command, pgdata, *more)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env={**os.environ, **(env or {})},
            check=False,
        )
        check_log(done.stdout)
        return Run(done.returncode, done.stdout)

    def load(self, pgdata: PgData | pathlib.Path, *more: str) -> Run:
        """`--strict`, so that the status tells."""
        return self.run("load", pgdata, "--strict", *more)

    def store(self, pgdata: PgData | pathlib.Path, *more: str) -> Run:
        return self.run("store", pgdata, *more)


def check_log(text: str) -> None:
    """No sanitizer's report, no token."""
    found = _UNWANTED.search(text)
    assert not found, text[found.start() : found.start() + 4000]


def token_of(keys: KeyPair, endpoint: Endpoint, gen: int | None = 1) -> str:
    return endpoint.token(keys, gen)
