"""Reads documents as a mapping file says (formats/mappings/mapping_file.py).

The mapping is compiled once: all paths are found by one decoder, and each field has a function that
picks its value out of what was found. A document that takes an array apart is an event for each
element; its event_id gets the element's place, `<id>#<place>`, unless it comes from the element.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isfinite
from typing import Any, Final

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent, shown
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS, parse_time, read_number
from stream.errors import SettingsError
from stream.formats.decoding import LONGEST_NOT_GIVEN, NOT_GIVEN
from stream.formats.event_format import DROPS, NO_BEHAVIOUR, Headers, Reading
from stream.formats.mappings.mapping_file import DROP, NEEDED, SUBJECTS, Drop, MappingSpec, Source
from stream.formats.mappings.paths import Extractor, Path, Row
from stream.formats.values import UNITS, moment_of, number_of, text_of, texts_of

DROPPED: Final = {reason: Reading(dropped={reason: 1}) for reason in DROPS}
"""What a document says whose one event is left out, by the reason."""

Pick = Callable[[Row, int | None], Any]
"""Returns the value of a field from the values of a document; None if it is not given."""

_TEXTS: Final = ("user_id", "action", "item_id", "title", "query", "event_id", "session_id")


class MappingFormat:
    """Reads documents of the shape that a mapping describes."""

    name = "mapping"

    def __init__(self, spec: MappingSpec) -> None:
        """Raises SettingsError if the paths of the mapping do not go together."""
        try:
            self._extractor = Extractor(spec.paths)
        except ValueError as error:
            raise SettingsError(f"{spec.name}: {error}") from None
        slots = self._extractor.slots
        picks = {field: _pick(field, of, slots) for field, of in spec.fields.items()}
        self._user, self._action, self._time = (picks.pop(field) for field in NEEDED)
        self._others = tuple(picks.items())
        sources = spec.fields["user_id"]
        self._users = [_finder(each.path, each.where) for each in sources if each.path is not None]
        self._drops = [_dropper(each, slots[each.path.text]) for each in spec.drops]
        self._actions = dict(spec.actions)
        self._drops_unlisted = spec.unlisted_actions == DROP
        # an event_id that comes from the document alone is that of all its events
        ids = spec.fields.get("event_id", ())
        self._shares_id = all(each.path is None or each.path.inner is None for each in ids)
        self._where = {field: _where(of) for field, of in spec.fields.items()}
        self.constant_bytes = sum(
            len(str(each.constant).encode()) for of in spec.fields.values() for each in of
        )
        """Of all texts that come from the mapping and not from a document."""

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of one document; raises BadEvent naming the line of the mapping."""
        rows, exploded = self._extractor.rows(value)
        if not exploded:
            found = self._event(rows[0], received_ms)
            return DROPPED[found] if isinstance(found, str) else Reading((found,))
        events: list[Event] = []
        dropped: dict[str, int] = {}
        for place, row in enumerate(rows):
            found = self._event(row, received_ms)
            if isinstance(found, str):
                dropped[found] = dropped.get(found, 0) + 1
                continue
            if self._shares_id and found.event_id:
                found.event_id = f"{found.event_id}#{place}"
            events.append(found)
        return Reading(events, dropped)

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns what each source of user_id finds in a document, whatever else it holds.

        All of them count, though an event goes by the first that is given. In a document that is no
        sound JSON nobody is found: no path leads through it.
        """
        return {user for find in self._users for user in find(value)}

    def _event(self, row: Row, received_ms: int | None) -> Event | str:
        """Returns the event of one row, or why it is left out."""
        for drop in self._drops:
            if (reason := drop(row)) is not None:
                return reason
        action = self._action(row, None)
        meant = self._actions.get(action)
        if meant is not None:
            action = meant
        elif self._drops_unlisted and action is not None:
            return NO_BEHAVIOUR
        user, time = self._user(row, None), self._time(row, received_ms)
        if user is None or action is None or time is None:
            raise self._missing(user, action)
        event = Event(user, action, time)
        for field, pick in self._others:
            if (value := pick(row, None)) is not None:
                setattr(event, field, value)
        if not (event.item_id or event.title or event.query):
            lines = "; ".join(self._where[field] for field in SUBJECTS if field in self._where)
            raise BadEvent("no-subject", f"{lines}: nothing is given, so it is about nothing")
        return event

    def _missing(self, user: Any, action: Any) -> BadEvent:
        field = "user_id" if user is None else "action" if action is None else "time"
        return BadEvent("missing-field", f"{self._where[field]}: nothing is given")


def _where(sources: Sequence[Source]) -> str:
    """Returns where all sources of a field stand, for a message."""
    first, *others = (each.where for each in sources)
    return ", ".join([first, *(each.partition(" = ")[2] for each in others)])


def _pick(field: str, sources: Sequence[Source], slots: Mapping[str, int]) -> Pick:
    """Returns what picks the value of a field."""
    picks = [_pick_one(field, each, slots) for each in sources]
    if len(picks) == 1:
        return picks[0]

    def first_given(row: Row, received_ms: int | None) -> Any:
        for pick in picks:
            if (value := pick(row, received_ms)) is not None:
                return value
        return None

    return first_given


def _pick_one(field: str, source: Source, slots: Mapping[str, int]) -> Pick:
    where, constant = source.where, source.constant
    if source.received:
        return lambda row, received_ms: received_ms
    if source.path is None:
        if isinstance(constant, list):
            return lambda row, received_ms: list(constant)
        return lambda row, received_ms: constant
    slot = slots[source.path.text]
    if field in ("user_id", "event_id"):
        return _id_at(slot, where)
    if field in _TEXTS:
        return _text_at(slot, where)
    if field == "categories":
        return lambda row, received_ms: _categories(row[slot], source.split, where)
    if field == "time":
        return _moment_at(slot, source)
    factor, divisor = UNITS[source.unit or "ms"]

    def number(row: Row, received_ms: int | None) -> float | None:
        value = row[slot]
        if type(value) is float and isfinite(scaled := value * factor / divisor):
            return scaled
        found = number_of(row[slot], where)
        return None if found is None else number_of(found * factor / divisor, where)

    return number


def _finder(path: Path, where: str) -> Callable[[bytes], set[str]]:
    """Returns what finds the users at a path, in all elements of an array there."""
    extractor, pick = Extractor([path]), _id_at(0, where)

    def found(value: bytes) -> set[str]:
        users = set[str]()
        try:
            rows, _ = extractor.rows(value)
        except BadEvent:
            return users
        for row in rows:
            try:
                user = pick(row, None)
            except BadEvent:
                continue
            if user is not None:
                users.add(user)
        return users

    return found


def _text_at(slot: int, where: str) -> Pick:
    def text(row: Row, received_ms: int | None) -> str | None:
        value = row[slot]
        return value if type(value) is str and value else text_of(value, where)

    return text


def _id_at(slot: int, where: str) -> Pick:
    """Returns what picks an id that is none of the words programs write where they know none.

    Else all whose id was lost would be one user, or one event.
    """

    def known(row: Row, received_ms: int | None) -> str | None:
        value: str | None = row[slot]
        if type(value) is not str:
            value = text_of(value, where)
            if value is None:
                return None
        if len(value) > LONGEST_NOT_GIVEN:
            return value
        return value if value and value.lower() not in NOT_GIVEN else None

    return known


def _moment_at(slot: int, source: Source) -> Pick:
    factor, divisor = UNITS.get(source.unit or "ms", (0, 1))

    def moment(row: Row, received_ms: int | None) -> int | None:
        value, time_ms = row[slot], 0
        if type(value) is int:
            time_ms = value * factor // divisor
        elif type(value) is float and source.unit and abs(value) < 1e30:
            time_ms = round(value * factor / divisor)
        if FIRST_TIME_MS <= time_ms <= MAX_TIME_MS:
            return time_ms
        return _moment(value, source)

    return moment


def _categories(value: Any, split: str, where: str) -> list[str] | None:
    if split and type(value) is str:
        return [name for each in value.split(split) if (name := each.strip())] or None
    return texts_of(value, where) or None


def _moment(value: Any, source: Source) -> int | None:
    """Returns a time in Unix milliseconds that is plausible, by the unit that the mapping says."""
    where = source.where
    if source.unit:
        time_ms = moment_of(value, source.unit, where, source.zone)
    elif value is None or value == "":
        return None
    else:
        time_ms = _as_the_contract(value, where)
    if time_ms is None or FIRST_TIME_MS <= time_ms <= MAX_TIME_MS:
        return time_ms
    fix = 'say its unit, such as { path = ..., unit = "s" }'
    looks = read_number(value, FIRST_TIME_MS, MAX_TIME_MS) if type(value) in (int, float) else None
    what = f"is no plausible moment in {source.unit or 'milliseconds'}"
    told = f", it looks like {looks.unit}" if looks is not None else ""
    raise BadEvent("bad-time", f"{where}: {shown(value)} {what}{told}; {fix}")


def _as_the_contract(value: Any, where: str) -> int:
    """Returns a time that is RFC 3339 or whole milliseconds, as the contract has it."""
    if type(value) is int:
        return value
    if type(value) is not str:
        raise BadEvent("bad-time", f"{where}: {shown(value)} is neither RFC 3339 nor milliseconds")
    try:
        return parse_time(value)
    except BadEvent as error:
        raise BadEvent(error.reason, f"{where}: {error}") from None


def _dropper(drop: Drop, slot: int) -> Callable[[Row], str | None]:
    """Returns what says why a row is left out, None if it is not."""
    reason = drop.reason
    if drop.kind == "given":
        (given,) = drop.values
        return lambda row: reason if (row[slot] not in (None, "", [])) is given else None
    listed, wanted = {_comparable(each) for each in drop.values}, drop.kind == "in"
    return lambda row: reason if (_comparable(row[slot]) in listed) is wanted else None


def _comparable(value: Any) -> tuple[str, Any]:
    """Returns a value so that true is not 1 and "1" is neither; what cannot be listed is None."""
    if isinstance(value, bool):
        return "truth", value
    if isinstance(value, int | float):
        return "number", value
    return ("text", value) if isinstance(value, str) else ("none", None)
