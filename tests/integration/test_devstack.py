"""The development stack itself: whoever trusts a test must be able to trust its servers."""

import base64
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from devstack import broker, kafka_client, ports, probe, stack
from devstack.keys import KeyPair
from devstack.process import DevstackError, Process, Running, run, wait_for
from devstack.redis import Redis
from devstack.rgw import Rgw
from devstack.s3 import S3
from devstack.state import State


def shell(tmp_path: pathlib.Path, script: str, *, tied: bool = True) -> Process:
    return Process("sh", ["/bin/sh", "-c", script], tmp_path / "sh.log", tied=tied)


def test_ports_are_free_and_never_given_twice():
    given = [ports.free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert not any(probe.tcp_open(port) for port in given)
    first = ports.free_block(16)
    assert not set(range(first, first + 16)) & set(given)


def test_a_process_that_ends_early_shows_its_status_and_its_log(tmp_path):
    process = shell(tmp_path, "echo 'no such option'; exit 3")
    process.start()
    began = time.monotonic()
    with pytest.raises(DevstackError, match=r"(?s)ended with status 3.*no such option"):
        process.wait_ready(lambda: False, 30)
    assert time.monotonic() - began < 5


def test_a_wait_ends_at_its_bound_and_shows_the_log(tmp_path):
    process = shell(tmp_path, "echo 'still busy'; sleep 60")
    process.start()
    with pytest.raises(DevstackError, match=r"(?s)not within 0.3 s.*still busy"):
        process.wait_ready(lambda: False, 0.3)
    process.kill()
    assert not process.alive()


def test_stop_ends_a_process_that_ignores_sigterm_and_its_children(tmp_path):
    process = shell(tmp_path, "trap '' TERM; sleep 61 & echo $!; while :; do sleep 1; done")
    process.start()
    process.wait_ready(lambda: process.log.read_text().strip().isdigit(), 5)
    child = int(process.log.read_text())
    assert process.stop(grace_s=0.2) == -signal.SIGKILL
    assert not process.alive()
    wait_for(lambda: not Running("child", child, _ticks(child)).alive(), 5, "the child's end")


def _ticks(pid: int) -> int:
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return 0


def test_pause_returns_when_every_thread_stands_still(tmp_path):
    threads = 16
    script = (
        "import threading\n"
        "def spin():\n    while True: pass\n"
        f"for _ in range({threads - 1}): threading.Thread(target=spin).start()\n"
        "print('all', flush=True)\n"
        "spin()"
    )
    process = Process("busy", [sys.executable, "-c", script], tmp_path / "busy.log")
    process.start()
    process.wait_ready(lambda: "all" in process.log.read_text(), 20)
    folder = pathlib.Path(f"/proc/{process.pid}")
    try:
        for _ in range(5):
            process.pause()
            assert [state_of(task) for task in (folder / "task").iterdir()] == ["T"] * threads
            process.resume()
            wait_for(lambda: state_of(folder) != "T", 5, "its waking")
    finally:
        process.kill()


def state_of(task: pathlib.Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def test_pause_tells_of_a_process_that_has_gone(tmp_path):
    process = shell(tmp_path, "exit 3")
    process.start()
    process.wait_end(5)
    with pytest.raises(DevstackError, match="sh .*does not stand still: it is not running"):
        process.pause()


def test_stop_ends_a_paused_process(tmp_path):
    process = shell(tmp_path, "sleep 60")
    process.start()
    process.pause()
    assert process.stop(grace_s=5) == -signal.SIGTERM


def test_a_record_ends_the_process_and_spares_another_one_of_its_pid(tmp_path):
    process = shell(tmp_path, "sleep 60", tied=False)
    process.start()
    record = Running.load(tmp_path / "sh.running")
    assert record == process.running()
    stranger = Running("sh", record.pid, record.ticks + 1)
    assert not stranger.alive()
    stranger.stop()
    assert process.alive()
    assert State.load(tmp_path).stop_all() == 1
    assert not process.alive()
    assert State.load(tmp_path).processes == []


def test_the_records_are_looked_for_outside_the_store(tmp_path):
    stored = tmp_path / "store" / "tenants" / "t" / "x.running"
    stored.parent.mkdir(parents=True)
    stored.write_text("an object, not a record")
    process = Process("sh", ["/bin/sleep", "60"], tmp_path / "logs" / "sh.log", tied=False)
    process.start()
    assert State.load(tmp_path).stop_all() == 1
    assert not process.alive()
    assert stored.exists()


def test_a_tied_process_ends_with_the_one_that_started_it(tmp_path):
    script = (
        "import pathlib, os, signal; from devstack.process import Process;"
        f"p = Process('s', ['/bin/sleep', '60'], pathlib.Path({str(tmp_path / 'log')!r}));"
        "p.start(); print(p.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    tests = str(pathlib.Path(stack.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": tests},
        capture_output=True,
        text=True,
        timeout=30,
    )
    pid = int(done.stdout)
    wait_for(lambda: not Running("s", pid, _ticks(pid)).alive(), 5, "the tied process' end")


def test_a_tool_that_fails_says_why():
    with pytest.raises(DevstackError, match=r"(?s)failed.*/nonexistent"):
        run(["ls", "/nonexistent"])
    with pytest.raises(DevstackError, match="did not end within"):
        run(["sleep", "30"], timeout_s=0.1)


def test_tokens_verify_with_the_public_key_and_carry_the_claims(tmp_path):
    private, public = KeyPair.generate().save(tmp_path)
    assert private.stat().st_mode & 0o777 == 0o600
    token = KeyPair.load(private, kid="k1").endpoint_token("t", "tl", "ep", gen=None, aud="a")
    head, body, signature = (_unpack(part) for part in token.split("."))
    assert b'"alg":"EdDSA"' in head and b'"kid":"k1"' in head
    assert b'"endpoint_id":"ep"' in body and b'"aud":"a"' in body and b"gen" not in body
    key = serialization.load_pem_public_key(public.read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signature, token.rpartition(".")[0].encode())


def _unpack(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_env_file_survives_a_round_trip_and_a_shell(tmp_path):
    env = {"PLAIN": "redis://127.0.0.1:1", "ODD": "a 'b' $c \"d\""}
    file = tmp_path / "stack.env"
    stack.write_env(file, env)
    assert stack.read_env(file) == env
    assert run(["/bin/sh", "-c", f'. {file}; printf %s "$ODD"']) == env["ODD"]


def test_redis_keeps_its_data_over_a_kill(tmp_path):
    with Redis(tmp_path / "redis") as redis:
        assert redis.command("SET", "a", "1") == b"+OK\r\n"
        redis.kill()
        assert not redis.answers()
        redis.start()
        assert redis.command("GET", "a") == b"$1\r\n1\r\n"


def test_the_mock_broker_keeps_messages_over_an_outage(tmp_path):
    with broker.start(tmp_path / "mock", "mock") as mock:
        assert kafka_client.topics(mock.bootstrap) == broker.TOPICS
        sent = kafka_client.publish(
            mock.bootstrap, broker.DELETIONS, b"v", key=b"k", headers={"ce_id": b"1"}
        )
        mock.begin_outage()
        assert not kafka_client.answers(mock.bootstrap, timeout_s=0.5)
        mock.end_outage()
        with kafka_client.TopicReader(mock.bootstrap, broker.DELETIONS) as reader:
            (message,) = reader.to_end()
            assert (message.partition, message.offset) == sent
            assert (message.key, message.value, message.headers) == (b"k", b"v", {"ce_id": b"1"})
            assert reader.to_end() == [message]
            with pytest.raises(DevstackError, match="none of 1 messages"):
                reader.wait_for(lambda m: m.value == b"other", timeout_s=0.5)


def test_rgw_takes_signed_requests_only(tmp_path):
    with Rgw(tmp_path / "rgw") as rgw:
        key = f"/{rgw.bucket}/a b/ü~1"
        assert rgw.s3.request("PUT", key, body=b"x" * 5000)[0] == 200
        assert rgw.s3.request("GET", key) == (200, b"x" * 5000)
        listed = rgw.s3.request("GET", f"/{rgw.bucket}", query={"list-type": "2", "prefix": "a b/"})
        assert listed[1].count(b"<Key>") == 1
        assert S3(rgw.s3.endpoint, "test", "wrong").request("GET", key)[0] == 403
    assert not rgw.alive()
