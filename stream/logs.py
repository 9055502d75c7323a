"""Logging of a long-running worker: one line an event, and no flood while a broker is away."""

from __future__ import annotations

import logging
import time
from typing import Final

NOISY: Final = {"aiokafka": 5, "faust": 20, "mode": 20}
"""Most lines of a logger in each period; a broker that is down makes aiokafka write hundreds a second."""

PERIOD_S: Final = 10.0

NOT_WANTED: Final = (
    "Topic creation disabled!",
    "has not sent fetch request",
    "is not available during auto-create",
    "Unable connect to node",
)


class RateLimit(logging.Filter):
    """Lets the first lines of each period through and counts the rest."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._started = 0.0
        self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if any(text in str(record.msg) for text in NOT_WANTED) and record.levelno < logging.CRITICAL:
            return False
        if record.created - self._started > PERIOD_S:
            if self._seen > self._most:
                record.msg = f"[{self._seen - self._most} lines left out] {record.msg}"
            self._started, self._seen = record.created, 0
        self._seen += 1
        return self._seen <= self._most


def configure(verbose: bool) -> None:
    """For the process: own lines at INFO, libraries at WARNING (INFO when verbose), rate-limited."""
    handler = logging.StreamHandler()
    handler.setFormatter(Utc("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("interest_stream").setLevel(logging.INFO)
    limits = {name: RateLimit(most) for name, most in NOISY.items()}

    def limited(record: logging.LogRecord) -> bool:
        if not verbose:
            record.exc_info = record.exc_text = None
        limit = limits.get(record.name.partition(".")[0])
        return limit is None or limit.filter(record)

    handler.addFilter(limited)


class Utc(logging.Formatter):
    """Times in UTC."""

    converter = staticmethod(time.gmtime)
