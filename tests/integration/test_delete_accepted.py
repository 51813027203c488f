"""DELETE over HTTP when the store is slow, much is to be deleted, or nobody waits for the answer.

The store is behind a proxy that holds one of its requests, so that a step lasts as long as a test
wants.
"""

import concurrent.futures
import dataclasses
import json
import time
from collections.abc import Iterator

import pytest

from devstack.epufs import Writer
from devstack.keys import KeyPair
from devstack.process import wait_for
from devstack.rgw import Rgw
from harness import http
from harness.ids import Endpoint, hex32
from harness.launch import Launcher
from harness.proxy import Hold, Proxy
from harness.stores import FolderStore, S3Store, Store, numbered

NAME = "lfc_state"
MORE_THAN_A_PAGE = 1100
BATCH = b"?delete"
TIMEOUT_S = 30.0


@dataclasses.dataclass(frozen=True)
class Slow:
    """A store, and the same one as the writer sees it."""

    store: S3Store
    behind: S3Store
    proxy: Proxy

    def intents(self) -> list[dict[str, object]]:
        return [json.loads(self.store.get(key) or b"{}") for key in self.store.listing("intents/")]

    def hold_tombstone(self) -> Hold:
        """The next tombstone stands, but the writer is not told: no intent follows yet."""
        prefix = f"/{self.store.bucket}/{self.store.prefix}/tombstones/"
        return self.proxy.hold(f"PUT {prefix}".encode(), "answer")


@pytest.fixture
def proxy(rgw: Rgw) -> Iterator[Proxy]:
    """Ask for it before `launch`: programs are to end while their store still answers."""
    with Proxy(rgw.port) as opened:
        yield opened


@pytest.fixture
def slow(rgw: Rgw, proxy: Proxy) -> Slow:
    prefix = f"slow-{hex32()}"
    behind = S3Store(dataclasses.replace(rgw.s3, endpoint=proxy.url), rgw.bucket, prefix)
    return Slow(S3Store(rgw.s3, rgw.bucket, prefix), behind, proxy)


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        yield threads


def fill(store: Store, endpoint: Endpoint, count: int = 3) -> None:
    store.put_many(numbered(endpoint.gen_prefix(1), count))


def over(writer: Writer) -> None:
    """Waits until no deletion is under way."""
    wait_for(
        lambda: http.gauge(writer.url, "epufs_http_deletions_in_flight") == 0,
        TIMEOUT_S,
        "the deletions' end",
        log=writer.process.log,
    )


def put(writer: Writer, endpoint: Endpoint, token: str) -> int:
    return http.put(writer.url, endpoint.file_url(NAME), token, b"12345").status


def accepted(answer: http.Answer, endpoint: Endpoint, state: str = "accepted") -> None:
    assert answer.status == 202, answer
    body = answer.json()
    assert len(body.pop("job_id")) == 64
    assert body.pop("tenant") == endpoint.tenant
    body.pop("timeline", None)
    body.pop("endpoint", None)
    assert body == {"state": state}


# ---- Accepted, and not swept yet ----


def test_a_slow_sweep_is_answered_with_202(
    slow: Slow, launch: Launcher, endpoint: Endpoint, keys: KeyPair
) -> None:
    fill(slow.store, endpoint)
    token = endpoint.token(keys, 1)
    writer = launch.writer(slow.behind, "--delete-timeout=1s")
    slow.proxy.hold(BATCH, "request")
    began = time.monotonic()
    accepted(http.delete(writer.url, endpoint.url, token), endpoint)
    assert time.monotonic() - began >= 1
    assert len(slow.store.listing(endpoint.prefix)) == 3
    assert list(slow.store.listing(endpoint.tombstone(1))) == [endpoint.tombstone(1)]
    (intent,) = slow.intents()
    assert (intent["endpoint_id"], intent["swept_files"]) == (endpoint.name, 0)
    http.problem(http.put(writer.url, endpoint.file_url(NAME), token, b"x"), 410)
    # The sweep stops, and the rest is the janitor's.
    over(writer)
    slow.proxy.resume()
    (intent,) = slow.intents()
    assert intent["swept_files"] == 0


