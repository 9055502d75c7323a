"""Reads the calls of Segment's specification: track, page and screen (Spec v2, E-Commerce v2).

The user is `userId`, else `anonymousId`. A login joins nothing: before it a visitor is one user,
after it another. The time is `timestamp`, which Segment has corrected for the clock of the device;
where it is missing, it is computed as Segment does, receivedAt - (sentAt - originalTimestamp). A
call whose `context.consent.categoryPreferences` denies a category, or a purpose that is asked for,
is dropped. identify, group and alias are no behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent, shown
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import documents_of, first_of, ids, moments, words
from stream.formats.columns.products import add_subjects
from stream.formats.commerce import (
    ACTION_NAMED,
    DROPPED,
    HEARTBEATS,
    NO_PROPERTIES,
    Properties,
    called,
)
from stream.formats.decoding import (
    NoObject,
    decoded,
    fields_of,
    id_of,
    ids_in_pieces,
    ids_of,
    utc_ms,
    with_batch,
    words_of,
)
from stream.formats.documents import each_document
from stream.formats.event_format import CONSENT, NO_BEHAVIOUR, Headers, Reading

DENIED: Final = Reading(dropped={CONSENT: 1})
NO_BEHAVIOUR_CALLS: Final = ("identify", "group", "alias", "merge", "reset", "delete")
USER_IDS: Final = frozenset(("userId", "anonymousId", "previousId"))
"""Fields that name a user; previousId, of an alias, is another id of the same one."""


class _Page(msgspec.Struct, gc=False):
    """Holds what is read of the page of a call."""

    title: Any = None


class _Consent(msgspec.Struct, gc=False, rename="camel"):
    """Holds the consent that Segment's specification has."""

    category_preferences: Any = None


class Context(msgspec.Struct, gc=False):
    """Holds what is read of the context of a call."""

    consent: _Consent | NoObject = None
    page: _Page | NoObject = None

    def denied(self, purposes: Collection[str]) -> bool:
        """Returns whether the user denied one of these categories, or any where none is named."""
        if type(self.consent) is not _Consent:
            return False
        preferences = self.consent.category_preferences
        return isinstance(preferences, dict) and any(
            each is False and (not purposes or name in purposes)
            for name, each in preferences.items()
        )

    def session(self) -> str | None:
        """Returns the session of the call, which Segment's specification has no field for."""
        return None


class Call(msgspec.Struct, gc=False, rename="camel"):
    """Holds what is read of a call."""

    type: Any = None
    event: Any = None
    name: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    message_id: Any = None
    timestamp: Any = None
    original_timestamp: Any = None
    sent_at: Any = None
    received_at: Any = None
    context: Context | None = None
    properties: Properties | None = None
    batch: list[msgspec.Raw] | None = None


NO_CALL: Final = Call()


