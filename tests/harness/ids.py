"""Made-up tenants, timelines and endpoints: each test has its own, so tests can share servers."""

import dataclasses
import secrets

from devstack.keys import KeyPair


def hex32() -> str:
    """A tenant or timeline id that nobody used before."""
    return secrets.token_hex(16)


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One endpoint: its URLs, its keys in the store and its tokens."""

    tenant: str = dataclasses.field(default_factory=hex32)
    timeline: str = dataclasses.field(default_factory=hex32)
    name: str = "ep-1"

    @property
    def tenant_url(self) -> str:
        return f"/tenants/{self.tenant}"

    @property
    def timeline_url(self) -> str:
        return f"{self.tenant_url}/timelines/{self.timeline}"

    @property
    def url(self) -> str:
        return f"{self.timeline_url}/endpoints/{self.name}"

    def file_url(self, path: str) -> str:
        return f"{self.url}/pgdata/{path}"

    @property
    def tenant_prefix(self) -> str:
        return f"{self.tenant_url[1:]}/"

    @property
    def timeline_prefix(self) -> str:
        return f"{self.timeline_url[1:]}/"

    @property
    def prefix(self) -> str:
        """Below it are the keys of all its generations."""
        return f"{self.url[1:]}/"

    def gen_prefix(self, gen: int) -> str:
        return f"{self.prefix}{gen:016x}/pgdata/"

    def key(self, path: str, gen: int = 0) -> str:
        return self.gen_prefix(gen) + path

    def tombstone(self, gen: int) -> str:
        inverted = 2**64 - 1 - gen
        return f"tombstones/endpoint/{self.tenant}/{self.timeline}/{self.name}/{inverted:016x}"

    def token(self, keys: KeyPair, gen: int | None = None) -> str:
        return keys.endpoint_token(self.tenant, self.timeline, self.name, gen)

    def sibling(self, name: str) -> "Endpoint":
        return dataclasses.replace(self, name=name)
