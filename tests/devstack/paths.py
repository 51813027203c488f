"""Where things are: the checkout, the programs, the cache."""

import os
import pathlib

from devstack.process import DevstackError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(name: str) -> pathlib.Path:
    """A program of ours. EPUFS_BIN names another folder, such as a sanitizer build's."""
    path = ROOT / os.environ.get("EPUFS_BIN", "build/bin") / name
    if not os.access(path, os.X_OK):
        raise DevstackError(f"{path} is not built (make programs tools)")
    return path


def cache() -> pathlib.Path:
    """Downloads that outlive `make clean`."""
    chosen = os.environ.get("EPUFS_CACHE")
    return pathlib.Path(chosen) if chosen else pathlib.Path.home() / ".cache" / "epufs"
