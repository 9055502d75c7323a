"""Holds many texts as one block of UTF-8, in a third of the memory that a string each takes.

The ids and titles of a catalogue of a million items are asked for a few at a time, and else only
lie there. Pure: the standard library only.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload


class TextBlock(Sequence[str]):
    """Holds texts in order, and makes a string of one when it is asked for."""

    __slots__ = ("_ends", "_utf8")
    __hash__ = None  # type: ignore[assignment]  # it grows, as a list does

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._utf8 = bytearray()
        self._ends = array("q", [0])  # text n is _utf8[_ends[n] : _ends[n + 1]]
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Adds a text behind the last one."""
        self._utf8 += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._utf8))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        """Returns one text, or those of a slice."""
        if isinstance(place, slice):
            return tuple(self._text(each) for each in range(*place.indices(len(self))))
        return self._text(range(len(self))[place])

    def __iter__(self) -> Iterator[str]:
        return map(self._text, range(len(self)))

    def __eq__(self, other: Any) -> bool:
        """Returns whether another sequence has the same texts in the same order."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) + (", ..." if len(self) > 3 else "")
        return f"TextBlock([{shown}])"

    def _text(self, place: int) -> str:
        return self._utf8[self._ends[place] : self._ends[place + 1]].decode(
            "utf-8", "surrogatepass"
        )
