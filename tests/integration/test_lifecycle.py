"""The programs as processes: options, start, what they tell of themselves, and their end."""

import concurrent.futures
import contextlib
import http.client as http_client
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping

import pytest

from devstack import paths, ports, probe
from devstack.epufs import Program, Reader, Writer
from devstack.keys import KeyPair
from devstack.process import wait_for
from devstack.rgw import Rgw
from devstack.s3 import S3
from harness import http
from harness.ids import Endpoint
from harness.launch import Launcher, check_log
from harness.stores import S3Store, Store

NAME = "autoprewarm.blocks"
MIB = 1 << 20
PROGRAMS = ["epufs-reader", "epufs-writer", "epufs-janitor"]
END_TIMEOUT_S = 20.0


# The process around the store is the same for every kind of store.
@pytest.fixture(scope="module")
def store(folder_store: Store) -> Store:
    return folder_store


def logged(program: Program) -> str:
    return program.process.log.read_text(encoding="utf-8")


def wait_logged(program: Program, text: str) -> None:
    wait_for(lambda: text in logged(program), END_TIMEOUT_S, text, log=program.process.log)


# ---- What they tell of themselves ----


def test_own_resources(reader: Reader, writer: Writer) -> None:
    for program in (reader, writer):
        for path, kind in [
            ("/livez", "application/json"),
            ("/readyz", "application/json"),
            ("/version", "application/json"),
            ("/metrics", "text/plain; version=0.0.4"),
        ]:
            answer = http.call(program.url, "GET", path)  # no token
            assert (answer.status, answer.header("Content-Type")) == (200, kind)
            assert answer.header("X-Request-Id")
            assert http.call(program.url, "HEAD", path).status == 200
            refusal = http.call(program.url, "PUT", path, body=b"x")
            http.problem(refusal, 405)
            assert refusal.header("Allow") == "GET, HEAD"
        about = http.call(program.url, "GET", "/version").json()
        assert about["program"] == program.program
        assert re.fullmatch(r"\d+\.\d+\.\d+", about["version"])


