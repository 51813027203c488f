"""The folder driver disturbed at each of its calls; see tests/tools/faultline.h."""

import re
import subprocess
from pathlib import Path

from devstack import paths

LIMIT_S = 240


def numbers_of(program: str, store: Path, line: str) -> list[int]:
    """Runs it to its good end; the numbers in the one line that it should print."""
    done = subprocess.run(
        [paths.program(program), store],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stderr
    found = re.search(line, done.stdout, re.MULTILINE)
    assert found, done.stdout
    return [int(number) for number in found.groups()]


def test_every_call_may_fail_once(tmp_path: Path) -> None:
    """Each allocation and system call; see tests/tools/folder_faults.c."""
    line = r"^(\d+) faults in (\d+) scenarios$"
    faults, scenarios = numbers_of("folder-faults", tmp_path / "store", line)
    assert faults >= 600
    assert scenarios >= 6


def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    """kill -9 at each system call; see tests/tools/folder_kill.c."""
    (kills,) = numbers_of("folder-kill", tmp_path / "store", r"^(\d+) kills$")
    assert kills >= 400  # eleven operations, some twenty calls each, before and after
