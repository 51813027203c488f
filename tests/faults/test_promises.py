"""The promises of docs/deletion.md where they are hardest to keep: replays, orders, crashes between
two steps, writers that need longer, what S3 keeps beside objects, and what is refused for good."""

import contextlib
import dataclasses
import json
import secrets
import subprocess
import time
import xml.etree.ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import paths
from devstack.broker import Broker
from devstack.keys import KeyPair
from devstack.redis import Redis
from devstack.rgw import Rgw
from devstack.versitygw import enable_versioning
from harness import http
from harness.deletions import (
    QUICK_OPTIONS,
    QUICK_WRITER,
    QUICK_WRITER_WINDOW,
    ControlPlane,
    Deletion,
    TopicNames,
    Topics,
    metric,
    parse,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy
from harness.stores import FolderStore, S3Store, Store, behind, fresh_s3, numbered

pytestmark = pytest.mark.waits

SCANS_S = 1.5  # some intervals of QUICK_OPTIONS


# ---- Replays and orders ----


def test_deletions_that_are_replayed_after_new_attachments_touch_nothing(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: Topics,
    s3_store: Store,
    keys: KeyPair,
):
    """As after a loss of the group's offsets: another group reads everything from the beginning."""
    quick = (*QUICK_OPTIONS, QUICK_WRITER_WINDOW)
    writer = launch.writer(s3_store, *QUICK_WRITER)
    first = launch.janitor(s3_store, kafka, redis, *topics.options(), *quick)
    asked = [Deletion(Endpoint(), upto_gen=gen) for gen in (0, 1, 7)]

    def put(deletion: Deletion, name: str) -> int:
        assert deletion.upto_gen is not None
        token = deletion.endpoint.token(keys, deletion.upto_gen + 1)
        return http.put(writer.url, deletion.endpoint.file_url(name), token, b"new").status

    with ControlPlane(s3_store, kafka, topics) as control:
        for deletion in asked:
            s3_store.put(deletion.endpoint.key("lfc_state", deletion.upto_gen or 0), b"old")
            control.publish(deletion)
        for deletion in asked:
            control.completed(deletion)
        launch.stop(first)
        assert [put(deletion, "lfc_state") for deletion in asked] == [200] * 3
        other_group = dataclasses.replace(topics, group=f"{topics.group}-again")
        launch.janitor(s3_store, kafka, redis, *other_group.options(), *quick)
        statuses = []
        while any(len(control.all_completions(deletion)) < 2 for deletion in asked):
            statuses += [put(deletion, "pg_stat/again.stat") for deletion in asked]
        for deletion in asked:
            control.wait_ended(deletion)
            assert deletion.upto_gen is not None
            files = [deletion.endpoint.key("lfc_state", deletion.upto_gen + 1)]
            files.append(deletion.endpoint.key("pg_stat/again.stat", deletion.upto_gen + 1))
            assert list(s3_store.listing(deletion.prefix)) == files
        assert set(statuses) == {200}
        control.no_dead_letters()


def test_an_older_deletion_that_comes_later_opens_nothing_again(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    folder_store: Store,
    keys: KeyPair,
    endpoint: Endpoint,
):
    writer = launch.writer(folder_store, *QUICK_WRITER)
    options = (*topics.options(), *QUICK_OPTIONS, QUICK_WRITER_WINDOW)
    launch.janitor(folder_store, kafka, redis, *options)

    def put(gen: int) -> int:
        url = endpoint.file_url("lfc_state")
        return http.put(writer.url, url, endpoint.token(keys, gen), b"x").status

    with ControlPlane(folder_store, kafka, topics) as control:
        assert [put(gen) for gen in (1, 2, 3)] == [200, 200, 200]
        for gen in (2, 1):
            control.publish(Deletion(endpoint, upto_gen=gen))
            control.completed(Deletion(endpoint, upto_gen=gen))
            assert list(folder_store.listing(endpoint.prefix)) == [endpoint.key("lfc_state", 3)]
            assert folder_store.get(endpoint.tombstone(2)) is not None
            assert [put(gen) for gen in (0, 1, 2, 3)] == [410, 410, 410, 200]


# ---- Writers that need longer than the janitor waits ----


def open_jobs(store: Store, redis: Redis) -> list[dict[str, Any]]:
    """As an operator sees them."""
    command = [str(paths.program("epufs-janitor")), "status", "--json", f"--store={store.url}"]
    done = subprocess.run(
        [*command, f"--redis-url={redis.url}"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout)["open"])


def test_nothing_is_completed_while_a_writer_needs_longer_than_the_window(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    tmp_path: Path,
    endpoint: Endpoint,
):
    store = FolderStore(tmp_path / "store")
    store.put("writers/00000120-test", b"{}")
    store.put("writers/00000001-other", b"{}")
    deletion = Deletion(endpoint, upto_gen=1)
    store.put(endpoint.key("lfc_state", 1), b"four")
    janitor = launch.janitor(store, kafka, redis, *topics.options(), *QUICK_OPTIONS)

    def why() -> str:
        (job,) = open_jobs(store, redis)
        assert job["job_id"] == deletion.job_id
        return str(job["note"] or "")

    with ControlPlane(store, kafka, topics) as control:
        control.publish(deletion)
        until(lambda: metric(janitor, "epufs_upload_window_short") == 1, "the alarm")
        assert metric(janitor, "epufs_upload_window_needed_seconds") == 120
        until(why, "a reason")
        for word in ("upload_window", "1s", "test", "120s"):
            assert word in why()
        time.sleep(SCANS_S)
        assert not store.listing(endpoint.prefix)
        assert store.get(endpoint.tombstone(1)) is not None
        assert control.all_completions(deletion) == []
        store.delete("writers/00000120-test")
        control.check(deletion, files=1, size=4)
    assert metric(janitor, "epufs_upload_window_short") == 0


# ---- Crashes between two steps ----


@dataclasses.dataclass
class Crash:
    """A janitor behind the proxy, and a deletion of which it is to die at a chosen request."""

    store: S3Store
    control: ControlPlane
    deletion: Deletion

    def newer(self) -> list[str]:
        return list(numbered(self.deletion.endpoint.gen_prefix(2), 5))

    def check(self, completions: int) -> None:
        self.control.wait_ended(self.deletion)
        events = self.control.all_completions(self.deletion)
        assert [e["id"] for e in events] == [f"done:{self.deletion.job_id}"] * completions
        assert list(self.store.listing(self.deletion.prefix)) == self.newer()
        self.control.no_dead_letters()


# The first request after the last removal, and the one after the completion.
MOMENTS = {"before publishing": ("writers%2F", 0), "after publishing": ("DELETE ", 1)}


@pytest.mark.parametrize("moment", MOMENTS)
def test_kill_9_around_the_publishing(
    rgw_proxy: Proxy,
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    rgw: Rgw,
    endpoint: Endpoint,
    moment: str,
):
    store = fresh_s3(rgw)
    deletion = Deletion(endpoint, upto_gen=1)
    store.put_many(numbered(endpoint.gen_prefix(1), 20))
    marker, published = MOMENTS[moment]
    if published:
        marker += f"/{store.bucket}/{store.prefix}/{deletion.intent}"
    options = (*topics.options(), *QUICK_OPTIONS, "--kafka-session-timeout=6s")
    janitor = launch.janitor(behind(store, rgw_proxy), kafka, redis, *options)
    with ControlPlane(store, kafka, topics) as control:
        crash = Crash(store, control, deletion)
        hold = rgw_proxy.hold(marker.encode(), "request")
        control.publish(deletion)
        hold.wait()
        assert not store.listing(endpoint.prefix)
        assert len(control.all_completions(deletion)) == published
        janitor.kill()
        assert store.get(deletion.intent) is not None
        store.put_many(crash.newer())
        rgw_proxy.cut()
        rgw_proxy.resume()
        janitor.start()
        crash.check(completions=published + 1)


# ---- What S3 keeps beside objects ----


def text_of(body: bytes, name: str) -> str:
    return xml.etree.ElementTree.fromstring(body).findtext(f"{{*}}{name}") or ""


def test_an_upload_in_parts_that_is_open_is_aborted(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    rgw: Rgw,
    endpoint: Endpoint,
):
    store = fresh_s3(rgw)
    deletion = Deletion(endpoint, upto_gen=1)
    begun = {}
    for gen in (1, 2):
        path = f"/{store.bucket}/{store.prefix}/{endpoint.key('lfc_state', gen)}"
        status, body = rgw.s3.request("POST", path, query={"uploads": ""})
        assert status == 200, body
        query = {"uploadId": text_of(body, "UploadId")}
        part = query | {"partNumber": "1"}
        assert rgw.s3.request("PUT", path, query=part, body=b"part")[0] == 200
        begun[gen] = path, query, etag_of(rgw, path, query)
    launch.janitor(store, kafka, redis, *topics.options(), *QUICK_OPTIONS)
    with ControlPlane(store, kafka, topics) as control:
        control.publish(deletion)
        control.check(deletion, files=0, size=0)
    assert store.leftovers() == [f"{store.prefix}/{endpoint.key('lfc_state', 2)}"]

    def complete(gen: int) -> bool:
        path, query, etag = begun[gen]
        whole = (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
        )
        return rgw.s3.request("POST", path, query=query, body=whole.encode())[0] == 200

    assert [complete(gen) for gen in (1, 2)] == [False, True]
    assert list(store.listing(endpoint.prefix)) == [endpoint.key("lfc_state", 2)]


def etag_of(rgw: Rgw, path: str, query: dict[str, str]) -> str:
    status, body = rgw.s3.request("GET", path, query=query)
    assert status == 200, body
    return xml.etree.ElementTree.fromstring(body).findtext("{*}Part/{*}ETag") or ""


@pytest.fixture
def own_bucket(rgw: Rgw) -> S3Store:
    """A bucket of a test's own, for what is set for a whole bucket."""
    bucket = f"b-{secrets.token_hex(6)}"
    assert rgw.s3.request("PUT", f"/{bucket}")[0] == 200
    return S3Store(rgw.s3, bucket, "prefix")


def versions(store: S3Store, prefix: str) -> list[str]:
    query = {"versions": "", "prefix": f"{store.prefix}/{prefix}"}
    status, body = store.s3.request("GET", f"/{store.bucket}", query=query)
    assert status == 200, body
    page = xml.etree.ElementTree.fromstring(body)
    kinds = (page.iterfind("{*}Version"), page.iterfind("{*}DeleteMarker"))
    return [item.findtext("{*}Key") or "" for kind in kinds for item in kind]


def test_old_versions_and_delete_markers_go_too(
    own_bucket: S3Store,
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    endpoint: Endpoint,
):
    store = own_bucket
    enable_versioning(store.s3, store.bucket)
    for gen in (1, 2):
        for name in ("lfc_state", "autoprewarm.blocks"):
            for body in (b"one", b"two"):
                store.put(endpoint.key(name, gen), body)
        store.delete(endpoint.key("lfc_state", gen))
    assert len(versions(store, endpoint.gen_prefix(1))) == 5
    deletion = Deletion(endpoint, upto_gen=1)
    launch.janitor(store, kafka, redis, *topics.options(), *QUICK_OPTIONS)
    with ControlPlane(store, kafka, topics) as control:
        control.publish(deletion)
        control.completed(deletion)
    assert versions(store, endpoint.gen_prefix(1)) == []
    assert len(versions(store, endpoint.gen_prefix(2))) == 5


# ---- Refused for good ----


@contextlib.contextmanager
def denied(store: S3Store) -> Iterator[None]:
    """Nobody may remove files; tombstones and intents are as ever."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
                "Resource": f"arn:aws:s3:::{store.bucket}/{store.prefix}/tenants/*",
            }
        ],
    }
    path, query = f"/{store.bucket}", {"policy": ""}
    status, body = store.s3.request("PUT", path, query=query, body=json.dumps(policy).encode())
    assert status in (200, 204), body
    try:
        yield
    finally:
        status, body = store.s3.request("DELETE", path, query=query)
        assert status in (200, 204), body


def state_of(store: Store, deletion: Deletion) -> str:
    return str(json.loads(store.get(deletion.intent) or b"{}").get("state"))


def test_a_removal_that_is_denied_fails_and_can_be_asked_for_again(
    own_bucket: S3Store,
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    endpoint: Endpoint,
):
    store = own_bucket
    deletion = Deletion(endpoint, upto_gen=1)
    store.put_many(numbered(endpoint.gen_prefix(1), 3))
    other = Deletion(Endpoint(), upto_gen=1)
    options = (*topics.options(), *QUICK_OPTIONS, "--denied-tries=3")
    janitor = launch.janitor(store, kafka, redis, *options)
    with ControlPlane(store, kafka, topics) as control:
        with denied(store):
            control.publish(deletion)
            until(lambda: metric(janitor, "epufs_failed_deletions") == 1, "the failure")
            assert state_of(store, deletion) == "failed"
            assert metric(janitor, "epufs_deletion_step_failures_total") == 2  # and a third
            (event,) = control.all_completions(deletion)
            assert event["type"] == "io.epufs.deletion.failed.v1"
            assert event["data"]["outcome"] == "failed"
            assert event["id"] != f"done:{deletion.job_id}"
            assert "denied" in event["data"]["error"].lower()
            (letter,) = control.dead_letters.to_end()
            assert letter.headers["dlq-class"] == b"exhausted"
            control.publish(other)  # there is nothing of it, so nothing is refused
            control.completed(other)
            time.sleep(SCANS_S)
            assert len(control.all_completions(deletion)) == 1
            assert len(store.listing(endpoint.prefix)) == 3
            assert store.get(endpoint.tombstone(1)) is not None
        kept = {n: v for n, v in letter.headers.items() if not n.startswith("dlq-") and v}
        control.publish_raw(letter.value, letter.key, kept)
        assert control.completed(deletion)["data"]["deleted"]["files"] == 3
        assert not store.listing(endpoint.prefix)
        assert len(control.dead_letters.to_end()) == 1
    assert metric(janitor, "epufs_failed_deletions") == 0


def test_the_guard_holds_more_tenants_than_anybody_deletes(
    launch: Launcher, kafka: Broker, redis: Redis, topics: TopicNames, keys: KeyPair, tmp_path: Path
):
    """Counted over two janitors and a writer, and over their restarts."""
    store = FolderStore(tmp_path / "store")
    tenants = [Deletion(Endpoint(), "tenant") for _ in range(6)]
    timeline = Deletion(Endpoint(), "timeline")
    for deletion in [*tenants, timeline]:
        store.put(deletion.endpoint.key("lfc_state", 1), b"four")
    options = (*topics.options(), *QUICK_OPTIONS, QUICK_WRITER_WINDOW, "--guard-tenants=3")
    janitors = [launch.janitor(store, kafka, redis, *options) for _ in range(2)]
    writer = launch.writer(store, *QUICK_WRITER, "--guard-tenants=3")

    def ask_writer(deletion: Deletion) -> http.Answer:
        return http.delete(writer.url, deletion.endpoint.tenant_url, keys.service_token())

    with ControlPlane(store, kafka, topics) as control:
        assert ask_writer(tenants[0]).status == 200
        for deletion in tenants[1:4]:
            control.publish(deletion)
            control.wait_accepted(deletion)
        control.publish(timeline)
        for deletion in (*tenants[1:3], timeline):
            control.check(deletion, files=1, size=4)
        by_event, by_http, after_restart = tenants[3:]
        answer = ask_writer(by_http)
        assert (answer.status, answer.json()["state"]) == (202, "held")
        assert "held by the guard: 3 other tenants" in answer.json()["note"]
        (event,) = control.all_completions(by_event)
        assert (event["type"], event["data"]["outcome"]) == ("io.epufs.deletion.held.v1", "held")
        for janitor in janitors:
            launch.stop(janitor)
        janitor = launch.janitor(store, kafka, redis, *options)
        control.publish(after_restart)
        control.publish(by_event)  # asked for again it stays held
        control.wait_accepted(after_restart)
        time.sleep(SCANS_S)
        for held in (by_event, by_http, after_restart):
            assert len(store.listing(held.prefix)) == 1
            assert state_of(store, held) == "held"
            assert store.get(held.tombstone or "") is not None
        until(lambda: metric(janitor, "epufs_held_deletions") == 3, "the count of what is held")
        outcomes = [parse(m)["data"]["outcome"] for m in control.completions.to_end()]
        assert set(outcomes) == {"completed", "held"}
        assert outcomes.count("completed") == 4
        control.no_dead_letters()
