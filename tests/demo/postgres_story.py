"""A PostgreSQL that restarts warm on another node, from the first start to the endpoint's end. Each
chapter checks what it tells."""

import pathlib
import shutil
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from demo import chart
from demo.actors import ControlPlane, Operator
from demo.chart import Figure
from demo.stage import Stage, expect
from demo.watch import Order, Watch
from devstack import broker, postgres
from devstack.kafka_client import TopicReader
from devstack.postgres import Workplace
from harness import http, pgnode
from harness.deletions import Deletion
from harness.ids import Endpoint
from harness.pgnode import LOOKUPS, PREWARMED, First, Node

FILES = ("autoprewarm.blocks", "pg_stat/pg_stat_statements.stat", "pg_stat/pgstat.stat")


class PostgresStory:
    """One run on one stack. The chart is left in `picture`."""

    def __init__(self, env: Mapping[str, str], picture: pathlib.Path) -> None:
        self.stage = Stage()
        self._picture = picture
        self._env = env
        self._control_plane = ControlPlane(env)
        self._completions = TopicReader(env["KAFKA_BOOTSTRAP"], broker.COMPLETIONS)
        self._watch = Watch(self.stage, Operator(env), self._completions)
        self._place = Workplace()
        self._nodes: list[Node] = []
        self._endpoint = Endpoint()
        self._backup = self._place.path / "backup"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in self._nodes:
            node.cluster.kill()
        self._completions.close()
        self._place.__exit__(kind, error, trace)

    def play(self) -> None:
        self._first_node()
        self._cold_node()
        self._warm_node()
        self._show_chart()
        self._detach()
        self._attach_anew()

    def _node(self, name: str, gen: int) -> Node:
        token = self._control_plane.attach(self._endpoint, gen).token
        urls = (self._env["READER_URL"], self._env["WRITER_URL"])
        node = Node(self._place, name, urls, token)
        self._nodes.append(node)
        return node

    def _tell(self, node: Node, *words: str) -> None:
        """The line of epufs-compute with these words, which has to be there."""
        line = node.line(*words)
        expect(bool(line), f"{node.cluster.name}'s log has no line with {words}")
        self.stage.say(line.partition(" ")[2])

    # ---- Warm ----

    def _first_node(self) -> None:
        self.stage.chapter("PostgreSQL 15 starts on a first node, under epufs-compute run")
        node = self._node("first", 1)
        node.cluster.init()
        node.start()
        self._tell(node, "starts cold")
        pgnode.fill(node.cluster)
        node.cluster.backup_to(self._backup)
        self.stage.say(f"pgbench: {pgnode.ACCOUNTS:,} accounts; a base backup is taken of it")
        pgnode.warm_up(node.cluster)
        self.stage.say(f"and now it gets warm: {LOOKUPS} lookups, then all of the accounts")
        self.stage.chapter("It is stopped, its files are stored, the node is thrown away")
        expect(node.cluster.stop() == 0, "the server's status is not 0")
        self._tell(node, "files stored", "files=3")
        answer = http.get(
            self._env["READER_URL"],
            self._endpoint.url,
            self._control_plane.attach(self._endpoint, 1).token,
            headers={"Accept": "application/json"},
        )
        self._stored = {file["path"]: file["size"] for file in answer.json()["files"]}
        for path, size in self._stored.items():
            self.stage.say(f"{size:9,} bytes  {path}")
        node.cluster.throw_away()

    def _cold_node(self) -> None:
        self.stage.chapter("Another node, from the backup, without these files: cold")
        cluster = self._node("cold", 1).cluster
        cluster.restore(self._backup)
        postgres.forget_cached(cluster.pgdata)
        self._cold_start_s = cluster.start()
        expect(pgnode.known_calls(cluster) == 0, "it knows statements that it cannot know")
        self._cold_ms = pgnode.first_lookups_ms(cluster)
        self._cold = First.of(cluster)
        self._say_first(self._cold_start_s, self._cold_ms, self._cold)
        cluster.stop()
        cluster.throw_away()

    def _warm_node(self) -> None:
        self.stage.chapter("The same with epufs-compute run: warm")
        node = self._node("warm", 1)
        node.cluster.restore(self._backup)
        shutil.rmtree(self._backup)
        postgres.forget_cached(node.cluster.pgdata)
        start_s = node.start()
        self._tell(node, "files loaded", "files=3")
        node.cluster.wait_said(PREWARMED)
        self._tell(node, PREWARMED)
        known = pgnode.known_calls(node.cluster)
        expect(known == LOOKUPS, f"pg_stat_statements knows {known} lookups, not {LOOKUPS}")
        self.stage.say(f"pg_stat_statements knows the {known} lookups of the first node")
        self._warm_ms = pgnode.first_lookups_ms(node.cluster)
        self._warm = First.of(node.cluster)
        self._say_first(start_s, self._warm_ms, self._warm)
        expect(self._warm.read * 10 < self._cold.read, "it read nearly as many pages as the cold one")
        self._running = node

    def _say_first(self, start_s: float, lookup_ms: float, first: First) -> None:
        self.stage.say(
            f"up after {start_s:.2f} s; first lookups {lookup_ms:.2f} ms;"
            f" first scan {first.ms:.0f} ms, {first.read:,} pages read, hit ratio {first.ratio:.3f}"
        )

    def _show_chart(self) -> None:
        self.stage.chapter("What it is worth, on this machine, this once")
        figures = [
            Figure("First 200 lookups, the median", "ms", self._cold_ms, self._warm_ms),
            Figure("First scan of all accounts", "ms", self._cold.ms, self._warm.ms),
            Figure("Pages read by that scan", "", self._cold.read, self._warm.read),
        ]
        self.stage.say(*chart.as_text(figures))
        svg = chart.as_svg("PostgreSQL after a restart on another node", figures)
        self._picture.write_text(svg, encoding="utf-8")
        self.stage.say(f"the same as a picture: {self._picture}")

    # ---- Gone ----

    def _detach(self) -> None:
        self.stage.chapter(f"The endpoint is detached: an event on {broker.DELETIONS}")
        deletion = Deletion(self._endpoint, "endpoint", upto_gen=1)
        order = Order(deletion, len(self._stored), sum(self._stored.values()))
        event_id = self._control_plane.request(deletion)
        self._watch.until_completed({event_id: order})
        self.stage.say("its server still runs; when it stops, the late store is refused:")
        expect(self._running.cluster.stop() == 0, "the server's status is not 0")
        self._tell(self._running, "not everything was stored", "answered 410")

    def _attach_anew(self) -> None:
        self.stage.chapter("Attached anew, generation 2: it begins clean, and stores again")
        node = self._node("anew", 2)
        node.move_from(self._running)
        for path in FILES:  # as a node that never was this endpoint's
            (node.cluster.pgdata / path).unlink()
        node.start()
        self._tell(node, "starts cold", "nothing has been stored yet")
        expect(pgnode.known_calls(node.cluster) == 0, "it knows what was deleted")
        expect(node.cluster.stop() == 0, "the server's status is not 0")
        self._tell(node, "files stored", "files=3")
