"""Decodes the documents of the owners' formats: faults that name the field, ids, and moments.

What a format needs of a document is a struct whose fields are Any, so a field is judged where it is
read, and one that is not read may hold anything. Ids are texts; numbers become their digits. What
programs write where they know no id ("null", "undefined", "(not set)") is no id: else all visitors
whose id was lost would be one user.

Whom a document names is found without any fault: what cannot be read is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from stream.contracts.faults import BadEvent, fault_of, shown
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS, parse_time, read_number, time_fault
from stream.formats.values import number_of, text_of

NOT_GIVEN: Final = frozenset(
    ("null", "none", "nil", "nan", "n/a", "undefined", "(not set)", "(null)", "(none)", "\\n")
)
"""What programs write, in small letters, where there is no id."""

LONGEST_NOT_GIVEN: Final = max(map(len, NOT_GIVEN))
_PATH: Final = re.compile(r" - at `\$\.?(.*)`$")
_NAIVE: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?", re.ASCII)
_SHORT_ZONE: Final = re.compile(r"(.*\d)([+-]\d\d):?(\d\d)?", re.ASCII)

_NAMED: Final = re.compile(
    rb'"([\w$.-]{1,64})"\s*:\s*(?:("(?:[^"\\]|\\.)*")|(-?\d{1,19})(?![\d.eE]))'
)
"""A name in JSON, and the text or the whole number behind it."""

_fields: Final = msgspec.json.Decoder(dict[str, Any]).decode
_text: Final = msgspec.json.Decoder(str).decode

NoObject = str | bool | int | float | list[Any] | None
"""What JSON holds beside objects, where only an object says something."""

_Document = TypeVar("_Document")


def decoded(decode: Callable[[bytes], _Document], value: bytes, what: str) -> _Document:
    """Returns a document as its struct; `what` names it in messages. Raises BadEvent."""
    try:
        return decode(value)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _PATH.search(text)
        where = found[1] if found and found[1] else "the value"
        reason = "not-object" if where == "the value" else "wrong-type"
        said = text[: found.start()] if found else text
        raise BadEvent(
            reason, f"{where}: {said}; send {what}, or name another format", type(error).__name__
        ) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise fault_of(value, error) from None


def id_of(value: Any, where: str) -> str | None:
    """Returns an id without the spaces around it, None where none is given. Raises BadEvent."""
    if type(value) is not str:
        value = text_of(value, where)
        if value is None:
            return None
    text: str = value.strip()
    if len(text) > LONGEST_NOT_GIVEN:
        return text
    return None if not text or text.lower() in NOT_GIVEN else text


def words_of(value: Any, where: str) -> str | None:
    """Returns a title or a query without the spaces around it, None where none is given."""
    if type(value) is not str:
        value = text_of(value, where)
        if value is None:
            return None
    text: str = value.strip()
    return text or None


def weight_of(value: Any) -> float | None:
    """Returns a price or rating, None where it is no number: `$ 19` says nothing certain."""
    if value is None:
        return None
    if type(value) is float and value - value == 0:
        return value
    try:
        return number_of(value, "")
    except BadEvent:
        return None


def utc_ms(value: Any, where: str) -> int | None:
    """Returns Unix milliseconds of an ISO 8601 time, None where none is given.

    One without a zone is UTC, as the specifications of these formats say. Raises BadEvent.
    """
    if value is None or value == "":
        return None
    if type(value) is not str:
        raise BadEvent("bad-time", f"{where}: {shown(value)} is no text; send ISO 8601 in UTC")
    naive = value[-1] not in "Zz" and _NAIVE.fullmatch(value)
    try:
        return parse_time(f"{value}Z" if naive else value)
    except BadEvent as error:
        # a zone may be written as +0000 or +00
        zoned = _SHORT_ZONE.fullmatch(value)
        if zoned is not None and _NAIVE.fullmatch(zoned[1]):
            return parse_time(f"{zoned[1]}{zoned[2]}:{zoned[3] or '00'}")
        raise BadEvent(error.reason, f"{where}: {error}") from None


def moment_ms(value: Any, where: str) -> int | None:
    """Returns the milliseconds of a time as a text, or as a number of the unit that it looks like.

    Raises BadEvent.
    """
    if type(value) is int and FIRST_TIME_MS <= value <= MAX_TIME_MS:
        return value
    if isinstance(value, str) and value.isdecimal() and value.isascii() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return utc_ms(value, where)
    found = read_number(value, FIRST_TIME_MS, MAX_TIME_MS)
    if found is None:
        raise time_fault(value)
    return found.time_ms


def child(value: Any, name: str) -> Any:
    """Returns what an object holds under a name, None where it is no object."""
    return value.get(name) if isinstance(value, dict) else None


def fields_of(value: Any) -> dict[str, Any] | None:
    """Returns what a JSON object holds, given as bytes or text; None of all else."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        return None
    try:
        return _fields(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def object_in(value: Any) -> dict[str, Any]:
    """Returns an object, also one that is written as a text; an empty one of all else."""
    return value if isinstance(value, dict) else fields_of(value) or {}


def with_batch(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yields a document, and those in its `batch` where it is the body of several."""
    left = [document]
    while left:
        found = left.pop()
        yield found
        batch = found.get("batch")
        left += [each for each in batch if isinstance(each, dict)] if type(batch) is list else []


def ids_of(found: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Returns the ids that an object has under some names; what is no id is passed over."""
    ids = set[str]()
    for name in names:
        given = found.get(name)
        if type(given) not in (str, int, float):
            continue
        try:
            each = id_of(given, name)
        except BadEvent:
            continue
        if each is not None:
            ids.add(each)
    return ids


def ids_in_pieces(value: bytes, wanted: Callable[[str], bool]) -> set[str]:
    """Returns the ids behind the names that are wanted in what is no sound JSON: half of it, say.

    Which object a name belongs to is not known there. Objects that are texts in it are searched,
    too.
    """
    ids = set[str]()
    plain = value.replace(b'\\"', b'"')
    for raw, text, digits in _NAMED.findall(value) + _NAMED.findall(
        plain if plain != value else b""
    ):
        name = raw.decode(errors="replace")
        if not wanted(name):
            continue
        try:
            given = _text(text) if text else int(digits)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        ids |= ids_of({name: given}, (name,))
    return ids
