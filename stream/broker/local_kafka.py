"""Starts and stops Apache Kafka on this machine, on the Java runtime of a wheel.

One KRaft node that is broker and controller, in a folder of its own, which is described in
stream/broker/folder.py.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stream.broker import jars as kafka_jars
from stream.broker import processes
from stream.broker.cleanup import Cleanup
from stream.broker.folder import KafkaFolder, home_folder
from stream.broker.ports import free_ports
from stream.errors import BrokerError

DEFAULT_PORT = 19092
JAVA_OPTIONS = (
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    # Newer runtimes warn of native code, which the compression libraries are, ...
    "--enable-native-access=ALL-UNNAMED",
    # ... and of the way in which Kafka unmaps its buffers.
    "--sun-misc-unsafe-memory-access=allow",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
RECORD_BYTES = 1024
"""Length of broker.json, whose room on the disk is taken before the process that it names runs."""

SHORT_LIVED = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Java compiles quickly instead of well: a third less work until the broker serves."""


def default_data_dir() -> Path:
    """Returns the folder below the user's own data in which the local broker keeps its data."""
    home = os.environ.get("XDG_DATA_HOME") or home_folder() / ".local" / "share"
    return Path(home) / "interest-stream" / "kafka"


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """Holds what is known of the broker of a folder.

    `state` is stopped, starting (the process lives, Kafka does not answer) or running.
    """

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
        """Says whether it serves."""
        return self.state == "running"


@dataclass(frozen=True, slots=True)
class _Process:
    """Holds what broker.json says: which process the broker is, and where it serves."""

    pid: int
    identity: str
    port: int
    controller_port: int
    version: str


