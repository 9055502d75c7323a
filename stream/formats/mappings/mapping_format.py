"""Reads documents as a mapping file says (formats/mappings/mapping_file.py).

The mapping is compiled once: all paths are found by one decoder, and each field has a function that
picks its value out of what was found. A document that takes an array apart is an event for each
element; its event_id gets the element's place, `<id>#<place>`, unless it comes from the element.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent
from stream.errors import SettingsError
from stream.formats.columns.event_columns import EventColumns
from stream.formats.event_format import DROPS, NO_BEHAVIOUR, Headers, Reading
from stream.formats.mappings.mapping_columns import MappingColumns
from stream.formats.mappings.mapping_file import DROP, NEEDED, SUBJECTS, MappingSpec, Source
from stream.formats.mappings.paths import Extractor, Path, Row
from stream.formats.mappings.picks import dropper_of, pick_of, pick_one

DROPPED: Final = {reason: Reading(dropped={reason: 1}) for reason in DROPS}
"""What a document says whose one event is left out, by the reason."""


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
        picks = {field: pick_of(field, of, slots) for field, of in spec.fields.items()}
        self._user, self._action, self._time = (picks.pop(field) for field in NEEDED)
        self._others = tuple(picks.items())
        sources = spec.fields["user_id"]
        self._users = [_finder(each.path, each.where) for each in sources if each.path is not None]
        self._drops = [dropper_of(each, slots[each.path.text]) for each in spec.drops]
        self._actions = dict(spec.actions)
        self._drops_unlisted = spec.unlisted_actions == DROP
        # an event_id that comes from the document alone is that of all its events
        ids = spec.fields.get("event_id", ())
        self._shares_id = all(each.path is None or each.path.inner is None for each in ids)
        self._columns = MappingColumns(spec, self._extractor)
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

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of documents; those of several events, and unusual ones, are odd."""
        return self._columns.read(values, received_ms, odd)

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


def _finder(path: Path, where: str) -> Callable[[bytes], set[str]]:
    """Returns what finds the users at a path, in all elements of an array there."""
    extractor, pick = Extractor([path]), pick_one("user_id", Source(where, path), {path.text: 0})

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
