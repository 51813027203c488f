"""Large files, many at once, slow and broken clients, malformed requests."""

import concurrent.futures
import hashlib
import random
import secrets
import time
from collections.abc import Iterator

import pytest

from devstack.epufs import Program, Reader, Writer
from devstack.keys import KeyPair
from devstack.process import wait_for
from harness import http, memory
from harness.ids import Endpoint, hex32
from harness.launch import Launcher
from harness.stores import Store

MIB = 1 << 20
LARGE = 100 * MIB
MEMORY_MAX = 64 * MIB
NAME = "autoprewarm.blocks"
STREAMED = 200_000  # beyond 64 KiB a body is streamed to the store, not collected
TIMEOUT_S = 60.0


def requests_over(program: Program) -> None:
    """Waits until no request is under way but the one that asks."""
    wait_for(
        lambda: http.gauge(program.url, "epufs_http_requests_in_flight") == 1,
        TIMEOUT_S,
        "the requests' end",
        log=program.process.log,
    )


# ---- Large files ----


def _send_large(writer: Writer, path: str, token: str) -> str:
    """Puts LARGE bytes; returns their hash."""
    piece = secrets.token_bytes(MIB)
    hashed = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for number in range(LARGE // MIB):
            part = number.to_bytes(8, "big") + piece[8:]
            hashed.update(part)
            yield part

    headers = {"Content-Length": str(LARGE)}
    answer = http.call(
        writer.url, "PUT", path, token=token, body=pieces(), headers=headers, timeout_s=TIMEOUT_S
    )
    assert (answer.status, answer.json()["size"]) == (200, LARGE)
    return hashed.hexdigest()


def _receive(reader: Reader, path: str, token: str, pause_s: float = 0.0) -> str:
    """Gets a file, with a pause half way; returns its hash."""
    hashed = hashlib.sha256()
    connection = http.connect(reader.url, TIMEOUT_S)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(LARGE))
    left = LARGE
    while part := answer.read(MIB):
        hashed.update(part)
        left -= len(part)
        if left == LARGE // 2:
            time.sleep(pause_s)
    connection.close()
    assert left == 0
    return hashed.hexdigest()


