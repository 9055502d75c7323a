"""Writes down what is true of the simulated users, for the page that shows it beside what is said.

The pipeline never reads it. What a line says, stream/serving/overview/truth.py tells.
"""

from __future__ import annotations

from pathlib import Path

import orjson


class TruthFile:
    """Appends a line whenever another interest becomes true of a user."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab")
        self._now: dict[str, str] = {}

    def note(self, user_id: str, interest: str, time_ms: int) -> None:
        """Notes what is true of a user at a moment."""
        if self._now.get(user_id) == interest:
            return
        self._now[user_id] = interest
        line = orjson.dumps({"user_id": user_id, "time": time_ms, "interest": interest})
        self._file.write(line + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Ends writing."""
        self._file.close()
