"""Reads events of PostHog, as its capture API takes them and as its topics hold them.

These are the body of a capture or batch request; a record of the ingestion topic, whose `data` is
the event as a text; and a record of `clickhouse_events_json`, whose `properties` are a text. The
user is `distinct_id`: a login joins nothing, and before it a visitor is another user. The time is
`timestamp`, corrected as PostHog does, now - (sent_at - timestamp), where the record says when it
was received (`now`) and sent. Products are read as Segment's specification names them, which
PostHog recommends for shops. Names that begin with $ are PostHog's own: of these only $pageview
and $screen are behaviour. Visitors counted without cookies are dropped: they are nobody's profile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent, shown
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import documents_of, first_of, ids, moments, read_each, words
from stream.formats.columns.products import add_subjects
from stream.formats.commerce import (
    ACTION_NAMED,
    DROPPED,
    HEARTBEATS,
    Properties,
    called,
)
from stream.formats.decoding import (
    child,
    decoded,
    fields_of,
    id_of,
    ids_in_pieces,
    ids_of,
    object_in,
    utc_ms,
    with_batch,
    words_of,
)
from stream.formats.documents import each_document
from stream.formats.event_format import CONSENT, NO_BEHAVIOUR, Headers, Reading
from stream.formats.values import number_of

VIEWS: Final = {"$pageview": "title", "$screen": "$screen_name"}
"""PostHog's own events that are behaviour, and the property that says what was seen."""

COOKIELESS: Final = "$posthog_cookieless"
"""The distinct_id of all who are counted without cookies."""

USER_IDS: Final = frozenset(
    ("distinct_id", "$distinct_id", "alias", "$anon_distinct_id", "$user_id", "$device_id")
)
"""Fields of an event and of its properties that name a user. $device_id is what the distinct_id of
a browser was before the login."""

_WHAT: Final = "an event as PostHog's capture API or its topics have it"


class _Properties(Properties, gc=False):
    """Holds what is read of the properties of an event."""

    distinct_id: Any = None
    session: Any = msgspec.field(default=None, name="$session_id")
    screen_name: Any = msgspec.field(default=None, name="$screen_name")
    cookieless: Any = msgspec.field(default=None, name="$cookieless_mode")
    ignore_sent_at: Any = msgspec.field(default=None, name="$ignore_sent_at")


class _Document(msgspec.Struct, gc=False):
    """Holds what is read of an event, or of what wraps one."""

    event: Any = None
    distinct_id: Any = None
    alias: Any = msgspec.field(default=None, name="$distinct_id")
    uuid: Any = None
    properties: _Properties | str | None = None
    timestamp: Any = None
    offset: Any = None
    now: Any = None
    sent_at: Any = None
    data: Any = None
    batch: list[msgspec.Raw] | None = None


_NO_EVENT: Final = _Document()
_NONE: Final = _Properties()


class PosthogFormat:
    """Reads an event, the body of a batch, or a record of PostHog's own topics."""

    name = "posthog"
    constant_bytes = 0

    def __init__(self) -> None:
        """Makes the decoders."""
        self._decode = msgspec.json.Decoder(_Document).decode
        self._decode_properties = msgspec.json.Decoder(_Properties).decode

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of a document; raises BadEvent."""
        document = decoded(self._decode, value, _WHAT)
        if document.batch is not None:
            # The time at which a batch was sent corrects nothing without when it was received.
            return each_document(
                [bytes(each) for each in document.batch],
                lambda each: self.read(each, headers, received_ms),
            )
        if document.event is None and isinstance(document.data, str):
            return self._read_wrapped(document, received_ms)
        return self._read_event(document, received_ms)

    def columns(
        self, values: Sequence[bytes], received_ms: Sequence[int], odd: set[int]
    ) -> EventColumns:
        """Returns the columns of events; batches and records of the ingestion topic are odd."""
        events = documents_of(self._decode, values, _NO_EVENT, odd)
        properties: list[_Properties] = read_each(self._properties, events, _NONE, odd)
        names = words([event.event for event in events], odd)
        odd.update(
            place
            for place, (event, name) in enumerate(zip(events, names, strict=True))
            if not name or event.batch is not None
        )
        found = EventColumns(
            users=_users(events, properties, odd),
            actions=["view" if name in VIEWS else ACTION_NAMED[name] for name in names],
            times_ms=_times(events, properties, odd),
            event_ids=ids([event.uuid for event in events], odd),
            others=(ids([each.session for each in properties], odd),),
        )
        found.dropped = _dropped(found, names, properties)
        pages = None
        if "$screen" in names:
            screens = words([each.screen_name for each in properties], odd)
            pages = [
                screen if name == "$screen" else ""
                for name, screen in zip(names, screens, strict=True)
            ]
        add_subjects(found, properties, names, pages, odd)
        return found

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns the users of an event, or of all events of a batch.

        All ids count that the event and its properties have of a user, though it goes by its
        distinct_id: an $identify names who the visitor was, a $create_alias the other id.
        """
        document = fields_of(value)
        if document is None:
            return ids_in_pieces(value, USER_IDS.__contains__) - {COOKIELESS}
        return set[str]().union(*map(_named_in, with_batch(document))) - {COOKIELESS}

    def _read_wrapped(self, wrapper: _Document, received_ms: int | None) -> Reading:
        """Returns the events of a record of the ingestion topic."""
        inner = decoded(self._decode, wrapper.data.encode(), f"in data {_WHAT}")
        for name in ("distinct_id", "uuid", "now", "sent_at"):
            if getattr(wrapper, name) is not None:
                setattr(inner, name, getattr(wrapper, name))
        return self._read_event(inner, received_ms)

    def _read_event(self, event: _Document, received_ms: int | None) -> Reading:
        name = words_of(event.event, "event")
        if name is None:
            raise BadEvent("missing-field", f"event is missing; send {_WHAT}")
        if name.startswith("$") and name not in VIEWS:
            return DROPPED
        properties = self._properties(event)
        user_id = _user(event, properties)
        if properties.cookieless is True or user_id == COOKIELESS:
            return Reading(dropped={CONSENT: 1})
        action = "view" if name in VIEWS else ACTION_NAMED[name]
        if action in HEARTBEATS:
            return DROPPED
        page = properties.screen_name if name == "$screen" else None
        found = Event(user_id, action, _time(event, properties, received_ms))
        found.event_id = id_of(event.uuid, "uuid")
        found.session_id = id_of(properties.session, "properties.$session_id")
        title = words_of(page, "properties.$screen_name")
        return called(found, properties, name=name, page=title)

    def _properties(self, event: _Document) -> _Properties:
        """Returns the properties, which the topic of ClickHouse holds as a text."""
        found = event.properties
        if isinstance(found, str):
            text = found.encode("utf-8", "surrogatepass")
            return decoded(self._decode_properties, text, "in properties an object as a text")
        return found or _Properties()


