"""SIGTERM of a janitor in the middle of each step: it ends in order and soon, the offset of what it
abandons is not committed, and whoever starts next brings the deletion to its end."""

import time

import pytest

from devstack.epufs import Janitor
from devstack.kafka import Kafka
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness.chance import rounds
from harness.committed import Committed
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, Topics, until
from harness.ids import Endpoint
from harness.launch import Launcher, check_end
from harness.proxy import Proxy, Side
from harness.stores import S3Store, behind, fresh_s3, numbered

pytestmark = [pytest.mark.waits, pytest.mark.soak]

FILES = 20
SIGTERM_S = 10.0


class Stopped:
    """A janitor that is ended while its store does not answer one request, and started again."""

    def __init__(
        self, janitor: Janitor, proxy: Proxy, store: S3Store, control: ControlPlane, topics: Topics
    ) -> None:
        self.committed = Committed(control.kafka, topics)
        self._janitor = janitor
        self._proxy = proxy
        self._store = store
        self._control = control

    def round(self, marker: str, side: Side, accepted: bool) -> None:
        """`accepted`: the event is taken care of by then, so that its offset may be committed."""
        deletion = Deletion(Endpoint(), upto_gen=1)
        endpoint = deletion.endpoint
        self._store.put_many(numbered(endpoint.gen_prefix(1), FILES), b"four")
        self._store.put(endpoint.key("lfc_state", 2), b"four")
        before = self.committed.offsets()
        hold = self._proxy.hold(self._marker(marker, deletion), side)
        self._control.publish(deletion)
        hold.wait()
        began = time.monotonic()
        check_end(self._janitor, self._janitor.process.stop(40.0))
        took_s = time.monotonic() - began
        print(f"{marker} {side}: ended after {took_s:.2f} s")
        assert took_s < SIGTERM_S
        assert accepted or self.committed.offsets() == before
        assert self._control.all_completions(deletion) == [] or marker == "forget"
        self._proxy.cut()
        self._proxy.resume()
        self._janitor.start()
        self._control.completed(deletion)
        assert list(self._store.listing(endpoint.prefix)) == [endpoint.key("lfc_state", 2)]
        told = self._control.all_completions(deletion)
        assert {event["id"] for event in told} == {f"done:{deletion.job_id}"}
        until(lambda: self.committed.offsets() == self.committed.ends(), "its offset")

    def _marker(self, name: str, deletion: Deletion) -> bytes:
        root = f"/{self._store.bucket}/{self._store.prefix}"
        tenant = deletion.endpoint.tenant
        markers = {
            "tombstone": f"PUT {root}/tombstones/endpoint/{tenant}",
            "intent": f"PUT {root}/{deletion.intent}",
            "list": f"{tenant}%2F",
            "delete": "?delete=",
            "verify": "writers%2F",
            "forget": f"DELETE {root}/{deletion.intent}",
        }
        return markers[name].encode()


# The request that is held, which side of it, and whether the event has been accepted by then. The
# first three are what a usual run has time for.
MOMENTS: list[tuple[str, Side, bool]] = [
    ("intent", "request", False),
    ("list", "request", True),
    ("forget", "request", True),
    ("tombstone", "request", False),
    ("tombstone", "answer", False),
    ("intent", "answer", False),
    ("delete", "request", True),
    ("delete", "answer", True),
    ("verify", "request", True),
    ("forget", "answer", True),
]


def test_sigterm_at_each_step_commits_nothing_that_is_abandoned(
    rgw_proxy: Proxy,
    launch: Launcher,
    real_kafka: Kafka,
    redis: Redis,
    topics: Topics,
    rgw: Rgw,
):
    store = fresh_s3(rgw)
    options = (*topics.options(), *QUICK_OPTIONS, "--store-timeout=1s")
    janitor = launch.janitor(behind(store, rgw_proxy), real_kafka, redis, *options)
    with ControlPlane(store, real_kafka, topics) as control:
        stopped = Stopped(janitor, rgw_proxy, store, control, topics)
        for marker, side, accepted in MOMENTS[: rounds(3)]:
            stopped.round(marker, side, accepted)
        stopped.committed.close()
        control.no_dead_letters()
