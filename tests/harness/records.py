"""Deletions as an operator sees them: `epufs-janitor show`."""

import json
import os
import subprocess
from typing import Any

from devstack import paths
from devstack.redis import Redis
from harness.deletions import Deletion, until
from harness.stores import Store


def record(store: Store, redis: Redis, deletion: Deletion) -> dict[str, Any]:
    """What Redis has of the job: state, cursor, counts; empty when it has nothing."""
    command = [str(paths.program("epufs-janitor")), "show", deletion.job_id, "--json"]
    done = subprocess.run(
        [*command, f"--store={store.url}", f"--redis-url={redis.url}"],
        env=os.environ | store.env,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return dict(json.loads(done.stdout)["record"] or {}) if done.returncode == 0 else {}


def wait_cursor(store: Store, redis: Redis, deletion: Deletion) -> str:
    """Up to which key the sweep has removed everything, once Redis knows of one."""
    found: list[str] = []

    def known() -> bool:
        found.append(record(store, redis, deletion).get("cursor") or "")
        return bool(found[-1])

    until(known, "a cursor in Redis")
    return found[-1]
