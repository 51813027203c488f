"""The servers that the tests share, and what each test gets of its own.

Redis, Kafka and Ceph RGW run once for a whole session and start when the first test asks for them.
Tests keep out of each other's way by ids (harness.ids), stores (a folder or a prefix for each
module) and topics.
"""

import secrets
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from devstack import broker, kafka_client
from devstack.broker import Broker
from devstack.epufs import Reader, Writer
from devstack.kafka import Kafka
from devstack.keys import KeyPair
from devstack.redis import Redis
from devstack.rgw import Rgw
from harness import stores
from harness.deletions import QUICK_OPTIONS, ControlPlane, Topics
from harness.ids import Endpoint
from harness.launch import Launcher
from harness.stores import Store

PARTITIONS = 4


# ---- Servers, one of each ----


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("session")


@pytest.fixture(scope="session")
def rgw(session_folder: Path) -> Iterator[Rgw]:
    with Rgw(session_folder / "rgw") as server:
        yield server


@pytest.fixture(scope="session")
def redis(session_folder: Path) -> Iterator[Redis]:
    with Redis(session_folder / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def kafka(session_folder: Path, pytestconfig: pytest.Config) -> Iterator[Broker]:
    """Apache Kafka, or the mock where it cannot be had; the summary says which."""
    with broker.create(session_folder / "kafka") as server:
        _brokers(pytestconfig).add(server.about)
        yield server


@pytest.fixture(scope="session")
def real_kafka(kafka: Broker) -> Kafka:
    """For what only Apache Kafka can show."""
    if not isinstance(kafka, Kafka):
        pytest.skip(f"needs Apache Kafka; the broker is {kafka.about}")
    return kafka


_BROKERS = pytest.StashKey[set[str]]()


def _brokers(config: pytest.Config) -> set[str]:
    return config.stash.setdefault(_BROKERS, set())


class _OfProcesses:
    """What the processes of pytest-xdist tell the one that sums up."""

    @staticmethod
    def pytest_sessionfinish(session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["brokers"] = sorted(_brokers(session.config))

    @staticmethod
    def pytest_testnodedown(node: Any) -> None:
        _brokers(node.config).update(getattr(node, "workeroutput", {}).get("brokers", ()))


def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(_OfProcesses())


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    for about in sorted(_brokers(config)):
        terminalreporter.write_line(f"The broker was {about}.")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """A failed test shows what the programs that it used have logged."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        used = getattr(item, "funcargs", {}).values()
        for launcher in [one for one in used if isinstance(one, Launcher)]:
            report.sections += launcher.logs().items()


def _make_topics(kafka: Broker) -> Topics:
    """The mock makes up a topic when somebody names it, with as many partitions as it likes."""
    mark = secrets.token_hex(4)
    made = Topics(f"deletions.{mark}", f"completions.{mark}", f"deadletter.{mark}", f"g-{mark}")
    names = (made.deletions, made.completions, made.dead_letters)
    if kafka.kind == "kafka":
        kafka_client.create_topics(kafka.bootstrap, dict.fromkeys(names, PARTITIONS))
    else:
        for name in names:
            with kafka_client.TopicReader(kafka.bootstrap, name):
                pass
    return made


@pytest.fixture
def topics(kafka: Broker) -> Topics:
    """Topics and a consumer group that no other test uses."""
    return _make_topics(kafka)


@pytest.fixture(scope="module")
def module_topics(kafka: Broker) -> Topics:
    """The same for a whole module."""
    return _make_topics(kafka)


@pytest.fixture(scope="module")
def store_topics(kafka: Broker, store: Store) -> Topics:
    """The same for a module's tests of one kind of store."""
    return _make_topics(kafka)


# ---- Keys ----


@pytest.fixture(scope="session")
def keys() -> KeyPair:
    """What the tests sign their tokens with."""
    return KeyPair.generate()


@pytest.fixture(scope="session")
def public_key(keys: KeyPair, session_folder: Path) -> Path:
    """The file that reader and writer check them with."""
    return keys.save(session_folder / "keys")[1]


# ---- Stores ----


def _make_store(kind: stores.Kind, request: pytest.FixtureRequest) -> Iterator[Store]:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp(kind)
    yield stores.make(kind, folder, request.getfixturevalue("rgw") if kind == "s3" else None)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store, of either kind, for a module's tests."""
    yield from _make_store(request.param, request)


@pytest.fixture(scope="module")
def folder_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """For what has nothing to do with the kind of the store."""
    yield from _make_store("folder", request)


@pytest.fixture(scope="module")
def s3_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    yield from _make_store("s3", request)


# ---- Our programs ----


def _launch(folder: Path, public_key: Path) -> Iterator[Launcher]:
    launcher = Launcher(folder, public_key)
    try:
        yield launcher
    finally:
        launcher.stop_all()


@pytest.fixture
def launch(tmp_path: Path, public_key: Path) -> Iterator[Launcher]:
    """Starts reader, writer and janitor for one test; see harness.launch."""
    yield from _launch(tmp_path / "logs", public_key)


@pytest.fixture(scope="module")
def module_launch(tmp_path_factory: pytest.TempPathFactory, public_key: Path) -> Iterator[Launcher]:
    """The same for a whole module."""
    yield from _launch(tmp_path_factory.mktemp("logs"), public_key)


@pytest.fixture(scope="module")
def reader(module_launch: Launcher, store: Store) -> Reader:
    """A module's reader of `store`, with the usual options."""
    return module_launch.reader(store)


@pytest.fixture(scope="module")
def writer(module_launch: Launcher, store: Store) -> Writer:
    return module_launch.writer(store)


@pytest.fixture(scope="module")
def control(
    module_launch: Launcher,
    folder_store: Store,
    kafka: Broker,
    redis: Redis,
    module_topics: Topics,
) -> Iterator[ControlPlane]:
    """A module's janitor of `folder_store` that loses no time, and what tells it what to delete."""
    options = (*module_topics.options(), *QUICK_OPTIONS)
    module_launch.janitor(folder_store, kafka, redis, *options)
    with ControlPlane(folder_store, kafka, module_topics) as plane:
        yield plane


@pytest.fixture
def endpoint() -> Endpoint:
    """An endpoint that no other test knows."""
    return Endpoint()
