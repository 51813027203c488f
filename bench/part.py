"""What each part of make bench is given; it returns its tables."""

import dataclasses
import pathlib
from typing import TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Context:
    folder: pathlib.Path  # the part's own
    programs: pathlib.Path  # where the benchmark's own programs are
    quick: bool
    objects: int | None  # BENCH_OBJECTS

    def pick(self, full: T, trial: T) -> T:
        return trial if self.quick else full

    def count(self, full: int, trial: int) -> int:
        """How many objects: as asked for, but a trial takes no more than it would by itself."""
        wanted = self.objects or full
        return min(wanted, trial) if self.quick else wanted
