"""The commands of `epufs-janitor`, as an operator runs them."""

import base64
import contextlib
import json
import os
import pathlib
import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devstack import kafka_client, paths, ports
from devstack.broker import Broker
from devstack.redis import Redis
from harness import stores
from harness.deletions import (
    QUICK_OPTIONS,
    ControlPlane,
    Deletion,
    TopicNames,
    parse,
    rfc3339,
    until,
)
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store, numbered

TIMEOUT_S = 60


class Operator:
    """Runs commands against one janitor's store, topics and Redis."""

    def __init__(self, store: Store, kafka: Broker, redis: Redis, topics: TopicNames) -> None:
        self._options = {
            "store": store.url,
            "kafka_brokers": kafka.bootstrap,
            "redis_url": redis.url,
            "log_level": "warn",
        }
        self._topics = topics.options()

    def words(self, *words: str, **other: str) -> list[str]:
        """The command line."""
        options = [f"--{name}={value}" for name, value in (self._options | other).items()]
        return [str(paths.program("epufs-janitor")), *words, *self._topics, *options]

    def run(self, *words: str, **other: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words, **other),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def ask(self, *words: str, code: int = 0, **other: str) -> Any:
        """What a command prints with --json."""
        done = self.run(*words, "--json", **other)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def fail(self, *words: str, code: int = 1, **other: str) -> str:
        """What a command that does not succeed says, and it must not print anything else."""
        done = self.run(*words, **other)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert done.stderr.startswith("epufs-janitor"), done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def operator(
    folder_store: Store, kafka: Broker, redis: Redis, module_topics: TopicNames
) -> Operator:
    return Operator(folder_store, kafka, redis, module_topics)


def scope_words(deletion: Deletion) -> list[str]:
    e = deletion.endpoint
    words = ["--tenant", e.tenant]
    if deletion.scope != "tenant":
        words += ["--timeline", e.timeline]
    if deletion.scope == "endpoint":
        words += ["--endpoint", e.name]
    if deletion.upto_gen is not None:
        words += ["--upto_gen", str(deletion.upto_gen)]
    return words


