"""Plays the main job of EPUFS on a stack of its own: python3 -m demo [--store folder|s3]

With --postgres, the story of a PostgreSQL that restarts warm on another node, on the S3 stack.

Exits with 0 when all was as promised, else with 1 and the ends of the logs. The stack is stopped
in any case.
"""

import argparse
import contextlib
import fcntl
import http.client
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType

from demo.postgres_story import PostgresStory
from demo.stage import Mismatch
from demo.story import Story
from devstack import paths, stack
from devstack.process import DevstackError, log_tail
from devstack.state import State

FOLDER = paths.ROOT / "build" / "demo"
TAIL_LINES = 12

# A deletion completes when no upload that had begun before it can still land. With the defaults
# that is after 90 s; here all runs on one machine, and nobody wants to wait that long. An expiry of
# 1 s would be none: the store's clock comes in whole seconds, of which most may have passed.
WINDOWS = {
    "WRITER_OPTS": "--upload-expiry=2s --upload-timeout=2s --store-idle-timeout=1s",
    "JANITOR_OPTS": "--upload-window=5s --intent-scan-interval=1s",
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", choices=("folder", "s3"), default="folder")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, default=FOLDER)
    return parser.parse_args(arguments)


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """One demo at a time in a folder. What a killed one has left there is stopped."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".playing").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevstackError(f"another demo is at work in {folder}") from None
        State.load(folder).stop_all()
        yield


@contextlib.contextmanager
def running(options: stack.Options) -> Iterator[dict[str, str]]:
    """The stack, for as long as the block lasts."""
    try:
        stack.start(options)
        yield stack.read_env(options.env_file)
    finally:
        print(flush=True)
        stack.down(options)


def play(options: stack.Options) -> None:
    began = time.monotonic()
    with running(options) as env:
        up = time.monotonic()
        about = State.load(options.folder).broker
        try:
            with Story(env) as story:
                story.play()
        except Mismatch as error:
            raise Mismatch(f"NOT as promised: {error}\n{logs(options.folder)}") from error
        except (DevstackError, OSError, ValueError, http.client.HTTPException) as error:
            raise DevstackError(f"{error}\n{logs(options.folder)}") from error
    tally = story.tally
    print(f"""
All as promised.
  {tally.stored} files stored, {tally.compared} read back and compared byte for byte
  {tally.deletions} deletions completed: {tally.files_deleted} files, {tally.bytes_deleted:,} bytes
  {up - began:.1f} s to start, {story.stage.seconds():.1f} s to play
  store: {"Ceph RGW" if options.store == "s3" else "a folder"}; broker: {about}""")


def play_postgres(options: stack.Options) -> None:
    began = time.monotonic()
    with running(options) as env:
        up = time.monotonic()
        about = State.load(options.folder).broker
        try:
            with PostgresStory(env, options.folder.with_suffix(".svg")) as story:
                story.play()
        except Mismatch as error:
            raise Mismatch(f"NOT as promised: {error}\n{logs(options.folder)}") from error
        except (DevstackError, OSError, ValueError, http.client.HTTPException) as error:
            raise DevstackError(f"{error}\n{logs(options.folder)}") from error
    print(f"""
All as promised.
  {up - began:.1f} s to start, {story.stage.seconds():.1f} s to play
  store: Ceph RGW; PostgreSQL 15 of Debian; broker: {about}""")


def logs(folder: pathlib.Path) -> str:
    found = sorted((folder / "logs").glob("*.log"))
    return "\n".join(f"--- the end of {log} ---\n{log_tail(log, TAIL_LINES)}" for log in found)


def interrupted(number: int, _frame: FrameType | None) -> None:
    """SIGTERM and a closed terminal unwind like Ctrl-C, so that the stack is stopped."""
    raise KeyboardInterrupt(number)


def main() -> int:
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    for name, short in WINDOWS.items():
        os.environ[name] = f"{short} {os.environ.get(name, '')}"
    store = "s3" if arguments.postgres else arguments.store
    options = stack.Options(folder=arguments.folder.resolve(), store=store)
    try:
        with alone(options.folder):
            (play_postgres if arguments.postgres else play)(options)
    except (Mismatch, DevstackError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