class UnixConnection(http_client.HTTPConnection):
    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("localhost", timeout=END_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def test_unix_socket(launch: Launcher, store: Store) -> None:
    with tempfile.TemporaryDirectory(prefix="epufs-") as folder:  # a short path
        path = pathlib.Path(folder) / "socket"
        reader = launch.reader(store, f"--listen=unix:{path}", ready=False)
        wait_logged(reader, f"listen=unix:{path}")
        connection = UnixConnection(path)
        for resource, status in [("/livez", 200), ("/nothing", 404)]:
            connection.request("GET", resource)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (status, True)
        connection.close()
        wait_logged(reader, "client=unix")
        launch.stop(reader)
        assert not path.exists()


METRIC = re.compile(
    r"(?P<name>(epufs|process)_[a-z_]+)(\{(?P<labels>[^}]*)\})? (?P<value>-?[0-9.e+-]+|\+Inf|NaN)$"
)


def metrics(base: str) -> dict[str, float]:
    """By name with labels. Every line has to be well-formed, and typed before it is used."""
    found: dict[str, float] = {}
    typed: set[str] = set()
    for line in http.call(base, "GET", "/metrics").body.decode().splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            match = METRIC.match(line)
            assert match, line
            assert re.sub("_(bucket|sum|count)$", "", match["name"]) in typed or (
                match["name"] in typed
            ), line
            assert line.rpartition(" ")[0] not in found, line
            found[line.rpartition(" ")[0]] = float(match["value"])
    return found


def test_metrics_count_requests(
    reader: Reader, writer: Writer, endpoint: Endpoint, keys: KeyPair
) -> None:
    before = metrics(writer.url), metrics(reader.url)
    token = endpoint.token(keys)
    for _ in range(3):
        assert http.put(writer.url, endpoint.file_url(NAME), token, bytes(1000)).status == 200
    for _ in range(2):
        assert http.get(reader.url, endpoint.file_url(NAME), token).status == 200
        assert http.get(reader.url, endpoint.file_url("lfc_state"), token).status == 404
    after = metrics(writer.url), metrics(reader.url)

    def more(which: int, name: str) -> float:
        return after[which][name] - before[which].get(name, 0)

    total = "epufs_http_requests_total"
    assert more(0, f'{total}{{route="file",class="2xx"}}') == 3
    assert more(0, "epufs_http_request_body_bytes_total") == 3000
    assert more(1, f'{total}{{route="file",class="2xx"}}') == 2
    assert more(1, f'{total}{{route="file",class="4xx"}}') == 2
    seconds = 'epufs_http_request_duration_seconds_count{route="file",class="2xx"}'
    assert more(1, seconds) == 2
    assert more(1, "epufs_http_response_body_bytes_total") >= 2000
    for which, least in ((0, 3), (1, 4)):
        assert more(which, "epufs_store_requests_total") >= least
        assert more(which, "epufs_store_failures_total") == 0
        assert after[which]["epufs_store_alarm"] == after[which]["epufs_store_error_ratio"] == 0
    text = http.call(reader.url, "GET", "/metrics").body.decode()
    assert endpoint.tenant not in text


# ---- The end ----


@pytest.fixture
def large(store: Store, endpoint: Endpoint) -> Endpoint:
    """With a file that does not fit into the sockets between a client and us."""
    store.put(endpoint.key(NAME), bytes(16 * MIB))
    return endpoint


def test_an_idle_program_ends_at_once(launch: Launcher, store: Store) -> None:
    for program in (launch.reader(store), launch.writer(store)):
        idle = http.dial(program.url)
        began = time.monotonic()
        launch.stop(program)
        assert time.monotonic() - began < 10
        assert idle.recv(1) == b""
        assert "stopped" in logged(program)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_download_under_way_ends_first(
    launch: Launcher, store: Store, large: Endpoint, keys: KeyPair, number: int
) -> None:
    reader = launch.reader(store)
    download = http.SlowGet(reader.url, large.file_url(NAME), large.token(keys))
    reader.process.signal(number)
    wait_for(lambda: not probe.tcp_open(reader.port), END_TIMEOUT_S, "no new connection is taken")
    assert reader.alive()
    body, whole = download.rest()
    assert whole
    assert body == bytes(16 * MIB)
    launch.forget(reader)
    assert reader.process.wait_end(END_TIMEOUT_S) == 0
    check_log(reader)


def test_an_upload_under_way_ends_first(
    launch: Launcher, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    writer = launch.writer(store)
    body = bytes(200_000)
    connection = http.connect(writer.url)
    connection.putrequest("PUT", endpoint.file_url(NAME))
    connection.putheader("Authorization", f"Bearer {endpoint.token(keys)}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    wait_for(
        lambda: http.gauge(writer.url, "epufs_http_requests_in_flight") == 2,
        END_TIMEOUT_S,
        "the upload's begin",
    )
    writer.process.signal(signal.SIGTERM)
    wait_for(lambda: not probe.tcp_open(writer.port), END_TIMEOUT_S, "no new connection is taken")
    connection.send(body[100:])
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Connection"] == "close"
    answer.read()
    launch.forget(writer)
    assert writer.process.wait_end(END_TIMEOUT_S) == 0
    check_log(writer)
    assert store.get(endpoint.key(NAME)) == body


def test_for_a_while_it_still_serves_and_is_not_ready(
    launch: Launcher, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """So that a balancer can take it out before it is gone."""
    writer = launch.writer(store, "--drain-delay=3s")
    writer.process.signal(signal.SIGTERM)
    wait_for(lambda: writer.status("/readyz") == 503, END_TIMEOUT_S, "readyz says 503")
    assert http.call(writer.url, "GET", "/livez").status == 200
    url, token = endpoint.file_url(NAME), endpoint.token(keys)
    assert http.put(writer.url, url, token, b"late").status == 200
    wait_for(
        lambda: http.put(writer.url, url, token, b"late").headers["Connection"] == "close",
        2.0,
        "clients are told to go",
    )
    launch.forget(writer)
    assert writer.process.wait_end(END_TIMEOUT_S) == 0
    assert store.get(endpoint.key(NAME)) == b"late"


def test_what_does_not_end_is_cut(
    launch: Launcher, store: Store, large: Endpoint, keys: KeyPair
) -> None:
    reader = launch.reader(store, "--drain-timeout=300ms")
    download = http.SlowGet(reader.url, large.file_url(NAME), large.token(keys))
    launch.stop(reader)
    assert "requests_cut=1" in logged(reader)
    assert not download.rest()[1]


def test_a_second_signal_ends_it_at_once(
    launch: Launcher, store: Store, large: Endpoint, keys: KeyPair
) -> None:
    reader = launch.reader(store)
    download = http.SlowGet(reader.url, large.file_url(NAME), large.token(keys))
    launch.forget(reader)
    reader.process.signal(signal.SIGTERM)
    wait_logged(reader, "draining")
    began = time.monotonic()
    reader.process.signal(signal.SIGTERM)
    assert reader.process.wait_end(END_TIMEOUT_S) == 1
    assert time.monotonic() - began < 10  # the download would have been waited for 30 s
    assert "second signal" in logged(reader)
    assert not download.rest()[1]


# ---- A store that is not there ----


def test_a_store_that_comes_later(
    launch: Launcher, tmp_path: pathlib.Path, endpoint: Endpoint, keys: KeyPair
) -> None:
    rgw = Rgw(tmp_path / "rgw", memory_bytes=256 * MIB)
    store = S3Store(rgw.s3, rgw.bucket, "late")
    reader = launch.reader(store, "--store-timeout=1s", "--read-timeout=1s", ready=False)
    writer = launch.writer(store, "--store-timeout=1s", ready=False)
    for program in (reader, writer):
        program.wait_ready(path="/livez")
        http.problem(http.call(program.url, "GET", "/readyz"), 503)
    token = endpoint.token(keys)
    for path in (endpoint.file_url(NAME), endpoint.url):
        http.problem(http.get(reader.url, path, token), 503)
    with rgw, concurrent.futures.ThreadPoolExecutor() as pool:
        for program in (reader, writer):
            program.wait_ready()
        assert http.put(writer.url, endpoint.file_url(NAME), token, b"x").status == 200
        assert http.get(reader.url, endpoint.file_url(NAME), token).body == b"x"
        rgw.gateway.pause()
        refused = pool.submit(http.put, writer.url, endpoint.file_url(NAME), token, b"y")
        wait_for(lambda: reader.status("/readyz") == 503, 60, "it sees that the store is gone")
        assert reader.status("/livez") == 200
        answer = refused.result()
        assert answer.status in (503, 504)
        http.problem(answer, answer.status)
        rgw.gateway.resume()
        reader.wait_ready()
        assert http.get(reader.url, endpoint.file_url(NAME), token).body == b"x"


def test_it_ends_also_while_the_store_is_away(launch: Launcher) -> None:
    store = _nowhere()
    for program in (launch.reader(store, ready=False), launch.writer(store, ready=False)):
        program.wait_ready(path="/livez")
        began = time.monotonic()
        launch.stop(program)
        assert time.monotonic() - began < 10


def _nowhere() -> Store:
    """A store that nobody serves."""
    return S3Store(S3(f"http://127.0.0.1:{ports.free_port()}", "a", "b"), "bucket", "x")


# ---- Options ----


def run(
    program: str, *options: str, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(paths.program(program)), *options],
        env=dict(env or {}),
        capture_output=True,
        text=True,
        timeout=END_TIMEOUT_S,
    )


@pytest.fixture
def needed(tmp_path: pathlib.Path, public_key: pathlib.Path) -> dict[str, list[str]]:
    """The options that each program cannot do without."""
    store = f"--store=file://{tmp_path}"
    front = [store, f"--token-keys={public_key}"]
    return {"epufs-reader": front, "epufs-writer": front, "epufs-janitor": [store]}


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_and_version(program: str) -> None:
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: {program}")
    for option in ("--listen", "--store", "--config", "--check-config", "--print-config"):
        assert f"  {option}" in done.stdout
    for line in done.stdout.splitlines():
        assert len(line) <= 80 or " " not in line.strip(), line
    done = run(program, "--version")
    assert done.returncode == 0
    assert re.search(r"\d+\.\d+\.\d+", done.stdout)


@pytest.mark.parametrize("program", PROGRAMS)
def test_check_config(program: str, needed: dict[str, list[str]]) -> None:
    done = run(program, *needed[program], "--check-config")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--no-such-option=1", "no-such-option"),
        ("--listn=127.0.0.1:1", "listn"),
        ("--threads=0", "threads"),
        ("--threads=x", "threads"),
        ("--threads=1000000", "threads"),
        ("--threads", "threads"),
        ("--drain-timeout=5parsecs", "drain_timeout"),
        ("--drain-timeout=-5s", "drain_timeout"),
        ("--log-level=loud", "log_level"),
        ("--store=", "store"),
        ("--config=/nonexistent/file", "/nonexistent/file"),
    ],
)
def test_bad_options(program: str, needed: dict[str, list[str]], option: str, named: str) -> None:
    """Status 2 and one line that names the option, also before anything is checked by hand."""
    for more in ([], ["--check-config"]):
        done = run(program, *needed[program], option, *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{program}: ")
        assert done.stderr.count("\n") == 1
        assert named in done.stderr.replace("-", "_") or named in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_options_that_are_missing(program: str, needed: dict[str, list[str]]) -> None:
    for missing in needed[program]:
        rest = [option for option in needed[program] if option != missing]
        done = run(program, *rest, "--check-config")
        assert done.returncode == 2
        name = missing[2:].partition("=")[0].replace("-", "_")
        assert name in done.stderr.replace("-", "_")


@pytest.mark.parametrize(
    ("program", "option"),
    [
        ("epufs-writer", "--known-files=,"),
        ("epufs-writer", "--known-files=a=b"),
        ("epufs-writer", "--known-files=/a"),
        ("epufs-writer", "--file-max-bytes=1parsec"),
        ("epufs-reader", "--endpoint-max-files=0"),
        ("epufs-janitor", "--kafka-session-timeout=1s"),
    ],
)
def test_bad_values_of_one_program(program: str, option: str, needed: dict[str, list[str]]) -> None:
    done = run(program, *needed[program], option, "--check-config")
    assert done.returncode == 2
    assert option[2:].partition("=")[0].replace("-", "_") in done.stderr.replace("-", "_")


@pytest.mark.parametrize("program", PROGRAMS)
def test_file_environment_and_command_line(
    program: str, needed: dict[str, list[str]], tmp_path: pathlib.Path
) -> None:
    """The later wins; --print-config says what holds and where it is from."""
    config = tmp_path / "epufs.conf"
    config.write_text("# ours\nthreads = 3\nidle_timeout = 7s\nlog_level = warn\n")
    env = {"EPUFS_IDLE_TIMEOUT": "8s", "EPUFS_LOG_LEVEL": "error"}
    options = [*needed[program], f"--config={config}", "--log-level=debug", "--print-config"]
    done = run(program, *options, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    shown = dict(zip(lines[1::2], lines[::2], strict=True))  # a comment above each option
    assert "file" in shown["threads = 3"]
    assert "environment" in shown["idle_timeout = 8s"]
    assert "command line" in shown["log_level = debug"]
    assert "default" in shown["send_timeout = 30s"]
    # What it prints is a file that means the same.
    config.write_text(done.stdout)
    again = run(program, f"--config={config}", "--print-config")
    assert [line for line in again.stdout.splitlines() if line[0] != "#"] == [
        line for line in lines if line[0] != "#"
    ]
    config.write_text("threads = 3\nno_such_option = 1\n")
    done = run(program, *options, env=env)
    assert done.returncode == 2
    assert "no_such_option" in done.stderr


def test_secrets_are_masked(needed: dict[str, list[str]]) -> None:
    url = "--redis-url=redis://user:hunter2@127.0.0.1:6379"
    options = "--kafka-options=sasl.password=hunter2"
    done = run("epufs-janitor", *needed["epufs-janitor"], url, options, "--print-config")
    assert done.returncode == 0
    assert "redis_url" in done.stdout
    assert "kafka_options" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_port_that_is_taken(reader: Reader, needed: dict[str, list[str]]) -> None:
    done = run("epufs-reader", *needed["epufs-reader"], f"--listen=127.0.0.1:{reader.port}")
    assert done.returncode == 1
    assert str(reader.port) in done.stdout + done.stderr


@pytest.mark.parametrize("content", ["", "no key\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n", None])
def test_keys_that_are_none(
    needed: dict[str, list[str]], tmp_path: pathlib.Path, content: str | None
) -> None:
    """A program that cannot check a token does not start."""
    key = tmp_path / "broken.pem"
    if content is not None:
        key.write_text(content)
    store = needed["epufs-reader"][0]
    done = run("epufs-reader", store, f"--token-keys={key}", "--listen=127.0.0.1:0")
    assert done.returncode == 1
    assert str(key) in done.stdout + done.stderr


def test_a_private_key_is_no_key_to_trust(
    needed: dict[str, list[str]], keys: KeyPair, tmp_path: pathlib.Path
) -> None:
    private, _ = keys.save(tmp_path)
    done = run(
        "epufs-reader", needed["epufs-reader"][0], f"--token-keys={private}", "--listen=127.0.0.1:0"
    )
    assert done.returncode == 1
    assert "private" in (done.stdout + done.stderr).lower()


def test_a_free_port_is_told(store: Store, public_key: pathlib.Path) -> None:
    """--listen with port 0: the log says which port it is."""
    program = paths.program("epufs-reader")
    options = [f"--store={store.url}", f"--token-keys={public_key}", "--listen=127.0.0.1:0"]
    with subprocess.Popen(
        [str(program), *options, "--drain-delay=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            assert running.stdout
            for line in running.stdout:
                if found := re.search(r"listen=127\.0\.0\.1:(\d+)", line):
                    break
            assert found
            assert probe.http_status(int(found[1]), "/livez") == 200
        finally:
            with contextlib.suppress(ProcessLookupError):
                running.terminate()
        assert running.wait(END_TIMEOUT_S) == 0