def _named_in(event: Mapping[str, Any]) -> set[str]:
    """Returns the users that an event names, or a record of the ingestion topic with one inside."""
    found = set[str]()
    for outer in (event, object_in(event.get("data"))):
        for each in (outer, object_in(outer.get("properties"))):
            found |= ids_of(each, USER_IDS)
            # older libraries send an object that says where the id came from
            found |= ids_of(
                {"distinct_id": child(each.get("distinct_id"), "distinct_id")}, USER_IDS
            )
    return found


def _user(event: _Document, properties: _Properties) -> str:
    for value in (event.distinct_id, properties.distinct_id, event.alias):
        # older libraries send an object that says where the id came from
        given = child(value, "distinct_id") if isinstance(value, dict) else value
        if (found := id_of(given, "distinct_id")) is not None:
            return found
    raise BadEvent(
        "missing-field", f"distinct_id is {shown(event.distinct_id)}; every event needs one"
    )


def _users(
    events: Sequence[_Document], properties: Sequence[_Properties], odd: set[int]
) -> Sequence[str]:
    users = ids([event.distinct_id for event in events], odd)
    if all(users):
        return users
    inner = ids([each.distinct_id for each in properties], odd)
    return first_of((users, inner, ids([event.alias for event in events], odd)))


def _times(
    events: Sequence[_Document], properties: Sequence[_Properties], odd: set[int]
) -> Sequence[int]:
    """Returns when each happened, 0 where it does not say so itself."""
    if all(event.now is None for event in events):
        return moments([event.timestamp for event in events], odd)
    rows = list(zip(events, properties, strict=True))
    return read_each(lambda row: _time(row[0], row[1], None), rows, 0, odd)


def _dropped(
    found: EventColumns, names: Sequence[str], properties: Sequence[_Properties]
) -> dict[int, str]:
    """Returns why events are left out that have a user, or need none."""
    dropped: dict[int, str] = {}
    rows = zip(names, found.users, found.actions, properties, strict=True)
    for place, (name, user, action, given) in enumerate(rows):
        if name[:1] == "$" and name not in VIEWS:
            dropped[place] = NO_BEHAVIOUR
        elif user and (given.cookieless is True or user == COOKIELESS):
            dropped[place] = CONSENT
        elif user and action in HEARTBEATS:
            dropped[place] = NO_BEHAVIOUR
    return dropped


def _time(event: _Document, properties: _Properties, received_ms: int | None) -> int:
    """Returns when it happened, as PostHog computes it."""
    now = utc_ms(event.now, "now")
    given = utc_ms(event.timestamp, "timestamp")
    if given is not None:
        sent = None if properties.ignore_sent_at else utc_ms(event.sent_at, "sent_at")
        return given if now is None or sent is None else now - (sent - given)
    now = received_ms if now is None else now
    if now is None:
        raise BadEvent("missing-field", "timestamp is missing; send ISO 8601 in UTC")
    offset = number_of(event.offset, "offset")
    return now if offset is None else now - round(offset)
