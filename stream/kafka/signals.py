"""Turns the signals of a worker into two calls, where Faust's worker has private handlers."""

from __future__ import annotations

import os
import signal
from typing import Any

import faust


class SignalledWorker(faust.Worker):
    """Runs one Faust app; subclasses say what a first Ctrl-C and a SIGTERM do.

    A second Ctrl-C ends the process at once.
    """

    def __init__(self, app: faust.App, **options: Any) -> None:
        super().__init__(app, **options)
        self.spinner = None  # control characters in a log file

    def interrupted(self) -> None:
        """Answers the first Ctrl-C."""
        raise NotImplementedError

    def terminated(self) -> None:
        """Answers SIGTERM."""
        raise NotImplementedError

    @property
    def stopping(self) -> bool:
        """Returns whether a signal has already asked for the end."""
        return bool(self._signal_stop_time)  # mode says it nowhere else

    def stop_soon(self) -> None:
        """Asks Faust to stop the app."""
        self._schedule_shutdown(signal.SIGTERM)  # what mode's own handlers do, and no more

    def _on_sigint(self) -> None:
        # mode's handler stops without a line in the log, and a second Ctrl-C waits as the first
        if self.stopping:
            os._exit(130)
        self.interrupted()

    def _on_sigterm(self) -> None:
        # mode's handler stops without a line in the log
        self.terminated()

    def _setproctitle(self, info: str, *, ident: str = "interest-stream") -> None:
        # `ps` shows this project's name, not Faust's
        super()._setproctitle(info, ident=ident)

    async def _sentinel_task(self) -> None:
        """Does nothing, because stock sleeps for a second here at the end."""
