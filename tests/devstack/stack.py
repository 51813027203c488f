"""The whole stack of `make run`: a store, Redis, a broker, reader, writer, janitor.

    python3 -m devstack up [--store folder|s3]    start; when it runs already, say so
    python3 -m devstack status                    what runs, and where
    python3 -m devstack down                      stop everything, however much is left
    python3 -m devstack token [...]               mint a token for the running stack

`up` writes the addresses for scripts to build/stack.env. From the environment it takes
TRUSTED_KEYS (a folder of more public keys) and READER_OPTS, WRITER_OPTS, JANITOR_OPTS.
"""

import dataclasses
import os
import pathlib
import shlex
import shutil
import time
from typing import Literal

from devstack import broker, paths
from devstack.epufs import Janitor, Reader, Writer
from devstack.keys import KeyPair
from devstack.process import DevstackError, Running
from devstack.redis import Redis
from devstack.rgw import Rgw
from devstack.service import Service
from devstack.state import State, locked

DEFAULT_FOLDER = paths.ROOT / "build" / "stack"
DEFAULT_ENV_FILE = DEFAULT_FOLDER.with_suffix(".env")
DAY_S = 24 * 3600
KEY_SUFFIXES = (".pem", ".pub", ".json", ".jwks")

StoreKind = Literal["folder", "s3"]
BrokerKind = broker.Kind

EXAMPLE_TENANT = "11111111111111111111111111111111"
EXAMPLE_TIMELINE = "22222222222222222222222222222222"
EXAMPLE_ENDPOINT = "ep-example"


@dataclasses.dataclass(frozen=True)
class Options:
    """All of them have a default that needs Debian's packages alone."""

    folder: pathlib.Path = DEFAULT_FOLDER
    store: StoreKind = "folder"
    broker: BrokerKind | None = None  # None: the mock beside a folder, else Kafka if it can be had

    @property
    def env_file(self) -> pathlib.Path:
        return self.folder.with_suffix(".env")

    @property
    def lock_file(self) -> pathlib.Path:
        return self.folder.with_suffix(".lock")

    @property
    def broker_kind(self) -> BrokerKind:
        return self.broker or ("mock" if self.store == "folder" else "auto")


def trusted_keys() -> list[pathlib.Path]:
    """The key files of the folder that TRUSTED_KEYS names."""
    chosen = os.environ.get("TRUSTED_KEYS")
    if not chosen:
        return []
    folder = pathlib.Path(chosen).resolve()
    found = sorted(path for path in folder.glob("*") if path.suffix in KEY_SUFFIXES)
    if not found:
        raise DevstackError(f"TRUSTED_KEYS: {folder} holds no {' '.join(KEY_SUFFIXES)} file")
    return found


def extra_options(variable: str) -> list[str]:
    return shlex.split(os.environ.get(variable, ""))


