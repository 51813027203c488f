"""Other people's corpora of requests, byte by byte, on what the programs really serve: /livez, and the
upload of a file with a good token. What frames ambiguously is refused, and the connection ends."""

import concurrent.futures
import json
import pathlib
import re
import socket
from typing import Any

import pytest

from devstack.epufs import Program, Reader, Writer
from devstack.keys import KeyPair
from harness import http
from harness.ids import Endpoint
from harness.stores import Store

VECTORS = pathlib.Path(__file__).parent.parent / "vectors"
NAME = "autoprewarm.blocks"
QUIET_S = 0.5  # without a byte more, what was sent has no (further) answer
AT_ONCE = 32
# What a route may say of a request that is well-formed.
UNDERSTOOD = {200, 201, 204, 400, 401, 403, 404, 405, 411, 413, 415, 417, 422}

ROUTES_OWN = {404, 405, 411}


# The heads are read the same way on every store.
@pytest.fixture(scope="module")
def store(folder_store: Store) -> Store:
    return folder_store


def _cases() -> list[dict[str, Any]]:
    files = [VECTORS / f"{name}.json" for name in ("http11probe", "llhttp-requests")]
    return [case for file in files for case in json.loads(file.read_text("utf-8"))["cases"]]


def _exchange(program: Program, parts: list[str]) -> tuple[list[int], bool]:
    """The answers' statuses, and whether the connection ended."""
    got = b""
    with socket.create_connection(("127.0.0.1", program.port), timeout=QUIET_S) as s:
        closed = False
        try:
            for part in parts:
                if part == "@fin":
                    s.shutdown(socket.SHUT_WR)
                else:
                    s.sendall(part.encode("latin-1"))
            while piece := s.recv(65536):
                got += piece
            closed = True
        except TimeoutError:
            pass
        except ConnectionError:
            closed = True
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", got)], closed


def _fault(case: dict[str, Any], statuses: list[int], closed: bool) -> str | None:
    expect = case["expect"]
    wanted = set(expect["status"])
    if any(status not in UNDERSTOOD | wanted | {100, 414, 431, 501, 505} for status in statuses):
        return "an answer that nobody expects"
    if wanted & {200, 404} or not wanted:
        return None if statuses or expect.get("silent") else "no answer"
    if not statuses:
        return None if expect.get("silent") else "no answer"
    if statuses[-1] in ROUTES_OWN:  # said of a head that is well, before what follows was read
        return None if closed or statuses[-1] in wanted else "what follows was not refused"
    if statuses[-1] not in wanted:
        return "not refused"
    return None if closed else "refused, and the connection stays"


def _run(program: Program, target: str, method: str, fields: str) -> None:
    def check(case: dict[str, Any]) -> str | None:
        host = f"127.0.0.1:{program.port}"
        parts = [
            re.sub(r"^GET (?=\{GET\} HTTP/1\.1\r\n)", f"{method} ", part)
            .replace("{GET}", target)
            .replace("Host: {HOST}\r\n", f"Host: {host}\r\n{fields}")
            .replace("{HOST}", host)
            for part in case["send"]
        ]
        statuses, closed = _exchange(program, parts)
        fault = _fault(case, statuses, closed)
        return fault and f"{case['id']}: {fault}: {statuses}, closed: {closed}"

    cases = _cases()
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        faults = [fault for fault in pool.map(check, cases) if fault]
    assert len(cases) > 200
    assert not faults, "\n".join(faults)
    assert http.call(program.url, "GET", "/livez").status == 200


def test_livez(reader: Reader, writer: Writer) -> None:
    for program in (reader, writer):
        _run(program, "/livez", "GET", "")


def test_upload(writer: Writer, endpoint: Endpoint, keys: KeyPair) -> None:
    fields = f"Authorization: Bearer {endpoint.token(keys)}\r\n"
    _run(writer, endpoint.file_url(NAME), "PUT", fields)
