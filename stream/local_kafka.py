"""Apache Kafka on this machine: one KRaft node in a folder of its own, on the Java runtime of a wheel.

Its folder is described in stream/kafka_folder.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from stream import kafka_jars, processes
from stream.errors import BrokerError
from stream.kafka_folder import KafkaFolder

DEFAULT_PORT = 19092
JAVA_OPTIONS = (
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED",  # compression libraries; silences a warning of newer runtimes
    "--sun-misc-unsafe-memory-access=allow",  # Kafka unmaps its buffers that way; same
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)


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

    def __init__(
        self, data_dir: Path, port: int = DEFAULT_PORT, controller_port: int | None = None, heap_mb: int = 1024
    ) -> None:
        self.folder = KafkaFolder(data_dir)
        self.data_dir = self.folder.root
        self.port = port
        self.controller_port = port + 1 if controller_port is None else controller_port
        self.heap_mb = heap_mb

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
        self.folder.claim()
        with self.folder.locked():
            known = self._running()
            if known is not None:
                self._check_same(known)
                self._wait(known, timeout_s)
                return False
            self.folder.check_data()
            self._check_ports()
            class_path = kafka_jars.resolve(kafka_jars.default_cache_dir())
            self.folder.write_properties(self.port, self.controller_port)
            self.folder.rotate_log()
            self._format(class_path)
            process = self._spawn(class_path)
            try:
                self._wait(process, timeout_s)
            except BaseException:
                processes.end(process.pid, process.identity, signal.SIGKILL, 10.0)
                self.folder.record.unlink(missing_ok=True)
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
            return BrokerStatus("stopped", str(self.data_dir), str(self.folder.log))
        address = f"127.0.0.1:{process.port}"
        return BrokerStatus(
            state="running" if serves(address) else "starting",
            data_dir=str(self.data_dir),
            log=str(self.folder.log),
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
        gone = processes.end(process.pid, process.identity, sent, timeout_s) or processes.end(
            process.pid, process.identity, signal.SIGKILL, 10.0
        )
        if not gone:
            raise BrokerError(
                f"the broker (process {process.pid}) does not end, not even by SIGKILL; see {self.folder.log}"
            )
        self.folder.record.unlink(missing_ok=True)
        return True

    def _running(self) -> _Process | None:
        """The process named in broker.json, if that very one still lives."""
        try:
            process = _Process(**json.loads(self.folder.record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return process if processes.alive(process.pid, process.identity) else None

    def _check_same(self, running: _Process) -> None:
        if running.port != self.port:
            raise BrokerError(
                f"a broker of {self.data_dir} runs already, on port {running.port} and not {self.port}: "
                f"use --port {running.port}, or stop it first, or choose another folder with --data-dir"
            )

    def _check_ports(self) -> None:
        for port, option in ((self.port, "--port"), (self.controller_port, "--controller-port")):
            with closing(socket.socket()) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except (OSError, OverflowError) as error:
                    reason = getattr(error, "strerror", None) or str(error)
                    raise BrokerError(
                        f"port {port} on 127.0.0.1 cannot be used ({reason}): end what uses it, or choose another with {option}"
                    ) from error

    def _java(self, class_path: str, heap_mb: int, *options: str) -> list[str]:
        crash = f"-XX:ErrorFile={self.data_dir}/java-crash-%p.log"
        return [str(kafka_jars.java()), f"-Xmx{heap_mb}m", crash, *JAVA_OPTIONS, "-cp", class_path, *options]

    def _format(self, class_path: str) -> None:
        if self.folder.formatted():
            return
        tool = self._java(class_path, 256, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool")
        made = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=False, env=_environment())
        cluster = made.stdout.strip().splitlines()[-1] if made.stdout.strip() else ""
        done = subprocess.run(
            [*tool, "format", "-t", cluster, "-c", str(self.folder.properties)],
            capture_output=True,
            text=True,
            check=False,
            env=_environment(),
        )
        if done.returncode != 0:
            raise BrokerError(
                f"Kafka could not prepare {self.folder.data}: {(done.stderr or made.stderr or done.stdout).strip()[-600:]}"
            )

    def _spawn(self, class_path: str) -> _Process:
        pid = processes.spawn(
            self._java(class_path, self.heap_mb, "kafka.Kafka", str(self.folder.properties)),
            self.folder.log,
            _environment(),
        )
        process = _Process(
            pid, processes.identity(pid) or "ended", self.port, self.controller_port, kafka_jars.KAFKA_VERSION
        )
        draft = self.folder.record.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(process)), encoding="utf-8")
        draft.replace(self.folder.record)
        return process

    def _wait(self, process: _Process, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not serves(f"127.0.0.1:{process.port}"):
            if not processes.alive(process.pid, process.identity):
                self.folder.record.unlink(missing_ok=True)
                raise BrokerError(f"Kafka ended while starting:\n{self.folder.tail(8)}\nWhole log: {self.folder.log}")
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"Kafka does not serve after {timeout_s:g} s; the end of {self.folder.log}:\n{self.folder.tail(8)}"
                )
            time.sleep(0.05)


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
    from aiokafka.errors import KafkaError

    from stream.kafka_client import admin_client

    try:
        async with admin_client([address], timeout_s=timeout_s) as admin:
            cluster = await asyncio.wait_for(admin.describe_cluster(), timeout_s)
    except (BrokerError, KafkaError, TimeoutError, OSError):  # it may end, or know brokers that do not answer
        return False
    return bool(cluster["brokers"])


def _environment() -> dict[str, str]:
    """The caller's environment without what would change the Java runtime or Kafka behind our back."""
    unwanted = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "KAFKA_OPTS")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "LC_ALL": "C.UTF-8"}  # Java reads file names by the locale; folders have names in any language
