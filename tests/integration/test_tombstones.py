"""Tombstones go when the last token that they fence has expired, and only then."""

import json
import time

from devstack.broker import Broker
from devstack.redis import Redis
from harness.deletions import (
    QUICK_OPTIONS,
    ControlPlane,
    Deletion,
    TopicNames,
    metric,
    rfc3339,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

REAPING = ("--tombstone-scan-interval=300ms", "--tombstone-grace=0")


def test_a_tombstone_goes_when_its_tokens_have_expired(
    launch: Launcher, kafka: Broker, redis: Redis, topics: TopicNames, store: Store
):
    options = (*topics.options(), *QUICK_OPTIONS, *REAPING)
    janitors = [launch.janitor(store, kafka, redis, *options) for _ in range(2)]
    now_s = time.time()
    ended, to_come, for_ever = (Deletion(Endpoint(), upto_gen=1) for _ in range(3))
    tenant = Deletion(Endpoint(), scope="tenant")
    with ControlPlane(store, kafka, topics) as control:
        control.publish(ended, tokens_expire_by=rfc3339(now_s + 6))
        control.publish(tenant, tokens_expire_by=rfc3339(now_s + 6))
        control.publish(to_come, tokens_expire_by=rfc3339(now_s + 3600))
        control.publish(for_ever)
        for deletion in (ended, tenant, to_come, for_ever):
            control.completed(deletion)
            assert deletion.tombstone
        if time.time() < now_s + 5:
            assert store.get(ended.tombstone or "") and store.get(tenant.tombstone or "")
        until(lambda: store.get(ended.tombstone or "") is None, "the end of a tombstone")
        until(lambda: store.get(tenant.tombstone or "") is None, "the end of a tenant's")
        assert time.time() > now_s + 5.5
        # The longer time of two counts.
        seen = len(control.all_completions(ended))
        control.publish(ended, tokens_expire_by=rfc3339(now_s + 7200))
        control.further_completion(ended, seen)
        control.wait_ended(ended)
        time.sleep(1)
        for deletion in (ended, to_come, for_ever):
            assert store.get(deletion.tombstone or "") is not None
        assert not store.listing("intents/")
    text = store.get(ended.tombstone or "")
    assert text and json.loads(text)["tokens_expire_by"] == rfc3339(now_s + 7200)
    assert sum(metric(j, "epufs_tombstones_removed_total") for j in janitors) == 2
