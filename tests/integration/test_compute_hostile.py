"""epufs-compute against whatever a server can do to it: PGDATA stays as it was, and one clear line
says why the endpoint starts cold."""

import base64
import hashlib
import io
import json
import pathlib
import socket
import ssl
import tarfile
import threading
import time
from collections.abc import Callable

import pytest

from devstack.certificates import Authority
from devstack.keys import KeyPair
from harness.compute import BLOCKS, MANIFEST, Compute, Files, PgData, blocks
from harness.ids import Endpoint
from harness.scripted import Script, Scripted, answer, say

OLD: Files = {BLOCKS: blocks(2), "pg_stat/x.stat": b"old"}
NEW: Files = {BLOCKS: blocks(3), "pg_stat/x.stat": b"new"}
MIB = 1 << 20

Change = Callable[[tarfile.TarInfo], None]


def manifest_of(files: Files) -> bytes:
    """As another compute would have stored it."""
    contents = {
        name: [{"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
        for name, data in files.items()
    }
    return json.dumps(
        {
            "schema": 1,
            "major": 15,
            "system_identifier": "7000000000000000001",
            "files": contents,
        }
    ).encode()


def tar_of(files: Files, change: Change = lambda _: None) -> bytes:
    """A whole and good TAR but for what `change` does to the last member."""
    buffer = io.BytesIO()
    everything = {MANIFEST: manifest_of(files), **files}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in everything.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if name == list(everything)[-1]:
                change(info)
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def endpoint_answers(tar: bytes, more: Script | None = None) -> Script:
    """The list as it should be, and for the TAR these bytes or that script."""

    def script(client: socket.socket, head: bytes) -> None:
        if b"Accept: application/json" in head:
            client.sendall(answer(200, b'{"files":[]}'))
        elif more:
            more(client, head)
        else:
            client.sendall(answer(200, tar))

    return script


@pytest.fixture
def pgdata(tmp_path: pathlib.Path) -> PgData:
    return PgData(tmp_path / "pgdata", OLD)


@pytest.fixture
def token(endpoint: Endpoint, keys: KeyPair) -> str:
    return endpoint.token(keys, 1)


def compute_at(server: Scripted, folder: pathlib.Path, token: str, *options: str) -> Compute:
    return Compute(folder / "compute", server.url, server.url, token, *options)


def check_cold(
    script: Script,
    tmp_path: pathlib.Path,
    pgdata: PgData,
    token: str,
    *words: str,
    options: tuple[str, ...] = ("--retries=0",),
) -> Scripted:
    with Scripted(script) as server:
        compute = compute_at(server, tmp_path, token, *options)
        done = compute.load(pgdata)
        assert done.says("the endpoint starts cold", *words).status == 1
        assert compute.run("load", pgdata).status == 0  # never a reason not to start
    assert pgdata.files() == OLD
    return server


def test_the_scripted_server_can_serve(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    """What is hostile below is hostile for the one thing that was changed."""
    with Scripted(endpoint_answers(tar_of(NEW))) as server:
        assert compute_at(server, tmp_path, token).load(pgdata).says("files=2").status == 0
    assert pgdata.files() == NEW


# ---- Statuses ----


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 429, 500, 502, 503, 504, 507])
def test_statuses(tmp_path: pathlib.Path, pgdata: PgData, token: str, status: int) -> None:
    body = json.dumps({"status": status, "detail": f"because \x1b[31m{status}"}).encode()
    words = f"answered {status}: because ?[31m{status}"
    check_cold(say(answer(status, body)), tmp_path, pgdata, token, words)


def test_an_error_s_body_may_be_anything(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    for body in (b"", b"<html>", b"\xff\0" * 1000, b"x" * (3 * MIB), b'{"detail":7}', b"[]"):
        check_cold(say(answer(500, body)), tmp_path, pgdata, token, "answered 500")


def test_a_redirection_is_not_followed(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    with Scripted() as other:
        script = say(answer(302, b"", f"Location: {other.url}/x"))
        check_cold(script, tmp_path, pgdata, token, "answered 302")
        assert other.heads == []  # which would have got the token


# ---- Connections ----


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"garbage\r\n\r\n",),
        (b"\0" * 100_000,),
        (b"HTTP/1.1 200 OK\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
        (b"HTTP/1.1 999999 OK\r\n\r\n",),
        (b"HTTP/9.9 200 OK\r\n\r\n",),
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"x" * (2 * MIB),),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 * MIB) + b"\r\n\r\n",),
    ],
    ids=range(12),
)
def test_garbage(
    tmp_path: pathlib.Path, pgdata: PgData, token: str, pieces: tuple[bytes, ...]
) -> None:
    check_cold(say(*pieces), tmp_path, pgdata, token)


