"""How much memory a program has used."""

import pathlib
import re

from devstack.epufs import Program

_SANITIZERS = (b"__asan_init", b"__tsan_init")


def peak_bytes(program: Program) -> int:
    """The most it has had in memory at once, since its start."""
    status = pathlib.Path(f"/proc/{program.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def is_comparable(program: Program) -> bool:
    """False of a sanitizer's build, which uses several times the memory."""
    binary = pathlib.Path(f"/proc/{program.process.pid}/exe").read_bytes()
    return not any(mark in binary for mark in _SANITIZERS)
