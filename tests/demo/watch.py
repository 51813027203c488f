"""Follows deletions: progress from the janitor's status, the end from the completions topic."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from demo.actors import Operator
from demo.stage import Mismatch, Stage, expect
from devstack.kafka_client import TopicReader
from harness.deletions import Deletion, parse

TIMEOUT_S = 60.0
POLL_S = 0.2

MEANING = {
    "open": "the tombstone is in place: tokens up to it are refused from now on",
    "sweeping": "list and delete",
    "draining": "wait until no upload from before the tombstone can still land",
    "verifying": "list once more: nothing may be left",
    "publishing": "tell the control plane",
    "done": "completed",
}


@dataclasses.dataclass(frozen=True)
class Order:
    """A deletion that was asked for, and what it has to remove."""

    deletion: Deletion
    files: int
    size: int

    @property
    def name(self) -> str:
        e = self.deletion.endpoint
        scope = self.deletion.scope
        ids = {"endpoint": e.name, "timeline": e.timeline, "tenant": e.tenant}
        return f"{scope} {ids[scope][:8]}"

    def check(self, event: Mapping[str, Any]) -> None:
        data = event["data"]
        expect(data["outcome"] == "completed", f"{self.name}: the outcome is {data['outcome']}")
        expect(
            event["id"] == f"done:{self.deletion.job_id}", f"{self.name}: its id is {event['id']}"
        )
        wanted = {"files": self.files, "bytes": self.size}
        expect(data["deleted"] == wanted, f"{self.name}: {data['deleted']} deleted, not {wanted}")


class Watch:
    def __init__(self, stage: Stage, operator: Operator, completions: TopicReader) -> None:
        self._stage = stage
        self._operator = operator
        self._completions = completions
        self._shown: dict[str, tuple[str, int]] = {}

    def until_completed(
        self, orders: Mapping[str, Order], once_fenced: Callable[[], None] = lambda: None
    ) -> Mapping[str, Mapping[str, Any]]:
        """The completion for each event id. once_fenced is called once all tombstones are there."""
        completions: dict[str, Mapping[str, Any]] = {}
        fenced = False
        deadline = time.monotonic() + TIMEOUT_S
        while len(completions) < len(orders):
            if time.monotonic() > deadline:
                raise Mismatch(f"not completed within {TIMEOUT_S:g} s: {self._shown}")
            known = self._show(orders)
            if known and not fenced:
                once_fenced()
                fenced = True
            self._poll(orders, completions)
        self._until_done(orders, deadline)
        return completions

    def _poll(self, orders: Mapping[str, Order], completions: dict[str, Mapping[str, Any]]) -> None:
        message = self._completions.poll(POLL_S)
        if message is None:
            return
        event = parse(message)
        order = orders.get(event.get("causationid", ""))
        expect(order is not None, f"a completion that nobody waits for: {event}")
        if order is not None:
            order.check(event)
            completions[event["causationid"]] = event

    def _show(self, orders: Mapping[str, Order]) -> bool:
        """Prints what has changed; whether the janitor has accepted all of them."""
        jobs = self._operator.jobs()
        for order in orders.values():
            job = jobs.get(order.deletion.job_id)
            if job is not None:
                self._show_job(order, job["state"], job["files"] or 0)  # null: not known
        return all(order.deletion.job_id in jobs for order in orders.values())

    def _show_job(self, order: Order, state: str, files: int) -> None:
        if self._shown.get(order.deletion.job_id) != (state, files):
            self._shown[order.deletion.job_id] = (state, files)
            meaning = MEANING.get(state, "")
            self._stage.say(f"{order.name:<17} {files:4} files removed  {state}: {meaning}")

    def _until_done(self, orders: Mapping[str, Order], deadline: float) -> None:
        """The completion comes first; then the janitor closes the job."""
        wanted = {order.deletion.job_id for order in orders.values()}
        while any(self._shown.get(job_id, ("", 0))[0] != "done" for job_id in wanted):
            expect(time.monotonic() < deadline, f"reported as completed and still open: {wanted}")
            time.sleep(POLL_S)
            self._show(orders)
