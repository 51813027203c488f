"""The gateway of deploy/gateway on a real nginx, in front of a real reader and writer."""

import http.client
import itertools
import json
import pathlib
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest

from devstack import paths, ports, probe
from devstack.epufs import Program, Reader, Writer
from devstack.keys import KeyPair
from devstack.process import Process, require, wait_for
from devstack.service import Service
from harness import http as client
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import FolderStore, Store

TEMPLATE = paths.ROOT / "deploy" / "gateway" / "nginx.conf.template"
MIB = 1 << 20
BIG = 100 * MIB
PIECE = secrets.token_bytes(MIB)


class Gateway(Service):
    """nginx with the template filled in."""

    name = "gateway"

    def __init__(self, folder: pathlib.Path, reader: Reader, writer: Writer) -> None:
        super().__init__(folder)
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.tmp = self.folder / "tmp"
        self._conf = self.folder / "nginx.conf"
        self._values = {
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "GATEWAY_READER": f"127.0.0.1:{reader.port}",
            "GATEWAY_WRITER": f"127.0.0.1:{writer.port}",
            "GATEWAY_TMP": str(self.tmp),
            "GATEWAY_CONNECTIONS": "256",
        }
        nginx = require("nginx", "nginx-light")
        argv = [nginx, "-p", str(self.folder), "-c", str(self._conf), "-g", "daemon off;"]
        self._process = Process("nginx", argv, self.folder / "nginx.log")

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    def start(self) -> None:
        self.tmp.mkdir(parents=True)
        text = TEMPLATE.read_text(encoding="utf-8")
        for name, value in self._values.items():
            text = text.replace(f"${{{name}}}", value)
        self._conf.write_text(text, encoding="utf-8")
        self._process.start()
        self._process.wait_ready(lambda: probe.tcp_open(self.port), 10.0)

    def log(self) -> str:
        return self._process.log.read_text(encoding="utf-8")


MakeGateway = Callable[[Reader, Writer], Gateway]


@pytest.fixture
def make_gateway(tmp_path: pathlib.Path) -> Iterator[MakeGateway]:
    started: list[Gateway] = []

    def make(reader: Reader, writer: Writer) -> Gateway:
        gateway = Gateway(tmp_path / f"gateway-{len(started)}", reader, writer)
        started.append(gateway)
        return gateway.__enter__()

    yield make
    for gateway in started:
        gateway.stop()


@pytest.fixture(scope="module")
def store(folder_store: Store) -> Store:
    """The kind of the store does not matter here."""
    return folder_store


@pytest.fixture
def gateway(make_gateway: MakeGateway, reader: Reader, writer: Writer) -> Gateway:
    return make_gateway(reader, writer)


def served(program: Program, request_id: str) -> list[str]:
    """The lines of the program's log about a request."""
    lines = program.process.log.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if request_id in line]


def assert_served_by(program: Program, other: Program, request_id: str) -> None:
    wait_for(lambda: bool(served(program, request_id)), 5, f"{program.name}'s line")
    assert not served(other, request_id)


def test_each_method_goes_to_its_program(
    gateway: Gateway, reader: Reader, writer: Writer, endpoint: Endpoint, keys: KeyPair
) -> None:
    token, file = endpoint.token(keys), endpoint.file_url("lfc_state")
    json_list = {"Accept": "application/json"}

    def call(method: str, path: str, program: Program, **more: Any) -> client.Answer:
        request_id = secrets.token_hex(8)
        headers = {"X-Request-Id": request_id, **json_list}
        answer = client.call(gateway.url, method, path, token=token, headers=headers, **more)
        assert answer.status == 200
        assert answer.header("X-Request-Id") == request_id
        assert_served_by(program, writer if program is reader else reader, request_id)
        return answer

    stored = call("PUT", file, writer, body=b"one").json()
    assert stored["size"] == 3
    assert call("GET", file, reader).body == b"one"
    head = call("HEAD", file, reader)
    assert head.header("ETag") == f'"{stored["version"]}"' and head.body == b""
    assert head.header("Content-Length") == "3"
    assert call("POST", file, writer, body=b"three").json()["size"] == 5
    assert [f["size"] for f in call("GET", endpoint.url, reader).json()["files"]] == [5]
    tar = client.get(gateway.url, endpoint.url, token)
    assert tar.header("Content-Length") == str(len(tar.body)) and tar.body.startswith(b"lfc_state")
    call("DELETE", file, writer)
    assert client.get(gateway.url, file, token).status == 404
    assert call("DELETE", endpoint.url, writer).json()["deleted"]["files"] == 0


def test_a_target_arrives_as_it_was_sent(
    gateway: Gateway, reader: Reader, writer: Writer, endpoint: Endpoint, keys: KeyPair
) -> None:
    token, file = endpoint.token(keys), endpoint.file_url("pg_stat%2Fa%2520b.stat")
    assert client.put(gateway.url, file, token, b"x").status == 200
    listed = client.get(reader.url, endpoint.url, token, headers={"Accept": "application/json"})
    assert [f["path"] for f in listed.json()["files"]] == ["pg_stat/a%20b.stat"]
    service = keys.service_token()
    assert client.get(gateway.url, f"{file}?gen=0", service).status == 200
    assert client.get(gateway.url, f"{file}?gen=1", service).status == 404


