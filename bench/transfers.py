"""GET and PUT through libstore against libcurl's multi interface and a bare socket.

All three are a process of one thread against the fake store, which is one too. libstore signs,
retries and verifies; the others do nothing of the kind.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence

from bench import measure, nginx
from bench.fakestore import FakeStore
from bench.measure import Run
from devstack.process import DevstackError, require, run

SIDES = ("libstore", "curl", "raw")
TIMEOUT_S = 300.0
_PROGRAMS = {"libstore": "transfer", "curl": "transfer_curl", "raw": "transfer_raw"}
_SYSTEM_CA = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
_TLS_BYTES = 4096
_TLS_IN_FLIGHT = 4
BUCKET = "bench"


@dataclasses.dataclass(frozen=True)
class Case:
    what: str  # get, put
    bytes: int
    in_flight: int
    count: int


@dataclasses.dataclass(frozen=True)
class Result:
    case: Case
    sides: dict[str, list[Run]]


def cases(scale: float) -> list[Case]:
    """scale 1: about a second for each; the largest have at least one object for each slot."""
    counts = {4 << 10: 20_000, 1 << 20: 1_000, 100 << 20: 16}
    return [
        Case(what, size, in_flight, max(int(count * scale), in_flight))
        for what in ("get", "put")
        for size, count in counts.items()
        for in_flight in (1, 8, 64)
    ]


def _once(
    programs: pathlib.Path, side: str, endpoint: str, case: Case, more: Sequence[str] = ()
) -> Run:
    where = f"s3://{BUCKET}" if side == "libstore" else f"{endpoint}/{BUCKET}"
    argv = [
        *(str(programs / _PROGRAMS[side]), case.what, where),
        *(str(case.bytes), str(case.count), str(case.in_flight), *more),
    ]
    return Run.parse(run(argv, env=_env(endpoint), timeout_s=TIMEOUT_S))


def _env(endpoint: str) -> Mapping[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "bench-access",
        "AWS_SECRET_ACCESS_KEY": "bench-secret",
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_REGION": "us-east-1",
    }


def compare(
    folder: pathlib.Path, programs: pathlib.Path, scale: float, rounds: int
) -> list[Result]:
    results = []
    with FakeStore(folder, programs / "fakestore") as store:
        for case in cases(scale):
            sides = {
                side: functools.partial(_once, programs, side, store.s3.endpoint, case)
                for side in SIDES
            }
            results.append(Result(case, measure.in_turns(sides, rounds)))
    return results


# ---- TLS ----


def _make_certificate(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """A certificate for 127.0.0.1, its key, and a bundle like the system's that trusts it."""
    certificate, key, bundle = (folder / name for name in ("cert.pem", "key.pem", "bundle.pem"))
    # fmt: off
    run([
        require("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=bench",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
    ])
    # fmt: on
    if not _SYSTEM_CA.is_file():
        raise DevstackError(f"{_SYSTEM_CA} is not there (Debian: ca-certificates)")
    bundle.write_bytes(_SYSTEM_CA.read_bytes() + certificate.read_bytes())
    return certificate, key, bundle


def compare_tls(
    folder: pathlib.Path, programs: pathlib.Path, count: int, rounds: int
) -> dict[str, list[Run]]:
    """GETs of 4 KiB, each on a new connection: the server closes it after each answer."""
    path = folder / "root" / BUCKET / f"bytes/{_TLS_BYTES}/tenants/1/timelines/2/file"
    path.parent.mkdir(parents=True)
    path.write_bytes(os.urandom(_TLS_BYTES))
    certificate, key, bundle = _make_certificate(folder)
    case = Case("get", _TLS_BYTES, _TLS_IN_FLIGHT, count)
    with nginx.tls_files_of(folder / "root", folder / "nginx", certificate, key) as server:
        endpoint = f"https://127.0.0.1:{server.port}"
        sides = {
            side: functools.partial(_once, programs, side, endpoint, case, [str(bundle)])
            for side in ("libstore", "curl")
        }
        return measure.in_turns(sides, rounds)
