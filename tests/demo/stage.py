"""Where the demo tells what happens, and stops at the first thing that is not as promised."""

import time


class Mismatch(Exception):
    """Something is not as promised; the text says what."""


def expect(as_promised: bool, otherwise: str) -> None:
    if not as_promised:
        raise Mismatch(otherwise)


class Stage:
    """Numbered chapters on standard output."""

    def __init__(self) -> None:
        self._chapters = 0
        self._began = time.monotonic()

    def chapter(self, title: str) -> None:
        self._chapters += 1
        print(f"\n{self._chapters:2}. {title}", flush=True)

    def say(self, *lines: str) -> None:
        for line in lines:
            print(f"    {line}", flush=True)

    def seconds(self) -> float:
        return time.monotonic() - self._began
