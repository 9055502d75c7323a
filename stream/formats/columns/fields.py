"""Makes columns of fields of many documents: texts, ids and moments, as decoding.py does of one.

A column whose values are all of the usual type is made in one go. In another each value is read by
itself, and the place of one that is no field is added to `odd`. Texts that are not given are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, Final, TypeVar

import msgspec

from stream.contracts.event import MAX_DEPTH
from stream.contracts.faults import BadEvent
from stream.contracts.times import parse_times
from stream.formats.commerce import categories_of
from stream.formats.decoding import NOT_GIVEN, utc_ms
from stream.formats.values import text_of

NONE: Final = type(None)

_TEXTS: Final = {str}
_NOTHING: Final = {NONE}

_Document = TypeVar("_Document")


def documents_of(
    decode: Callable[[bytes], _Document],
    values: Sequence[bytes],
    stand_in: _Document,
    odd: set[int],
) -> list[_Document]:
    """Returns the JSON document that each value is; in the places that are odd, the stand-in."""
    _find_unsound(values, odd)
    found: list[_Document] = []
    take = found.append
    for value in values:
        try:
            take(decode(value))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            odd.add(len(found))
            take(stand_in)
    return found


def texts(column: Sequence[Any], odd: set[int]) -> Sequence[str]:
    """Returns texts as they are, and the digits of whole numbers."""
    kinds = set(map(type, column))
    if kinds <= _TEXTS:
        return column
    if kinds == _NOTHING:
        return [""] * len(column)
    return [
        value if type(value) is str else "" if value is None else _text(value, place, odd)
        for place, value in enumerate(column)
    ]


def words(column: Sequence[Any], odd: set[int]) -> Sequence[str]:
    """Returns titles, queries or names, without the spaces around them."""
    return list(map(str.strip, texts(column, odd)))


def ids(column: Sequence[Any], odd: set[int]) -> Sequence[str]:
    """Returns ids without the spaces around them; what programs write for none is not given."""
    return known(words(column, odd))


def known(column: Sequence[str]) -> Sequence[str]:
    """Returns ids, empty where one is what programs write where they know none."""
    if NOT_GIVEN.isdisjoint(map(str.lower, column)):
        return column
    return ["" if value.lower() in NOT_GIVEN else value for value in column]


def first_of(columns: Sequence[Sequence[str]]) -> Sequence[str]:
    """Returns the first text of each row that is given."""
    found, *others = columns
    for other in others:
        if all(found):
            break
        found = [one or two for one, two in zip(found, other, strict=True)]
    return found


def moments(column: Sequence[Any], odd: set[int]) -> Sequence[int]:
    """Returns Unix milliseconds of ISO 8601 times, of UTC where they name no zone, as `utc_ms`.

    One that is not given is 0, which is no plausible moment.
    """
    if set(map(type, column)) <= _TEXTS and (found := parse_times(column)) is not None:
        return found
    return read_each(lambda value: utc_ms(value, ""), column, 0, odd)


def read_each(
    read: Callable[[Any], Any], column: Sequence[Any], instead: Any, odd: set[int]
) -> list[Any]:
    """Returns what is read of each value, `instead` where nothing is; that of a fault is odd."""
    found: list[Any] = []
    for place, value in enumerate(column):
        try:
            read_ = read(value)
        except BadEvent:
            odd.add(place)
            read_ = None
        found.append(instead if read_ is None else read_)
    return found


def joined_categories(column: Sequence[Any], odd: set[int]) -> list[str]:
    """Returns texts that are at least as long as each category of a row."""
    found: list[str] = []
    for place, value in enumerate(column):
        if type(value) is str:
            found.append(value)
            continue
        try:
            found.append("".join(categories_of(value, "") or ()))
        except BadEvent:
            odd.add(place)
            found.append("")
    return found


def _text(value: Any, place: int, odd: set[int]) -> str:
    try:
        return text_of(value, "") or ""
    except BadEvent:
        odd.add(place)
        return ""


def _find_unsound(values: Sequence[bytes], odd: set[int]) -> None:
    """Finds what decoders do not look at: depth, and text that is never read."""
    braces = list(map(bytes.count, values, repeat(b"{")))
    brackets = list(map(bytes.count, values, repeat(b"[")))
    if max(braces) + max(brackets) > MAX_DEPTH:  # it may be deep
        opened = enumerate(zip(braces, brackets, strict=True))
        odd.update(place for place, (some, more) in opened if some + more > MAX_DEPTH)
    if all(map(bytes.isascii, values)):
        return
    for place, value in enumerate(values):
        try:
            value.decode()
        except UnicodeDecodeError:
            odd.add(place)
