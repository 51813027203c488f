"""A store that is named by a host name, as all but test stores are: libcurl then brings sockets of
its own resolver into the event loop, and closes them unseen."""

import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from devstack import paths

EMPTY_LIST = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


class ScriptedStore(http.server.BaseHTTPRequestHandler):
    """Not a store: each listing is empty."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Length", str(len(EMPTY_LIST)))
        self.end_headers()
        self.wfile.write(EMPTY_LIST)

    def log_message(self, format: str, *args: object) -> None:  # pylint: disable=redefined-builtin
        pass


@pytest.fixture
def named_endpoint() -> Iterator[str]:
    """The machine's own name will do ("localhost" libcurl knows without asking), where it means a
    loopback address."""
    name = socket.gethostname()
    try:
        address = socket.gethostbyname(name)
    except OSError:
        address = ""
    if not address.startswith("127."):
        pytest.skip(f"the machine's name {name} is no loopback address")
    server = http.server.ThreadingHTTPServer((address, 0), ScriptedStore)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{name}:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_store_behind_a_host_name(named_endpoint: str) -> None:
    env = os.environ | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL_S3": named_endpoint,
    }
    program = str(paths.program("epufs-janitor"))
    for _ in range(5):
        done = subprocess.run(
            [program, "status", "--json", "--store=s3://bucket", "--store_timeout=5s"],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