def test_a_large_file_needs_little_memory(
    launch: Launcher, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """Through processes that have done nothing else; the client rests half way of a download."""
    reader, writer = launch.reader(store), launch.writer(store)
    path, token = endpoint.file_url(NAME), endpoint.token(keys)
    sent = _send_large(writer, path, token)
    assert store.listing(endpoint.prefix) == {endpoint.key(NAME): LARGE}
    assert _receive(reader, path, token, pause_s=0.3) == sent
    for program in (reader, writer):
        used = memory.peak_bytes(program)
        if memory.is_comparable(program):
            assert used < MEMORY_MAX, f"{program.name}: {used / MIB:.1f} MiB"
    store.delete(endpoint.key(NAME))


def test_a_large_archive_needs_little_memory(launch: Launcher, store: Store, keys: KeyPair) -> None:
    """Several at once, of files that are fetched ahead, for clients that do not read yet."""
    reader = launch.reader(store)
    endpoints = [Endpoint() for _ in range(8)]
    for endpoint in endpoints:
        for number in range(3):
            store.put(endpoint.key(f"f{number}"), bytes(4 * MIB))
    downloads = [http.SlowGet(reader.url, e.url, e.token(keys)) for e in endpoints]
    for download in downloads:
        body, whole = download.rest()
        assert whole
        assert len(body) > 12 * MIB
    if memory.is_comparable(reader):
        assert memory.peak_bytes(reader) < MEMORY_MAX
    for endpoint in endpoints:
        for key in store.listing(endpoint.prefix):
            store.delete(key)


# ---- Slow and broken clients ----


def test_a_slow_upload(writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair) -> None:
    for size in (20_000, STREAMED):
        body = secrets.token_bytes(size)

        def drops(body: bytes = body) -> Iterator[bytes]:
            step = len(body) // 10
            for at in range(0, len(body), step):
                time.sleep(0.03)
                yield body[at : at + step]

        headers = {"Content-Length": str(size)}
        path, token = endpoint.file_url(NAME), endpoint.token(keys)
        answer = http.call(writer.url, "PUT", path, token=token, body=drops(), headers=headers)
        assert answer.status == 200
        assert store.get(endpoint.key(NAME)) == body


@pytest.mark.parametrize("size", [20_000, STREAMED, 5 * MIB])
@pytest.mark.parametrize("before", [False, True], ids=["new", "replacing"])
def test_a_client_that_leaves_in_mid_upload(
    writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair, size: int, before: bool
) -> None:
    """Nothing is left of its upload, and what was there stays."""
    if before:
        store.put(endpoint.key(NAME), b"before")
    head = (
        f"PUT {endpoint.file_url(NAME)} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
        f"Authorization: Bearer {endpoint.token(keys)}\r\n\r\n"
    )
    for sent in (0, 1, size // 2, size - 1):
        with http.dial(writer.url) as connection:
            connection.sendall(head.encode() + bytes(sent))
            wait_for(
                lambda: http.gauge(writer.url, "epufs_http_requests_in_flight") >= 2,
                TIMEOUT_S,
                "the request's begin",
            )
        requests_over(writer)
        assert store.listing(endpoint.tenant_prefix) == ({endpoint.key(NAME): 6} if before else {})
        wait_for(lambda: store.leftovers() == [], TIMEOUT_S, "the removal of what was sent")


def test_a_client_that_leaves_in_mid_download(
    reader: Reader, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    store.put(endpoint.key(NAME), bytes(16 * MIB))
    for path in (endpoint.file_url(NAME), endpoint.url):
        downloads = [http.SlowGet(reader.url, path, endpoint.token(keys)) for _ in range(5)]
        assert http.gauge(reader.url, "epufs_http_requests_in_flight") == 6
        for download in downloads:
            download.close()
        requests_over(reader)
    assert http.get(reader.url, endpoint.file_url(NAME), endpoint.token(keys)).status == 200


# ---- Many at once ----


def test_many_uploads_at_once(reader: Reader, writer: Writer, store: Store, keys: KeyPair) -> None:
    tenant, timeline = hex32(), hex32()
    endpoints = [Endpoint(tenant, timeline, f"ep-{number}") for number in range(50)]
    bodies = {e: secrets.token_bytes(random.randint(0, STREAMED)) for e in endpoints}

    def there_and_back(endpoint: Endpoint) -> bool:
        token, body = endpoint.token(keys, 1), bodies[endpoint]
        for version in (body[::-1], body):
            if http.put(writer.url, endpoint.file_url(NAME), token, version).status != 200:
                return False
        return http.get(reader.url, endpoint.file_url(NAME), token).body == body

    with concurrent.futures.ThreadPoolExecutor(len(endpoints)) as pool:
        assert all(pool.map(there_and_back, endpoints))
    assert store.listing(f"tenants/{tenant}/") == {
        e.key(NAME, 1): len(bodies[e]) for e in sorted(endpoints, key=lambda e: e.key(NAME, 1))
    }
    assert store.leftovers() == []


def test_uploads_of_the_same_file_at_once(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair
) -> None:
    """One of them is what stays, as a whole, whatever their sizes."""
    bodies = [bytes([number]) * (7_000 * (number + 1)) for number in range(16)]
    path, token = endpoint.file_url(NAME), endpoint.token(keys)
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: http.put(writer.url, path, token, body), bodies))
    assert {answer.status for answer in answers} == {200}
    got = http.get(reader.url, path, token)
    versions = {answer.header("ETag"): body for answer, body in zip(answers, bodies, strict=True)}
    assert got.body == versions[got.header("ETag")]
    assert store.leftovers() == []


# ---- Malformed requests ----

T, L = "0123456789abcdef" * 2, "fedcba9876543210" * 2
EP = f"/tenants/{T}/timelines/{L}/endpoints"
MALFORMED = [
    (f"/tenants/{T[:-1]}/timelines/{L}/endpoints/ep-1/pgdata/lfc_state", 400),
    (f"/tenants/{T}0/timelines/{L}/endpoints/ep-1/pgdata/lfc_state", 400),
    (f"/tenants/{T[:-1]}g/timelines/{L}/endpoints/ep-1/pgdata/lfc_state", 400),
    (f"/tenants/{T[:-1]}%20/timelines/{L}/endpoints/ep-1/pgdata/lfc_state", 400),
    (f"/tenants/{T}/timelines/{L[:-1]}/endpoints/ep-1/pgdata/lfc_state", 400),
    (f"/tenants/{T}/timelines/../endpoints/ep-1/pgdata/lfc_state", 400),
    (f"{EP}/-ep/pgdata/lfc_state", 400),
    (f"{EP}/e%2Fp/pgdata/lfc_state", 400),
    (f"{EP}/..%2Fep/pgdata/lfc_state", 400),
    (f"{EP}/{'e' * 64}/pgdata/lfc_state", 400),
    (f"{EP}/ep%00/pgdata/lfc_state", 400),
    (f"{EP}/%C3%A9p/pgdata/lfc_state", 400),
    (f"{EP}//pgdata/lfc_state", 400),
    (f"{EP}/ep-1/pgdata/pg_stat/../lfc_state", 400),
    (f"{EP}/ep-1/pgdata/pg_stat/%2e%2e/lfc_state", 400),
    (f"{EP}/ep-1/pgdata/pg_stat%2F..%2Flfc_state", 400),
    (f"{EP}/ep-1/pgdata/./lfc_state", 400),
    (f"{EP}/ep-1/pgdata//lfc_state", 400),
    (f"{EP}/ep-1/pgdata/%2Flfc_state", 400),
    (f"{EP}/ep-1/pgdata/lfc_state%00", 400),
    (f"{EP}/ep-1/pgdata/lfc%0Astate", 400),
    (f"{EP}/ep-1/pgdata/lfc%7Fstate", 400),
    (f"{EP}/ep-1/pgdata/lfc%FFstate", 400),
    (f"{EP}/ep-1/pgdata/lfc%C0%AFstate", 400),
    (f"{EP}/ep-1/pgdata/lfc%ED%A0%80", 400),
    (f"{EP}/ep-1/pgdata/lfc%zzstate", 400),
    (f"{EP}/ep-1/pgdata/lfc_state%2", 400),
    (f"{EP}/ep-1/pgdata/{'x' * 513}", 400),
    (f"{EP}/ep-1/pgdata/", 404),
    (f"{EP}/ep-1/pgdata", 404),
    (f"{EP}/ep-1/pgdata/lfc_state/", 404),
    (f"{EP}/ep-1/other/lfc_state", 404),
    (f"/tenants/{T}/timelines/{L}/endpoint/ep-1", 404),
    (f"/tenants/{T}/", 404),
    ("/tenants", 404),
    ("/", 404),
    ("/livez/", 404),
    ("/%6civez", 404),
    (f"//tenants/{T}", 404),
]


@pytest.mark.parametrize(("path", "status"), MALFORMED, ids=lambda value: str(value)[-40:])
def test_malformed_targets(
    reader: Reader, writer: Writer, store: Store, keys: KeyPair, path: str, status: int
) -> None:
    """With a token that is good for everything, so that only the target can be at fault."""
    token = keys.service_token()
    before = store.listing()
    for base in (reader.url, writer.url):
        for method in ("GET", "PUT", "DELETE"):
            request = (
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"Authorization: Bearer {token}\r\nContent-Length: 1\r\n\r\nx"
            )
            answer = http.raw(base, request.encode())
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
            assert b"application/problem+json" in answer
            assert b"X-Request-Id" in answer
    assert store.listing() == before


SMUGGLED = {
    "two lengths": "Content-Length: 3\r\nContent-Length: 4",
    "two equal lengths": "Content-Length: 3\r\nContent-Length: 3",
    "a list of lengths": "Content-Length: 3, 3",
    "length and coding": "Content-Length: 3\r\nTransfer-Encoding: chunked",
    "coding and length": "Transfer-Encoding: chunked\r\nContent-Length: 3",
    "an unknown coding": "Transfer-Encoding: gzip, chunked",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "a hidden coding": "Transfer-Encoding: xchunked",
    "a coding behind a tab": "Transfer-Encoding:\tchunked, identity",
    "a space before the colon": "Content-Length : 3",
    "a folded line": "X-A: b\r\n Content-Length: 3",
    "a signed length": "Content-Length: +3",
    "a negative length": "Content-Length: -3",
    "a hex length": "Content-Length: 0x3",
    "an empty length": "Content-Length:",
    "a second host": "Host: y\r\nContent-Length: 3",
    "a bare line feed": "X-A: b\nContent-Length: 3",
    "a carriage return within": "X-A: b\rContent-Length: 3",
    "a NUL": "X-A: b\0c\r\nContent-Length: 3",
    "a name with a blank": "Content Length: 3",
    "no colon": "Content-Length 3",
}
UNKNOWN_CODINGS = {"an unknown coding", "a hidden coding", "a coding behind a tab"}  # RFC 9112 6.1


@pytest.mark.parametrize("name", SMUGGLED)
def test_requests_that_two_servers_could_read_differently(
    reader: Reader, writer: Writer, store: Store, endpoint: Endpoint, keys: KeyPair, name: str
) -> None:
    """Refused, and the connection ends, so that what follows is never taken for a request."""
    token = endpoint.token(keys)
    for base in (reader.url, writer.url):
        request = (
            f"PUT {endpoint.file_url(NAME)} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {token}\r\n{SMUGGLED[name]}\r\n\r\n"
            f"abcPUT {endpoint.file_url('lfc_state')} HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: 1\r\n\r\nx"
        )
        answer = http.raw(base, request.encode())
        refused = b"501" if name in UNKNOWN_CODINGS else b"400"
        assert answer.startswith(b"HTTP/1.1 " + refused), answer
        assert answer.count(b"HTTP/1.1 ") == 1  # no second answer to anything
    assert store.listing(endpoint.tenant_prefix) == {}


def test_heads_that_are_too_large(writer: Writer) -> None:
    for head in ("GET /" + "a" * 200_000, "GET /livez HTTP/1.1\r\nX-A: " + "a" * 200_000):
        try:
            answer = http.raw(writer.url, head.encode() + b"\r\n\r\n")
        except ConnectionError:  # it need not listen to the end
            answer = b""
        assert answer[:12] in (b"", b"HTTP/1.1 414", b"HTTP/1.1 431", b"HTTP/1.1 400")
    assert http.call(writer.url, "GET", "/livez").status == 200
