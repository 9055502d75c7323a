"""Knows what lies in the data folder of the local broker, and whether it is ours and whole.

`data/` is Kafka's own; `server.properties` is written at each start; `kafka.log` is what Kafka
says; `broker.json` is there while a broker runs and names its process, so that `stop` ends that one
and no other.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import BrokerError

NODE_ID = 1
LOG_BYTES = 10_000_000
PROPERTIES = """\
# Written at each start by interest-stream; changes here are lost.
process.roles=broker,controller
node.id={node}
controller.quorum.voters={node}@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.cleaner.backoff.ms=1000
"""
META = """\
version=1
cluster.id={cluster}
node.id={node}
directory.id={directory}
"""


def home_folder() -> Path:
    """Returns the user's home folder; raises BrokerError where the user has none."""
    try:
        return Path.home()
    except RuntimeError:
        raise BrokerError(
            "this user has no home folder (HOME is not set, and the user is not in the list of "
            "users); set HOME, or name folders with --data-dir and XDG_CACHE_HOME"
        ) from None


class KafkaFolder:
    """Holds the paths of one folder and checks what lies there."""

    def __init__(self, root: Path) -> None:
        try:
            self.root = root.expanduser().absolute()
        except RuntimeError:
            raise BrokerError(f"{root}: nobody's home folder; write the whole path") from None
        self.data = self.root / "data"
        self.log = self.root / "kafka.log"
        self.features = self.data / "bootstrap.checkpoint"
        self.properties = self.root / "server.properties"
        self.record = self.root / "broker.json"

    def claim(self) -> None:
        """Makes the folder if need be.

        Raises BrokerError when it cannot be used or holds something else.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in self.root.iterdir()} - {".lock"}
            (self.root / ".lock").touch()
        except OSError as error:
            raise BrokerError(
                f"cannot use the data folder {self.root}: {error.strerror}; choose another with "
                "--data-dir"
            ) from error
        if names and not names & {self.properties.name, self.data.name}:
            raise BrokerError(
                f"{self.root} is not a broker's data folder (it holds "
                f"{', '.join(sorted(names)[:3])}, ...); "
                "name an empty or new one with --data-dir"
            )

    def check_data(self) -> None:
        """Raises BrokerError when `data/` is not what an earlier start of this broker left."""
        meta = self.data / "meta.properties"
        mend = (
            f"give another folder with --data-dir, or remove {self.root} to begin with an empty "
            "broker"
        )
        try:
            held = {path.name for path in self.data.iterdir()} if self.data.exists() else set()
            text = meta.read_text(encoding="utf-8", errors="replace") if meta.name in held else ""
        except OSError as error:
            raise BrokerError(f"cannot read {self.data}: {error.strerror}; {mend}") from error
        if not held - {".lock"}:
            return
        if not text:
            raise BrokerError(f"{self.data} is broken: it has data and no meta.properties; {mend}")
        values = dict(
            line.split("=", 1)
            for line in text.splitlines()
            if "=" in line and not line.startswith("#")
        )
        if (
            values.get("node.id") != str(NODE_ID)
            or not values.get("cluster.id")
            or not values.get("directory.id")
        ):
            raise BrokerError(
                f"{meta} is not that of this broker "
                f"(node.id {values.get('node.id')}, cluster.id {values.get('cluster.id')}); {mend}"
            )

    def formatted(self) -> bool:
        """Says whether `data/` has been prepared for a broker."""
        return (self.data / "meta.properties").exists()

    def write_formatted(self, cluster_id: str, directory_id: str, features: bytes) -> None:
        """Prepares an empty `data/` as Kafka's own tool does; BrokerError when that fails."""
        meta = META.format(node=NODE_ID, cluster=cluster_id, directory=directory_id)
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self.features.write_bytes(features)
            # Last, because its presence says that the folder is prepared.
            (self.data / "meta.properties").write_text(meta, encoding="ascii")
        except OSError as error:
            raise BrokerError(f"cannot write {self.data}: {error.strerror}") from error

    def write_properties(self, port: int, controller_port: int) -> None:
        """Writes Kafka's settings for these ports; BrokerError when that cannot be done."""
        text = PROPERTIES.format(
            node=NODE_ID, port=port, controller_port=controller_port, data=self.data
        )
        try:
            self.properties.write_text(_escaped(text), encoding="ascii")
        except OSError as error:
            raise BrokerError(f"cannot write {self.properties}: {error.strerror}") from error

    def rotate_log(self) -> None:
        """Puts a long log aside; one older is kept."""
        try:
            if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
                self.log.replace(self.log.with_suffix(".log.1"))
        except OSError as error:
            raise BrokerError(f"cannot put {self.log} aside: {error.strerror}") from error

    def tail(self, lines: int) -> str:
        """Returns the last lines of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 400 * lines))
                return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lets one start at a time work on the folder."""
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _escaped(text: str) -> str:
    """Returns the text as Java reads it: Latin-1 in property files, all else in UTF-16 escapes."""
    units = text.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if code < 128 else f"\\u{code:04x}" for code in codes)
