"""A node of an endpoint with a real PostgreSQL and epufs-compute around it, and what can be
measured there: for the test, the demo and the bench."""

import dataclasses
import json
import shutil
import statistics

from devstack.postgres import Postgres, Workplace
from harness.compute import Compute

SCALE = 4  # pgbench's
ACCOUNTS = SCALE * 100_000
LOOKUPS = 300
PREWARMED = "autoprewarm successfully prewarmed"
# What the workload's statement is called by pg_stat_statements.
_LOOKUP = "SELECT abalance FROM pgbench_accounts WHERE aid ="
# By the index, so that every page goes through the buffers.
_FIRST_QUERY = f"""SET enable_seqscan = off; SET enable_bitmapscan = off;
    EXPLAIN (ANALYZE, TIMING off, BUFFERS, FORMAT JSON)
    SELECT sum(abalance) FROM pgbench_accounts WHERE aid BETWEEN 1 AND {ACCOUNTS}"""


@dataclasses.dataclass(frozen=True)
class First:
    """The first query after a start: all of pgbench's accounts."""

    ms: float
    hit: int  # pages that were in the buffers
    read: int  # and that were not

    @property
    def ratio(self) -> float:
        return self.hit / (self.hit + self.read)

    @classmethod
    def of(cls, cluster: Postgres) -> "First":
        text = cluster.sql(_FIRST_QUERY)
        plan = json.loads(text[text.index("[") :])[0]
        node = plan["Plan"]
        return cls(plan["Execution Time"], node["Shared Hit Blocks"], node["Shared Read Blocks"])


class Node:
    """`urls`: of reader and writer."""

    def __init__(self, workplace: Workplace, name: str, urls: tuple[str, str], token: str) -> None:
        self.cluster = Postgres(workplace, name)
        self.compute = Compute(workplace.path / f"{name}-compute", *urls, token)
        for path in (self.compute.token_file.parent, self.compute.token_file):
            workplace.give(path)

    def start(self, *options: str) -> float:
        """Returns the seconds until the server answered, the load included."""
        argv = self.compute.argv("run", self.cluster.pgdata, "--store-interval=0", *options)
        return self.cluster.start([str(self.cluster.workplace.compute), *argv[1:], "--"])

    def line(self, *words: str) -> str:
        """The last line of its log with all these words; "": there is none."""
        log = self.cluster.log.read_text(encoding="utf-8", errors="replace")
        found = [line for line in log.splitlines() if all(word in line for word in words)]
        return found[-1] if found else ""

    def said(self, *words: str) -> bool:
        return bool(self.line(*words))

    def move_from(self, other: "Node") -> None:
        """Takes the other one's folder, whose server has stopped."""
        shutil.move(other.cluster.pgdata, self.cluster.pgdata)


def fill(cluster: Postgres) -> None:
    """Extensions, and pgbench's tables."""
    cluster.sql("CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pg_prewarm")
    cluster.pgbench("--initialize", "--scale", str(SCALE), "--quiet")


def warm_up(cluster: Postgres) -> None:
    """LOOKUPS statements, and all of the accounts in the buffers."""
    cluster.pgbench("--select-only", "--transactions", str(LOOKUPS), "--no-vacuum")
    First.of(cluster)


def first_lookups_ms(cluster: Postgres, count: int = 200) -> float:
    """The median of the first lookups of accounts by their number, one after the other."""
    prefix = cluster.workplace.folder(f"{cluster.name}-lookups") / "log"
    # fmt: off
    cluster.pgbench(
        "--select-only", "--transactions", str(count), "--no-vacuum", "--log",
        "--log-prefix", str(prefix),
    )
    # fmt: on
    lines = [line.split() for path in prefix.parent.iterdir() for line in path.open()]
    return statistics.median(float(fields[2]) for fields in lines) / 1000


def known_calls(cluster: Postgres) -> int:
    """How often the workload's statement has run, by pg_stat_statements."""
    query = f"SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '{_LOOKUP}%'"
    return int(cluster.sql(query))
