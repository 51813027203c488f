"""The writer tells in the store how long its uploads may take, and takes none that it could not
tell of."""

import dataclasses
import subprocess

import pytest

from devstack import paths
from devstack.epufs import Writer
from devstack.keys import KeyPair
from devstack.process import wait_for
from devstack.rgw import Rgw
from harness import http
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy
from harness.stores import FolderStore, S3Store, Store

NAME = "lfc_state"
TIMEOUT_S = 20.0


def put(writer: Writer, endpoint: Endpoint, keys: KeyPair) -> http.Answer:
    return http.put(writer.url, endpoint.file_url(NAME), endpoint.token(keys, 1), b"12345")


def test_the_times_are_told_and_taken_back(launch: Launcher, store: Store) -> None:
    writer = launch.writer(store, "--upload-timeout=100s", "--store-idle-timeout=65s")
    (key,) = store.listing("writers/")
    assert key.startswith("writers/00000175-")
    assert http.gauge(writer.url, "epufs_upload_window_needed_seconds") == 175
    launch.stop(writer)
    assert store.listing("writers/") == {}


def test_they_stay_while_an_upload_may_still_end(
    launch: Launcher, folder_store: FolderStore, endpoint: Endpoint, keys: KeyPair
) -> None:
    writer = launch.writer(folder_store)
    assert put(writer, endpoint, keys).status == 200
    launch.stop(writer)
    (key,) = folder_store.listing("writers/")
    folder_store.delete(key)


def test_without_them_nothing_is_taken(
    launch: Launcher, folder_store: FolderStore, endpoint: Endpoint, keys: KeyPair
) -> None:
    in_the_way = folder_store.root / "writers"
    if in_the_way.exists():
        in_the_way.rmdir()
    in_the_way.write_bytes(b"no folder")
    writer = launch.writer(folder_store, ready=False)
    wait_for(lambda: writer.status("/livez") == 200, TIMEOUT_S, "the writer")
    wait_for(
        lambda: http.gauge(writer.url, "epufs_upload_times_failures_total") > 0,
        TIMEOUT_S,
        "an attempt to tell them",
    )
    assert "upload times" in http.problem(http.call(writer.url, "GET", "/readyz"), 503)
    for body in (b"x", b"x" * 100_000):
        answer = http.put(
            writer.url, endpoint.file_url(NAME), endpoint.token(keys, 1), body
        )
        assert "upload times" in http.problem(answer, 503)
        assert answer.header("Retry-After") == "1"
    # A deletion needs none.
    other = Endpoint()
    assert http.delete(writer.url, other.url, other.token(keys, 1)).status == 200
    in_the_way.unlink()
    writer.wait_ready()
    assert put(writer, endpoint, keys).status == 200


def test_times_that_are_too_old_are_none(
    rgw: Rgw, launch: Launcher, endpoint: Endpoint, keys: KeyPair
) -> None:
    """By the store's clock, which is the one that janitors go by."""
    with Proxy(rgw.port) as proxy:
        store = S3Store(rgw.s3, rgw.bucket, f"window-{endpoint.tenant}")
        behind = dataclasses.replace(rgw.s3, endpoint=proxy.url)
        writer = launch.writer(S3Store(behind, rgw.bucket, store.prefix))
        assert put(writer, endpoint, keys).status == 200
        proxy.set_clock_ahead(700)
        answer = put(writer, endpoint, keys)
        assert "too old" in http.problem(answer, 503)
        assert answer.header("Retry-After") == "1"
        proxy.set_clock_ahead(0)
        assert put(writer, endpoint, keys).status == 200
        launch.stop(writer)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--upload-window=89s"], "upload_expiry 10s + upload_timeout 60s + store_idle_timeout 20s"),
        (["--upload-window=90s", "--store-idle-timeout=65s"], "= 135s"),
        (["--upload-expiry=2500ms"], "whole seconds"),
    ],
)
def test_times_that_contradict_each_other_stop_the_start(options: list[str], says: str) -> None:
    done = subprocess.run(
        [
            str(paths.program("epufs-writer")),
            "--store=file:///tmp",
            "--token-keys=/nowhere",
            "--check-config",
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert says in done.stderr
