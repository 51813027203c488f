"""The one printer of the tables that make bench ends with, and the words that stand in them."""

import dataclasses
from collections.abc import Sequence

from bench.measure import say


@dataclasses.dataclass(frozen=True)
class Table:
    title: str
    header: Sequence[str]  # of the columns behind the first, which has the rows' names
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def print(self) -> None:
        lines = [["", *self.header], *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        say(f"\n{self.title}")
        for name, *cells in lines:
            right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            say("  " + "   ".join([name.ljust(widths[0]), *right]))
        for note in self.notes:
            say(f"  {note}")


def number(value: float, digits: int = 0) -> str:
    return f"{value:,.{digits}f}"


def spread(values: Sequence[float], digits: int = 0) -> str:
    """From the least to the most of the rounds."""
    return f"{number(min(values), digits)} to {number(max(values), digits)}"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def short(ratio: float) -> str:
    """Two digits that mean something, also of a small one."""
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.4f}"