def test_nobody_there(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    server = Scripted()  # not started: its port is closed
    done = compute_at(server, tmp_path, token).load(pgdata)
    assert done.says("the endpoint starts cold", "Couldn't connect").status == 1
    assert pgdata.files() == OLD


def test_silence_has_an_end(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    with Scripted() as server:
        server.default = server.wait_over
        began = time.monotonic()
        done = compute_at(server, tmp_path, token, "--load-timeout=500ms").load(pgdata)
        assert done.says("the endpoint starts cold", "code=timeout").status == 1
        assert time.monotonic() - began < 5.0
    assert pgdata.files() == OLD


def test_a_trickle_has_an_end(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    def trickle(client: socket.socket, _head: bytes) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            client.sendall(b"\0")
            time.sleep(0.02)

    options = ("--load-timeout=700ms", "--request-timeout=10s")
    began = time.monotonic()
    check_cold(trickle, tmp_path, pgdata, token, "code=timeout", options=options)
    assert time.monotonic() - began < 8.0


def test_repetitions_have_a_budget(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    server = check_cold(
        say(answer(503)), tmp_path, pgdata, token, "answered 503", options=("--retries=3",)
    )
    assert len(server.heads) == 2 * (2 + 3)  # two loads, each of two requests and three more


def test_what_may_change_is_tried_again(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    """503, then a cut within the body, then the whole: nothing of the first ones is left."""
    tar = tar_of(NEW)
    whole = answer(200, tar)
    scripts = [
        say(answer(503, b"", "Retry-After: 1")),
        say(whole[: len(whole) - 900]),
        say(whole),
    ]
    times: list[float] = []

    def next_one(client: socket.socket, head: bytes) -> None:
        times.append(time.monotonic())
        scripts.pop(0)(client, head)

    with Scripted(endpoint_answers(b"", next_one)) as server:
        done = compute_at(server, tmp_path, token).load(pgdata)
        assert done.says("files loaded", "files=2").status == 0
    assert pgdata.files() == NEW
    assert times[1] - times[0] >= 1.0  # as Retry-After asked


def test_a_renewed_token_is_tried_at_once(
    tmp_path: pathlib.Path, pgdata: PgData, endpoint: Endpoint, keys: KeyPair
) -> None:
    old = endpoint.token(keys, 1)
    new = keys.endpoint_token(endpoint.tenant, endpoint.timeline, endpoint.name, 1, renewed=True)
    tar = tar_of(NEW)
    other_refused = threading.Event()

    def judge(client: socket.socket, head: bytes) -> None:
        """It asks for two things at once, and hears of the second one's refusal a little later."""
        if new.encode() in head:
            endpoint_answers(tar)(client, head)
            return
        if b"application/x-tar" in head:
            other_refused.wait(10.0)
            time.sleep(0.2)
        else:
            compute.set_token(new)
        client.sendall(answer(401, b'{"detail":"the token has expired"}'))
        other_refused.set()

    with Scripted(judge) as server:
        compute = compute_at(server, tmp_path, old)
        assert compute.load(pgdata).says("files loaded").status == 0
    assert pgdata.files() == NEW


# ---- TARs ----


def test_a_cut_at_any_byte(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    """Whatever Content-Length says of it. Every byte is tests/unit/test_untar.c's; here a few."""
    tar = tar_of(NEW)
    end = len(tar.rstrip(b"\0")) // 512 * 512 + 512  # where the blocks of zeros begin
    for cut in (0, 512, 513, end - 1, end, end + 512, end + 1023):
        short = say(answer(200, tar[:cut]))
        check_cold(endpoint_answers(b"", short), tmp_path, pgdata, token, "it was cut")
        broken = say(answer(200, tar[:cut], length=len(tar)))
        check_cold(endpoint_answers(b"", broken), tmp_path, pgdata, token)
        endless = say(b"HTTP/1.1 200 OK\r\n\r\n", tar[:cut])  # until the connection ends
        check_cold(endpoint_answers(b"", endless), tmp_path, pgdata, token, "it was cut")


def link_to(target: str, kind: bytes) -> Change:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, target, 0

    return change


def named(name: str) -> Change:
    def change(info: tarfile.TarInfo) -> None:
        info.name = name

    return change


def typed(kind: bytes) -> Change:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.size = kind, 0

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (named("/etc/passwd"), "is refused"),
        (named("../outside"), "is refused"),
        (named("pg_stat/../../outside"), "is refused"),
        (named("pg_stat//x.stat"), "is refused"),
        (named("./x"), "is refused"),
        (named("pg_stat/\n.stat"), "is refused"),
        (named("x" * 600), "pax path of 600 bytes"),
        (named(BLOCKS), "comes twice"),
        (named(MANIFEST), "comes twice"),
        (link_to("/etc/passwd", tarfile.SYMTYPE), "a symbolic link"),
        (link_to(BLOCKS, tarfile.LNKTYPE), "a hard link"),
        (typed(tarfile.CHRTYPE), "a device"),
        (typed(tarfile.BLKTYPE), "a device"),
        (typed(tarfile.FIFOTYPE), "a pipe"),
        (typed(tarfile.DIRTYPE), "a folder"),
    ],
)
def test_hostile_members(
    tmp_path: pathlib.Path, pgdata: PgData, token: str, change: Change, words: str
) -> None:
    check_cold(endpoint_answers(tar_of(NEW, change)), tmp_path, pgdata, token, words)
    assert not (tmp_path / "outside").exists()


def test_ten_gibibytes_are_not_waited_for(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    info = tarfile.TarInfo("pg_stat/huge.stat")
    info.size = 10 << 30
    head = info.tobuf(tarfile.PAX_FORMAT)
    script = say(answer(200, head, length=len(head) + (10 << 30)))
    words = "'pg_stat/huge.stat' has 10737418240 bytes; 536870912 are left"
    began = time.monotonic()
    check_cold(endpoint_answers(b"", script), tmp_path, pgdata, token, words)
    assert time.monotonic() - began < 5.0


def test_one_that_is_too_large_is_left_out(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    """A file beyond its limit, but within that of all: the others are loaded."""
    files = NEW | {"pg_stat/large.stat": b"x" * (100 * MIB + 1)}
    with Scripted(endpoint_answers(tar_of(files))) as server:
        done = compute_at(server, tmp_path, token, "--load-timeout=60s").load(pgdata)
        done.says("pg_stat/large.stat", "larger than its limit")
        assert done.says("files loaded", "files=2", "refused=1").status == 0
    assert pgdata.files() == NEW


def test_what_does_not_travel_is_left_out(
    tmp_path: pathlib.Path, pgdata: PgData, token: str
) -> None:
    """Files that a server could read as its configuration, with a manifest that lists them."""
    hostile = {"postgresql.auto.conf": b"x", "pg_hba.conf": b"x", "standby.signal": b""}
    hostile |= {"base/1/1259": b"x", "global/pg_control": b"x", "PG_VERSION": b"16\n"}
    with Scripted(endpoint_answers(tar_of(NEW | hostile))) as server:
        done = compute_at(server, tmp_path, token).load(pgdata)
        assert done.says("files loaded", "files=2", "refused=6").status == 0
    assert pgdata.files() == NEW


def test_a_manifest_may_be_anything(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    for manifest in (b"", b"{", b"[]", b'{"schema":9}', b"\xff", b"x" * (300 * 1024)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, data in {**NEW, MANIFEST: manifest}.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with Scripted(endpoint_answers(buffer.getvalue())) as server:
            done = compute_at(server, tmp_path, token).load(pgdata)
            assert done.says("the files are not loaded").says("starts cold").status == 0
        assert pgdata.files() == OLD


# ---- Stores ----


def test_a_store_has_an_end_too(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    with Scripted() as server:
        server.default = server.wait_over
        began = time.monotonic()
        done = compute_at(server, tmp_path, token, "--store-timeout=500ms").store(pgdata)
        assert done.says("not everything was stored", "code=timeout").status == 1
        assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"version":""}', b'{"version":7}', b'{"version":"%s"}' % (b"v" * 300)]
)
def test_an_upload_that_tells_no_version_is_none(
    tmp_path: pathlib.Path, pgdata: PgData, token: str, body: bytes
) -> None:
    def script(client: socket.socket, head: bytes) -> None:
        get = head.startswith(b"GET")
        client.sendall(answer(200, b'{"files":[]}' if get else body))

    with Scripted(script) as server:
        done = compute_at(server, tmp_path, token).store(pgdata)
        assert done.says("not everything was stored", "no version").status == 1


@pytest.mark.parametrize("body", [b"", b"[]", b'{"files":{}}', b'{"files":[{}]}', b"x" * 100])
def test_a_list_may_be_anything(
    tmp_path: pathlib.Path, pgdata: PgData, token: str, body: bytes
) -> None:
    with Scripted(say(answer(200, body))) as server:
        done = compute_at(server, tmp_path, token).store(pgdata)
        assert done.says("not everything was stored", "the list of files is not as").status == 1
        assert all(head.startswith(b"GET") for head in server.heads)


# ---- TLS ----


def test_tls_is_checked(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    authority = Authority(tmp_path / "ca")
    server_id = authority.identity("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_id.certificate, server_id.key)
    with Scripted(endpoint_answers(tar_of(NEW)), context) as server:
        unknown = compute_at(server, tmp_path, token).load(pgdata)
        assert unknown.says("starts cold", "SSL peer certificate").status == 1
        assert server.heads == []  # the token has not left
        compute = compute_at(server, tmp_path, token, f"--ca-file={authority.certificate}")
        assert compute.load(pgdata).says("files loaded").status == 0
        missing = compute_at(server, tmp_path, token, "--ca-file=/nowhere").load(pgdata)
        assert missing.says("starts cold", "ca_file: cannot read '/nowhere'").status == 1


def test_the_token_is_where_it_belongs(tmp_path: pathlib.Path, pgdata: PgData, token: str) -> None:
    with Scripted(endpoint_answers(tar_of(NEW))) as server:
        compute = compute_at(server, tmp_path, token, "--log-level=debug")
        assert compute.load(pgdata).status == 0
        assert not any(token in word for word in compute.argv("load", pgdata))
        heads = [head.decode() for head in server.heads]
    assert all(f"Authorization: Bearer {token}\r\n" in head for head in heads)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert all(claims["tenant_id"] in head for head in heads)
