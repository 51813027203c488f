"""Requests as a client makes them. Nothing is retried, and every wait has a bound."""

import dataclasses
import http.client
import json
import socket
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

TIMEOUT_S = 30.0


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def header(self, name: str) -> str:
        """A header that has to be there."""
        value = self.headers[name]
        assert value is not None, f"no {name} in {self.headers.items()}"
        return value

    def json(self) -> Any:
        return json.loads(self.body)


def quoted(path: str) -> str:
    """A file's path as it may stand in a URL."""
    return urllib.parse.quote(path)


def connect(base: str, timeout_s: float = TIMEOUT_S) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urllib.parse.urlsplit(base).netloc, timeout=timeout_s)


def call(
    base: str,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """One request on a connection of its own. The path is sent as it is."""
    fields = {"Authorization": f"Bearer {token}"} if token is not None else {}
    connection = connect(base, timeout_s)
    try:
        connection.request(method, path, body, {**fields, **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def get(base: str, path: str, token: str, **more: Any) -> Answer:
    return call(base, "GET", path, token=token, **more)


def put(base: str, path: str, token: str, body: bytes, **more: Any) -> Answer:
    return call(base, "PUT", path, token=token, body=body, **more)


def delete(base: str, path: str, token: str, **more: Any) -> Answer:
    return call(base, "DELETE", path, token=token, **more)


def dial(base: str, timeout_s: float = TIMEOUT_S) -> socket.socket:
    """A plain connection, for what no HTTP client would send."""
    where = urllib.parse.urlsplit(base)
    return socket.create_connection((where.hostname or "", where.port or 80), timeout_s)


class SlowGet:
    """A GET of which the head is read, and the rest when the test says so.

    A small socket buffer lets the server feel at once that nothing is taken.
    """

    def __init__(self, base: str, path: str, token: str) -> None:
        where = urllib.parse.urlsplit(base)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect((where.hostname or "", where.port or 80))
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._socket.sendall(request.encode())
        self.answer = http.client.HTTPResponse(self._socket, method="GET")
        self.answer.begin()

    def rest(self) -> tuple[bytes, bool]:
        """What comes, and whether it is as long as was said."""
        try:
            return self.answer.read(), True
        except http.client.IncompleteRead as error:
            return error.partial, False
        except ConnectionResetError:
            return b"", False
        finally:
            self.close()

    def close(self) -> None:
        self.answer.close()  # it has the socket open, too
        self._socket.close()


def raw(base: str, request: bytes, timeout_s: float = TIMEOUT_S) -> bytes:
    """Sends the bytes and returns all that comes back until the server ends the connection."""
    with dial(base, timeout_s) as connection:
        connection.sendall(request)
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
        return bytes(answer)


def problem(answer: Answer, status: int) -> str:
    """Checks that the answer is an error as ours have to be (RFC 9457); returns its detail."""
    assert answer.status == status, answer
    assert answer.header("Content-Type") == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["request_id"] == answer.header("X-Request-Id")
    return str(body["detail"])


def gauge(base: str, name: str) -> float:
    """A metric without labels."""
    for line in call(base, "GET", "/metrics").body.decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"{base} has no metric {name}")
