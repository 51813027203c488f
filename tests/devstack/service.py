"""What all services have in common: a folder, processes, and an orderly end."""

import pathlib
from types import TracebackType
from typing import Self

from devstack.process import Process


class Service:
    """One server of one or more processes. `with` starts it, unless it runs, and stops it.

    The ports are chosen when the object is made, so addresses can be handed out before start(),
    and they stay the same when it is stopped and started again.
    """

    name = "service"

    def __init__(self, folder: pathlib.Path, *, tied: bool = True) -> None:
        self.folder = folder.resolve()
        self.tied = tied

    @property
    def processes(self) -> list[Process]:
        """In the order of their start."""
        raise NotImplementedError

    def start(self) -> None:
        raise NotImplementedError

    def alive(self) -> bool:
        return all(process.alive() for process in self.processes)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    def kill(self) -> None:
        for process in reversed(self.processes):
            process.kill()

    def pause(self) -> None:
        for process in self.processes:
            process.pause()

    def resume(self) -> None:
        for process in self.processes:
            process.resume()

    def __enter__(self) -> Self:
        if self.alive():
            return self
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
