"""nginx with one worker: as the proxy to compare with, and as a store that is never the limit."""

import os
import pathlib

from devstack import ports, probe
from devstack.process import Process, require, wait_for
from devstack.service import Service

START_TIMEOUT_S = 10.0
WORKER_CONNECTIONS = 1024

_COMMON = """\
{user}
worker_processes 1;
daemon off;
master_process on;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
    client_body_temp_path {folder}/tmp;
    proxy_temp_path {folder}/tmp;
    fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp;
    scgi_temp_path {folder}/tmp;
    keepalive_requests 1000000000;
    tcp_nodelay on;
{body}
}}
"""

_PROXY = """\
    access_log {folder}/access.log;
    upstream store {{
        server 127.0.0.1:{store_port};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://store;
            proxy_http_version 1.1;
            proxy_set_header Host 127.0.0.1:{store_port};
            proxy_set_header Connection "";
        }}
    }}
"""

_FILES = """\
    access_log off;
    open_file_cache max=1000;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
"""

# Each answer ends its connection, and no session is resumed: each request is a whole handshake.
_TLS_FILES = """\
    access_log off;
    open_file_cache max=1000;
    keepalive_timeout 0;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_session_cache off;
    ssl_session_tickets off;
    server {{
        listen 127.0.0.1:{port} ssl;
        root {root};
    }}
"""


class Nginx(Service):
    def __init__(self, name: str, folder: pathlib.Path, template: str, **values: object) -> None:
        super().__init__(folder)
        self.name = name
        self.port = ports.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        body = template.format(folder=self.folder, port=self.port, **values)
        self._text = _COMMON.format(
            # Otherwise root's worker becomes another user, who may not see our folder.
            user="user root;" if os.geteuid() == 0 else "",
            folder=self.folder,
            connections=WORKER_CONNECTIONS,
            body=body,
        )
        conf = self.folder / "nginx.conf"
        argv = [require("nginx", "nginx-light"), "-p", str(self.folder), "-c", str(conf)]
        self._process = Process(name, argv, self.folder / "nginx.log")

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    def start(self) -> None:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        (self.folder / "nginx.conf").write_text(self._text, encoding="utf-8")
        self._process.start()
        self._process.wait_ready(lambda: probe.tcp_open(self.port), START_TIMEOUT_S)
        wait_for(lambda: len(self._workers()) == 1, START_TIMEOUT_S, f"{self.name}'s worker")

    def _workers(self) -> list[int]:
        pid = self._process.pid
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(word) for word in text.split()]

    @property
    def worker(self) -> int:
        return self._workers()[0]


def proxy_to(store_port: int, folder: pathlib.Path) -> Nginx:
    """proxy_pass with kept connections and an access log."""
    return Nginx("nginx", folder, _PROXY, store_port=store_port)


def files_of(root: pathlib.Path, folder: pathlib.Path) -> Nginx:
    """Serves a folder, and looks at no signature."""
    return Nginx("nginx-store", folder, _FILES, root=root)


def tls_files_of(
    root: pathlib.Path, folder: pathlib.Path, certificate: pathlib.Path, key: pathlib.Path
) -> Nginx:
    """The same over TLS, with a new connection for each request."""
    return Nginx(
        "nginx-tls", folder, _TLS_FILES, root=root, certificate=certificate, key=key
    )