class LocalKafka:
    """Controls the one broker of a folder.

    Objects of other processes on the same folder see and stop the same broker.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = DEFAULT_PORT,
        controller_port: int | None = None,
        heap_mb: int = 1024,
        short_lived: bool = False,
        keep_start_as: Path | None = None,
    ) -> None:
        """`short_lived` starts it with half the work, and makes it slower when much is asked.

        `keep_start_as`: where Java writes its cache when the broker stops, see `quick_start`.
        """
        self.folder = KafkaFolder(data_dir)
        self.data_dir = self.folder.root
        self.port = port
        self.controller_port = port + 1 if controller_port is None else controller_port
        self.heap_mb = heap_mb
        self._options = SHORT_LIVED if short_lived else ()
        self._keep_start_as = keep_start_as

    @property
    def bootstrap(self) -> str:
        """Returns its address as host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Returns its address as --broker takes it."""
        return f"kafka://{self.bootstrap}"

    def start(self, timeout_s: float = 60.0) -> bool:
        """Starts the broker and returns once it serves; False if it was running already.

        Raises BrokerError: a port is taken, the folder is not usable, Kafka ended or did not serve
        in time.
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
            self.prepare_data(class_path)
            try:
                self._wait(self._spawn(class_path), timeout_s)
            except BaseException:
                self.kill()  # by the record, which is written before an interrupt can come
                raise
            return True

    def stop(self, timeout_s: float = 60.0) -> bool:
        """Ends the broker of this folder and no other process; False if none runs. Data stays."""
        return self._end(signal.SIGTERM, timeout_s)

    def kill(self) -> bool:
        """Ends it by SIGKILL, as a crash would; False if none runs."""
        return self._end(signal.SIGKILL, 10.0)

    def status(self) -> BrokerStatus:
        """Returns what runs in this folder now; whether it serves is asked of Kafka itself."""
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
                f"the broker (process {process.pid}) does not end, not even by SIGKILL; see "
                f"{self.folder.log}"
            )
        self.folder.record.unlink(missing_ok=True)
        return True

    def _running(self) -> _Process | None:
        """Returns the process that broker.json names, if that very one still lives."""
        try:
            process = _Process(**json.loads(self.folder.record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return process if processes.alive(process.pid, process.identity) else None

    def _check_same(self, running: _Process) -> None:
        if running.port != self.port:
            raise BrokerError(
                f"a broker of {self.data_dir} runs already, on port {running.port} and not "
                f"{self.port}: "
                f"use --port {running.port}, or stop it first, or choose another folder with "
                "--data-dir"
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
                        f"port {port} on 127.0.0.1 cannot be used ({reason}): end what uses it, or "
                        f"choose another with {option}"
                    ) from error

    def java_command(self, class_path: str, heap_mb: int, *options: str) -> list[str]:
        crash = f"-XX:ErrorFile={self.data_dir}/java-crash-%p.log"
        line = [str(kafka_jars.java()), f"-Xmx{heap_mb}m", crash, *JAVA_OPTIONS]
        return [*line, "-cp", class_path, *options]

    def prepare_data(self, class_path: str) -> None:
        """Prepares an empty data folder, by Kafka's tool the first time and from its result later.

        The tool starts Java for some 400 bytes that say which features a new cluster begins with;
        they are the same for every cluster of a version, so they are kept with the jars.
        """
        if self.folder.formatted():
            return
        kept = kafka_jars.default_cache_dir() / f"features-{kafka_jars.KAFKA_VERSION}.checkpoint"
        if kept.exists():
            self.folder.write_formatted(new_uuid(), new_uuid(), kept.read_bytes())
            return
        tool = self.java_command(class_path, 256, *SHORT_LIVED, "kafka.tools.StorageTool", "format")
        done = processes.run_to_end(
            [*tool, "-t", new_uuid(), "-c", str(self.folder.properties)], java_environment()
        )
        if done.returncode != 0:
            printed = (done.stderr or done.stdout).strip()[-600:]
            raise BrokerError(f"Kafka could not prepare {self.folder.data}: {printed}")
        with suppress(OSError):  # what cannot be kept is made again next time
            kafka_jars.keep(kept, self.folder.features.read_bytes())

    def _spawn(self, class_path: str) -> _Process:
        server = ("kafka.Kafka", str(self.folder.properties))
        if self._keep_start_as is None:
            quick = kafka_jars.start_options(kafka_jars.default_cache_dir())
        else:
            quick = (f"-XX:AOTCacheOutput={self._keep_start_as}",)
        line = self.java_command(class_path, self.heap_mb, *self._options, *quick, *server)
        with processes.interrupts_held():  # no broker runs that its folder does not name
            # the room for the record is taken before anything runs: later the disk may be full
            draft = self.folder.record.with_suffix(".draft")
            self._write(draft, "")
            try:
                pid = processes.spawn(line, self.folder.log, java_environment())
            except OSError as error:
                raise BrokerError(
                    f"Java cannot be started, or {self.folder.log} not be written: "
                    f"{error.strerror}; make room there, or choose another folder with --data-dir"
                ) from error
            known = processes.identity(pid) or "ended"
            process = _Process(
                pid, known, self.port, self.controller_port, kafka_jars.KAFKA_VERSION
            )
            try:
                self._write(draft, json.dumps(asdict(process)))
                draft.replace(self.folder.record)
            except BaseException:
                processes.end(pid, known, signal.SIGKILL, 10.0)
                raise
        return process

    def _write(self, draft: Path, text: str) -> None:
        """Writes a file of always the same length in place; BrokerError when there is no room."""
        try:
            with draft.open("r+" if draft.exists() else "w", encoding="utf-8") as file:
                file.write(text.ljust(RECORD_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise BrokerError(
                f"cannot write {draft}: {error.strerror}; make room there, or choose another "
                "folder with --data-dir"
            ) from error

    def _wait(self, process: _Process, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not serves(f"127.0.0.1:{process.port}"):
            if not processes.alive(process.pid, process.identity):
                self.folder.record.unlink(missing_ok=True)
                raise BrokerError(
                    f"Kafka ended while starting:\n{self.folder.tail(8)}\nWhole log: "
                    f"{self.folder.log}"
                )
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"Kafka does not serve after {timeout_s:g} s; the end of "
                    f"{self.folder.log}:\n{self.folder.tail(8)}"
                )
            time.sleep(0.05)


def new_uuid() -> str:
    """Returns a new identity as Kafka writes them: 22 letters of which the first is no dash."""
    letters = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return new_uuid() if letters.startswith("-") else letters


def temporary_kafka(cleanup: Cleanup, folder: Path, short_lived: bool = True) -> LocalKafka:
    """Returns a broker that is not started yet, below a folder that goes away; it is ended before.

    Killed instead of stopped: its data goes away, too.
    """
    port, controller_port = free_ports(2)
    kafka = LocalKafka(folder / "kafka", port, controller_port, 512, short_lived)
    return cleanup.add(lambda: kafka, LocalKafka.kill)


def serves(address: str, timeout_s: float = 5.0) -> bool:
    """Says whether a broker at host:port answers a metadata request and knows of itself.

    An open port is not enough: Kafka opens it before it serves.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1.0).close()
    except OSError:
        return False
    with ThreadPoolExecutor(1) as thread:  # the caller may have a running event loop
        return thread.submit(asyncio.run, _answers(address, timeout_s)).result()


async def _answers(address: str, timeout_s: float) -> bool:
    from aiokafka.errors import KafkaError

    from stream.kafka.client import admin_client

    try:
        async with admin_client([address], timeout_s=timeout_s) as admin:
            cluster = await asyncio.wait_for(admin.describe_cluster(), timeout_s)
    except (BrokerError, KafkaError, TimeoutError, OSError):
        return False  # it may end meanwhile, or know brokers that do not answer
    return bool(cluster["brokers"])


def java_environment() -> dict[str, str]:
    """Returns our environment without what would change the Java runtime or Kafka unseen."""
    unwanted = ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "KAFKA_OPTS")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    # Java reads file names by the locale, and folders have names in any language.
    return {**kept, "LC_ALL": "C.UTF-8"}
