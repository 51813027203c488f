"""The command line of the stack; see stack.py."""

import argparse
import json
import pathlib
import signal
import sys
from types import FrameType
from typing import Any

from devstack import stack
from devstack.keys import KeyPair
from devstack.process import DevstackError


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="devstack",
        description=stack.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=pathlib.Path, default=stack.DEFAULT_FOLDER)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything")
    up.add_argument("--store", choices=("folder", "s3"), default="folder")
    up.add_argument("--broker", choices=("auto", "kafka", "mock"))
    commands.add_parser("status", help="what runs; status 1 unless all of it does")
    commands.add_parser("down", help="stop everything")
    token = commands.add_parser("token", help="mint a token with these claims")
    token.add_argument("claims", nargs="*", metavar="NAME=VALUE", help="such as gen=2")
    token.add_argument("--expires-in", type=float, default=3600, metavar="SECONDS")
    return parser.parse_args(arguments)


def claim(text: str) -> tuple[str, Any]:
    """NAME=VALUE; numbers, true, false and JSON keep their type."""
    name, _, value = text.partition("=")
    if name.endswith("_id"):
        return name, value  # an id may be all digits
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def mint(options: stack.Options, arguments: argparse.Namespace) -> str:
    env = stack.read_env(options.env_file)
    pair = KeyPair.load(pathlib.Path(env["JWT_PRIVATE_KEY_FILE"]))
    return pair.token(
        expires_in_s=arguments.expires_in, **dict(claim(text) for text in arguments.claims)
    )


def run(arguments: argparse.Namespace) -> int:
    options = stack.Options(folder=arguments.folder.resolve())
    match arguments.command:
        case "up":
            stack.up(
                stack.Options(folder=options.folder, store=arguments.store, broker=arguments.broker)
            )
        case "status":
            return 0 if stack.status(options) else 1
        case "down":
            stack.down(options)
        case "token":
            print(mint(options, arguments))
    return 0


def interrupted(number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so that a start that is cut short stops what it started."""
    raise KeyboardInterrupt(number)


def main() -> int:
    signal.signal(signal.SIGTERM, interrupted)
    try:
        return run(parse(sys.argv[1:]))
    except DevstackError as error:
        print(f"devstack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("devstack: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