def slow_get(gateway: Gateway, path: str, token: str) -> bytes:
    """A GET whose small window keeps nginx waiting, so that it has to hold bytes back."""
    connection = client.connect(gateway.url)
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sock.settimeout(client.TIMEOUT_S)
    connection.sock.connect(("127.0.0.1", gateway.port))
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    assert answer.status == 200
    body = answer.read()
    connection.close()
    return body


def test_100_mib_stream_both_ways_and_touch_no_disk(
    gateway: Gateway, endpoint: Endpoint, keys: KeyPair
) -> None:
    # Without these folders nginx has nowhere to put a body down.
    for folder in gateway.tmp.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    token, file = endpoint.token(keys), endpoint.file_url("lfc_state")
    pieces = itertools.repeat(PIECE, BIG // MIB)
    length = {"Content-Length": str(BIG)}
    stored = client.call(gateway.url, "PUT", file, token=token, body=pieces, headers=length)
    assert (stored.status, stored.json()["size"]) == (200, BIG)
    read = slow_get(gateway, file, token)
    assert len(read) == BIG
    assert sha256(read).digest() == sha256(PIECE * (BIG // MIB)).digest()
    assert "temporary file" not in gateway.log()


def test_a_request_without_an_id_gets_one(
    gateway: Gateway, reader: Reader, writer: Writer, endpoint: Endpoint, keys: KeyPair
) -> None:
    answer = client.get(gateway.url, endpoint.url, endpoint.token(keys))
    assert answer.status == 200 and len(answer.header("X-Request-Id")) == 32
    assert_served_by(reader, writer, answer.header("X-Request-Id"))


def test_errors_pass_as_they_are(gateway: Gateway, endpoint: Endpoint, keys: KeyPair) -> None:
    token, file = endpoint.token(keys), endpoint.file_url("lfc_state")
    assert client.put(gateway.url, file, token, b"abc").status == 200
    answers = {
        400: client.get(gateway.url, "/tenants/xyz", token),
        401: client.call(gateway.url, "GET", file),
        403: client.get(gateway.url, Endpoint().url, token),
        404: client.get(gateway.url, endpoint.file_url("none"), token),
        405: client.call(gateway.url, "PATCH", file, token=token),
        412: client.put(gateway.url, file, token, b"x", headers={"If-None-Match": "*"}),
        416: client.get(gateway.url, file, token, headers={"Range": "bytes=9-"}),
        422: client.put(gateway.url, endpoint.file_url("none"), token, b"x"),
    }
    for status, answer in answers.items():
        assert answer.status == status
        assert answer.header("Content-Type") == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.header("X-Request-Id")
    assert answers[401].header("WWW-Authenticate").startswith("Bearer")
    assert answers[405].header("Allow") == "PUT, POST, DELETE"


def test_a_refused_upload_is_told_before_its_body(
    gateway: Gateway, endpoint: Endpoint, keys: KeyPair
) -> None:
    connection = client.connect(gateway.url, timeout_s=10)
    connection.putrequest("PUT", endpoint.file_url("lfc_state"))
    connection.putheader("Authorization", f"Bearer {endpoint.token(keys)}")
    connection.putheader("Content-Length", str(200 * MIB))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["status"] == 413
    connection.close()


def test_a_read_that_breaks_off_never_looks_whole(
    make_gateway: MakeGateway,
    launch: Launcher,
    store: FolderStore,
    writer: Writer,
    endpoint: Endpoint,
    keys: KeyPair,
) -> None:
    token, file = endpoint.token(keys), endpoint.file_url("lfc_state")
    store.put(endpoint.key("lfc_state"), PIECE * (BIG // MIB))
    reader = launch.reader(store)
    gateway = make_gateway(reader, writer)
    connection = client.connect(gateway.url)
    connection.request("GET", file, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert len(answer.read(MIB)) == MIB
    reader.kill()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()

    gone = client.get(gateway.url, file, token, headers={"X-Request-Id": "mine"})
    assert (gone.status, gone.json()["status"]) == (502, 502)
    assert gone.header("Content-Type") == "application/problem+json"
    assert gone.header("X-Request-Id") == "mine"
    assert client.put(gateway.url, file, token, b"x").status == 200


def test_metrics_stay_inside(gateway: Gateway, reader: Reader) -> None:
    assert client.call(reader.url, "GET", "/metrics").status == 200
    assert client.call(gateway.url, "GET", "/metrics").status == 404
    assert client.call(gateway.url, "GET", "/readyz").status == 200
    assert client.call(gateway.url, "GET", "/version").json()["program"] == "epufs-reader"
