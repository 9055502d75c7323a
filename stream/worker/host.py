"""Holds what everything in one worker shares: settings, metrics, failpoints, and why it failed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stream.config import Settings
from stream.metrics import Metrics
from stream.plain_text import told

log = logging.getLogger("interest_stream")


class WorkerHost:
    """Keeps the first failure of a worker and ends the worker because of it."""

    def __init__(self, settings: Settings, failpoint: Callable[[str], None]) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.failure: Exception | None = None
        # set by the app: stops it, and commits nothing more
        self.end: Callable[[], None] = lambda: None
        self._failpoint = failpoint

    def fail(self, error: Exception) -> None:
        """Ends the worker because of an error; from the first call on nothing is committed."""
        if self.failure is None:
            self.failure = error
            log.error("%s", told(error))
            self.end()

    def failpoint(self, name: str) -> None:
        """Marks a point at which a test may make the worker fail."""
        self._failpoint(name)
