"""A store that refuses a share of everything: only what was refused is asked for again."""

import dataclasses

import pytest

from devstack.broker import Broker
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness.chance import seeded, size
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, TopicNames
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import S3Store, fresh_s3, numbered
from harness.unwilling import Unwilling

pytestmark = pytest.mark.soak

FILES = max(1100, size("KEYS", 0) // 10)  # more than one batch
SMALL = 5
TIMEOUT_S = 60 + FILES / 50


def test_503_and_keys_that_are_refused_in_a_200_repeat_nothing_else(
    rgw: Rgw,
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
):
    store = fresh_s3(rgw)
    asked = [Deletion(Endpoint(), upto_gen=1) for _ in range(1 + SMALL)]
    for deletion, files in zip(asked, [FILES] + [3] * SMALL, strict=True):
        store.put_many(numbered(deletion.endpoint.gen_prefix(1), files), b"four")
        store.put(deletion.endpoint.key("lfc_state", 2), b"four")
    with Unwilling(rgw.s3, seeded()) as proxy, ControlPlane(store, kafka, topics) as control:
        seen = S3Store(dataclasses.replace(rgw.s3, endpoint=proxy.url), store.bucket, store.prefix)
        options = (*topics.options(), *QUICK_OPTIONS)
        # A probe that is refused makes it unready now and then.
        janitor = launch.janitor(seen, kafka, redis, *options)
        for deletion in asked:
            control.publish(deletion)
        for deletion in asked:
            control.completed(deletion, TIMEOUT_S)
            newer = [deletion.endpoint.key("lfc_state", 2)]
            assert list(store.listing(deletion.prefix)) == newer
        launch.stop(janitor)
        control.no_dead_letters()
        ids = {f"done:{deletion.job_id}" for deletion in asked}
        assert {e["id"] for d in asked for e in control.all_completions(d)} == ids
    print(f"{proxy.busy} requests were told 503, {proxy.refused.total()} keys refused in a 200")
    assert proxy.busy > 0
    assert len(proxy.refused) > FILES // 10
    assert not proxy.asked_again
    assert len(proxy.gone) == FILES + 3 * SMALL
