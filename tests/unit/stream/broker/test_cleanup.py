"""Whatever moment a signal comes at, what was made is undone, once and completely."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from stream.broker.cleanup import Cleanup, run_in_loop
from stream.broker.processes import ENDING_SIGNALS, interrupts_held
from stream.errors import Failure


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in ENDING_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_last_made_is_undone_first_and_folders_go_away() -> None:
    cleanup, undone = Cleanup(), list[str]()

    def body() -> Path:
        cleanup.add(lambda: "broker", undone.append)
        cleanup.add(lambda: "worker", undone.append)
        folder = cleanup.temporary_folder("test")
        (folder / "log").write_text("")
        return folder

    folder = cleanup.run(body)
    assert undone == ["worker", "broker"]
    assert not folder.exists()


def test_a_signal_between_making_and_noting_waits_and_both_are_done() -> None:
    cleanup, undone = Cleanup(), list[str]()

    def make() -> str:
        signal.raise_signal(signal.SIGINT)
        return "made"

    with pytest.raises(KeyboardInterrupt):
        cleanup.run(lambda: cleanup.add(make, undone.append))
    assert undone == ["made"]


@pytest.mark.parametrize("first", ENDING_SIGNALS)
def test_signals_while_cleaning_up_change_nothing(first: signal.Signals) -> None:
    cleanup, undone = Cleanup(), list[str]()

    def undo(name: str) -> None:
        for each in ENDING_SIGNALS:
            signal.raise_signal(each)
        undone.append(name)

    def body() -> None:
        cleanup.add(lambda: "one", undo)
        cleanup.add(lambda: "two", undo)
        signal.raise_signal(first)

    with pytest.raises(KeyboardInterrupt):
        cleanup.run(body)
    assert undone == ["two", "one"]
    for each in ENDING_SIGNALS:  # nor when the program says why it ends
        signal.raise_signal(each)


def test_a_normal_end_is_not_interrupted() -> None:
    cleanup, undone = Cleanup(), list[str]()
    before = [signal.getsignal(each) for each in ENDING_SIGNALS]

    def undo(name: str) -> None:
        signal.raise_signal(signal.SIGINT)
        undone.append(name)

    assert cleanup.run(lambda: cleanup.add(lambda: "one", undo)) == "one"
    assert undone == ["one"]
    assert [signal.getsignal(each) for each in ENDING_SIGNALS] == before


def test_a_signal_can_be_answered_instead() -> None:
    cleanup, answered = Cleanup(), list[bool]()

    def body() -> None:
        cleanup.on_interrupt(lambda: answered.append(True))
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        cleanup.ignore_interrupts()
        signal.raise_signal(signal.SIGINT)

    cleanup.run(body)
    assert answered == [True, True]


def test_in_an_event_loop_what_runs_there_closes_first() -> None:
    cleanup, closed = Cleanup(), list[str]()

    async def serve() -> None:
        background = asyncio.create_task(asyncio.sleep(60), name="somebody's task")
        signal.raise_signal(signal.SIGTERM)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            closed.append("client")
            background.cancel()

    def body() -> None:
        cleanup.add(lambda: "broker", closed.append)
        run_in_loop(serve())

    with pytest.raises(KeyboardInterrupt):
        cleanup.run(body)
    assert closed == ["client", "broker"]


@pytest.mark.parametrize("moment", ["socket.socketpair", "asyncio.BaseEventLoop.close"])
def test_a_signal_in_the_midst_of_making_or_closing_a_loop_leaves_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Half an event loop cannot be closed, and was told of by a traceback at the end."""
    not_raised = list[object]()
    monkeypatch.setattr("sys.unraisablehook", not_raised.append)
    plain = resolve_name(moment)

    def interrupted(*given: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return plain(*given)

    monkeypatch.setattr(moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        Cleanup().run(lambda: run_in_loop(asyncio.sleep(0)))
    monkeypatch.undo()
    gc.collect()
    assert not not_raised


def test_a_held_signal_comes_when_the_block_is_done() -> None:
    done = list[str]()

    def work() -> None:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            done.append("inside")
        done.append("after")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inside"]


def test_where_nothing_can_be_written_the_setting_to_change_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nowhere(**_: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.mkdtemp", nowhere)
    with pytest.raises(Failure, match="set TMPDIR"):
        Cleanup().temporary_folder("demo")
