"""Apache Kafka on this machine: one KRaft node in a folder of its own, on the Java runtime of a wheel.

What lies in the folder: `data/` (Kafka's own), `server.properties` (written at each start), `kafka.log`, and, while a broker runs,
`broker.json`, which names the process so that `stop` ends that one and no other.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from stream import kafka_jars, processes
from stream.errors import BrokerError

DEFAULT_PORT = 19092
NODE_ID = 1
LOG_BYTES = 10_000_000
JAVA_OPTIONS = (
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",  # compression libraries; silences a warning of newer runtimes
    "--sun-misc-unsafe-memory-access=allow",  # Kafka unmaps its buffers that way; same
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
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


def default_data_dir() -> Path:
    """The user's data folder for the local broker."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "interest-stream" / "kafka"


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """`state` is stopped, starting (the process lives, Kafka does not answer) or running."""

    state: str
    data_dir: str
    log: str
    pid: int | None = None
    port: int | None = None
    controller_port: int | None = None
    url: str | None = None
    version: str | None = None

    @property
    def running(self) -> bool:
        return self.state == "running"


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    identity: str
    port: int
    controller_port: int
    version: str


class LocalKafka:
    """One broker in `data_dir`. Objects of other processes on the same folder see and stop the same broker."""

    def __init__(self, data_dir: Path, port: int = DEFAULT_PORT, controller_port: int | None = None, heap_mb: int = 1024) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.port = port
        self.controller_port = port + 1 if controller_port is None else controller_port
        self.heap_mb = heap_mb
        self.log = self.data_dir / "kafka.log"
        self._data = self.data_dir / "data"
        self._properties = self.data_dir / "server.properties"
        self._record = self.data_dir / "broker.json"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.bootstrap}"

    def start(self, timeout_s: float = 60.0) -> bool:
        """Start the broker and return once it serves; False if it was running already.

        Raises BrokerError: a port is taken, the folder is not usable, Kafka ended or did not serve in time.
        """
        self._check_folder()
        with self._locked():
            known = self._running()
            if known is not None:
                self._check_same(known)
                self._wait(known, timeout_s)
                return False
            self._check_data()
            self._check_ports()
            class_path = kafka_jars.resolve(kafka_jars.default_cache_dir())
            self._write_properties()
            self._rotate_log()
            self._format(class_path)
            process = self._spawn(class_path)
            try:
                self._wait(process, timeout_s)
            except BaseException:
                processes.end(process.pid, process.identity, signal.SIGKILL, 10.0)
                self._record.unlink(missing_ok=True)
                raise
            return True

    def stop(self, timeout_s: float = 60.0) -> bool:
        """End the broker of this folder and no other process; False if none runs. Data stays."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> bool:
        """SIGKILL, as a crash would; False if none runs."""
        return self._end(signal.SIGKILL, 10.0)

    def status(self) -> BrokerStatus:
        """What runs in this folder now, by asking Kafka itself."""
        process = self._running()
        if process is None:
            return BrokerStatus("stopped", str(self.data_dir), str(self.log))
        address = f"127.0.0.1:{process.port}"
        return BrokerStatus(
            state="running" if serves(address) else "starting",
            data_dir=str(self.data_dir),
            log=str(self.log),
            pid=process.pid,
            port=process.port,
            controller_port=process.controller_port,
            url=f"kafka://{address}",
            version=process.version,
        )

    def _end(self, sent: signal.Signals, timeout_s: float) -> bool:
        process = self._running()
        if process is None:
            return False
        gone = processes.end(process.pid, process.identity, sent, timeout_s) or processes.end(process.pid, process.identity, signal.SIGKILL, 10.0)
        if not gone:
            raise BrokerError(f"the broker (process {process.pid}) does not end, not even by SIGKILL; see {self.log}")
        self._record.unlink(missing_ok=True)
        return True

    def _running(self) -> _Process | None:
        """The process named in broker.json, if that very one still lives."""
        try:
            process = _Process(**json.loads(self._record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return process if processes.alive(process.pid, process.identity) else None

    def _check_same(self, running: _Process) -> None:
        if running.port != self.port:
            raise BrokerError(
                f"a broker of {self.data_dir} runs already, on port {running.port} and not {self.port}: "
                f"use --port {running.port}, or stop it first, or choose another folder with --data-dir"
            )

    def _check_folder(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in self.data_dir.iterdir()} - {".lock"}
            (self.data_dir / ".lock").touch()
        except OSError as error:
            raise BrokerError(f"cannot use the data folder {self.data_dir}: {error.strerror}; choose another with --data-dir") from error
        if names and not names & {"server.properties", "data"}:
            raise BrokerError(
                f"{self.data_dir} is not a broker's data folder (it holds {', '.join(sorted(names)[:3])}, ...); name an empty or new one with --data-dir"
            )

    def _check_data(self) -> None:
        """Raises BrokerError when data/ is not what a start of ours left."""
        meta = self._data / "meta.properties"
        mend = f"give another folder with --data-dir, or remove {self.data_dir} to begin with an empty broker"
        try:
            held = {path.name for path in self._data.iterdir()} if self._data.exists() else set()
            text = meta.read_text(encoding="utf-8") if "meta.properties" in held else ""
        except OSError as error:
            raise BrokerError(f"cannot read {self._data}: {error.strerror}; {mend}") from error
        if not held - {".lock"}:
            return
        if not text:
            raise BrokerError(f"{self._data} is broken: it has data and no meta.properties; {mend}")
        values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
        if values.get("node.id") != str(NODE_ID) or not values.get("cluster.id") or not values.get("directory.id"):
            raise BrokerError(f"{meta} is not that of this broker (node.id {values.get('node.id')}, cluster.id {values.get('cluster.id')}); {mend}")

    def _check_ports(self) -> None:
        for port, option in ((self.port, "--port"), (self.controller_port, "--controller-port")):
            with closing(socket.socket()) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except (OSError, OverflowError) as error:
                    reason = getattr(error, "strerror", None) or str(error)
                    raise BrokerError(f"port {port} on 127.0.0.1 cannot be used ({reason}): end what uses it, or choose another with {option}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One start at a time on a folder."""
        with (self.data_dir / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write_properties(self) -> None:
        text = PROPERTIES.format(node=NODE_ID, port=self.port, controller_port=self.controller_port, data=self._data)
        try:
            self._properties.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BrokerError(f"cannot write {self._properties}: {error.strerror}") from error

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))

    def _java(self, class_path: str, heap_mb: int, *options: str) -> list[str]:
        crash = f"-XX:ErrorFile={self.data_dir}/java-crash-%p.log"
        return [str(kafka_jars.java()), f"-Xmx{heap_mb}m", crash, *JAVA_OPTIONS, "-cp", class_path, *options]

    def _format(self, class_path: str) -> None:
        if (self._data / "meta.properties").exists():
            return
        tool = self._java(class_path, 256, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool")
        made = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=False, env=_environment())
        cluster = made.stdout.strip().splitlines()[-1] if made.stdout.strip() else ""
        done = subprocess.run(
            [*tool, "format", "-t", cluster, "-c", str(self._properties)], capture_output=True, text=True, check=False, env=_environment()
        )
        if done.returncode != 0:
            raise BrokerError(f"Kafka could not prepare {self._data}: {(done.stderr or made.stderr or done.stdout).strip()[-600:]}")

    def _spawn(self, class_path: str) -> _Process:
        pid = processes.spawn(self._java(class_path, self.heap_mb, "kafka.Kafka", str(self._properties)), self.log, _environment())
        process = _Process(pid, processes.identity(pid) or "ended", self.port, self.controller_port, kafka_jars.KAFKA_VERSION)
        draft = self._record.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(process)), encoding="utf-8")
        draft.replace(self._record)
        return process

    def _wait(self, process: _Process, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not serves(f"127.0.0.1:{process.port}"):
            if not processes.alive(process.pid, process.identity):
                self._record.unlink(missing_ok=True)
                raise BrokerError(f"Kafka ended while starting:\n{self.tail(8)}\nWhole log: {self.log}")
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka does not serve after {timeout_s:g} s; the end of {self.log}:\n{self.tail(8)}")
            time.sleep(0.05)

    def tail(self, lines: int) -> str:
        """The last lines of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 400 * max(lines, 1)))
                return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"


def serves(address: str, timeout_s: float = 5.0) -> bool:
    """Whether a broker at host:port answers a metadata request and knows itself; an open port is not enough."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    with ThreadPoolExecutor(1) as thread:  # the caller may have a running event loop
        return thread.submit(asyncio.run, _answers(address, timeout_s)).result()


async def _answers(address: str, timeout_s: float) -> bool:
    from stream.kafka_client import admin_client

    try:
        async with admin_client([address], timeout_s=timeout_s) as admin:
            cluster = await asyncio.wait_for(admin.describe_cluster(), timeout_s)
    except (BrokerError, TimeoutError, OSError):
        return False
    return bool(cluster["brokers"])


def _environment() -> dict[str, str]:
    """The caller's environment without what would change the Java runtime or Kafka behind our back."""
    unwanted = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "KAFKA_OPTS")
    return {name: value for name, value in os.environ.items() if name not in unwanted}
