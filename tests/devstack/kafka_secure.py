"""Apache Kafka with a second listener that wants TLS and a password (SASL_SSL).

The first one stays as it is, for the tests' own clients.
"""

import pathlib
from collections.abc import Mapping

from devstack import ports
from devstack.certificates import Authority
from devstack.kafka import Kafka

USER = "janitor"
SCRAM = "SCRAM-SHA-256"

LISTENER = """\
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
sasl.enabled.mechanisms=PLAIN,{scram}
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"""


class SecureKafka(Kafka):
    """`secure_bootstrap` is the address of the listener that USER may use with `password`."""

    def __init__(
        self,
        folder: pathlib.Path,
        jars: pathlib.Path,
        *,
        topics: Mapping[str, int],
        authority: Authority,
        password: str,
        tied: bool = True,
    ) -> None:
        super().__init__(folder, jars, topics=topics, tied=tied)
        self.secure_port = ports.free_port()
        self.password = password
        self._keystore = authority.identity("kafka").both

    @property
    def secure_bootstrap(self) -> str:
        return f"127.0.0.1:{self.secure_port}"

    def _listeners(self) -> dict[str, int]:
        return super()._listeners() | {"SASL_SSL": self.secure_port}

    def _more_properties(self) -> str:
        return LISTENER.format(
            keystore=self._keystore, scram=SCRAM, user=USER, password=self.password
        )

    def _format_options(self) -> list[str]:
        return ["--add-scram", f"{SCRAM}=[name={USER},password={self.password}]"]
