"""Apache Kafka in KRaft mode: one broker that is its own controller.

The jars come from Maven (pom.xml beside this file) into a cache, once per machine. The JVM is kept
light: the small compiler, the serial collector, half a GiB of heap at most.
"""

import base64
import pathlib
import shutil
import subprocess
import tempfile
import uuid
import xml.etree.ElementTree
from collections.abc import Mapping

from devstack import kafka_client, paths, ports, probe
from devstack.broker_base import Broker
from devstack.process import DevstackError, Process, require, run

POM = pathlib.Path(__file__).with_name("pom.xml")
FETCH_TIMEOUT_S = 600.0
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={listeners}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
"""

LOG4J = """\
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c{1}: %m%n
# Several hundred lines of defaults at each start.
log4j.logger.kafka.server.KafkaConfig=WARN
"""

JVM = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class Unavailable(DevstackError):
    """Apache Kafka cannot be had on this machine."""


def version() -> str:
    found = xml.etree.ElementTree.parse(POM).findtext("properties/kafka.version")
    if not found:
        raise DevstackError(f"{POM} names no kafka.version")
    return found


def fetch() -> pathlib.Path:
    """The folder with Kafka's jars, fetched with Maven on first use."""
    _need("java", "openjdk-17-jre-headless")
    target = paths.cache() / f"kafka-{version()}"
    if _complete(target):
        return target
    maven = _need("mvn", "maven")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = pathlib.Path(tempfile.mkdtemp(prefix="kafka-", dir=target.parent))
    try:
        _download(maven, draft)
        _put_in_place(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _need(program: str, package: str) -> str:
    try:
        return require(program, package)
    except DevstackError as error:
        raise Unavailable(str(error)) from error


def _complete(folder: pathlib.Path) -> bool:
    """The pom goes in last, so it marks a whole set of jars, made from this very pom."""
    pom = folder / "pom.xml"
    return pom.is_file() and pom.read_bytes() == POM.read_bytes()


def _download(maven: str, draft: pathlib.Path) -> None:
    print(f"devstack: fetching Apache Kafka {version()} with Maven, once", flush=True)
    # fmt: off
    argv = [
        maven, "--batch-mode", "--quiet", "--file", str(POM),
        "-Dmaven.wagon.http.retryHandler.count=2", "-Dmaven.wagon.rto=60000",
        f"-DoutputDirectory={draft}", "dependency:copy-dependencies",
    ]
    # fmt: on
    log = paths.cache() / "maven.log"
    try:
        with log.open("wb") as out:
            subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=FETCH_TIMEOUT_S,
                check=True,
            )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"Maven did not end within {FETCH_TIMEOUT_S:g} s") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"Maven could not fetch it, see {log}") from error
    shutil.copy(POM, draft / "pom.xml")


def _put_in_place(draft: pathlib.Path, target: pathlib.Path) -> None:
    if target.exists() and not _complete(target):
        shutil.rmtree(target)
    draft.chmod(0o755)
    try:
        draft.rename(target)
    except OSError:
        if not _complete(target):  # else another run was faster
            raise


class Kafka(Broker):
    """Its messages stay in the folder: stop() or kill(), then start(), finds them again."""

    name = "kafka"
    kind = "kafka"

    def __init__(
        self,
        folder: pathlib.Path,
        jars: pathlib.Path,
        *,
        topics: Mapping[str, int],
        tied: bool = True,
    ) -> None:
        super().__init__(folder, tied=tied)
        self.about = f"Apache Kafka {version()}"
        self.port = ports.free_port()
        self._controller_port = ports.free_port()
        self._topics = topics
        self._properties = self.folder / "server.properties"
        self._java = [
            require("java", "openjdk-17-jre-headless"),
            *JVM,
            f"-Dlog4j.configuration=file:{self.folder}/log4j.properties",
            "-cp",
            f"{jars}/*",
        ]
        argv = [*self._java, "kafka.Kafka", str(self._properties)]
        self._process = Process("kafka", argv, self.folder / "kafka.log", tied=tied)

    @property
    def processes(self) -> list[Process]:
        return [self._process]

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        fresh = not (self.folder / "data" / "meta.properties").exists()
        if fresh:
            self._format()
        self._process.start()
        self._process.wait_ready(self.answers, START_TIMEOUT_S)
        if fresh:
            kafka_client.create_topics(self.bootstrap, self._topics)
        self._process.wait_ready(self._has_topics, START_TIMEOUT_S)

    def stop(self) -> None:
        self._process.stop(STOP_TIMEOUT_S)

    def begin_outage(self) -> None:
        # Orderly: after a kill -9 the broker is let in again only when its old session, 9 s, ends.
        self.stop()

    def end_outage(self) -> None:
        self.start()

    def answers(self) -> bool:
        # The port first: a Kafka client that finds it closed waits longer for its next try.
        return probe.tcp_open(self.port) and kafka_client.answers(self.bootstrap)

    def _has_topics(self) -> bool:
        return self._topics.items() <= kafka_client.topics(self.bootstrap).items()

    def _listeners(self) -> dict[str, int]:
        """The port of each security protocol."""
        return {"PLAINTEXT": self.port}

    def _more_properties(self) -> str:
        return ""

    def _format_options(self) -> list[str]:
        return []

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in self._listeners().items()]
        text = PROPERTIES.format(
            folder=self.folder,
            listeners=",".join(listeners),
            controller_port=self._controller_port,
        )
        self._properties.write_text(text + self._more_properties(), encoding="utf-8")
        (self.folder / "log4j.properties").write_text(LOG4J, encoding="utf-8")
        # The tool takes an id that begins with "-" for an option.
        cluster_id = "E" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        tool = [*self._java, "kafka.tools.StorageTool", "format"]
        options = ["-t", cluster_id, "-c", str(self._properties), *self._format_options()]
        run([*tool, *options], timeout_s=START_TIMEOUT_S)
