"""Ed25519 keys and the tokens that reader and writer ask for."""

import base64
import json
import pathlib
import time
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

HOUR_S = 3600


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class KeyPair:
    """A private key and its kid (None: the token's header names no key)."""

    def __init__(self, private: ed25519.Ed25519PrivateKey, kid: str | None = None) -> None:
        self._private = private
        self.kid = kid

    @classmethod
    def generate(cls, kid: str | None = None) -> "KeyPair":
        return cls(ed25519.Ed25519PrivateKey.generate(), kid)

    @classmethod
    def load(cls, path: pathlib.Path, kid: str | None = None) -> "KeyPair":
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise ValueError(f"{path} holds no Ed25519 key")
        return cls(key, kid)

    def private_pem(self) -> bytes:
        return self._private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def public_pem(self) -> bytes:
        return self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self) -> dict[str, str]:
        raw = self._private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        named = {"kid": self.kid} if self.kid else {}
        return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "x": _b64(raw)} | named

    def save(self, folder: pathlib.Path, name: str = "jwt") -> tuple[pathlib.Path, pathlib.Path]:
        """Writes NAME.key (for our eyes only) and NAME.pub; returns both paths."""
        folder.mkdir(parents=True, exist_ok=True)
        private, public = folder / f"{name}.key", folder / f"{name}.pub"
        private.touch(mode=0o600)
        private.write_bytes(self.private_pem())
        public.write_bytes(self.public_pem())
        return private, public

    def token(self, *, expires_in_s: float = HOUR_S, alg: str = "EdDSA", **claims: Any) -> str:
        """A signed JWT. `exp` is added unless the claims name one; a claim of None is left out."""
        header = {"alg": alg, "typ": "JWT"} | ({"kid": self.kid} if self.kid else {})
        body = {"exp": int(time.time() + expires_in_s)} | claims
        body = {name: value for name, value in body.items() if value is not None}
        parts = [_b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, body)]
        signed = ".".join(parts)
        return f"{signed}.{_b64(self._private.sign(signed.encode()))}"

    def endpoint_token(
        self, tenant: str, timeline: str, endpoint: str, gen: int | None = None, **more: Any
    ) -> str:
        """For one endpoint: read, write and delete its files."""
        return self.token(
            tenant_id=tenant, timeline_id=timeline, endpoint_id=endpoint, gen=gen, **more
        )

    def prefix_token(
        self,
        tenant: str,
        timeline: str | None = None,
        endpoint: str | None = None,
        **more: Any,
    ) -> str:
        """For the deletion of exactly this tenant, timeline or endpoint."""
        return self.token(tenant_id=tenant, timeline_id=timeline, endpoint_id=endpoint, **more)

    def service_token(self, **more: Any) -> str:
        """For the control plane: every tenant."""
        return self.token(scope="epufs:admin", **more)
