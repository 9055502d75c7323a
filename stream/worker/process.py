"""Runs a worker's app as a process: its signals, the time allowed for leaving, its last message."""

from __future__ import annotations

import gc
import logging
import os
import threading

from stream.errors import Failure, InterestStreamError
from stream.kafka.signals import SignalledWorker
from stream.plain_text import told
from stream.worker.app import InterestApp

log = logging.getLogger("interest_stream")


def run(app: InterestApp) -> None:
    """Runs a worker until a signal ends it.

    Raises the error that the app failed of, or Failure if something else ended Faust.
    """
    # what was imported and loaded until now stays: a search for garbage in all of it held up
    # updates for 0.17 s, once in half a minute
    gc.freeze()
    worker = StreamWorker(
        app, loop=app.loop, quiet=True, override_logging=False, redirect_stdouts=False
    )
    try:
        worker.execute_from_commandline()
    except SystemExit as exit_:
        code = exit_.code
    except Exception as error:
        raise own(app.host.failure or error) from error
    if app.host.failure is not None:
        raise own(app.host.failure)
    if code:
        raise own(worker.crash_reason)


def own(reason: BaseException | None) -> InterestStreamError:
    """Returns an error of this project for what ended a worker; it quotes nothing of an event."""
    if isinstance(reason, InterestStreamError):
        return reason
    if reason is None:
        return Failure("the worker crashed; run with -v to see more")
    crash = Failure(f"the worker crashed: {told(reason)}")
    crash.__cause__ = reason  # for the traceback that -v shows
    return crash


class StreamWorker(SignalledWorker):
    """Finishes the batch and leaves at the first signal; a second Ctrl-C ends the process at once.

    With an instance id SIGTERM keeps the place in the group, for a restart; Ctrl-C (SIGINT) gives
    it up.
    """

    app: InterestApp

    def interrupted(self) -> None:
        """Leaves the group for good."""
        self.app.leave_for_good()
        self._leave(
            "Ctrl-C: finishing the batch, committing, leaving the group (again: exit at once)"
        )

    def terminated(self) -> None:
        """Leaves the group, or keeps the place in it for a restart."""
        settings, leaving = self.app.host.settings, "leaving the group"
        if settings.instance_id:
            seconds = f"{settings.session_timeout_s:g} s (Ctrl-C leaves)"
            leaving = f"keeping the place of {settings.instance_id} for {seconds}"
        self._leave(f"SIGTERM: finishing the batch, committing, {leaving}")

    def _leave(self, message: str) -> None:
        if self.stopping:
            return
        host = self.app.host
        host.failpoint("stopping")
        if host.failure is None:
            log.warning(message)
        deadline = threading.Timer(host.settings.shutdown_timeout_s, self._give_up)
        deadline.daemon = True
        deadline.start()
        self.stop_soon()

    def _give_up(self) -> None:
        host = self.app.host
        log.error(
            "not stopped after %.0f s; ending at once, nothing unacknowledged was committed",
            host.settings.shutdown_timeout_s,
        )
        if host.failure is not None:
            os.write(2, f"interest-stream: {told(host.failure)}\n".encode())
        os._exit(1)