class SegmentFormat:
    """Reads a call, or the body of a batch of calls."""

    name = "segment"
    constant_bytes = 0
    what = "a call as Segment's specification has it"

    def __init__(self, purposes: Collection[str] = ()) -> None:
        """Makes the decoder; `purposes` are those that must not be denied, none: any."""
        self._decode = self.decoder()
        self._purposes = purposes

    def decoder(self) -> Callable[[bytes], Call]:
        """Returns what decodes a call."""
        return msgspec.json.Decoder(Call).decode

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of a document; raises BadEvent."""
        call = decoded(self._decode, value, self.what)
        context, batch = call.context, call.batch
        if context is not None and context.denied(self._purposes):
            return Reading(dropped={CONSENT: len(batch)}) if batch else DENIED
        if batch is None:
            return _events_of(call, received_ms)
        read = partial(self.read, headers=headers, received_ms=received_ms)
        return each_document([bytes(each) for each in batch], read)

    def sessions(self, calls: Sequence[Call], odd: set[int]) -> tuple[Sequence[str], ...]:
        """Returns the column of sessions, none where the specification has no field for them."""
        return ()

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of calls; those of several products are odd."""
        calls = documents_of(self._decode, values, NO_CALL, odd)
        odd.update(place for place, call in enumerate(calls) if call.batch is not None)
        found = _columns_of(calls, odd)
        found.others += self.sessions(calls, odd)
        for place, call in enumerate(calls):
            if call.context is not None and call.context.denied(self._purposes):
                found.dropped[place] = CONSENT
        return found

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns the users of a call, or of all calls of a batch.

        userId and anonymousId both count, though events go by the first that is given, and so does
        the previousId of an alias.
        """
        document = fields_of(value)
        if document is None:
            return ids_in_pieces(value, USER_IDS.__contains__)
        return set[str]().union(*(ids_of(each, USER_IDS) for each in with_batch(document)))


def _events_of(call: Call, received_ms: int | None) -> Reading:
    """Returns the events of a call; raises BadEvent."""
    # Which call it is: only some say what a user did.
    context, kind = call.context, call.type
    name, page = "", None
    if kind == "track":
        name = words_of(call.event, "event") or ""
        if not name:
            raise BadEvent("missing-field", "event is missing; a track call needs its name")
        action = ACTION_NAMED[name]
        if action in HEARTBEATS:
            return DROPPED
    elif kind in ("page", "screen"):
        action = "view"
        page = _title(call, context)
    elif kind in NO_BEHAVIOUR_CALLS:
        return DROPPED
    else:
        given = "missing" if kind is None else shown(kind)
        raise BadEvent(
            "missing-field" if kind is None else "wrong-type",
            f"type is {given}; it must be track, page, screen, identify, group or alias",
        )

    event = Event(_user(call), action, _time(call, received_ms))
    event.event_id = id_of(call.message_id, "messageId")
    event.session_id = context.session() if context is not None else None
    return called(event, call.properties or NO_PROPERTIES, name=name, page=page)


def _columns_of(calls: Sequence[Call], odd: set[int]) -> EventColumns:
    """Returns the columns of calls, row for row what `_events_of` makes of each."""
    # Which call each is: the event of a page says nothing, its title is what it is about.
    kinds = [call.type for call in calls]
    names: list[str] = list(words([call.event for call in calls], odd))
    actions = list(map(ACTION_NAMED.__getitem__, names))
    dropped = {place: NO_BEHAVIOUR for place, name in enumerate(actions) if name in HEARTBEATS}
    pages: list[str] | None = None
    if kinds.count("track") < len(kinds):
        pages = [""] * len(kinds)
        for place, kind in enumerate(kinds):
            if kind in ("page", "screen"):
                names[place], actions[place] = "", "view"
                dropped.pop(place, None)
                pages[place] = _page(calls[place], place, odd)
            elif kind in NO_BEHAVIOUR_CALLS:
                dropped[place] = NO_BEHAVIOUR
            elif kind != "track":
                odd.add(place)

    users = ids([call.user_id for call in calls], odd)
    if not all(users):
        users = first_of((users, ids([call.anonymous_id for call in calls], odd)))
    found = EventColumns(
        users=users,
        actions=actions,
        times_ms=moments([call.timestamp for call in calls], odd),
        event_ids=ids([call.message_id for call in calls], odd),
        dropped=dropped,
    )
    add_subjects(found, [call.properties for call in calls], names, pages, odd)
    return found


def _page(call: Call, place: int, odd: set[int]) -> str:
    try:
        return _title(call, call.context) or ""
    except BadEvent:
        odd.add(place)
        return ""


def _user(call: Call) -> str:
    found = id_of(call.user_id, "userId") or id_of(call.anonymous_id, "anonymousId")
    if found is None:
        raise BadEvent(
            "missing-field", "userId and anonymousId are both missing; every call needs one"
        )
    return found


def _time(call: Call, received_ms: int | None) -> int:
    """Returns when the user did it, corrected for the clock of the device where that is known."""
    if (found := utc_ms(call.timestamp, "timestamp")) is not None:
        return found
    original = utc_ms(call.original_timestamp, "originalTimestamp")
    received = utc_ms(call.received_at, "receivedAt")
    sent = utc_ms(call.sent_at, "sentAt")
    if original is not None:
        return original if received is None or sent is None else received - (sent - original)
    for moment in (received, sent, received_ms):
        if moment is not None:
            return moment
    raise BadEvent(
        "missing-field",
        "timestamp, originalTimestamp, receivedAt and sentAt are all missing; send timestamp",
    )


def _title(call: Call, context: Context | None) -> str | None:
    """Returns the title of the page, else the name of the page or screen."""
    page = context.page if context is not None else None
    title = words_of(page.title, "context.page.title") if type(page) is _Page else None
    return title or words_of(call.name, "name")
