"""Starts the commands of this project as processes, for the tests that watch them from outside.

Most of a command's start is imports: seconds of CPU, the same each time. So a test forks it from a
server that has imported everything: the child has its own arguments, environment, folder and
standard streams, and calls the command's real entry point. What a fork cannot show (the
interpreter's start, the imports themselves, a command line in /proc) is seen by the tests that
start a command from nothing with `spawn_new`.
"""

from __future__ import annotations

import fcntl
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any, Final, Protocol

COMMAND: Final = (sys.executable, "-m", "stream.cli")
ENTRY: Final = "stream.cli:main"
HANG_S: Final = 600.0
"""Nothing that a test waits for takes as long, on however busy a machine."""

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED: Final = (
    # what a worker, an audit and a progress bar import once they run
    "faust.assignor.partition_assignor",
    "faust.events",
    "faust.tables.sets",
    "faust.topics",
    "faust.worker",
    "numpy.ma",
    "rich.console",
    "rich.live",
    "rich.progress",
    "rich.table",
    "stream.audit.reader",
    "stream.kafka.signals",
    "stream.worker.process",
    "stream.cli.audit_command",
    "stream.cli.dead_letters_command",
    "stream.cli.inspect_command",
    "stream.cli.popularity_command",
    "stream.cli.produce_command",
    "stream.cli.rank_command",
    "stream.cli.serve_command",
    "stream.cli.tail_command",
    "stream.cli.topics_command",
    "stream.cli.worker_command",
    "stream.serving.process",
    "stream.worker.app",
    "stream.worker.preflight",
    "models.predict",
    "models.serving.predictor",
    "models.scorers.blend",
    "tests.faults.campaign.worker_entry",
)
"""What the server imports before its first fork.

Imports only: a fork of a process with threads of torch would hang.
"""


class Process(Protocol):
    """The part of subprocess.Popen that tests use."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...

    def kill(self) -> None: ...


Spawn = Callable[[list[str], Mapping[str, str], Path], Process]
"""Starts a command with these arguments and this environment, its output in a file."""


class OthersServer(forkserver.ForkServer):
    """A server that another process of the suite has started.

    It ends when no process holds the other end of its pipe any more; this one does from now on.
    """

    def __init__(self, address: str, pipe: str) -> None:
        super().__init__()
        held = os.open(pipe, os.O_WRONLY)
        vars(self).update(_forkserver_address=address, _forkserver_alive_fd=held)

    def ensure_running(self) -> None:
        """Leaves it to the process that started it, unlike the method of the base class."""
        resource_tracker.ensure_running()


def prepare() -> None:
    """Starts the server. It ends by itself when this process ends."""
    _fork_from(_started(PRELOADED))


def prepare_shared(folder: Path) -> None:
    """Has the processes of a suite fork from one server, which ends with the last of them.

    The first that asks starts it. Where the system has no /proc each starts its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "server.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(OSError):  # none was started, or the process that has started it is gone
            joined = OthersServer(**json.loads(note.read_text(encoding="utf-8")))
            joined.ensure_running()  # else the first test that forks would seem to leave a tracker
            _fork_from(joined)
            return
        # the server's address lies here, not in a folder that goes away with this process
        vars(multiprocessing.current_process())["_config"]["tempdir"] = str(folder)
        server = _started(PRELOADED)
        _fork_from(server)
        pipe = f"/proc/{os.getpid()}/fd/{vars(server)['_forkserver_alive_fd']}"
        told = {"address": vars(server)["_forkserver_address"], "pipe": pipe}
        note.write_text(json.dumps(told), encoding="utf-8")


def prepare_with(*modules: str) -> None:
    """Starts another server, which has imported these as well, and forks from it from now on."""
    _fork_from(_started((*PRELOADED, *modules)))


def _started(modules: Iterable[str]) -> forkserver.ForkServer:
    server = forkserver.ForkServer()
    server.set_forkserver_preload(list(modules))
    server.ensure_running()
    return server


def _fork_from(server: forkserver.ForkServer) -> None:
    # the way of `CONTEXT` to a server, which is given by a method of the one that it has
    forkserver.connect_to_new_process = server.connect_to_new_process


class Forked:
    """Runs an entry point in a fork of the server, and behaves like subprocess.Popen."""

    def __init__(
        self,
        entry: str,
        arguments: list[str],
        environment: Mapping[str, str],
        out: Path,
        err: Path | None = None,
    ) -> None:
        work = (entry, arguments, dict(environment), os.getcwd(), str(out), str(err or out))
        self._process = CONTEXT.Process(target=_work, args=work, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("a forked command", timeout or 0.0)
        return code

    def send_signal(self, sig: int, /) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def spawn(
    arguments: list[str], environment: Mapping[str, str], log: Path, entry: str = ENTRY
) -> Process:
    """Starts `interest-stream`, or another entry point, as a fork, its output in a file."""
    return Forked(entry, arguments, environment, log)


def spawner(entry: str) -> Spawn:
    """Returns what starts an entry point of a module as `spawn` starts the command.

    The entry point is given as "package.module:function".
    """
    return partial(spawn, entry=entry)


def spawn_new(arguments: list[str], environment: Mapping[str, str], log: Path) -> Process:
    """Starts `interest-stream` from nothing, as a person does, its output in a file."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run(
    arguments: list[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `interest-stream` as a fork to its end and returns what it said."""
    with tempfile.TemporaryDirectory(prefix="interest-stream-run-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = Forked(
            ENTRY, arguments, os.environ if environment is None else environment, out, err
        )
        try:
            code = process.wait(HANG_S)
        finally:
            process.kill()
        return subprocess.CompletedProcess(
            arguments, code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )


def _work(
    entry: str, arguments: list[str], environment: dict[str, str], folder: str, out: str, err: str
) -> None:
    """Makes the fork what a process started by a shell would be, and runs the entry point."""
    os.setsid()
    _end_with_the_test()
    opened = (
        os.open(os.devnull, os.O_RDONLY),
        *(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) for path in (out, err)),
    )
    for number, descriptor in enumerate(opened):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # the streams of the server were made for other files, and for the locale of another environment
    sys.stdin = io.TextIOWrapper(open(0, "rb", closefd=False), "utf-8")  # noqa: SIM115
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, "wb", closefd=False), "utf-8", errors, line_buffering=True)  # noqa: SIM115
        for number, errors in ((1, "strict"), (2, "backslashreplace"))
    )
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # that of the server
    os.chdir(folder)
    sys.argv = ["interest-stream", *arguments]
    module, _, function = entry.partition(":")
    command: Callable[[list[str]], Any] = getattr(import_module(module), function)
    command(arguments)


def _end_with_the_test() -> None:
    """Has the system kill this process when the one that asked for it is gone.

    A suite that was killed leaves none behind.
    """
    parent = multiprocessing.parent_process()
    if parent is None or sys.platform != "linux":
        return
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)