def test_a_sweep_that_fails_is_answered_with_202(
    slow: Slow, launch: Launcher, endpoint: Endpoint, keys: KeyPair
) -> None:
    fill(slow.store, endpoint)
    writer = launch.writer(slow.behind, "--delete-timeout=1m", "--store-timeout=1s")
    hold = slow.proxy.hold(b"list-type=2&", "request")  # the look at how much there is
    accepted(http.delete(writer.url, endpoint.url, endpoint.token(keys, 1)), endpoint)
    assert hold.reached.is_set()
    assert len(slow.store.listing(endpoint.prefix)) == 3
    assert len(slow.intents()) == 1


def test_one_that_is_held_is_not_swept(
    launch: Launcher, folder_store: FolderStore, endpoint: Endpoint, keys: KeyPair
) -> None:
    """An operator wanted it to wait; the writer's own sweep is no exception."""
    writer = launch.writer(folder_store)
    token = endpoint.token(keys, 1)
    answer = http.delete(writer.url, endpoint.url, token)
    key = f"intents/{answer.json()['job_id']}"
    intent = json.loads(folder_store.get(key) or b"{}")
    folder_store.put(key, json.dumps({**intent, "state": "held"}).encode())
    fill(folder_store, endpoint)
    accepted(http.delete(writer.url, endpoint.url, token), endpoint, "held")
    assert len(folder_store.listing(endpoint.prefix)) == 3


# ---- Not accepted in time ----


def test_what_is_not_accepted_in_time_is_accepted_later(
    slow: Slow, launch: Launcher, endpoint: Endpoint, keys: KeyPair
) -> None:
    """The tombstone stands already, so the promise is kept although it was not given."""
    fill(slow.store, endpoint)
    writer = launch.writer(slow.behind, "--delete-timeout=1s")
    slow.hold_tombstone()
    answer = http.delete(writer.url, endpoint.url, endpoint.token(keys, 1))
    assert "delete_timeout" in http.problem(answer, 503)
    assert answer.header("Retry-After") == "1"
    assert len(slow.store.listing(endpoint.tombstone(1))) == 1
    assert slow.intents() == []
    slow.proxy.resume()
    over(writer)
    assert len(slow.intents()) == 1
    assert len(slow.store.listing(endpoint.prefix)) == 3  # the janitor's


def test_a_client_that_goes_away_leaves_no_half_deletion(
    slow: Slow, launch: Launcher, endpoint: Endpoint, keys: KeyPair
) -> None:
    fill(slow.store, endpoint)
    writer = launch.writer(slow.behind)
    _delete_and_go(writer, endpoint, keys, slow)
    slow.proxy.resume()
    over(writer)
    assert len(slow.intents()) == 1
    assert len(slow.store.listing(endpoint.prefix)) == 3


