"""What `make run` leaves behind for `make stop`.

Each process has its record (NAME.running) from the moment it exists, so a stack that came up half
way, or lost some of its processes, can still be stopped. state.json is written last: it says that
the stack is whole, and what it is made of.
"""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
import time
from collections.abc import Iterator

from devstack.process import RECORD_SUFFIX, DevstackError, Running

LOCK_TIMEOUT_S = 300.0


@dataclasses.dataclass
class State:
    folder: pathlib.Path
    store: str = ""
    broker: str = ""
    processes: list[Running] = dataclasses.field(default_factory=list)

    @classmethod
    def load(cls, folder: pathlib.Path) -> "State":
        """What was recorded; an empty state when there is nothing to read."""
        records = [Running.load(path) for path in _records(folder)]
        processes = sorted(records, key=lambda record: record.ticks)
        try:
            whole = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            whole = {}
        return cls(folder, whole.get("store", ""), whole.get("broker", ""), processes)

    def save(self) -> None:
        draft = self.folder / "state.tmp"
        draft.write_text(json.dumps({"store": self.store, "broker": self.broker}) + "\n")
        draft.replace(self.folder / "state.json")

    def dead(self) -> list[Running]:
        return [process for process in self.processes if not process.alive()]

    def up(self) -> bool:
        """Started to the end, and every process still runs."""
        return bool(self.store and self.processes and not self.dead())

    def stop_all(self) -> int:
        """Ends what still runs, the youngest first; returns how many that were."""
        living = [process for process in reversed(self.processes) if process.alive()]
        for process in living:
            process.stop()
        for record in _records(self.folder):
            record.unlink()
        (self.folder / "state.json").unlink(missing_ok=True)
        return len(living)


def _records(folder: pathlib.Path) -> list[pathlib.Path]:
    """In the folder or one below it. Any deeper is the store, where files come and go."""
    return [*folder.glob(f"*{RECORD_SUFFIX}"), *folder.glob(f"*/*{RECORD_SUFFIX}")]


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """One start or stop at a time; a second one waits its turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DevstackError("another start or stop of the stack is at work") from None
                time.sleep(0.1)
        yield
