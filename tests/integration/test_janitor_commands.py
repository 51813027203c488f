"""`epufs-janitor status` and `epufs-janitor delete`, as an operator runs them."""

import json
import re
import subprocess
import time
from typing import Any

import pytest

from devstack import kafka_client, paths, ports
from devstack.broker import Broker
from devstack.redis import Redis
from harness.deletions import ControlPlane, Deletion, TopicNames
from harness.ids import Endpoint
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

    def run(self, *words: str, **other: str) -> subprocess.CompletedProcess[str]:
        options = [f"--{name}={value}" for name, value in (self._options | other).items()]
        return subprocess.run(
            [str(paths.program("epufs-janitor")), *words, *self._topics, *options],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def ask(self, *words: str, **other: str) -> Any:
        """What a command that succeeds prints with --json."""
        done = self.run(*words, "--json", **other)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


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


def test_status_lists_what_is_open_and_what_was_completed(
    operator: Operator, control: ControlPlane, folder_store: Store, endpoint: Endpoint
):
    done, late = Deletion(endpoint, upto_gen=1), Deletion(endpoint, upto_gen=2)
    folder_store.put_many(numbered(endpoint.gen_prefix(1), 3), b"four")
    not_before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    assert operator.run("delete", *scope_words(late), not_before=not_before).returncode == 0
    operator.ask("delete", *scope_words(done), "--wait")
    control.wait_accepted(late)
    status = operator.ask("status")
    assert status["ledger_up"] is True
    (opened,) = [job for job in status["open"] if job["job_id"] == late.job_id]
    assert (opened["scope"], opened["upto_gen"], opened["dry_run"]) == (late.path, "2", False)
    assert opened["state"] == "accepted"
    (completed,) = [job for job in status["completed"] if job["job_id"] == done.job_id]
    assert (completed["state"], completed["files"], completed["bytes"]) == ("done", 3, 12)
    assert completed["done_at"] >= completed["accepted_at"]
    text = operator.run("status")
    assert text.returncode == 0
    opened_part, _, completed_part = text.stdout.partition("Completed lately")
    assert f"{late.path} up to generation 2" in opened_part
    assert f"{done.path} up to generation 1" in completed_part


def test_status_goes_without_redis_and_without_kafka(
    operator: Operator, control: ControlPlane, endpoint: Endpoint
):
    late = Deletion(endpoint, "timeline")
    control.publish(late, not_before="2999-01-01T00:00:00Z")
    control.wait_accepted(late)
    nobody = f"127.0.0.1:{ports.free_port()}"
    status = operator.ask("status", redis_url=f"redis://{nobody}", kafka_brokers=nobody)
    assert status["ledger_up"] is False
    assert status["completed"] == []
    assert late.path in [job["scope"] for job in status["open"]]


def test_delete_fails_with_1_and_says_so_where_no_broker_answers(
    operator: Operator, endpoint: Endpoint
):
    nobody = f"127.0.0.1:{ports.free_port()}"
    done = operator.run("delete", "--tenant", endpoint.tenant, kafka_brokers=nobody)
    assert (done.returncode, done.stdout) == (1, "")
    assert "epufs-janitor delete: " in done.stderr


def test_status_fails_with_1_and_says_so_where_there_is_no_store(operator: Operator):
    nobody = f"http://127.0.0.1:{ports.free_port()}"
    done = operator.run("status", store="s3://none/x", s3_endpoint=nobody, store_timeout="1s")
    assert (done.returncode, done.stdout) == (1, "")
    assert "epufs-janitor" in done.stderr


MISUSE = {
    "no tenant": (["delete"], "--tenant"),
    "short tenant": (["delete", "--tenant=abc"], "--tenant"),
    "short timeline": (["delete", f"--tenant={'a' * 32}", "--timeline=x"], "--timeline"),
    "endpoint alone": (["delete", f"--tenant={'a' * 32}", "--endpoint=ep"], "--timeline"),
    "generation of a tenant": (["delete", f"--tenant={'a' * 32}", "--upto_gen=1"], "--upto_gen"),
    "odd time": (["delete", f"--tenant={'a' * 32}", "--not_before=soon"], "--not_before"),
    "unknown command": (["remove"], "'remove': expected run, status or delete"),
    "a word too many": (["status", "now"], "'now': expected run, status or delete"),
    "unknown option": (["status", "--no-such"], "no-such"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_ends_with_2_and_publishes_nothing(
    operator: Operator, kafka: Broker, module_topics: TopicNames, name: str
):
    words, named = MISUSE[name]
    with kafka_client.TopicReader(kafka.bootstrap, module_topics.deletions) as reader:
        before = len(reader.to_end())
        done = operator.run(*words)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert named in done.stderr
        assert len(reader.to_end()) == before
