"""Gives a real Kafka to the tests that need one, and guards that nothing is left running."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from stream import logs
from stream.broker.local_kafka import serves
from stream.broker.ports import free_ports
from tests.support import brokers, processes, trained
from tests.support.brokers import BROKER_VARIABLE, Kafka
from tests.support.pipelines import Pipeline, make_pipeline

# a busy machine is no failure: no example has a deadline, and slow generation is not unhealthy
hypothesis.settings.register_profile(
    "house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("house")

# what a shell starts in the background ignores Ctrl-C, and so would the commands under test, which
# inherit it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # nor may a time limit leave a broker behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)

# several processes of tests and their commands share a few cores: a second thread of torch mostly
# waits for a core that another process has, and the first one for the second, ten times as long
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = "interest_stream_kafka"
"""Name of the variable that gives processes of pytest-xdist the folder of the broker they share."""
FOLDERS = pytest.StashKey[Path]()
"""Where the whole run keeps its files."""
KEEP = pytest.StashKey[bool]()
"""Whether these stay: after a failure somebody will want to look at them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        choices=("jars", "container"),
        default="jars",
        help=f"The tests' Kafka, unless {BROKER_VARIABLE} names one: from Apache Kafka's jars, "
        "or a container.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Gives the run a folder of its own, which is gone afterwards.

    Processes of pytest-xdist use that of the one that made them.
    """
    if hasattr(config, "workerinput"):
        config.stash[FOLDERS] = Path(config.workerinput[SHARED])
        return
    config.stash[FOLDERS] = folder = Path(tempfile.mkdtemp(prefix="interest-stream-tests-"))
    if config.option.basetemp is None:
        config.option.basetemp = folder / "tests"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a process of pytest-xdist, before it starts, the folder of the run."""
    node.workerinput[SHARED] = str(node.config.stash[FOLDERS])


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Imports the files of tests in an order of each process's own, before pytest collects them.

    pytest rewrites the assertions of each file, which is half of a collection, and keeps the
    result. Processes that begin with files of their own find the others done.
    """
    gc.disable()  # nothing of what is imported goes away
    config = session.config
    told = getattr(config, "workerinput", None)
    if (
        told is None
        or sys.dont_write_bytecode
        or config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    ):
        return
    files = sorted((config.rootpath / "tests").rglob("test_*.py"))
    first = int(told["workerid"].removeprefix("gw")) * len(files) // told["workercount"]
    for file in files[first:] + files[:first]:
        name = ".".join(file.relative_to(config.rootpath).with_suffix("").parts)
        # what is wrong with a file pytest tells when it collects it
        with suppress(Exception, pytest.skip.Exception):
            import_module(name)


def pytest_collection_finish() -> None:
    """Has Python look for garbage again, but not among what was imported."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with tests that take long first, so that no process is left alone with one.

    Files that mostly wait for a Kafka and files that compute take turns: processes side by side
    then ask for the cores less often at the same time.
    """
    files: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)

    def has(file: Path, mark: str) -> bool:
        return any(item.get_closest_marker(mark) for item in files[file])

    waiting = [file for file in files if has(file, "kafka")]
    waiting.sort(key=lambda file: not has(file, "slow"))
    computing = [file for file in files if has(file, "slow") and file not in waiting]
    turns = chain.from_iterable(zip_longest(waiting, computing))
    order = dict.fromkeys([*(file for file in turns if file), *files])
    items[:] = [item for file in order for item in files[file]]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Notes whether what the tests wrote is worth keeping."""
    session.config.stash[KEEP] = exitstatus == pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the shared broker after the last test of the last process, and removes the run's folder.

    It does so after Ctrl-C too.
    """
    folder = config.stash.get(FOLDERS, None)
    if folder is None or hasattr(config, "workerinput"):
        return
    brokers.end_all(folder)
    if not config.stash.get(KEEP, False):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def forks(request: pytest.FixtureRequest) -> None:
    """A server that has imported everything, from which commands are forked."""
    processes.prepare_shared(request.config.stash[FOLDERS] / "forks")


@pytest.fixture(scope="session")
def simulated_model(request: pytest.FixtureRequest, forks: None) -> Path:
    """Returns the directory of a model that was trained on simulated users, for all to read."""
    return trained.join_simulated(request.config.stash[FOLDERS] / "simulated")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """Yields a Kafka that serves: the one named in the environment, else one of our own.

    Not having one is a failure, never a skip.
    """
    given = os.environ.get(BROKER_VARIABLE, "").removeprefix("kafka://")
    if given:
        if not serves(given):
            pytest.fail(
                f"{BROKER_VARIABLE} names {given}, and no Kafka serves there", pytrace=False
            )
        yield Kafka(given)
    elif request.config.getoption("--kafka") == "container":
        with brokers.container() as bootstrap:
            yield Kafka(bootstrap)
    else:  # it ends with the whole run, see pytest_unconfigure
        yield Kafka(brokers.join_shared(request.config.stash[FOLDERS] / "kafka").bootstrap)


@pytest.fixture
def pipeline(kafka: Kafka, tmp_path: Path) -> Iterator[Pipeline]:
    """Topics of the test's own; whatever it starts on them is ended with it."""
    yield from make_pipeline(kafka.url, kafka.unique, tmp_path)


@pytest.fixture
def ports() -> list[int]:
    """Four free ports for a test that starts servers of its own."""
    return free_ports(4)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restores the logging that a command called inside this process has set up for it.

    The command's handler would write to a closed file in the tests after it.
    """
    own, root = logging.getLogger("interest_stream"), logging.getLogger()
    levels = own.level, root.level
    yield
    root.handlers[:] = [each for each in root.handlers if not isinstance(each.formatter, logs.Utc)]
    own.setLevel(levels[0])
    root.setLevel(levels[1])


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves child processes or non-daemon threads running; end what it left."""
    needs = set(request.fixturenames)
    if request.node.get_closest_marker("kafka"):
        needs.add("forks")
    for name in {"forks", "kafka"} & needs:
        request.getfixturevalue(name)  # what tests share is there before the count
    before, threads = _children(), set(threading.enumerate())
    yield
    left = _settle(before, threads)
    if left:
        pytest.fail("left running: " + "; ".join(left), pytrace=False)


def _settle(
    before: dict[int, str], threads: set[threading.Thread], patience_s: float = 20.0
) -> list[str]:
    """What is still there after a moment to end by itself."""
    deadline = time.monotonic() + patience_s
    while True:
        left = [
            f"process {pid} ({command})"
            for pid, command in _children().items()
            if pid not in before and pid not in brokers.lent()
        ]
        left += [f"fork {each.pid}" for each in multiprocessing.active_children()]
        left += [
            f"thread {each.name}"
            for each in threading.enumerate()
            if each not in threads and not each.daemon and each.is_alive()
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def _children() -> dict[int, str]:
    """Returns the running children of this process, number to command line.

    There are none where the system has no /proc.
    """
    found: dict[int, str] = {}
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            numbers = [int(word) for word in task.read_text(encoding="utf-8").split()]
        except OSError:
            continue
        for pid in numbers:
            try:
                state = (
                    Path(f"/proc/{pid}/stat")
                    .read_text(encoding="utf-8", errors="replace")
                    .rpartition(")")[2]
                    .split()[0]
                )
                command = (
                    Path(f"/proc/{pid}/cmdline")
                    .read_bytes()
                    .replace(b"\0", b" ")
                    .decode(errors="replace")
                    .strip()
                )
            except OSError:
                continue
            if state not in "ZX":
                found[pid] = command[:120]
    return found
