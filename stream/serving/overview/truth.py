"""Reads what is true of simulated users, from the file in which a demo writes it down.

The pipeline never sees it. A line says that from a moment on another interest is true of a user:
`{"user_id": ..., "time": ..., "interest": ...}`. Only a demo has such a file.
"""

from __future__ import annotations

from collections import defaultdict, deque
from pathlib import Path
from typing import Final

import msgspec

PERIODS: Final = 100
"""Of a user that are remembered."""


class Line(msgspec.Struct, frozen=True):
    """Reads one line of the file."""

    user_id: str
    time: int
    interest: str


_decode: Final = msgspec.json.Decoder(Line).decode


class Truth:
    """Knows the interest that is true of each user, and which ones were before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0  # bytes
        self._periods: defaultdict[str, deque[tuple[int, str]]] = defaultdict(
            lambda: deque(maxlen=PERIODS)
        )

    def of(self, user_id: str) -> list[dict[str, object]]:
        """Returns since when which interest is true of a user, oldest first."""
        self._follow()
        found = self._periods.get(user_id, ())
        return [{"time": time, "interest": interest} for time, interest in found]

    def _follow(self) -> None:
        """Reads the whole lines that were written since the last look."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except OSError:  # the demo has not begun, or is over
            return
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                each = _decode(line)
            except msgspec.MsgspecError:
                continue
            self._periods[each.user_id].append((each.time, each.interest))
