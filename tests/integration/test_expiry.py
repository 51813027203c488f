"""An upload that reaches the store after its expiry: refused by the store, and said plainly."""

import concurrent.futures
import email.utils
import http.server
import threading
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from devstack.keys import KeyPair
from devstack.process import wait_for
from devstack.rgw import Rgw
from devstack.s3 import S3
from harness import http as client
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy
from harness.stores import S3Store

FILE = "autoprewarm.blocks"
STREAMED = 100_000  # beyond 64 KiB a body is streamed to the store, not collected
EMPTY_LIST = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


def test_an_upload_is_late_from_the_very_second_of_its_expiry(
    rgw: Rgw, launch: Launcher, keys, endpoint: Endpoint
):
    """The store's clock has whole seconds, so the last of them counts as late."""
    store = S3Store(rgw.s3, rgw.bucket, f"expiry-{endpoint.tenant}")
    token = endpoint.token(keys, gen=1)
    with Proxy(rgw.port) as proxy, concurrent.futures.ThreadPoolExecutor(1) as pool:
        behind = S3(proxy.url, rgw.s3.access_key, rgw.s3.secret_key)
        writer = launch.writer(
            S3Store(behind, rgw.bucket, store.prefix), "--upload-expiry=2s", "--upload-timeout=10s"
        )
        held = proxy.hold(b"X-Amz-Expires=2", "request")
        answer = pool.submit(client.put, writer.url, endpoint.file_url(FILE), token, b"late")
        held.wait()
        signed_at_s = int(time.time())
        wait_for(lambda: int(time.time()) >= signed_at_s + 2, 5, "the second of the expiry")
        proxy.resume()
        assert answer.result(30).status == 408
    assert store.listing("tenants/") == {}


class SlowClockStore(http.server.BaseHTTPRequestHandler):
    """Not a store: nothing is there, each object is taken. Its clock began an hour behind, and
    goes on by a second with each answer."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    now_s = 0
    checks: list[int] = []  # when it was asked for tombstones
    puts: list[dict[str, str]] = []

    def do_HEAD(self) -> None:  # pylint: disable=invalid-name
        self._answer(404)

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        self._answer(200, EMPTY_LIST)

    def do_PUT(self) -> None:  # pylint: disable=invalid-name
        self.rfile.read(int(self.headers["Content-Length"]))
        query = urllib.parse.urlsplit(self.path).query
        with self.lock:
            if "/tenants/" in self.path:  # not what the writer tells of itself
                self.puts.append(dict(urllib.parse.parse_qsl(query)))
        self._answer(200)

    def _answer(self, status: int, body: bytes = b"") -> None:
        with self.lock:
            SlowClockStore.now_s += 1
            now_s = self.now_s
            if "tombstones" in self.path:
                self.checks.append(now_s)
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(now_s, usegmt=True))
        self.send_header("ETag", '"0123456789abcdef0123456789abcdef"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def slow_clock() -> Iterator[str]:
    SlowClockStore.now_s = int(time.time()) - 3600
    SlowClockStore.checks.clear()
    SlowClockStore.puts.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowClockStore)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("size", [4, STREAMED])
def test_an_upload_is_signed_with_the_store_s_clock_at_the_first_answer_of_its_check(
    slow_clock: str, launch: Launcher, keys: KeyPair, endpoint: Endpoint, size: int
):
    """Whatever our own clock says, and however long the other answers took: only so does what the
    janitor waits for cover the upload."""
    store = S3Store(S3(slow_clock, "test", "testing"), "bucket", "prefix")
    writer = launch.writer(store, "--upload-expiry=7s")
    url, token = endpoint.file_url(FILE), endpoint.token(keys, gen=1)
    assert client.put(writer.url, url, token, b"x" * size).status == 200
    (put,) = SlowClockStore.puts
    first_s = min(SlowClockStore.checks)
    assert put["X-Amz-Date"] == time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(first_s))
    assert put["X-Amz-Expires"] == "7"
