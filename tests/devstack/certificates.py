"""Certificates made on the spot with Debian's openssl: a CA of its own, and whom it vouches for."""

import dataclasses
import pathlib

from devstack.process import require, run


@dataclasses.dataclass(frozen=True)
class Identity:
    """PEM files: the certificate, its key (PKCS #8), and both in one."""

    certificate: pathlib.Path
    key: pathlib.Path

    @property
    def both(self) -> pathlib.Path:
        """Key first, as Kafka wants it; others do not care."""
        path = self.certificate.with_suffix(".both.pem")
        if not path.exists():
            path.write_text(
                self.key.read_text(encoding="ascii")
                + self.certificate.read_text(encoding="ascii"),
                encoding="ascii",
            )
        return path


class Authority:
    """A CA. Its certificate is the file `certificate`."""

    def __init__(self, folder: pathlib.Path, name: str = "test CA") -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True)
        made = self._make("ca", name, ["-addext", "basicConstraints=critical,CA:TRUE"])
        self.certificate, self._key = made.certificate, made.key

    def identity(self, name: str, alternatives: str = "IP:127.0.0.1,DNS:localhost") -> Identity:
        """For a server at 127.0.0.1, unless told otherwise, or for a client."""
        # fmt: off
        signed = [
            "-CA", str(self.certificate), "-CAkey", str(self._key),
            "-addext", "basicConstraints=CA:FALSE", "-addext", f"subjectAltName={alternatives}",
        ]
        # fmt: on
        return self._make(name, name, signed)

    def _make(self, file: str, name: str, more: list[str]) -> Identity:
        made = Identity(self.folder / f"{file}.pem", self.folder / f"{file}.key")
        # fmt: off
        run([
            require("openssl", "openssl"), "req", "-x509", "-newkey", "ec",
            "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", str(made.key), "-out", str(made.certificate), *more,
        ])
        # fmt: on
        return made
