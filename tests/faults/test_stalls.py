"""A store, writers, janitors that stand still (SIGSTOP) while a deletion goes on, and then go on
themselves: nothing old appears after its completion, and nothing new goes."""

import dataclasses
import datetime
import time
import urllib.parse

import pytest

from devstack.broker import Broker
from devstack.epufs import Writer
from devstack.keys import KeyPair
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness import http
from harness.chance import rounds
from harness.deletions import (
    QUICK_OPTIONS,
    QUICK_WRITER,
    RACE_OPTIONS,
    RACE_UPLOAD_S,
    RACE_WINDOW_S,
    RACING_WRITER,
    ControlPlane,
    Deletion,
    TopicNames,
    metric,
    stays_empty,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.proxy import Proxy
from harness.stores import S3Store, Store, behind, fresh_s3, numbered
from harness.uploads import Upload

pytestmark = pytest.mark.waits

END = b"-this-is-the-end"
MIDDLE = b"-this-is-the-middle-"
REST = 1000  # that a client keeps back
SMALL = b"s" * 1000 + END  # the writer collects it before the check
LARGE = b"l" * 1_000_000  # this one streams
# More than the kernel's buffers take, so that the writer has a part of it in its own.
HUGE = b"h" * 200_000 + MIDDLE + b"h" * 20_000_000
LATE_S = 3.0  # for what might still appear
SAME_SECOND_S = 3.0
LISTING_S = 11.0  # longer than what was listed may be removed


def upload(writer: Writer, keys: KeyPair, endpoint: Endpoint, name: str, body: bytes) -> Upload:
    return Upload(writer, endpoint.file_url(name), endpoint.token(keys, 1), body)


def seconds(text: object) -> float:
    return datetime.datetime.fromisoformat(str(text)).timestamp()


# ---- The store ----

# The janitor notices once its question is not answered for 5 s; it asks every 2 s.
STALL_S = 12.0
MISSES = 3  # for each that counts: on a busy machine the deletion may come too late for an upload


@dataclasses.dataclass
class Stall:
    """RGW, and a writer behind the proxy; `control` sees the store past it."""

    rgw: Rgw
    proxy: Proxy
    writer: Writer
    store: S3Store
    control: ControlPlane

    def appeared(self, keys: list[str]) -> bool:
        until_s = time.monotonic() + 2.0
        while time.monotonic() < until_s:
            if any(self.store.get(key) is not None for key in keys):
                return True
        return False

    def round(self, keys: KeyPair) -> bool:
        """Whether uploads that had been in the sockets appeared when the store went on."""
        endpoint = Endpoint()
        deletion = Deletion(endpoint, upto_gen=1)
        small = upload(self.writer, keys, endpoint, "pg_stat/small.stat", SMALL)
        large = upload(self.writer, keys, endpoint, "pg_stat/large.stat", LARGE)
        hold = self.proxy.hold(END, "request")
        small.start()
        hold.wait()
        hold = self.proxy.hold(b"large.stat", "answer")
        large.start(keep=REST)
        hold.wait()
        self.control.publish(deletion)
        self.control.wait_accepted(deletion)
        self.rgw.gateway.pause()
        try:
            self.proxy.resume()
            large.finish()
            time.sleep(STALL_S)
        finally:
            resumed_at = time.time()
            self.rgw.gateway.resume()
        names = ["pg_stat/small.stat", "pg_stat/large.stat"]
        appeared = self.appeared([endpoint.key(name, 1) for name in names])
        event = self.control.completed(deletion)
        stays_empty(self.store, endpoint.gen_prefix(1), LATE_S)
        # What it had waited before it noticed did not count.
        assert seconds(event["data"]["completed_at"]) >= resumed_at + RACE_WINDOW_S - 1
        print(f"appeared when the store went on: {appeared}; {small.status()}, {large.status()}")
        return appeared


@pytest.mark.soak
def test_a_store_that_stood_still_takes_nothing_after_the_completion(
    rgw_proxy: Proxy,
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    rgw: Rgw,
    keys: KeyPair,
):
    """Uploads whose last bytes lie in its sockets outlive every deadline of the writer's."""
    store = fresh_s3(rgw)
    writer = launch.writer(behind(store, rgw_proxy), *RACING_WRITER)
    options = (*topics.options(), *RACE_OPTIONS, "--store-timeout=3s")
    launch.janitor(store, kafka, redis, *options)
    with ControlPlane(store, kafka, topics) as control:
        stall = Stall(rgw, rgw_proxy, writer, store, control)
        wanted, missed = rounds(1, share=10), 0
        for _ in range(wanted):
            while not stall.round(keys):
                missed += 1
                assert missed <= MISSES * wanted, "too few uploads were in the sockets"


# ---- Writers ----

UNTIL_COMPLETED = None
FREEZES_S = [UNTIL_COMPLETED, RACE_UPLOAD_S + 1.0, 1.0]


class Frozen:
    """A writer that is stopped in the middle of uploads that have passed the check."""

    def __init__(self, writer: Writer, proxy: Proxy | None, store: Store, keys: KeyPair) -> None:
        self.writer = writer
        self.proxy = proxy
        self.store = store
        self.keys = keys
        self.endpoint = Endpoint()
        self.deletion = Deletion(self.endpoint, upto_gen=1)
        self.uploads: list[Upload] = []
        self._slow: Upload | None = None

    def freeze(self) -> None:
        if self.proxy:
            self._begin_behind(self.proxy)
        else:
            self._begin()
        self.writer.pause()

    def let_pass(self) -> None:
        """Whatever is on its way goes as far as it can without the writer."""
        if self.proxy:
            self.proxy.resume()
        assert self._slow
        self._slow.finish()

    def check(self) -> None:
        """The writer takes the next generation's uploads as if nothing had been."""
        statuses = [upload.status() for upload in self.uploads]
        print(f"uploads of the stopped writer were told {statuses}")
        token, url = self.endpoint.token(self.keys, 2), self.endpoint.file_url("lfc_state")
        assert http.put(self.writer.url, url, token, b"new").status == 200
        assert list(self.store.listing(self.endpoint.prefix)) == [self.endpoint.key("lfc_state", 2)]

    def _add(self, name: str, body: bytes) -> Upload:
        one = upload(self.writer, self.keys, self.endpoint, f"pg_stat/{name}.stat", body)
        self.uploads.append(one)
        return one

    def _begin_behind(self, proxy: Proxy) -> None:
        hold = proxy.hold(MIDDLE, "request")  # the writer's buffers fill up behind it
        self._add("huge", HUGE).start()
        hold.wait()
        hold = proxy.hold(b"slow.stat", "answer")
        self._slow = self._add("slow", LARGE).start(keep=REST)
        hold.wait()
        hold = proxy.hold(END, "request")  # the head is with the store, and the body is not
        self._add("headed", SMALL).start()
        hold.wait()
        # Last, since the writer asks a second time when an answer is slow.
        hold = proxy.hold(f"tombstones/tenant/{self.endpoint.tenant}".encode(), "answer")
        self._add("checked", b"c" * 1000).start()
        hold.wait()

    def _begin(self) -> None:
        before = set(self.store.leftovers())
        self._slow = self._add("slow", LARGE).start(keep=REST)
        until(lambda: set(self.store.leftovers()) - before, "a file that is being written")
        self._add("huge", HUGE).start()
        self._add("small", SMALL).start()
        self._add("whole", LARGE).start()


def test_a_writer_that_was_stopped_stores_nothing_after_the_completion(
    rgw_proxies: list[Proxy],
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    store: Store,
    keys: KeyPair,
):
    """Stopped for a second, past its upload_timeout, and past the completion."""
    launch.janitor(store, kafka, redis, *topics.options(), *RACE_OPTIONS)
    all_frozen = []
    for number in range(len(FREEZES_S)):
        proxy = rgw_proxies[number] if isinstance(store, S3Store) else None
        seen = behind(store, proxy) if proxy and isinstance(store, S3Store) else store
        writer = launch.writer(seen, *RACING_WRITER)
        all_frozen.append(Frozen(writer, proxy, store, keys))
    with ControlPlane(store, kafka, topics) as control:
        for frozen, freeze_s in zip(all_frozen, FREEZES_S, strict=True):
            frozen.freeze()
            control.publish(frozen.deletion)
            control.wait_accepted(frozen.deletion)
            frozen.let_pass()
            if freeze_s is not UNTIL_COMPLETED:
                time.sleep(freeze_s)
                frozen.writer.resume()
        for frozen, freeze_s in zip(all_frozen, FREEZES_S, strict=True):
            control.completed(frozen.deletion)
            assert not store.listing(frozen.endpoint.prefix)
            if freeze_s is UNTIL_COMPLETED:
                frozen.writer.resume()
        stays_empty(store, "tenants/", LATE_S)
    for frozen in all_frozen:
        frozen.check()


# ---- Janitors ----


@pytest.mark.soak
@pytest.mark.parametrize("gen", [1, None], ids=["fenced", "without-a-generation"])
def test_a_janitor_that_was_stopped_between_list_and_delete_removes_nothing_new(
    rgw_proxy: Proxy,
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    rgw: Rgw,
    keys: KeyPair,
    endpoint: Endpoint,
    gen: int | None,
):
    """Another one has ended its deletion, and the endpoint is in use again, when it goes on."""
    store = fresh_s3(rgw)
    deletion = Deletion(endpoint, upto_gen=gen)
    store.put_many(numbered(endpoint.gen_prefix(gen or 0), 20), b"old")
    store.put(endpoint.key("lfc_state", gen or 0), b"old")
    if gen is None:  # who takes over leaves what was stored in the second of the acceptance
        time.sleep(SAME_SECOND_S)
    options = (*topics.options(), *QUICK_OPTIONS)
    frozen = launch.janitor(behind(store, rgw_proxy), kafka, redis, *options)
    with ControlPlane(store, kafka, topics) as control:
        # The listing of what is to go; uploads in parts are listed before it.
        query = f"{urllib.parse.quote(endpoint.prefix, safe='')}&versions="
        hold = rgw_proxy.hold(query.encode(), "answer")
        control.publish(deletion)
        hold.wait()
        held_at = time.monotonic()
        frozen.pause()
        rgw_proxy.resume()
        assert len(store.listing(endpoint.prefix)) == 21  # it was stopped before it removed any
        launch.janitor(store, kafka, redis, *options)
        control.completed(deletion)
        assert not store.listing(endpoint.prefix)
        again = 2 if gen else None
        new = list(numbered(endpoint.gen_prefix(again or 0), 20))
        store.put_many(new, b"new")
        writer = launch.writer(store, *QUICK_WRITER)
        url, token = endpoint.file_url("lfc_state"), endpoint.token(keys, again)
        assert http.put(writer.url, url, token, b"new").status == 200
        new.append(endpoint.key("lfc_state", again or 0))
        if gen is None:  # the same names: only the listing's age protects them
            time.sleep(max(0.0, held_at + LISTING_S - time.monotonic()))
        frozen.resume()
        time.sleep(LATE_S)
        assert sorted(store.listing(endpoint.prefix)) == new
        assert {store.get(key) for key in new} == {b"new"}
        assert len(control.all_completions(deletion)) == 1


def test_a_janitor_that_is_stopped_in_mid_sweep_holds_nobody_up(
    launch: Launcher, kafka: Broker, redis: Redis, topics: TopicNames, folder_store: Store
):
    large, small = Deletion(Endpoint(), upto_gen=1), Deletion(Endpoint(), upto_gen=1)
    many = 20_000
    folder_store.put_many(numbered(large.endpoint.gen_prefix(1), many))
    folder_store.put(small.endpoint.key("lfc_state", 1), b"four")
    options = (*topics.options(), *QUICK_OPTIONS, "--kafka-session-timeout=6s")
    frozen = launch.janitor(folder_store, kafka, redis, *options, "--delete-rate=2000")
    with ControlPlane(folder_store, kafka, topics) as control:
        control.publish(large)
        until(lambda: metric(frozen, "epufs_deleted_files_total") > 0, "the sweep's begin")
        frozen.pause()
        left = len(folder_store.listing(large.prefix))
        assert 0 < left < many
        other = launch.janitor(folder_store, kafka, redis, *options)
        control.publish(small)
        control.completed(large)  # once the lease has ended
        control.completed(small)  # once the group has noticed as well
        folder_store.put_many(numbered(large.endpoint.gen_prefix(2), 20))
        frozen.resume()
        time.sleep(LATE_S)
        assert len(folder_store.listing(large.prefix)) == 20
        # Its event may not have been committed, and come again to the other one: under the same id.
        assert {e["id"] for e in control.all_completions(large)} == {f"done:{large.job_id}"}
        assert metric(other, "epufs_deletions_completed_total") >= 2
