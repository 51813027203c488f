"""storectl as the tests run it."""

import dataclasses
import json
import os
import subprocess
from typing import Any

from devstack import paths
from harness.stores import Store

TIMEOUT_S = 60.0


@dataclasses.dataclass(frozen=True)
class Done:
    """What a run has left."""

    status: int
    out: bytes
    err: str

    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    def objects(self) -> list[dict[str, Any]]:
        """Every line of standard output, each of which must be JSON."""
        return [json.loads(line) for line in self.out.decode().splitlines()]

    def error(self) -> dict[str, Any]:
        """The one line of standard error, with --json."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return dict(json.loads(lines[0]))


class Storectl:
    """With `store` as what ":KEY" is relative to."""

    def __init__(self, store: Store, **env: str) -> None:
        self.env = os.environ | store.env | {"STORECTL_STORE": store.url} | env

    @staticmethod
    def command(*words: str) -> list[str]:
        return [str(paths.program("storectl")), *words]

    def __call__(self, *words: str, data: bytes = b"") -> Done:
        done = subprocess.run(
            self.command(*words),
            env=self.env,
            input=data,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr.decode())

    def ok(self, *words: str, data: bytes = b"") -> Done:
        """The same, and it must go well without a word on standard error."""
        done = self(*words, data=data)
        assert (done.status, done.err) == (0, ""), (words, done)
        return done

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """For what is stopped on its way; the caller waits for its end."""
        return subprocess.Popen(self.command(*words), env=self.env, **options)
