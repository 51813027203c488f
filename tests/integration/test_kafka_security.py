"""The janitor and a Kafka that wants TLS and a password."""

import dataclasses
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import broker, kafka, paths
from devstack.certificates import Authority
from devstack.epufs import Janitor
from devstack.kafka_secure import SCRAM, USER, SecureKafka
from devstack.redis import Redis
from harness.deletions import QUICK_OPTIONS, ControlPlane, Deletion, until
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store, numbered

PASSWORD = "hunter2-of-kafka"
WRONG = "hunter3-of-nobody"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca") / "ca")


@pytest.fixture(scope="module")
def secure_kafka(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[SecureKafka]:
    try:
        jars = kafka.fetch()
    except kafka.Unavailable as error:
        pytest.skip(f"needs Apache Kafka: {error}")
    server = SecureKafka(
        tmp_path_factory.mktemp("kafka"),
        jars,
        topics=broker.TOPICS,
        authority=authority,
        password=PASSWORD,
    )
    with server:
        yield server


@dataclasses.dataclass(frozen=True)
class UsualTopics:
    """A group of its own for each test."""

    group: str
    deletions: str = broker.DELETIONS
    completions: str = broker.COMPLETIONS
    dead_letters: str = broker.DEAD_LETTERS

    def options(self) -> list[str]:
        return [f"--kafka-group={self.group}"]


def secret_file(folder: Path, secret: str) -> Path:
    path = folder / "password"
    path.write_text(f"{secret}\n", encoding="ascii")
    return path


def start(
    launch: Launcher,
    store: Store,
    server: SecureKafka,
    redis: Redis,
    *more: str,
    ready: bool = True,
) -> Janitor:
    options = (
        f"--kafka-brokers={server.secure_bootstrap}",
        "--kafka.security.protocol=SASL_SSL",
        f"--kafka.sasl.username={USER}",
        *QUICK_OPTIONS,
        *more,
    )
    return launch.janitor(store, server, redis, *options, ready=ready)


@pytest.mark.parametrize("mechanism", ["PLAIN", SCRAM])
def test_a_deletion_over_tls_with_a_password(
    mechanism: str,
    launch: Launcher,
    folder_store: Store,
    secure_kafka: SecureKafka,
    redis: Redis,
    authority: Authority,
    tmp_path: Path,
):
    topics = UsualTopics(f"secure-{mechanism}")
    janitor = start(
        launch,
        folder_store,
        secure_kafka,
        redis,
        *topics.options(),
        f"--kafka.sasl.mechanism={mechanism}",
        f"--kafka.ssl.ca.location={authority.certificate}",
        f"--kafka.sasl.password_file={secret_file(tmp_path, PASSWORD)}",
        "--kafka.debug=conf,security",
        "--log-level=debug",
    )
    deletion = Deletion(Endpoint(), upto_gen=1)
    folder_store.put_many(numbered(deletion.endpoint.gen_prefix(1), 3), b"four")
    with ControlPlane(folder_store, secure_kafka, topics) as control:
        control.publish(deletion)
        control.check(deletion, files=3, size=12)
        control.no_dead_letters()
    log = janitor.process.log.read_text(encoding="utf-8")
    assert "sasl.password" in log  # librdkafka has told its settings
    assert PASSWORD not in log


def check_stays_out(janitor: Janitor, said: str) -> None:
    """Alive, not ready, and the log says why."""

    def log() -> str:
        return janitor.process.log.read_text(encoding="utf-8")

    janitor.wait_ready(path="/livez")
    until(lambda: said in log(), f"'{said}' in the log")
    assert janitor.status("/readyz") == 503
    assert janitor.alive()
    assert PASSWORD not in log()
    assert WRONG not in log()


def test_a_wrong_password(
    launch: Launcher,
    folder_store: Store,
    secure_kafka: SecureKafka,
    redis: Redis,
    authority: Authority,
    tmp_path: Path,
):
    janitor = start(
        launch,
        folder_store,
        secure_kafka,
        redis,
        "--kafka-group=wrong-password",
        "--kafka.sasl.mechanism=PLAIN",
        f"--kafka.ssl.ca.location={authority.certificate}",
        f"--kafka.sasl.password_file={secret_file(tmp_path, WRONG)}",
        ready=False,
    )
    check_stays_out(janitor, "Authentication failed")


def test_a_broker_of_another_authority(
    launch: Launcher, folder_store: Store, secure_kafka: SecureKafka, redis: Redis, tmp_path: Path
):
    other = Authority(tmp_path / "ca", "another CA")
    janitor = start(
        launch,
        folder_store,
        secure_kafka,
        redis,
        "--kafka-group=wrong-ca",
        "--kafka.sasl.mechanism=PLAIN",
        f"--kafka.ssl.ca.location={other.certificate}",
        f"--kafka.sasl.password_file={secret_file(tmp_path, PASSWORD)}",
        ready=False,
    )
    check_stays_out(janitor, "certificate verify failed")


def run_janitor(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [str(paths.program("epufs-janitor")), "--store=file:///tmp", *options]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--kafka.no.such.setting=1", 'No such configuration property: "no.such.setting"'),
        ("--kafka.enable.auto.commit=true", "'enable.auto.commit' is the janitor's own"),
        ("--kafka.sasl.mechanism=BOGUS", "'BOGUS'; expected PLAIN"),
        ("--kafka.sasl.password_file=/nonexistent", "'/nonexistent'"),
        ("--kafka.", "there is no option '--kafka.'"),
        ("--kafka.group.id", "a value is missing"),
        ("--redis-url=rediss://", "redis_url is malformed"),
    ],
)
def test_settings_that_are_refused(option: str, said: str):
    for check in ("--check-config", "--log-level=info"):
        done = run_janitor(option, check)
        assert done.returncode == 2
        assert said in done.stderr


def test_secrets_are_masked_where_options_are_printed():
    done = run_janitor(
        "--print-config",
        f"--kafka.sasl.password={PASSWORD}",
        EPUFS_KAFKA__SSL__KEY__PASSWORD=PASSWORD,
        EPUFS_KAFKA__SECURITY__PROTOCOL="SASL_SSL",
        EPUFS_KAFKA__CONSUMER__CLIENT__ID="me",
    )
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "# kafka.sasl.password = <set>" in lines
    assert "# kafka.ssl.key.password = <set>" in lines
    assert "kafka.security.protocol = SASL_SSL" in lines
    assert "kafka.consumer.client.id = me" in lines
