"""What the container image and docker-compose.yml rely on, without a container engine."""

import os
import pathlib
import re
import subprocess

import pytest

from devstack import paths, ports
from devstack.epufs import Reader
from devstack.process import DevstackError, run
from harness import http
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

DEPLOY = paths.ROOT / "deploy"
KEYS = DEPLOY / "compose" / "keys"
COMPOSE = paths.ROOT / "docker-compose.yml"
DOCKERFILE = paths.ROOT / "Dockerfile"
PROGRAMS = ("epufs-reader", "epufs-writer", "epufs-janitor", "epufs-compute")
COMPUTE_UNIT = DEPLOY / "systemd" / "epufs-postgres.service"
DROP_IN = DEPLOY / "systemd" / "postgresql-epufs.conf"
POD = DEPLOY / "kubernetes" / "postgres.yaml"


@pytest.fixture
def key_env(tmp_path: pathlib.Path) -> dict[str, str]:
    for part in ("private", "public"):
        (tmp_path / part).mkdir()
    run([KEYS, "make"], env={"KEYS": str(tmp_path)})
    return {"KEYS": str(tmp_path)}


def test_the_keys_script_mints_tokens_that_a_reader_takes(
    key_env: dict[str, str], launch: Launcher, folder_store: Store, endpoint: Endpoint
) -> None:
    folder = pathlib.Path(key_env["KEYS"])
    reader = launch.reader(folder_store, token_keys=[folder / "public"])

    def token(*claims: str) -> str:
        return run([str(KEYS), "token", *claims], env=key_env).strip()

    names = (
        f"tenant_id={endpoint.tenant}",
        f"timeline_id={endpoint.timeline}",
        f"endpoint_id={endpoint.name}",
    )
    as_json = {"Accept": "application/json"}
    listed = http.get(reader.url, endpoint.url, token(*names, "gen=7"), headers=as_json)
    assert (listed.status, listed.json()["gen"]) == (200, "7")
    assert http.get(reader.url, endpoint.url, token("scope=epufs:admin")).status == 200
    assert http.get(reader.url, Endpoint().url, token(*names)).status == 403
    assert http.get(reader.url, endpoint.url, token(*names, "exp=1000")).status == 401
    with pytest.raises(DevstackError, match="expected NAME=VALUE"):
        token('tenant_id="x"')


def test_a_second_run_keeps_the_private_key(key_env: dict[str, str]) -> None:
    private = pathlib.Path(key_env["KEYS"]) / "private" / "token.key"
    before = private.read_bytes()
    assert private.stat().st_mode & 0o777 == 0o600
    run([KEYS, "make"], env=key_env)
    assert private.read_bytes() == before


def healthcheck(*arguments: object) -> int:
    argv = [str(DEPLOY / "healthcheck"), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode


def test_the_healthcheck_tells_ready_from_not(launch: Launcher, folder_store: Store) -> None:
    reader: Reader = launch.reader(folder_store)
    assert healthcheck(reader.port) == 0
    assert healthcheck(reader.port, "/nothing") != 0
    assert healthcheck(ports.free_port()) != 0
    reader.pause()
    assert healthcheck(reader.port) != 0
    reader.resume()


def option_variables() -> set[str]:
    """EPUFS_* of all options of the programs, and the token, which is none."""
    tables = (run([paths.program(program), "--help-markdown"]) for program in PROGRAMS)
    names = {
        name for table in tables for name in re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    }
    return {f"EPUFS_{name.upper()}" for name in names} | {"EPUFS_TOKEN"}


@pytest.mark.parametrize(
    "file", [COMPOSE, DOCKERFILE, COMPUTE_UNIT, DROP_IN, POD], ids=lambda file: file.name
)
def test_every_variable_is_an_option(file: pathlib.Path) -> None:
    """The programs ignore EPUFS_* that they do not know, so a typing error would go unseen."""
    used = set(re.findall(r"\bEPUFS_[A-Z0-9_]+", file.read_text(encoding="utf-8")))
    assert used and used <= option_variables()


@pytest.mark.parametrize("file", [COMPUTE_UNIT, DROP_IN], ids=lambda file: file.name)
def test_units_call_epufs_compute_as_it_wants(file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Each command line of theirs, on a folder that is not there: cold, or not stored, never misused."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    calls = re.findall(r"^Exec\w+=-?/usr/local/bin/epufs-compute (.*)$", text, re.MULTILINE)
    assert calls
    for call in calls:
        words = re.sub(r"--pgdata \S+", f"--pgdata {tmp_path}", call).split()
        if "--" in words:
            words[words.index("--") :] = ["--", "true"]
        argv = [paths.program("epufs-compute"), *words]
        env = {**os.environ, "EPUFS_URL": "http://127.0.0.1:9", "EPUFS_RETRIES": "0"}
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, env=env, check=False)
        assert done.returncode in (0, 1) and "pgdata is no PostgreSQL cluster" in done.stderr


def test_the_upload_window_covers_an_upload() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    seconds = {name: int(value) for name, value in re.findall(r"EPUFS_(UPLOAD_\w+): (\d+)s", text)}
    needed = seconds["UPLOAD_EXPIRY"] + seconds["UPLOAD_TIMEOUT"] + 20
    assert seconds["UPLOAD_WINDOW"] >= needed + 14  # docs/deletion.md


def test_files_that_compose_mounts_are_there() -> None:
    mounted = re.findall(r"\"\./([^:\"]+):", COMPOSE.read_text(encoding="utf-8"))
    assert mounted
    for name in mounted:
        assert (paths.ROOT / name).exists(), name
        assert os.access(paths.ROOT / name, os.R_OK)
