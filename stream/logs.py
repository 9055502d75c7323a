"""Sets up the log of a long-running worker, without a flood of lines while a broker is away."""

from __future__ import annotations

import logging
import time
from typing import Final

from stream.plain_text import told

NOISY: Final = {"aiokafka": 5, "faust": 20, "mode": 20}
"""Most lines of a logger in each period.

A broker that is down makes aiokafka write hundreds a second.
"""

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
        if (
            any(text in str(record.msg) for text in NOT_WANTED)
            and record.levelno < logging.CRITICAL
        ):
            return False
        if record.created - self._started > PERIOD_S:
            if self._seen > self._most:
                record.msg = f"[{self._seen - self._most} lines left out] {record.msg}"
            self._started, self._seen = record.created, 0
        self._seen += 1
        return self._seen <= self._most


def configure(verbose: bool) -> None:
    """Sets up the log of the process: own lines at INFO, libraries at WARNING, all rate-limited.

    With `verbose`, libraries log at INFO too.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(Utc("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("interest_stream").setLevel(logging.INFO)
    limits = {name: RateLimit(most) for name, most in NOISY.items()}

    def limited(record: logging.LogRecord) -> bool:
        if not verbose:
            _tell_no_content(record)
        limit = limits.get(record.name.partition(".")[0])
        return limit is None or limit.filter(record)

    handler.addFilter(limited)


def _tell_no_content(record: logging.LogRecord) -> None:
    """Puts errors into words that quote no event, and leaves tracebacks out."""
    error = record.exc_info[1] if record.exc_info else None
    record.exc_info = record.exc_text = None
    if record.name == "asyncio" and record.levelno >= logging.ERROR:
        # of an error that nobody waits for it writes the repr of the task, which quotes the error
        record.msg, record.args = str(record.msg).partition("\n")[0].partition(":")[0], None
        if error is not None:
            record.msg += f": {told(error)}"
    elif isinstance(record.args, tuple):
        record.args = tuple(
            told(each) if isinstance(each, BaseException) else each for each in record.args
        )


class Utc(logging.Formatter):
    """Writes times in UTC."""

    converter = staticmethod(time.gmtime)
