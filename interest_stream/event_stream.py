"""Takes Server-Sent Events apart, as the HTML standard has them (html.spec.whatwg.org, 9.2). Pure.

Bytes come in pieces that end anywhere, in the middle of a character too. An event is complete at
its empty line; what stands behind the last empty line when a connection breaks is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_LINE: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""The end of a line; a return at the end of a piece may be the first half of one."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """Holds one event of a stream."""

    name: str
    data: bytes


class EventStream:
    """Collects pieces of a stream until they are events."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []
        self.begun = False  # whether a line of it has come
        self.retry_s: float | None = None  # how long the server wants a client to wait

    def take(self, piece: bytes) -> list[ServerEvent]:
        """Returns the events that are complete with this piece, in their order."""
        *lines, self._rest = _LINE.split(self._rest + piece)
        found = []
        for line in lines:
            if not self.begun:
                self.begun, line = True, line.removeprefix(_BOM)
            if line:
                self._read(line)
                continue
            if self._data:
                found.append(ServerEvent(self._name or "message", b"\n".join(self._data)))
            self._name, self._data = "", []
        return found

    def _read(self, line: bytes) -> None:
        """Takes one field; a comment, which begins with a colon, is none."""
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"data":
            self._data.append(value)
        elif field == b"retry" and value.isdigit():
            self.retry_s = int(value) / 1000
