"""Tells the time of this machine, in the unit of all that is served."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Returns the time, Unix milliseconds."""
    return int(time.time() * 1000)
