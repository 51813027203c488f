"""What Apache Kafka and its stand-in have in common, and the topics of EPUFS."""

from typing import Literal

from devstack.service import Service

DELETIONS = "epufs.deletions.v1"
COMPLETIONS = "epufs.completions.v1"
DEAD_LETTERS = "epufs.deadletter.v1"
TOPICS = {DELETIONS: 8, COMPLETIONS: 8, DEAD_LETTERS: 8}


class Broker(Service):
    """A message broker. `bootstrap` is its address, `about` names it for people."""

    kind: Literal["kafka", "mock"]
    about = ""

    @property
    def bootstrap(self) -> str:
        raise NotImplementedError

    def begin_outage(self) -> None:
        """Clients lose it and cannot come back until end_outage(). Messages survive."""
        raise NotImplementedError

    def end_outage(self) -> None:
        raise NotImplementedError