def test_the_program_does_not_end_before_it(
    slow: Slow,
    launch: Launcher,
    endpoint: Endpoint,
    keys: KeyPair,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    writer = launch.writer(slow.behind, "--drain-timeout=100ms")
    _delete_and_go(writer, endpoint, keys, slow)
    stopped = pool.submit(launch.stop, writer)
    time.sleep(1)
    assert not stopped.done()
    slow.proxy.resume()
    stopped.result(TIMEOUT_S)
    assert len(slow.intents()) == 1


def _delete_and_go(writer: Writer, endpoint: Endpoint, keys: KeyPair, slow: Slow) -> None:
    hold = slow.hold_tombstone()
    token = endpoint.token(keys, 1)
    request = f"DELETE {endpoint.url} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    with http.dial(writer.url) as connection:
        connection.sendall(request.encode())
        hold.wait()
    assert slow.intents() == []


def test_one_that_is_closing_is_waited_for(
    launch: Launcher,
    folder_store: FolderStore,
    endpoint: Endpoint,
    keys: KeyPair,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    """Without a generation nothing can be merged into a deletion whose completion is under way."""
    hasty = launch.writer(folder_store, "--delete-timeout=300ms")
    patient = launch.writer(folder_store, "--delete-timeout=20s")
    token = endpoint.token(keys)
    key = f"intents/{http.delete(patient.url, endpoint.url, token).json()['job_id']}"
    intent = json.loads(folder_store.get(key) or b"{}")
    folder_store.put(key, json.dumps({**intent, "state": "closing"}).encode())
    assert put(patient, endpoint, token) == 200
    http.problem(http.delete(hasty.url, endpoint.url, token), 503)
    again = pool.submit(http.delete, patient.url, endpoint.url, token)
    time.sleep(0.5)
    assert not again.done()
    folder_store.delete(key)
    assert again.result(TIMEOUT_S).json()["deleted"]["files"] == 1


# ---- Many and large ones ----


def test_too_many_deletions(
    slow: Slow,
    launch: Launcher,
    endpoint: Endpoint,
    keys: KeyPair,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    """One more than the bound is refused before anything is written."""
    fill(slow.store, endpoint)
    writer = launch.writer(slow.behind, "--max-deletions=1")
    hold = slow.proxy.hold(BATCH, "request")
    first = pool.submit(http.delete, writer.url, endpoint.url, endpoint.token(keys, 1))
    hold.wait()
    other = Endpoint()
    answer = http.delete(writer.url, other.url, other.token(keys, 1))
    assert "max_deletions" in http.problem(answer, 503)
    assert answer.header("Retry-After") == "1"
    assert slow.store.listing(f"tombstones/endpoint/{other.tenant}/") == {}
    assert len(slow.intents()) == 1
    slow.proxy.resume()
    assert first.result(TIMEOUT_S).json()["deleted"] == {"files": 3, "bytes": 3}
    over(writer)
    assert http.delete(writer.url, other.url, other.token(keys, 1)).status == 200


def test_large_ones_take_turns_and_small_ones_do_not(
    slow: Slow,
    launch: Launcher,
    endpoint: Endpoint,
    keys: KeyPair,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    """A small one waits neither for a turn nor for a connection of the large ones."""
    large = [Endpoint(), Endpoint()]
    for one in large:
        fill(slow.store, one, MORE_THAN_A_PAGE)
    fill(slow.store, endpoint)
    service = keys.service_token()
    options = ["--threads=1", "--s3-max-bulk-connections=1", "--max-sweeps=1"]
    writer = launch.writer(slow.behind, *options, "--delete-timeout=6s")
    hold = slow.proxy.hold(BATCH, "request")
    first = pool.submit(http.delete, writer.url, large[0].tenant_url, service)
    hold.wait()
    second = pool.submit(http.delete, writer.url, large[1].tenant_url, service)
    fenced = f"tombstones/tenant/{large[1].tenant}"
    wait_for(lambda: fenced in slow.store.listing(fenced), TIMEOUT_S, "the tombstone")
    small = http.delete(writer.url, endpoint.url, endpoint.token(keys, 1))
    assert small.json()["deleted"] == {"files": 3, "bytes": 3}
    assert http.gauge(writer.url, "epufs_http_large_sweeps_in_flight") == 1
    assert len(slow.store.listing(large[1].prefix)) == MORE_THAN_A_PAGE
    assert not first.done() and not second.done()
    accepted(first.result(TIMEOUT_S), large[0])
    accepted(second.result(TIMEOUT_S), large[1])
    slow.proxy.resume()
    over(writer)


def test_large_ones_one_after_the_other(
    launch: Launcher,
    folder_store: FolderStore,
    keys: KeyPair,
    pool: concurrent.futures.ThreadPoolExecutor,
) -> None:
    large = [Endpoint() for _ in range(3)]
    for one in large:
        fill(folder_store, one, MORE_THAN_A_PAGE)
    writer = launch.writer(folder_store, "--max-sweeps=1", "--delete-timeout=1m")
    urls = [one.tenant_url for one in large]
    for answer in pool.map(lambda url: http.delete(writer.url, url, keys.service_token()), urls):
        assert answer.json()["deleted"]["files"] == MORE_THAN_A_PAGE
    for one in large:
        assert folder_store.listing(one.tenant_prefix) == {}
