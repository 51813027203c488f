"""Ceph's RADOS Gateway as a real S3 server: one monitor, one OSD in memory, one gateway.

It runs as an ordinary user. Everything is in memory, and such a cluster does not come back after
a restart in place, so start() always begins with an empty one.
"""

import pathlib
import shutil
import uuid

from devstack import ports, probe
from devstack.process import DevstackError, Process, require, run, wait_for
from devstack.s3 import S3
from devstack.service import Service

ACCESS_KEY = "test"
SECRET_KEY = "testing"
START_TIMEOUT_S = 60.0
OSD_PORTS = 16

# paxos_*: the defaults wait for more proposals, which makes the start four times as long.
# objecter_tick_interval: the gateway looks that often whether the OSD is there by now.
# tcp_nodelay: without it a small GET takes 40 ms.
CONF = """\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{mon_port}/0
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = {osd_port}
ms_bind_port_max = {osd_port_max}
ms_bind_msgr1 = false
keyring = {folder}/keyring
run_dir = {folder}/run
admin_socket =
pid_file = {folder}/run/$name.pid
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
crash_dir = {folder}/run
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
osd_crush_chooseleaf_type = 0
mon_max_pg_per_osd = 1000
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
objecter_tick_interval = 0.2
mon_data = {folder}/mon
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = {memory_bytes}
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw_data = {folder}/rgw
rgw_thread_pool_size = 32
"""


class Rgw(Service):
    name = "rgw"

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        bucket: str = "epufs",
        memory_bytes: int = 4 << 30,
        tied: bool = True,
    ) -> None:
        super().__init__(folder, tied=tied)
        self.bucket = bucket
        self.memory_bytes = memory_bytes
        self.port = ports.free_port()
        self._mon_port = ports.free_port()
        self._osd_port = ports.free_block(OSD_PORTS)
        self.s3 = S3(f"http://127.0.0.1:{self.port}", ACCESS_KEY, SECRET_KEY)
        self._env = {"CEPH_CONF": str(self.folder / "ceph.conf")}
        self._mon = self._process("ceph-mon", "ceph-mon", "-i", "a", "-f")
        where = ("--crush-location", "root=default host=h1")
        self._osd = self._process("ceph-osd", "ceph-osd", "-i", "0", "-f", *where)
        self.gateway = self._process("radosgw", "radosgw", "-n", "client.rgw", "-f")

    def _process(self, program: str, package: str, *arguments: str) -> Process:
        log = self.folder / f"{program}.out"
        argv = [require(program, package), *arguments]
        return Process(program, argv, log, env=self._env, tied=self.tied)

    @property
    def processes(self) -> list[Process]:
        return [self._mon, self._osd, self.gateway]

    def start(self) -> None:
        if any(process.alive() for process in self.processes):
            raise DevstackError("rgw is already running")
        self._make_folder()
        self._start_monitor()
        self._start_osd()
        self.gateway.start()
        self.gateway.wait_ready(self.answers, START_TIMEOUT_S)
        self._make_user()
        self._make_bucket()

    def stop(self) -> None:
        # Nothing of it is kept, so a slow orderly end would save nothing.
        self.kill()

    def answers(self) -> bool:
        return probe.http_status(self.port, "/") is not None

    def _make_folder(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("mon", "osd", "rgw", "run"):
            (self.folder / name).mkdir(parents=True)
        self._fsid = str(uuid.uuid4())
        text = CONF.format(
            folder=self.folder,
            fsid=self._fsid,
            port=self.port,
            mon_port=self._mon_port,
            osd_port=self._osd_port,
            osd_port_max=self._osd_port + OSD_PORTS - 1,
            memory_bytes=self.memory_bytes,
        )
        (self.folder / "ceph.conf").write_text(text, encoding="utf-8")

    def _tool(self, *argv: str, stdin: str | None = None) -> str:
        return run(argv, env=self._env, stdin=stdin, timeout_s=START_TIMEOUT_S)

    def _add_key(self, who: str, *capabilities: str) -> None:
        caps = [word for cap in capabilities for word in ("--cap", *cap.split(" ", 1))]
        self._tool("ceph-authtool", f"{self.folder}/keyring", "--gen-key", "-n", who, *caps)

    def _start_monitor(self) -> None:
        keyring, monmap = f"{self.folder}/keyring", f"{self.folder}/monmap"
        self._tool("ceph-authtool", "--create-keyring", keyring)
        self._add_key("mon.", "mon allow *")
        self._add_key("client.admin", "mon allow *", "osd allow *", "mgr allow *")
        self._add_key("client.rgw", "mon allow rw", "osd allow rwx", "mgr allow rw")
        address = f"[v2:127.0.0.1:{self._mon_port}]"
        self._tool("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", address, monmap)
        self._tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._mon.start()
        self._mon.wait_ready(lambda: probe.tcp_open(self._mon_port), START_TIMEOUT_S)

    def _start_osd(self) -> None:
        osd = str(uuid.uuid4())
        key = self._tool("ceph-authtool", "--gen-print-key").strip()
        secret = f'{{"cephx_secret":"{key}"}}'
        self._tool("ceph", "--connect-timeout", "30", "osd", "new", osd, "-i", "-", stdin=secret)
        self._tool("ceph-authtool", f"{self.folder}/keyring", "-n", "osd.0", "--add-key", key)
        self._tool("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._osd.start()

    def _make_user(self) -> None:
        # fmt: off
        self._tool(
            "radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test",
            "--display-name=test", f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}",
        )
        # fmt: on

    def _make_bucket(self) -> None:
        def made() -> bool:
            try:
                return self.s3.request("PUT", f"/{self.bucket}")[0] in (200, 409)
            except OSError:
                return False

        wait_for(made, START_TIMEOUT_S, f"making the bucket {self.bucket}", log=self.gateway.log)