def test_delete_and_wait_tells_of_the_way_and_the_result(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    folder_store.put_many(numbered(endpoint.gen_prefix(3), 5), b"four")
    deletion = Deletion(endpoint, upto_gen=3)
    done = operator.run("delete", *scope_words(deletion), "--wait", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f-]{17,}", answer.pop("event_id"))
    assert answer == {
        "state": "completed",
        "scope": deletion.path,
        "job_id": deletion.job_id,
        "dry_run": False,
        "files": 5,
        "bytes": 20,
        "note": None,
    }
    assert "draining: 5 files, 20 bytes removed" in done.stderr
    assert not folder_store.listing(endpoint.prefix)
    event = control.check(deletion, files=5, size=20)
    assert event["data"]["reason"] == "operator"


def test_delete_without_wait_returns_at_once(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    folder_store.put_many(numbered(endpoint.gen_prefix(0), 2))
    deletion = Deletion(endpoint, "tenant")
    done = operator.run("delete", *scope_words(deletion), reason="a test")
    assert done.returncode == 0, done.stderr
    said = re.fullmatch(r"requested: (\S+), job (\w+), event (\S+)\n", done.stdout)
    assert said
    assert said.group(1, 2) == (deletion.path, deletion.job_id)
    event = control.check(deletion, files=2, size=2)
    assert event["causationid"] == said.group(3)
    assert event["data"]["reason"] == "a test"


def test_a_dry_run_of_delete_counts(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    folder_store.put_many(numbered(endpoint.gen_prefix(0), 2), b"four")
    words = ["delete", "--tenant", endpoint.tenant, "--dry_run", "--wait"]
    answer = operator.ask(*words)
    assert (answer["state"], answer["dry_run"]) == ("completed", True)
    assert (answer["files"], answer["bytes"]) == (2, 8)
    assert len(folder_store.listing(endpoint.prefix)) == 2
    control.check(Deletion(endpoint, "tenant", dry_run=True), files=2, size=8)


LATER = "2999-01-01T00:00:00Z"


def nobody() -> str:
    """An address where nothing listens."""
    return f"127.0.0.1:{ports.free_port()}"


def no_redis() -> dict[str, str]:
    return {"redis_url": f"redis://{nobody()}"}


def no_store() -> dict[str, str]:
    return {"store": "s3://none/x", "s3_endpoint": f"http://{nobody()}", "store_timeout": "1s"}


def state_of(store: Store, deletion: Deletion) -> str | None:
    intent = store.get(deletion.intent)
    return json.loads(intent)["state"] if intent else None


def plant(store: Store, deletion: Deletion, state: str, note: str = "", age_s: int = 60) -> None:
    """An intent as a janitor leaves it, with its tombstone."""
    if deletion.tombstone:
        store.put(deletion.tombstone, b"{}")
    more = {
        "job_id": deletion.job_id,
        "accepted_at": rfc3339(time.time() - age_s),
        "state": state,
        "note": note,
    }
    store.put(deletion.intent, json.dumps(deletion.data() | more).encode())


@pytest.fixture
def delayed(operator: Operator, control: ControlPlane, endpoint: Endpoint) -> Iterator[Deletion]:
    """An accepted deletion that has not begun."""
    deletion = Deletion(endpoint, upto_gen=2)
    control.publish(deletion, not_before=LATER)
    control.wait_accepted(deletion)
    yield deletion
    operator.run("cancel", deletion.job_id)


# ---- status ----


def test_status_lists_what_is_open_and_what_was_completed(
    operator: Operator, folder_store: Store, endpoint: Endpoint, delayed: Deletion
):
    done = Deletion(endpoint, upto_gen=1)
    folder_store.put_many(numbered(endpoint.gen_prefix(1), 3), b"four")
    operator.ask("delete", *scope_words(done), "--wait")
    status = operator.ask("status")
    assert status["degraded"] is False
    assert status["store"] == {"url": folder_store.url, "up": True, "error": None}
    assert status["redis"] == {"configured": True, "up": True, "error": None}
    assert status["totals"]["delayed"] >= 1
    assert status["upload_window"]["short"] is False
    (opened,) = [job for job in status["open"] if job["job_id"] == delayed.job_id]
    assert (opened["scope"], opened["upto_gen"], opened["dry_run"]) == (delayed.path, "2", False)
    assert (opened["state"], opened["not_before"]) == ("delayed", LATER)
    (completed,) = [job for job in status["completed"] if job["job_id"] == done.job_id]
    assert (completed["state"], completed["files"], completed["bytes"]) == ("done", 3, 12)
    assert completed["done_at"] >= completed["accepted_at"]
    text = operator.run("status")
    assert text.returncode == 0
    opened_part, _, completed_part = text.stdout.partition("Completed lately")
    assert "Redis   answers" in opened_part
    assert f"{delayed.path} up to generation 2" in opened_part
    assert f"{done.path} up to generation 1" in completed_part


def test_status_counts_by_state_and_tells_the_oldest(
    operator: Operator, folder_store: Store, tmp_path_factory: pytest.TempPathFactory
):
    """In a store that no janitor looks at."""
    quiet = stores.make("folder", tmp_path_factory.mktemp("quiet"), None)
    planted = {
        "open": [Deletion(Endpoint(), upto_gen=1) for _ in range(23)],
        "held": [Deletion(Endpoint(), "tenant")],
        "failed": [Deletion(Endpoint(), "timeline"), Deletion(Endpoint(), "timeline")],
        "cancelled": [Deletion(Endpoint(), "tenant")],
    }
    for state, deletions in planted.items():
        for number, deletion in enumerate(deletions):
            plant(quiet, deletion, state, age_s=4000 - number)
    quiet.put(f"intents/{secrets.token_hex(32)}", b"not JSON")
    status = operator.ask("status", store=quiet.url)
    assert status["totals"] == {
        "open": 23, "delayed": 0, "held": 1, "failed": 2, "closing": 0, "cancelled": 1,
        "unreadable": 1,
    }  # fmt: skip
    assert status["oldest_open"]["job_id"] == planted["open"][0].job_id
    assert 4000 <= status["oldest_open"]["age_s"] < 4100
    assert len(status["open"]) == 20
    text = operator.run("status", store=quiet.url).stdout
    assert "Open    23, 0 delayed, 1 held, 2 failed, 1 cancelled, 1 unreadable\n" in text
    assert f"Oldest  1h06m  {planted['open'][0].job_id[:10]} open\n" in text
    assert "... and 8 more: epufs-janitor list\n" in text


def test_status_tells_that_uploads_may_take_longer_than_the_window(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory
):
    quiet = stores.make("folder", tmp_path_factory.mktemp("quiet"), None)
    quiet.put("writers/00000120-slow", b"")
    status = operator.ask("status", store=quiet.url, upload_window="60s")
    assert status["upload_window"] == {"window_s": 60, "needed_s": 120, "short": True}
    text = operator.run("status", store=quiet.url, upload_window="60s").stdout
    assert "SHORT    upload_window is 60s, a writer's uploads may take 120s" in text


def test_status_without_redis_and_without_kafka_tells_what_the_intents_say(
    operator: Operator, delayed: Deletion
):
    status = operator.ask("status", code=3, kafka_brokers=nobody(), **no_redis())
    assert status["degraded"] is True
    assert (status["redis"]["configured"], status["redis"]["up"]) == (True, False)
    assert "refused" in status["redis"]["error"]
    assert status["completed"] == []
    (job,) = [job for job in status["open"] if job["job_id"] == delayed.job_id]
    assert (job["state"], job["files"], job["owner"]) == ("delayed", None, None)
    text = operator.run("status", **no_redis())
    assert text.returncode == 3
    assert "Redis   DOWN" in text.stdout


def test_status_where_no_redis_is_configured_is_whole(operator: Operator, delayed: Deletion):
    status = operator.ask("status", redis_url="")
    assert status["degraded"] is False
    assert status["redis"] == {"configured": False, "up": False, "error": None}
    assert status["totals"]["delayed"] >= 1


def test_status_without_the_store_tells_what_redis_knows(
    operator: Operator, endpoint: Endpoint, delayed: Deletion
):
    done = Deletion(endpoint, upto_gen=1)
    operator.ask("delete", *scope_words(done), "--wait")
    # A janitor has had it, and Redis has a record since.
    until(lambda: bool(operator.ask("show", delayed.job_id)["record"]), "its record in Redis")
    status = operator.ask("status", code=3, **no_store())
    assert status["degraded"] is True
    assert status["store"]["up"] is False
    assert status["store"]["error"]
    # All tests share Redis, so this one may not be among the first.
    assert len(status["open"]) == min(20, sum(status["totals"].values())) > 0
    assert done.job_id in [job["job_id"] for job in status["completed"]]
    assert status["upload_window"]["needed_s"] is None
    text = operator.run("status", **no_store())
    assert text.returncode == 3
    assert "Store   DOWN" in text.stdout
    listed = operator.run("list", **no_store())
    assert listed.returncode == 3
    assert delayed.path in listed.stdout
    assert "the store does not answer, this is what Redis knows" in listed.stderr
    shown = operator.ask("show", delayed.job_id[:12], code=3, **no_store())
    assert (shown["job_id"], shown["intent"]) == (delayed.job_id, None)
    assert shown["record"]["attempts"] >= 1


def test_status_fails_with_1_where_nobody_answers(operator: Operator):
    assert operator.fail("status", **no_store(), **no_redis())
    assert operator.run("list", **no_store(), **no_redis()).returncode == 1


# ---- list and show ----


def test_list_takes_filters(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint
):
    quiet = stores.make("folder", tmp_path_factory.mktemp("quiet"), None)
    young, old = Deletion(endpoint, upto_gen=1), Deletion(endpoint, upto_gen=2)
    other, failed = Deletion(Endpoint(), "tenant"), Deletion(endpoint, "timeline")
    plant(quiet, young, "open", age_s=5)
    plant(quiet, old, "open", age_s=7200)
    plant(quiet, other, "held", note="a\x1b[31m person\n")
    plant(quiet, failed, "failed", note="denied")

    def ids(*words: str) -> set[str]:
        return {job["job_id"] for job in operator.ask("list", *words, store=quiet.url)}

    assert ids() == {d.job_id for d in (young, old, other, failed)}
    assert ids("--tenant", endpoint.tenant) == {d.job_id for d in (young, old, failed)}
    assert ids("--tenant", endpoint.tenant.upper(), "--state=open") == {young.job_id, old.job_id}
    assert ids("--state", "held") == {other.job_id}
    assert ids("--older_than", "1h") == {old.job_id}
    assert ids("--older-than=1h", "--state=held") == set()
    text = operator.run("list", "--state=held", store=quiet.url)
    assert (text.returncode, text.stderr) == (0, "")
    head, row = text.stdout.splitlines()
    assert head.split() == ["JOB", "STATE", "FILES", "BYTES", "SINCE", "SCOPE"]
    assert row.startswith(f"{other.job_id[:10]}  held ")
    assert row.endswith(f"{other.path}  a?[31m person?")


def test_list_goes_through_many_pages(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory
):
    quiet = stores.make("folder", tmp_path_factory.mktemp("quiet"), None)
    planted = [Deletion(Endpoint(), "tenant") for _ in range(2050)]
    for deletion in planted:
        plant(quiet, deletion, "held")
    jobs = operator.ask("list", store=quiet.url)
    assert [job["job_id"] for job in jobs] == sorted(d.job_id for d in planted)


def test_show_tells_what_intent_and_record_say(
    operator: Operator, folder_store: Store, endpoint: Endpoint, delayed: Deletion
):
    shown = operator.ask("show", delayed.job_id[:8].upper())
    assert (shown["job_id"], shown["state"]) == (delayed.job_id, "delayed")
    assert shown["intent"] == json.loads(folder_store.get(delayed.intent) or b"")
    text = operator.run("show", delayed.job_id)
    assert text.returncode == 0
    assert text.stdout.startswith(f"{delayed.job_id}  delayed\n")
    assert re.search(r"not_before +2999-01-01T00:00:00Z", text.stdout)
    done = Deletion(endpoint, upto_gen=1)
    operator.ask("delete", *scope_words(done), "--wait")
    shown = operator.ask("show", done.job_id[:16])
    assert (shown["state"], shown["intent"]) == ("done", None)
    assert shown["record"]["done_at"]
    assert operator.ask("show", delayed.job_id, code=3, **no_redis())["record"] is None


def test_what_names_no_job_or_several_is_refused(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory
):
    quiet = stores.make("folder", tmp_path_factory.mktemp("quiet"), None)
    for tail in "12":
        quiet.put(f"intents/{'ab' * 31}c{tail}", b"{}")
    for command in ("show", "hold", "release", "cancel", "retry"):
        said = operator.fail(command, "0123456789", store=quiet.url)
        assert "'0123456789'" in said
        assert "there is no" in said
        said = operator.fail(command, "abababab", store=quiet.url)
        assert "several jobs" in said
        assert "expected 8 to 64 hex digits" in operator.fail(command, "1234567", code=2)
        assert "expected 8 to 64 hex digits" in operator.fail(command, "a job's id", code=2)


# ---- hold, release, retry, cancel ----


def outcome(control: ControlPlane, deletion: Deletion, name: str) -> dict[str, Any]:
    """The event that tells of an outcome."""
    wanted = f"{name}:{deletion.job_id}"
    return parse(control.completions.wait_for(lambda m: parse(m)["id"] == wanted, TIMEOUT_S))


def test_a_deletion_is_held_and_released(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    deletion = Deletion(endpoint, "timeline")
    control.publish(deletion, not_before=LATER)
    control.wait_accepted(deletion)
    changed = operator.ask("hold", deletion.job_id[:10], "--reason", "a restore is under way")
    assert (changed["was"], changed["state"]) == ("open", "held")
    assert changed["noticed_within_ms"] == 30000
    event = outcome(control, deletion, "held")
    assert event["type"] == "io.epufs.deletion.held.v1"
    assert event["data"]["outcome"] == "held"
    assert event["data"]["error"] == "a restore is under way"
    # What asks for it again, and sooner, is merged, and it stays held.
    folder_store.put_many(numbered(endpoint.gen_prefix(4), 3))
    control.publish(deletion)
    waiting = operator.run("delete", *scope_words(deletion), "--wait", "--json")
    assert waiting.returncode == 4, waiting.stderr
    assert json.loads(waiting.stdout)["state"] == "held"
    assert json.loads(waiting.stdout)["note"] == "a restore is under way"
    time.sleep(1)  # three scans of the janitor's
    assert state_of(folder_store, deletion) == "held"
    assert len(folder_store.listing(endpoint.prefix)) == 3
    again = operator.run("hold", deletion.job_id)
    assert again.returncode == 0
    assert "was held already" in again.stdout
    released = operator.run("release", deletion.job_id)
    assert "held -> open: it goes on. A janitor notices within 30s" in released.stdout
    control.check(deletion, files=3, size=3)
    assert "there is no open deletion" in operator.fail("release", deletion.job_id)


def test_a_deletion_that_failed_is_retried(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    deletion = Deletion(endpoint, upto_gen=5)
    folder_store.put_many(numbered(endpoint.gen_prefix(5), 2))
    plant(folder_store, deletion, "failed", note="access denied")
    time.sleep(1)  # three scans of the janitor's
    assert state_of(folder_store, deletion) == "failed"
    changed = operator.ask("retry", deletion.job_id)
    assert (changed["was"], changed["state"], changed["note"]) == ("failed", "open", None)
    control.check(deletion, files=2, size=2)


def test_delete_wait_does_not_take_an_earlier_failure_for_its_own(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    deletion = Deletion(endpoint, upto_gen=5)
    folder_store.put_many(numbered(endpoint.gen_prefix(5), 2))
    plant(folder_store, deletion, "failed", note="access denied")
    answer = operator.ask("delete", *scope_words(deletion), "--wait")
    assert (answer["state"], answer["files"], answer["note"]) == ("completed", 2, None)
    control.check(deletion, files=2, size=2)


def test_delete_wait_ends_when_the_deletion_fails(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    deletion = Deletion(endpoint, "tenant")
    words = operator.words("delete", *scope_words(deletion), "--wait", not_before=LATER)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as waiting:
        control.wait_accepted(deletion)
        plant(folder_store, deletion, "failed", note="access denied")
        out, _ = waiting.communicate(timeout=TIMEOUT_S)
    assert waiting.returncode == 1
    assert out.startswith(f"failed: {deletion.path}, job {deletion.job_id}")
    assert out.endswith(": access denied\n")
    operator.ask("cancel", deletion.job_id)


@contextlib.contextmanager
def undeletable(file: pathlib.Path) -> Iterator[None]:
    """A file whose removal is refused, even to root."""
    as_root = os.geteuid() == 0
    name = file if as_root else file.parent
    words = (["chattr", "+i"], ["chattr", "-i"]) if as_root else (["chmod", "-w"], ["chmod", "+w"])
    done = subprocess.run([*words[0], name], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"{words[0][0]} does not work here: {done.stderr!r}")
    try:
        yield
    finally:
        subprocess.run([*words[1], name], check=True)


def test_what_the_store_refuses_fails_and_is_retried_when_that_is_mended(
    launch: Launcher,
    kafka: Broker,
    redis: Redis,
    topics: TopicNames,
    tmp_path: pathlib.Path,
    endpoint: Endpoint,
):
    store = stores.FolderStore(tmp_path / "store")
    launch.janitor(store, kafka, redis, *topics.options(), *QUICK_OPTIONS, "--denied-tries=2")
    operator = Operator(store, kafka, redis, topics)
    deletion = Deletion(endpoint, upto_gen=1)
    store.put_many(numbered(endpoint.gen_prefix(1), 1))
    (file,) = store.root.rglob("file-000000%o")
    with ControlPlane(store, kafka, topics) as control:
        with undeletable(file):
            asked = operator.run("delete", *scope_words(deletion), "--wait", "--json")
            assert asked.returncode == 1, asked.stderr
            assert json.loads(asked.stdout)["state"] == "failed"
            event = outcome(control, deletion, "failed")
            assert re.search("not permitted|Permission denied", event["data"]["error"])
            assert operator.ask("status")["totals"]["failed"] == 1
            (job,) = operator.ask("list", "--state=failed")
            assert (job["job_id"], job["note"]) == (deletion.job_id, event["data"]["error"])
            (letter,) = operator.ask("dlq", "list")
            assert (letter["class"], letter["error"]) == ("exhausted", job["note"])
        assert operator.ask("retry", deletion.job_id[:8])["state"] == "open"
        control.check(deletion, files=1, size=1)
        # The dead letter is still there; played back, it finds nothing left to remove.
        assert operator.ask("dlq", "replay", "--all")[0]["result"] == "published"
        control.further_completion(deletion, 1)
        control.wait_ended(deletion)


def test_retry_all_is_bounded_by_state_and_tenant(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory, endpoint: Endpoint
):
    quiet = stores.make("folder", tmp_path_factory.mktemp("quiet"), None)
    mine = [Deletion(endpoint, upto_gen=gen) for gen in range(3)]
    held, others = Deletion(endpoint, "timeline"), Deletion(Endpoint(), "tenant")
    for deletion in (*mine, others):
        plant(quiet, deletion, "failed")
    plant(quiet, held, "held")
    done = operator.ask("retry", "--all", "--tenant", endpoint.tenant, store=quiet.url)
    assert {job["job_id"] for job in done} == {d.job_id for d in mine}
    assert [state_of(quiet, d) for d in mine] == ["open"] * 3
    assert (state_of(quiet, held), state_of(quiet, others)) == ("held", "failed")
    assert operator.ask("retry", "--all", "--tenant", endpoint.tenant, store=quiet.url) == []
    assert [job["job_id"] for job in operator.ask("release", "--all", store=quiet.url)] == [
        held.job_id
    ]
    text = operator.run("release", "--all", store=quiet.url)
    assert (text.returncode, text.stdout) == (0, "no deletion is held\n")


def test_a_cancelled_deletion_keeps_tombstone_and_files(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    deletion = Deletion(endpoint, upto_gen=3)
    folder_store.put_many(numbered(endpoint.gen_prefix(3), 4))
    control.publish(deletion, not_before=LATER)
    control.wait_accepted(deletion)
    done = operator.run("cancel", deletion.job_id[:9], "--reason=wrong tenant")
    assert done.returncode == 0, done.stderr
    assert "open -> cancelled" in done.stdout
    event = outcome(control, deletion, "cancelled")
    assert event["data"]["outcome"] == "cancelled"
    assert event["data"]["error"] == "wrong tenant"
    control.wait_ended(deletion)
    assert folder_store.get(deletion.tombstone or "") is not None
    assert len(folder_store.listing(endpoint.prefix)) == 4
    until(
        lambda: operator.ask("show", deletion.job_id)["note"] == "cancelled: wrong tenant",
        "its record",
    )
    # The same deletion, asked for again, is a new one.
    control.publish(deletion)
    control.check(deletion, files=4, size=4)


def test_delete_wait_ends_when_somebody_cancels(
    operator: Operator, control: ControlPlane, endpoint: Endpoint
):
    deletion = Deletion(endpoint, "tenant")
    words = operator.words("delete", *scope_words(deletion), "--wait", not_before=LATER)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as waiting:
        control.wait_accepted(deletion)
        operator.ask("cancel", deletion.job_id)
        out, _ = waiting.communicate(timeout=TIMEOUT_S)
    assert waiting.returncode == 4
    assert out.startswith(f"cancelled: {deletion.path}, job {deletion.job_id}")


def test_delete_wait_ends_when_its_time_is_over(
    operator: Operator, control: ControlPlane, endpoint: Endpoint
):
    deletion = Deletion(endpoint, "tenant")
    done = operator.run(
        "delete", *scope_words(deletion), "--wait", not_before=LATER, timeout="2s"
    )
    assert done.returncode == 4
    assert done.stdout.startswith(f"open: {deletion.path}")
    control.wait_accepted(deletion)
    operator.ask("cancel", deletion.job_id)


def test_the_wrong_state_is_named(
    operator: Operator, tmp_path_factory: pytest.TempPathFactory
):
    quiet = stores.make("folder", tmp_path_factory.mktemp("quiet"), None)
    wrong = {
        "retry": ("open", "held", "cancelled"),
        "hold": ("failed", "cancelled", "closing"),
        "release": ("open", "failed"),
        "cancel": ("closing",),
    }
    wanted = {
        "retry": "failed",
        "hold": "open",
        "release": "held",
        "cancel": "open, held or failed",
    }
    for command, states in wrong.items():
        for state in states:
            deletion = Deletion(Endpoint(), "tenant")
            plant(quiet, deletion, state)
            before = quiet.get(deletion.intent)
            said = operator.fail(command, deletion.job_id, store=quiet.url)
            assert f" is {state}; {command} expects one that is {wanted[command]}" in said
            assert quiet.get(deletion.intent) == before


def test_changes_need_the_store_but_not_redis(operator: Operator, delayed: Deletion):
    for command in ("retry", "hold", "release", "cancel"):
        assert operator.fail(command, delayed.job_id, **no_store())
    assert operator.ask("hold", delayed.job_id, **no_redis())["state"] == "held"
    assert operator.ask("release", delayed.job_id, **no_redis())["state"] == "open"


def test_hold_says_when_its_event_is_lost_and_sends_it_the_next_time(
    operator: Operator, control: ControlPlane, folder_store: Store, delayed: Deletion
):
    done = operator.run("hold", delayed.job_id, kafka_brokers=nobody())
    assert done.returncode == 1
    assert "is held, but the event that tells so was not delivered" in done.stderr
    assert state_of(folder_store, delayed) == "held"
    operator.ask("hold", delayed.job_id)
    outcome(control, delayed, "held")


# ---- dlq ----


def test_dead_letters_are_listed_shown_and_replayed(
    operator: Operator, control: ControlPlane, endpoint: Endpoint
):
    value = json.dumps(Deletion(endpoint, upto_gen=1).data()).encode()
    where = control.publish_raw(b"\xff\x00", b"odd", {"trace": b"\xfe"})
    mistaken = control.publish_raw(value, b"0" * 32)
    letters = wait_letters(control, [where, mistaken])
    ids = {place: f"{m.partition}-{m.offset}" for place, m in letters.items()}
    full = f"{control.topics.dead_letters}-{ids[where]}"

    listed = {letter["id"]: letter for letter in operator.ask("dlq", "list")}
    assert listed[full]["class"] == "parse"
    assert listed[full]["topic"] == control.topics.deletions
    assert (listed[full]["partition"], listed[full]["offset"]) == tuple(map(str, where))
    text = operator.run("dlq", "list", "--class=authz").stdout
    assert re.search(rf"^{ids[mistaken]} +authz ", text, re.MULTILINE)
    assert " parse " not in text

    shown = operator.ask("dlq", "show", ids[where])
    assert (shown["id"], shown["key"], shown["value"]) == (full, "odd", None)
    assert base64.b64decode(shown["value_base64"]) == b"\xff\x00"
    assert shown["headers"] == [{"name": "trace", "value": None, "value_base64": "/g=="}]
    text = operator.run("dlq", "show", full)
    assert text.returncode == 0
    assert text.stdout.endswith("value     \nbase64    /wA=\n")

    before = len(control.dead_letters.to_end())
    dry = operator.ask("dlq", "replay", "--dry_run", ids[mistaken])
    assert [letter["result"] for letter in dry] == ["would be published"]
    for _ in range(2):
        done = operator.run("dlq", "replay", ids[mistaken], ids[where])
        assert done.returncode == 0, done.stderr
        assert f"2 published to {control.topics.deletions}; nothing was removed" in done.stdout
    # As they came: the same two are refused again, for the same reasons.
    until(lambda: len(control.dead_letters.to_end()) == before + 4, "the letters of the replay")
    again = control.dead_letters.to_end()[before:]
    assert sorted((m.key, m.value) for m in again) == sorted(
        [(b"odd", b"\xff\x00"), (b"0" * 32, value)] * 2
    )
    assert {m.headers["trace"] for m in again if m.key == b"odd"} == {b"\xfe"}
    assert all(list(m.headers).count("dlq-class") == 1 for m in again)


def wait_letters(
    control: ControlPlane, places: list[tuple[int, int]]
) -> dict[tuple[int, int], Any]:
    def place(message: Any) -> tuple[int, ...]:
        names = ("dlq-partition", "dlq-offset")
        return tuple(int(message.headers.get(name, -1)) for name in names)

    return {
        wanted: control.dead_letters.wait_for(lambda m: place(m) == wanted, TIMEOUT_S)
        for wanted in places
    }


def test_a_replayed_exhausted_letter_reopens_the_deletion(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    deletion = Deletion(endpoint, upto_gen=1)
    folder_store.put_many(numbered(endpoint.gen_prefix(1), 2))
    plant(folder_store, deletion, "failed", note="access denied")
    headers = {"dlq-topic": b"t", "dlq-class": b"exhausted", "dlq-error": b"access denied"}
    kafka_client.publish(
        control.kafka.bootstrap,
        control.topics.dead_letters,
        json.dumps(deletion.data()).encode(),
        key=endpoint.tenant.encode(),
        headers=headers,
    )
    (letter,) = operator.ask("dlq", "replay", "--class", "exhausted")
    assert (letter["result"], letter["error"]) == ("published", "access denied")
    control.check(deletion, files=2, size=2)


def test_a_letter_in_the_bucket_is_fetched_from_there(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    deletion = Deletion(endpoint, upto_gen=1)
    folder_store.put_many(numbered(endpoint.gen_prefix(1), 2))
    value = json.dumps(deletion.data()).encode()
    stored = "deadletters/t/3-00000000000000000017"
    body = {
        "schema": 1, "topic": "t", "partition": 3, "offset": 17, "class": "schema", "error": "e",
        "key_base64": base64.b64encode(endpoint.tenant.encode()).decode(),
        "value_base64": base64.b64encode(value).decode(),
        "headers": [{"name": "x", "value_base64": "YQ=="}, {"name": "y", "value_base64": None}],
    }  # fmt: skip
    folder_store.put(stored, json.dumps(body).encode())

    def pointer(key: str) -> str:
        partition, offset = kafka_client.publish(
            control.kafka.bootstrap,
            control.topics.dead_letters,
            b"{}",
            key=key.encode(),
            headers={"dlq-class": b"schema", "dlq-stored": key.encode()},
        )
        return f"{partition}-{offset}"

    good, gone, outside = pointer(stored), pointer("deadletters/t/none"), pointer("tenants/x")
    shown = operator.ask("dlq", "show", good)
    assert (shown["key"], json.loads(shown["value"])) == (endpoint.tenant, deletion.data())
    assert shown["headers"] == [{"name": "x", "value": "a"}, {"name": "y", "value": None}]
    assert "expected a key below deadletters/" in operator.run("dlq", "show", outside).stderr
    done = operator.run("dlq", "replay", good, gone, outside, "--json")
    assert done.returncode == 1
    results = {letter["id"]: letter for letter in json.loads(done.stdout)}
    by_id = {wanted: [r for i, r in results.items() if i.endswith(f"-{wanted}")][0]["result"]
             for wanted in (good, gone, outside)}  # fmt: skip
    assert by_id == {good: "published", gone: "failed", outside: "failed"}
    control.check(deletion, files=2, size=2)


def test_replaying_all_ends_although_some_are_refused_again(
    operator: Operator, control: ControlPlane
):
    refused = [control.publish_raw(b"{", b"odd", partition=number) for number in range(3)]
    wait_letters(control, refused)
    listed = operator.ask("dlq", "list", "--class=parse")
    assert len(listed) >= 3
    replayed = operator.ask("dlq", "replay", "--class=parse")
    assert [letter["id"] for letter in replayed] == [letter["id"] for letter in listed]
    assert {letter["result"] for letter in replayed} <= {"published"}


@pytest.mark.usefixtures("real_kafka")  # the mock makes up any topic
def test_a_topic_that_is_not_there_is_named(operator: Operator):
    said = operator.fail("dlq", "show", "0-0", deadletter_topic="no.such.topic")
    assert "topic 'no.such.topic'" in said


def test_what_the_environment_holds_is_no_option_of_a_command(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, delayed: Deletion
):
    monkeypatch.setenv("EPUFS_STATE", "held")
    monkeypatch.setenv("EPUFS_JSON", "true")
    assert delayed.path in operator.run("list").stdout


def test_dlq_fails_with_1_and_says_why(operator: Operator):
    assert "there is no dead letter 0-999999" in operator.fail("dlq", "show", "0-999999")
    said = operator.fail("dlq", "show", "0-0", kafka_brokers=nobody(), timeout="2s")
    assert "no broker answers" in said


# ---- delete ----


def test_delete_fails_with_1_and_says_so_where_no_broker_answers(
    operator: Operator, endpoint: Endpoint
):
    said = operator.fail("delete", "--tenant", endpoint.tenant, kafka_brokers=nobody())
    assert "epufs-janitor delete: " in said


# ---- Help and misuse ----


COMMANDS = {
    "status": ["--[no-]json"],
    "list": ["--tenant", "--state", "--older-than", "--[no-]json"],
    "show": ["--[no-]json"],
    "retry": ["--[no-]all", "--tenant", "--[no-]json"],
    "hold": ["--reason", "--[no-]json"],
    "release": ["--[no-]all", "--tenant", "--[no-]json"],
    "cancel": ["--reason", "--[no-]json"],
    "delete": [
        "--tenant", "--timeline", "--endpoint", "--upto-gen", "--reason", "--not-before",
        "--[no-]dry-run", "--[no-]wait", "--timeout", "--[no-]json",
    ],
    "dlq list": ["--class", "--timeout", "--[no-]json"],
    "dlq show": ["--timeout", "--[no-]json"],
    "dlq replay": ["--class", "--[no-]all", "--[no-]dry-run", "--timeout", "--[no-]json"],
}  # fmt: skip


def run_bare(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(paths.program("epufs-janitor")), *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_helps_with_its_own_options(command: str):
    done = run_bare(*command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: epufs-janitor {command} [options]")
    shown = re.findall(r"^  (--[^=\s]+)", done.stdout, re.MULTILINE)
    assert shown == COMMANDS[command]
    assert f"Example:\n  epufs-janitor {command}" in done.stdout
    for line in done.stdout.splitlines():
        assert len(line) <= 80 or " " not in line.strip(), line


def test_help_lists_the_commands():
    done = run_bare("--help")
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\w", done.stdout, re.MULTILINE)
    assert "--older-than" not in done.stdout


NAMES = (
    "run, status, list, watch, show, retry, hold, release, cancel, delete, dlq list, dlq show"
    " or dlq replay"
)
MISUSE = {
    "no tenant": (["delete"], "--tenant"),
    "short tenant": (["delete", "--tenant=abc"], "--tenant"),
    "short timeline": (["delete", f"--tenant={'a' * 32}", "--timeline=x"], "--timeline"),
    "endpoint alone": (["delete", f"--tenant={'a' * 32}", "--endpoint=ep"], "--timeline"),
    "generation of a tenant": (["delete", f"--tenant={'a' * 32}", "--upto_gen=1"], "--upto_gen"),
    "odd time": (["delete", f"--tenant={'a' * 32}", "--not_before=soon"], "--not_before"),
    "unknown command": (["remove"], f"'remove': expected {NAMES}"),
    "no command of dlq": (["dlq"], "'dlq': expected dlq list, dlq show or dlq replay"),
    "unknown command of dlq": (["dlq", "drop"], "'drop': expected dlq list, dlq show or"),
    "a word too many": (["status", "now"], "'now' is one word too many; expected none"),
    "a word too few": (["hold"], "JOB is missing"),
    "unknown option": (["status", "--no-such"], "no-such"),
    "another command's option": (["status", "--wait"], "epufs-janitor status --help lists them"),
    "unknown state": (["list", "--state=gone"], "'gone' is not one of all, open, delayed"),
    "list's odd tenant": (["list", "--tenant=x"], "--tenant: expected 32 hex digits"),
    "neither job nor all": (["retry"], "expected either a JOB or --all"),
    "job and all": (["release", "a" * 64, "--all"], "expected either a JOB or --all"),
    "job and tenant": (["retry", "a" * 64, f"--tenant={'a' * 32}"], "--tenant only with --all"),
    "replay of what": (["dlq", "replay"], "expected an ID, --class or --all"),
    "replay of both": (["dlq", "replay", "1-1", "--all"], "expected either IDs or --all"),
    "odd dead letter": (["dlq", "show", "letter"], "'letter': expected PARTITION-OFFSET"),
    "unknown class": (["dlq", "list", "--class=odd"], "'odd' is not one of all, parse"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_ends_with_2_and_publishes_nothing(
    operator: Operator, kafka: Broker, module_topics: TopicNames, name: str
):
    words, named = MISUSE[name]
    with kafka_client.TopicReader(kafka.bootstrap, module_topics.deletions) as reader:
        before = len(reader.to_end())
        assert named in operator.fail(*words, code=2)
        assert len(reader.to_end()) == before
