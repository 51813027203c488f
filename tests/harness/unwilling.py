"""A real S3 server behind a proxy that refuses: a share of all requests gets 503, and of a
DeleteObjects single keys are refused inside its 200. What is refused does not reach the server."""

import collections
import dataclasses
import http.client
import http.server
import random
import threading
import urllib.parse
import xml.etree.ElementTree
from types import TracebackType
from typing import Self
from xml.sax.saxutils import escape

from devstack.s3 import S3

SHARE = 0.3
BUSY = b"<Error><Code>ServiceUnavailable</Code><Message>refused by a test</Message></Error>"
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclasses.dataclass(frozen=True)
class _Object:
    key: str
    version: str

    def xml(self) -> str:
        version = f"<VersionId>{escape(self.version)}</VersionId>" if self.version else ""
        return f"<Key>{escape(self.key)}</Key>{version}"


class Unwilling:
    """`with` opens and closes it. What it counts may be read once nobody asks any more."""

    def __init__(self, s3: S3, chance: random.Random) -> None:
        self._s3 = s3
        self._chance = chance
        self._lock = threading.Lock()  # guards all below
        self.busy = 0  # requests that were told 503
        self.refused: collections.Counter[_Object] = collections.Counter()  # keys inside a 200
        self.gone: set[_Object] = set()
        self.asked_again: set[_Object] = set()  # after they were told to be gone
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def is_busy(self) -> bool:
        with self._lock:
            busy = self._chance.random() < SHARE
            self.busy += busy
        return busy

    def forward(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """As it came: the signature is over the Host that the client knows."""
        server = urllib.parse.urlsplit(self._s3.endpoint).netloc
        connection = http.client.HTTPConnection(server, timeout=30.0)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def delete(self, bucket: str, body: bytes) -> tuple[int, bytes]:
        """A DeleteObjects of which some keys are refused."""
        asked = [
            _Object(item.findtext("{*}Key") or "", item.findtext("{*}VersionId") or "")
            for item in xml.etree.ElementTree.fromstring(body).iterfind("{*}Object")
        ]
        with self._lock:
            self.asked_again |= self.gone & set(asked)
            refused = [item for item in asked if self._chance.random() < SHARE]
        passed = [item for item in asked if item not in refused]
        status, answer = self._remove(bucket, passed) if passed else (200, b"<DeleteResult/>")
        if status != 200:
            return status, answer
        with self._lock:
            self.refused.update(refused)
            self.gone.update(passed)
        return 200, self._result(refused)

    def _remove(self, bucket: str, objects: list[_Object]) -> tuple[int, bytes]:
        inner = "".join(f"<Object>{item.xml()}</Object>" for item in objects)
        body = f"<Delete><Quiet>true</Quiet>{inner}</Delete>".encode()
        status, answer = self._s3.request("POST", bucket, query={"delete": ""}, body=body)
        assert status != 200 or b"<Error>" not in answer, answer
        return status, answer

    def _result(self, refused: list[_Object]) -> bytes:
        errors = "".join(
            f"<Error>{item.xml()}<Code>{self._chance.choice(('InternalError', 'SlowDown'))}</Code>"
            "<Message>refused by a test</Message></Error>"
            for item in refused
        )
        return f"<DeleteResult>{errors}</DeleteResult>".encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    proxy: Unwilling
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        answer_headers: list[tuple[str, str]] = []
        if self.proxy.is_busy():
            status, answer = 503, BUSY
        elif self.command == "POST" and query.startswith("delete"):
            status, answer = self.proxy.delete(path, body)
        else:
            headers = dict(self.headers.items())
            status, answer_headers, answer = self.proxy.forward(
                self.command, self.path, headers, body
            )
        self._answer(status, answer_headers, answer)

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if not any(name.lower() == "date" for name, _ in headers):
            self.send_header("Date", self.date_time_string())
        length = dict((n.lower(), v) for n, v in headers).get("content-length")
        is_head = self.command == "HEAD" and length is not None
        self.send_header("Content-Length", str(length) if is_head else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815
