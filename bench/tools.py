"""The programs that remove a prefix of a bucket: libstore's and others'.

Each runs with its own defaults, as somebody would who looks for a tool, apart from what names the
server and what keeps it from printing each key.
"""

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence

from devstack import paths
from devstack.process import DevstackError
from devstack.s3 import S3

# Settings of somebody's shell that would reach the tools.
_FOREIGN = (
    *("AWS_", "RCLONE_", "MC_", "S3_"),
    *("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"),
)


@dataclasses.dataclass(frozen=True)
class Place:
    """What is removed: all keys below the prefix, which ends in '/'."""

    s3: S3
    bucket: str
    prefix: str
    count: int

    @property
    def host(self) -> str:
        return self.s3.endpoint.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Tool:
    name: str
    # How it deletes: "many" batches at a time, one ("serial"), or key by key ("single"). The slower
    # ones get fewer keys.
    kind: str
    argv: Callable[[Place], Sequence[str]]
    more_env: Callable[[Place], Mapping[str, str]] = lambda place: {}

    def env(self, place: Place, home: pathlib.Path) -> dict[str, str]:
        """All of its environment. home: an empty folder, so that nobody's settings are found."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
        fixed = {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
        return {**kept, **fixed, **place.s3.env(), **self.more_env(place)}


def _find(name: str) -> str | None:
    """What bench/install-tools brought, then Debian's program before others of that name."""
    if path := shutil.which(name, path=str(paths.cache() / "bin")):
        return path
    if name == "mc":  # elsewhere that is Midnight Commander
        return None
    return shutil.which(name, path="/usr/bin") or shutil.which(name)


def _s5cmd(program: str) -> Tool:
    return Tool(
        "s5cmd rm",
        "many",
        lambda p: [
            *(program, "--log", "error", "--endpoint-url", p.s3.endpoint),
            *("rm", f"s3://{p.bucket}/{p.prefix}*"),
        ],
    )


def _rclone(program: str) -> Tool:
    return Tool(
        "rclone delete",
        "single",
        lambda p: [program, "delete", f"bench:{p.bucket}/{p.prefix}"],
        lambda p: {
            "RCLONE_CONFIG_BENCH_TYPE": "s3",
            "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
            "RCLONE_CONFIG_BENCH_ENDPOINT": p.s3.endpoint,
            "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": p.s3.access_key,
            "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": p.s3.secret_key,
        },
    )


def _aws(program: str) -> Tool:
    return Tool(
        "aws s3 rm",
        "single",
        lambda p: [
            *(program, "s3", "rm", "--recursive", "--only-show-errors"),
            *("--endpoint-url", p.s3.endpoint, f"s3://{p.bucket}/{p.prefix}"),
        ],
    )


def _s3cmd(program: str) -> Tool:
    return Tool(
        "s3cmd del",
        "serial",
        lambda p: [
            *(program, "--quiet", "--no-ssl"),
            *(f"--host={p.host}", f"--host-bucket={p.host}"),
            *(f"--access_key={p.s3.access_key}", f"--secret_key={p.s3.secret_key}"),
            *("del", "--recursive", "--force", f"s3://{p.bucket}/{p.prefix}"),
        ],
    )


def _mc(program: str) -> Tool:
    def env(p: Place) -> dict[str, str]:
        user = f"{p.s3.access_key}:{p.s3.secret_key}"
        return {"MC_HOST_bench": f"http://{user}@{p.host}"}

    return Tool(
        "mc rm",
        "serial",
        lambda p: [
            *(program, "--quiet", "rm", "--recursive", "--force"),
            f"bench/{p.bucket}/{p.prefix}",
        ],
        env,
    )


def others() -> list[Tool]:
    """Those that are installed."""
    makers = {"s5cmd": _s5cmd, "rclone": _rclone, "aws": _aws, "s3cmd": _s3cmd, "mc": _mc}
    found = {name: _find(name) for name in makers}
    return [make(path) for name, make in makers.items() if (path := found[name])]


def ours(programs: pathlib.Path) -> Tool:
    """libstore's: storectl, or where it is not built the benchmark's own program."""
    try:
        storectl = str(paths.program("storectl"))
    except DevstackError:
        objects = str(programs / "objects")
        return Tool(
            "libstore",
            "many",
            lambda p: [objects, "purge", f"s3://{p.bucket}", p.prefix, str(p.count), "8"],
        )
    return Tool(
        "storectl rm", "many", lambda p: [storectl, "rm", "-r", f"s3://{p.bucket}/{p.prefix}"]
    )
