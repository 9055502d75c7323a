"""Runs three brokers that are also the three controllers, as processes of this machine.

Replication 3, minimum ISR 2, no unclean election. They run only while scenarios need them: two
cores are too few for more. What is asked of the cluster is asked of brokers that answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from stream.broker.folder import KafkaFolder
from stream.broker.local_kafka import LocalKafka, java_environment
from stream.broker.ports import free_ports
from stream.errors import BrokerError
from stream.kafka.client import admin_client

CLUSTER: Final = "dGhyZWUtYnJva2Vycy1pbg"
NODES: Final = (1, 2, 3)
BROKER_SESSION_S: Final = 6
"""Long enough that a broker does not lose its leaderships to a busy machine alone."""
QUICK: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""They start often and live shortly."""
START_S: Final = 240.0
WHOLE_S: Final = 120.0
"""Longest waits on a loaded machine: for brokers to serve, and for every replica to be in sync."""

PROPERTIES: Final = """\
node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
unclean.leader.election.enable=false
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
broker.session.timeout.ms={session_ms}
controller.quorum.fetch.timeout.ms=4000
auto.leader.rebalance.enable=false
"""


class NodeFolder(KafkaFolder):
    """Of one broker of three."""

    def __init__(self, root: Path, node: int, voters: str) -> None:
        super().__init__(root)
        self.node, self._voters = node, voters

    def write_properties(self, port: int, controller_port: int) -> None:
        super().write_properties(port, controller_port)
        with self.properties.open("a", encoding="ascii") as properties:
            properties.write(
                PROPERTIES.format(
                    node=self.node, voters=self._voters, session_ms=1000 * BROKER_SESSION_S
                )
            )

    def check_data(self) -> None:
        """Made by this campaign, and the stock check knows one node only."""

    def quorum(self) -> tuple[int, int]:
        """Returns epoch and leader of the controllers as this node has last written them down.

        Leader -1: none that it knows.
        """
        try:
            state = json.loads(
                (self.data / "__cluster_metadata-0" / "quorum-state").read_text(encoding="utf-8")
            )
        except (OSError, ValueError):
            return -1, -1
        return state["leaderEpoch"], state["leaderId"]


class Node(LocalKafka):
    """One broker of three."""

    folder: NodeFolder
    pid = 0

    def java_command(self, class_path: str, heap_mb: int, *options: str) -> list[str]:
        return super().java_command(class_path, heap_mb, *QUICK, *options)

    def prepare_data(self, class_path: str) -> None:
        if self.folder.formatted():
            return
        tool = self.java_command(class_path, 256, "kafka.tools.StorageTool", "format")
        arguments = ["-t", CLUSTER, "-c", str(self.folder.properties)]
        subprocess.run([*tool, *arguments], check=True, capture_output=True, env=java_environment())

    def start(self, timeout_s: float = START_S) -> bool:
        started = super().start(timeout_s)
        self.pid = self.status().pid or 0
        return started


class ThreeBrokers:
    """Runs the cluster as one, in place of LocalKafka for a run.

    Where a method takes nodes, only those are meant.
    """

    replication = 3

    def __init__(self, root: Path) -> None:
        ports = free_ports(2 * len(NODES))
        self.root = root
        self.nodes: dict[int, Node] = {}
        self._paused: set[int] = set()
        voters = ",".join(f"{node}@127.0.0.1:{ports[2 * node - 1]}" for node in NODES)
        for node in NODES:
            broker = Node(root / str(node), ports[2 * node - 2], ports[2 * node - 1], heap_mb=256)
            broker.folder = NodeFolder(root / str(node), node, voters)
            self.nodes[node] = broker

    def __enter__(self) -> ThreeBrokers:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return ";".join(node.url for node in self.nodes.values())

    # -- what is done to them

    def start(self, timeout_s: float = START_S) -> None:
        """Every broker runs and every replica is in sync. Raises BrokerError."""
        self.resume()
        with ThreadPoolExecutor(len(NODES)) as threads:  # none serves before two are there
            list(threads.map(lambda node: node.start(timeout_s), self.nodes.values()))
        deadline = time.monotonic() + WHOLE_S
        while not self.whole():
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"not every replica is in sync again after {WHOLE_S:.0f} s; logs in "
                    f"{self.root}/*/kafka.log"
                )
            time.sleep(0.25)

    def stop(self, nodes: Iterable[int] = NODES) -> bool:
        """SIGTERM, one after the other; True when all lived until then."""
        lived = [self.nodes[node].stop() for node in nodes]
        return all(lived)

    def kill(self, nodes: Iterable[int] = NODES) -> bool:
        """SIGKILL; True when all lived until then."""
        nodes = list(nodes)
        self._paused -= set(nodes)
        lived = [self.nodes[node].kill() for node in nodes]
        return all(lived)

    def pause(self, node: int) -> None:
        """SIGSTOP."""
        os.kill(self.nodes[node].pid, signal.SIGSTOP)
        self._paused.add(node)

    def resume(self) -> None:
        """SIGCONT of all that were paused."""
        while self._paused:
            os.kill(self.nodes[self._paused.pop()].pid, signal.SIGCONT)

    # -- what is asked of them

    def leader(self, topic: str, partition: int = 0) -> int:
        """Node that leads a partition; -1: none, or nobody could be asked."""
        return next(
            (
                each["leader"]
                for name, each in self._partitions()
                if (name, each["partition"]) == (topic, partition)
            ),
            -1,
        )

    def in_sync(self, topic: str) -> list[set[int]]:
        """Nodes in sync, of each partition of a topic."""
        return [set(each["isr"]) for name, each in self._partitions() if name == topic]

    def whole(self) -> bool:
        """Every replica of every topic is in sync."""
        found = self._partitions()
        return bool(found or self._ask(lambda admin: admin.describe_cluster())) and all(
            len(each["isr"]) == self.replication for _, each in found
        )

    def coordinator(self, group: str) -> int:
        """Node that coordinates a group; -1: none."""
        found: int | None = self._ask(lambda admin: admin.find_coordinator(group))
        return -1 if found is None else found

    def controller(self) -> tuple[int, int]:
        """Returns epoch and node of the active controller, as those that run have it.

        By epoch, so a later one is another term.
        """
        return max(self.nodes[each].folder.quorum() for each in self.answering())

    def answering(self) -> list[int]:
        """Nodes that are not paused and whose process lives."""
        return [
            node
            for node, broker in self.nodes.items()
            if node not in self._paused and broker._running() is not None
        ]

    def _partitions(self) -> list[tuple[str, Any]]:
        topics = self._ask(lambda admin: admin.describe_topics()) or []
        return [(topic["topic"], each) for topic in topics for each in topic["partitions"]]

    def _ask(self, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """Of the brokers that answer; None when nobody does."""

        async def ask() -> Any:
            async with admin_client(
                [self.nodes[node].bootstrap for node in self.answering()], 5.0
            ) as admin:
                return await asyncio.wait_for(question(admin), 5.0)

        try:
            return asyncio.run(ask())
        except Exception:
            return None