class Builder:
    """Starts one service after the other and gathers the addresses."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.folder = options.folder
        self.broker = ""
        self.env: dict[str, str] = {}

    def build(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            self._start_all()
        except BaseException:
            State.load(self.folder).stop_all()
            raise

    def _start(self, service: Service) -> None:
        began = time.monotonic()
        service.start()
        print(f"  {service.name:<14} up after {time.monotonic() - began:.1f} s", flush=True)

    def _start_all(self) -> None:
        store_env = self._start_store()
        self._start_redis()
        self._start_broker()
        keys = self._make_keys()
        self._start_programs(keys, store_env)
        write_env(self.options.env_file, self.env)
        State(self.folder, self.options.store, self.broker).save()

    def _start_store(self) -> dict[str, str]:
        if self.options.store == "folder":
            store = self.folder / "store"
            store.mkdir()
            self.env["STORE_URL"] = f"file://{store}"
            return {}
        rgw = Rgw(self.folder / "rgw", tied=False)
        self._start(rgw)
        self.env["STORE_URL"] = f"s3://{rgw.bucket}/dev"
        self.env |= rgw.s3.env()
        return rgw.s3.env()

    def _start_redis(self) -> None:
        redis = Redis(self.folder / "redis", tied=False)
        self._start(redis)
        self.env["REDIS_URL"] = redis.url

    def _start_broker(self) -> None:
        chosen = broker.create(self.folder / "broker", self.options.broker_kind, tied=False)
        self.broker = chosen.about
        self._start(chosen)
        self.env["KAFKA_BOOTSTRAP"] = chosen.bootstrap
        self.env["KAFKA_KIND"] = chosen.kind

    def _make_keys(self) -> list[pathlib.Path]:
        private, public = KeyPair.generate().save(self.folder / "keys")
        self.env["JWT_PRIVATE_KEY_FILE"] = str(private)
        return [public, *trusted_keys()]

    def _start_programs(self, keys: list[pathlib.Path], store_env: dict[str, str]) -> None:
        store, logs = self.env["STORE_URL"], self.folder / "logs"
        reader = Reader(
            logs, store, keys, more=extra_options("READER_OPTS"), env=store_env, tied=False
        )
        writer = Writer(
            logs, store, keys, more=extra_options("WRITER_OPTS"), env=store_env, tied=False
        )
        janitor = Janitor(
            logs,
            store,
            self.env["KAFKA_BOOTSTRAP"],
            self.env["REDIS_URL"],
            more=extra_options("JANITOR_OPTS"),
            env=store_env,
            tied=False,
        )
        for program in (reader, writer, janitor):
            self._start(program)
            name = program.program.removeprefix("epufs-").upper()
            self.env[f"{name}_URL"] = program.url


def write_env(path: pathlib.Path, env: dict[str, str]) -> None:
    """NAME=value lines that a shell can source. It holds the store's secret, so for us alone."""
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(env.items()))
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read_env(path: pathlib.Path = DEFAULT_ENV_FILE) -> dict[str, str]:
    """The addresses of the running stack."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DevstackError(f"there is no {path}: the stack is not up") from error
    pairs = (line.partition("=") for line in lines)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def up(options: Options) -> None:
    start(options)
    show(options)


def start(options: Options) -> None:
    with locked(options.lock_file):
        state = State.load(options.folder)
        if state.up():
            print(f"The stack ({state.store} store) is already up; nothing changed.")
        else:
            _clear(options, state)
            print(f"Starting the stack with the {options.store} store:", flush=True)
            Builder(options).build()


def _clear(options: Options, state: State) -> None:
    """Removes what an earlier stack has left, so that the new one begins from nothing."""
    if stopped := state.stop_all():
        print(f"Stopped {stopped} processes of an earlier stack that was only half up.", flush=True)
    options.env_file.unlink(missing_ok=True)


def down(options: Options) -> None:
    with locked(options.lock_file):
        stopped = State.load(options.folder).stop_all()
        options.env_file.unlink(missing_ok=True)
    if stopped:
        print(f"Stopped {stopped} processes. The logs stay in {options.folder}.")
    else:
        print("Nothing was running.")


def status(options: Options) -> bool:
    """Prints each process; true when the whole stack runs."""
    state = State.load(options.folder)
    if not state.processes:
        print("The stack is not up.")
        return False
    whole = f"Store: {state.store}. Broker: {state.broker}."
    print(whole if state.store else "The stack did not come up to the end.")
    for process in state.processes:
        print(f"  {process.name:<14} pid {process.pid:<8} {_liveness(process)}")
    return state.up()


def _liveness(process: Running) -> str:
    return "runs" if process.alive() else "is GONE"


def show(options: Options) -> None:
    """The addresses, and lines to copy."""
    env = read_env(options.env_file)
    state = State.load(options.folder)
    url = f"/tenants/{EXAMPLE_TENANT}/timelines/{EXAMPLE_TIMELINE}/endpoints/{EXAMPLE_ENDPOINT}"
    print(f"""
reader   {env["READER_URL"]}
writer   {env["WRITER_URL"]}
janitor  {env["JANITOR_URL"]}
store    {env["STORE_URL"]} {env.get("AWS_ENDPOINT_URL_S3", "")}
broker   {env["KAFKA_BOOTSTRAP"]} ({state.broker})
redis    {env["REDIS_URL"]}
logs     {options.folder}
scripts  . {options.env_file}

Try it (the token is good for a day):
  TOKEN={example_token(env)}
  curl -H "Authorization: Bearer $TOKEN" --data-binary 'some blocks' \\
      {env["WRITER_URL"]}{url}/pgdata/autoprewarm.blocks
  curl -H "Authorization: Bearer $TOKEN" {env["READER_URL"]}{url}/pgdata/autoprewarm.blocks
  curl -H "Authorization: Bearer $TOKEN" {env["READER_URL"]}{url} | tar -tv
  curl -H "Authorization: Bearer $TOKEN" -X DELETE {env["WRITER_URL"]}{url}
""")


def example_token(env: dict[str, str]) -> str:
    pair = KeyPair.load(pathlib.Path(env["JWT_PRIVATE_KEY_FILE"]))
    return pair.endpoint_token(
        EXAMPLE_TENANT, EXAMPLE_TIMELINE, EXAMPLE_ENDPOINT, gen=1, expires_in_s=DAY_S
    )
