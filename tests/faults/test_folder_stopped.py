"""Processes stopped (SIGSTOP) while they work on a folder: only they stand still."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness.storectl import Storectl
from harness.stores import FolderStore

pytestmark = pytest.mark.waits

ROUNDS = 15
OBJECTS = 1200  # below the prefix that is deleted
FILES = 60  # that are put
LIMIT_S = 5.0  # for each of the others' commands; who waited would wait for 30
LATEST_S = 0.15  # within which a process is stopped; most are still at work then
PREFIX = ":big/"


class Stopped:
    """A storectl that is stopped now, and goes on at last."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.was_running = process.poll() is None
        if self.was_running:
            process.send_signal(signal.SIGSTOP)

    def goes_on(self) -> tuple[int, str]:
        """How it ends."""
        if self.was_running:
            self._process.send_signal(signal.SIGCONT)
        _, err = self._process.communicate(timeout=30)
        return self._process.returncode, err.decode()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=30)


def fill(ctl: Storectl, folder: Path) -> None:
    """Many objects without as many puts: each has the same file."""
    ctl.ok("cp", "-", ":big/object", data=b"x")
    (first,) = (folder / "big").iterdir()
    for number in range(OBJECTS):
        part = folder / "big" / f"{number % 30:02}"
        part.mkdir(exist_ok=True)
        os.link(first, part / first.name.replace("object", f"{number:05}"))


@pytest.fixture
def ctl(tmp_path: Path) -> Storectl:
    (tmp_path / "files").mkdir()
    for number in range(FILES):
        (tmp_path / "files" / str(number)).write_bytes(b"%d" % number * 1000)
    return Storectl(FolderStore(tmp_path / "store"))


def quickly(ctl: Storectl, *words: str, data: bytes = b"") -> list[str]:
    began = time.monotonic()
    lines = ctl.ok(*words, data=data).lines()
    took = time.monotonic() - began
    assert took < LIMIT_S, f"{words} took {took:.2f} s"
    return lines


def others_get_on(ctl: Storectl, number: int) -> None:
    """Listings, puts, gets, deletes, and the same deletion by somebody else."""
    quickly(ctl, "ls", "-r", ":")
    quickly(ctl, "cp", "-", f":other/{number}", data=b"new")
    quickly(ctl, "cp", "-", ":put/0", data=b"0" * 1000)  # a key that is put just now
    assert quickly(ctl, "cat", f":other/{number}") == ["new"]
    quickly(ctl, "rm", f":other/{number}")
    quickly(ctl, "rm", "-r", PREFIX)
    assert quickly(ctl, "ls", "-r", PREFIX) == []


def test_only_the_stopped_stand_still(ctl: Storectl, tmp_path: Path) -> None:
    seed = int(os.environ.get("EPUFS_SEED") or random.randrange(2**32))
    print(f"EPUFS_SEED={seed} repeats these moments")
    chance = random.Random(seed)
    at_work = {"deletion": 0, "puts": 0}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    for number in range(ROUNDS):
        fill(ctl, tmp_path / "store")
        commands = {
            "deletion": ("rm", "-r", PREFIX),
            "puts": ("cp", "-r", str(tmp_path / "files"), ":put/"),
        }
        begun = {what: ctl.start(*words, **quiet) for what, words in commands.items()}
        stopped = {}
        for what in chance.sample(sorted(begun), len(begun)):
            time.sleep(chance.uniform(0, LATEST_S / 2))
            stopped[what] = Stopped(begun[what])
            at_work[what] += stopped[what].was_running
        try:
            others_get_on(ctl, number)
        except BaseException:
            for process in stopped.values():
                process.kill()
            raise
        ends = {what: process.goes_on() for what, process in stopped.items()}
        assert ends == dict.fromkeys(ends, (0, "")), ends
        assert ctl.ok("ls", "-r", PREFIX).lines() == []
        assert len(ctl.ok("ls", "-r", ":put/").lines()) == FILES
        assert ctl.ok("cat", ":put/7").out == b"7" * 1000
        shutil.rmtree(tmp_path / "store" / "put")
    print(f"of {ROUNDS} each were stopped at work: {at_work}")
    assert min(at_work.values()) >= ROUNDS // 3
