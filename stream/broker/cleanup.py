"""Ends what was started and removes what was made, at whatever moment Ctrl-C comes.

A plain `try ... finally` leaves something behind at three moments: when Ctrl-C comes between the
start of a process and the line that notes it; when a second Ctrl-C interrupts the cleaning up that
the first one began; and when the first one comes while the normal end cleans up. Here the first
signal becomes one KeyboardInterrupt, later ones nothing, and none comes between making something
and noting how to undo it.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

from stream.broker.processes import ENDING_SIGNALS, interrupts_held
from stream.errors import Failure

Made = TypeVar("Made")
Result = TypeVar("Result")

PREFIX: Final = "interest-stream-"


class Cleanup:
    """Holds what has to be undone at the end; the last that was made is undone first."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._interrupted = self._ending = False
        self._instead: Callable[[], object] | None = None

    def run(self, body: Callable[[], Result]) -> Result:
        """Calls `body` and undoes everything afterwards; returns or raises what `body` does.

        The first of ENDING_SIGNALS raises KeyboardInterrupt in `body`, later ones are ignored, and
        stay ignored: the process is about to end, and what it still says is heard to its end.
        Only for the main thread, the one that Python runs signal handlers in.
        """
        before = {each: signal.signal(each, self._handle) for each in ENDING_SIGNALS}
        try:
            try:
                return body()
            except asyncio.CancelledError:
                if self._interrupted:  # in the midst of an event loop
                    raise KeyboardInterrupt from None
                raise
            finally:
                self.ignore_interrupts()  # if one comes just before, it was the first and the last
        finally:
            self._stack.close()
            if not self._interrupted:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def add(self, make: Callable[[], Made], undo: Callable[[Made], object]) -> Made:
        """Makes something and notes how it is undone; a signal waits until both are done."""
        with interrupts_held():
            made = make()
            self._stack.callback(undo, made)
        return made

    def temporary_folder(self, purpose: str) -> Path:
        """Makes an empty folder that is removed at the end with all that lies in it."""
        try:
            return self.add(
                lambda: Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-")),
                lambda folder: shutil.rmtree(folder, ignore_errors=True),
            )
        except OSError as error:
            raise Failure(
                f"no temporary folder can be made ({error.strerror or error}); "
                "set TMPDIR to a folder that may be written"
            ) from error

    def on_interrupt(self, instead: Callable[[], object]) -> None:
        """From now on each signal calls `instead`, until interrupts are ignored."""
        self._instead = instead

    def ignore_interrupts(self) -> None:
        """From now on signals do nothing: what is left to do is short, and has to be done."""
        self._ending = True

    def _handle(self, _number: int, _frame: FrameType | None) -> Any:
        if self._ending or self._interrupted:
            return
        if self._instead is not None:
            self._instead()
            return
        self._interrupted = True
        task = _oldest_task()
        if task is None:
            raise KeyboardInterrupt
        # Raised in the middle of an event loop it would leave clients half closed.
        task.get_loop().call_soon_threadsafe(task.cancel)


def run_in_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs a coroutine to its end as asyncio.run does, with a loop that no signal leaves half made.

    A KeyboardInterrupt in the midst of making or closing an event loop leaves an object that cannot
    be closed, and Python says so by a traceback when it takes it away. Signals wait for both.
    """
    runner = asyncio.Runner()
    try:
        with interrupts_held():
            runner.get_loop()
        return runner.run(work)
    finally:
        with interrupts_held():
            runner.close()
            work.close()  # what never began is not warned of


def _oldest_task() -> asyncio.Task[Any] | None:
    """Returns the task that `run_in_loop` was called for, the first by the number in its name.

    None where no event loop runs, or where it is closing already.
    """
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return None
    found = {task.get_name(): task for task in tasks if not task.cancelling()}
    names = [name for name in found if re.fullmatch(r"Task-\d+", name)]
    return found[min(names, key=lambda name: int(name[5:]))] if names else None
