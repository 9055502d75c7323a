"""Reads events of Google Analytics 4: rows of the BigQuery export, and Measurement Protocol bodies.

A row of the export (as JSON, where 64-bit integers are texts) is one event of the site; a body of
the Measurement Protocol holds up to 25. The user is `user_id`, else `user_pseudo_id` (`client_id`,
`app_instance_id` in a body): a login joins nothing, and before it a visitor is another user. The
time is `event_timestamp` (`timestamp_micros`), in microseconds; a body without one happened when
the record was written, as the protocol says. Each of the `items` is an event; else `item_id`, the
`search_term`, or the title of the page, screen or video that was seen. What has none of them
(session_start, scroll, user_engagement) is no behaviour. Dropped for consent, unless other purposes
are asked for: analytics_storage "No" in a row; ad_personalization or ad_user_data DENIED in a body.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent, shown
from stream.errors import SettingsError
from stream.formats.commerce import DROPPED, SEARCH, ActionNames
from stream.formats.decoding import (
    decoded,
    fields_of,
    id_of,
    ids_in_pieces,
    ids_of,
    weight_of,
    words_of,
)
from stream.formats.event_format import CONSENT, NO_BEHAVIOUR, Headers, Reading
from stream.formats.values import moment_of

ACTIONS: Final = {
    "view_cart": "view",
    "select_promotion": "click",
    "video_complete": "play",
}
"""Names of recommended and automatic events that models/compact.py does not list."""

ACTION_OF_NAME: Final = ActionNames(ACTIONS)

TITLES: Final = {
    "page_view": "page_title",
    "screen_view": "firebase_screen",
    "video_start": "video_title",
    "video_complete": "video_title",
}
"""The parameter that says what was seen, of events that have no item."""

READ: Final = frozenset(("item_id", "search_term", "ga_session_id", "session_id", *TITLES.values()))
"""Parameters that are read."""

OF_ROWS: Final = ("analytics_storage", "ads_storage")
OF_BODIES: Final = ("ad_user_data", "ad_personalization")
PURPOSES: Final = ("analytics_storage", *OF_BODIES)
"""Of consent, that must not be denied where nothing else is asked for."""

USER_IDS: Final = frozenset(("user_id", "user_pseudo_id", "client_id", "app_instance_id"))
"""Fields that name a user."""

LEVELS: Final = tuple(f"item_category{level}" for level in ("", 2, 3, 4, 5))
_levels: Final = attrgetter(*LEVELS)
_DENIED: Final = ("No", "no", False)
DENIED: Final = Reading(dropped={CONSENT: 1})
_WHAT: Final = "a row of GA4's BigQuery export, or a body of its Measurement Protocol"


class _Value(msgspec.Struct, gc=False):
    """Holds the value of a parameter, of which one field is set."""

    string_value: Any = None
    int_value: Any = None
    float_value: Any = None
    double_value: Any = None


class _Parameter(msgspec.Struct, gc=False):
    """Holds one parameter of a row."""

    key: str
    value: _Value | None = None


class _Item(msgspec.Struct, gc=False):
    """Holds what is read of an item."""

    item_id: Any = None
    item_name: Any = None
    item_category: Any = None
    item_category2: Any = None
    item_category3: Any = None
    item_category4: Any = None
    item_category5: Any = None
    price: Any = None


class _Privacy(msgspec.Struct, gc=False):
    """Holds what the user allowed, as a row says it."""

    analytics_storage: Any = None
    ads_storage: Any = None


class _Consent(msgspec.Struct, gc=False):
    """Holds what the user allowed, as a body says it."""

    ad_user_data: Any = None
    ad_personalization: Any = None


class _Sent(msgspec.Struct, gc=False):
    """Holds one event of a body."""

    name: Any = None
    params: dict[str, Any] | None = None
    timestamp_micros: Any = None


class _Document(msgspec.Struct, gc=False):
    """Holds what is read of a row or a body."""

    event_name: Any = None
    event_timestamp: Any = None
    event_params: list[_Parameter] | None = None
    items: list[_Item] | None = None
    user_id: Any = None
    user_pseudo_id: Any = None
    privacy_info: _Privacy | None = None
    batch_page_id: Any = None
    batch_ordering_id: Any = None
    batch_event_index: Any = None
    client_id: Any = None
    app_instance_id: Any = None
    timestamp_micros: Any = None
    consent: _Consent | None = None
    events: list[_Sent] | None = None


class Ga4Format:
    """Reads a row of the export, or a body of the Measurement Protocol."""

    name = "ga4"
    constant_bytes = 0

    def __init__(self, purposes: Collection[str] = ()) -> None:
        """Makes the decoder; `purposes` are those that must not be denied, none: PURPOSES.

        Raises SettingsError for one that these events do not name.
        """
        if unknown := sorted(set(purposes).difference(OF_ROWS, OF_BODIES)):
            raise SettingsError(
                f"consent_purposes names {unknown[0]!r}, and events of ga4 name "
                f"{', '.join(OF_ROWS + OF_BODIES)}; use these"
            )
        purposes = purposes or PURPOSES
        self._of_rows = [each for each in OF_ROWS if each in purposes]
        self._of_bodies = [each for each in OF_BODIES if each in purposes]
        self._decode = msgspec.json.Decoder(_Document).decode

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of a document; raises BadEvent."""
        document = decoded(self._decode, value, _WHAT)
        sent = document.events
        if sent is None:
            return DENIED if self._denied_in(document.privacy_info) else _of_row(document)
        consent = document.consent
        if consent is not None and any(
            getattr(consent, each) == "DENIED" for each in self._of_bodies
        ):
            return Reading(dropped={CONSENT: max(1, len(sent))})
        return _of_body(document, sent, received_ms)

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns the users of a document: user_id, and the id of the browser or app beside it.

        Both count, though events go by the first that is given.
        """
        document = fields_of(value)
        if document is None:
            return ids_in_pieces(value, USER_IDS.__contains__)
        return ids_of(document, USER_IDS)

    def _denied_in(self, privacy: _Privacy | None) -> bool:
        """Returns whether the user of a row denied one of the purposes."""
        return privacy is not None and any(
            getattr(privacy, each) in _DENIED for each in self._of_rows
        )


def _of_row(row: _Document) -> Reading:
    """Returns the events of a row of the export."""
    name = words_of(row.event_name, "event_name")
    if name is None:
        raise BadEvent("missing-field", f"event_name is missing; send {_WHAT}")
    action = ACTION_OF_NAME[name]
    parameters = _parameters(row.event_params or ())
    subjects = _subjects(name, action, parameters, row.items or (), "items")
    if not subjects:
        return DROPPED
    time_ms = moment_of(row.event_timestamp, "us", "event_timestamp")
    if time_ms is None:
        raise BadEvent("missing-field", "event_timestamp is missing; send Unix microseconds")
    user_id = id_of(row.user_id, "user_id") or id_of(row.user_pseudo_id, "user_pseudo_id")
    if user_id is None:
        raise BadEvent(
            "missing-field", "user_id and user_pseudo_id are both missing; every event needs one"
        )
    return _reading(subjects, user_id, time_ms, _row_id(row, name), parameters)


def _of_body(body: _Document, sent: list[_Sent], received_ms: int | None) -> Reading:
    """Returns the events of a body of the Measurement Protocol."""
    events: list[Event] = []
    dropped = 0
    of_body = moment_of(body.timestamp_micros, "us", "timestamp_micros")
    for place, each in enumerate(sent):
        name = words_of(each.name, f"events.{place}.name")
        if name is None:
            raise BadEvent("missing-field", f"events.{place}.name is missing; name the event")
        parameters = each.params or {}
        where = f"events.{place}.params.items"
        action, items = ACTION_OF_NAME[name], _items(parameters.get("items"), where)
        subjects = _subjects(name, action, parameters, items, where)
        if not subjects:
            dropped += 1
            continue
        time_ms = moment_of(each.timestamp_micros, "us", f"events.{place}.timestamp_micros")
        for moment in (of_body, received_ms):
            time_ms = moment if time_ms is None else time_ms
        if time_ms is None:
            raise BadEvent("missing-field", "timestamp_micros is missing; send Unix microseconds")
        found = _reading(subjects, _sender(body), time_ms, None, parameters)
        events += found.events
        dropped += found.dropped.get(NO_BEHAVIOUR, 0)
    if not events and not dropped:
        return DROPPED
    return Reading(events, {NO_BEHAVIOUR: dropped} if dropped else {})


def _reading(
    subjects: list[Event | None],
    user_id: str,
    time_ms: int,
    event_id: str | None,
    parameters: Mapping[str, Any],
) -> Reading:
    """Returns the events about subjects, which get who it was and when."""
    session = parameters.get("ga_session_id")
    session_id = id_of(parameters.get("session_id") if session is None else session, "session_id")
    events = []
    for event in subjects:
        if event is not None:
            event.user_id, event.time, event.session_id = user_id, time_ms, session_id
            event.event_id = f"{event_id}{event.event_id or ''}" if event_id else None
            events.append(event)
    without = len(subjects) - len(events)
    return Reading(events, {NO_BEHAVIOUR: without} if without else {})


def _subjects(
    name: str, action: str, parameters: Mapping[str, Any], items: Sequence[_Item], where: str
) -> list[Event | None]:
    """Returns what an event is about: one an item, or one of the query, item or page.

    An item without id and name is None. Where there are items, the event_id of each is the end of
    its id: `#` and its place.
    """
    if action == SEARCH:
        query = words_of(parameters.get("search_term"), "search_term")
        return [Event("", action, 0, query=query)] if query else []
    if items:
        return [_product(item, action, place, where) for place, item in enumerate(items)]
    item_id = id_of(parameters.get("item_id"), "item_id")
    title = id_of(parameters.get(TITLES[name]), TITLES[name]) if name in TITLES else None
    return [Event("", action, 0, item_id, title)] if item_id or title else []


def _product(item: _Item, action: str, place: int, where: str) -> Event | None:
    """Returns an item of a list, None where it has neither id nor name."""
    item_id = id_of(item.item_id, f"{where}.{place}.item_id")
    title = id_of(item.item_name, f"{where}.{place}.item_name")
    if not (item_id or title):
        return None
    levels = [
        level
        for name, value in zip(LEVELS, _levels(item), strict=True)
        if value is not None and (level := id_of(value, f"{where}.{place}.{name}"))
    ]
    categories, price = [" > ".join(levels)] if levels else None, weight_of(item.price)
    return Event("", action, 0, item_id, title, categories, None, f"#{place}", None, None, price)


def _items(given: Any, where: str) -> list[_Item]:
    """Returns the items of an event of a body."""
    if given is None:
        return []
    try:
        return msgspec.convert(given, list[_Item])
    except msgspec.ValidationError:
        raise BadEvent(
            "wrong-type", f"{where} is {shown(given)}; send a list of objects with an item_id"
        ) from None


def _parameters(given: Any) -> dict[str, Any]:
    """Returns the parameters of a row that are read, by their keys."""
    found: dict[str, Any] = {}
    for parameter in given:
        key, value = parameter.key, parameter.value
        if key not in READ or value is None:
            continue
        for each in (value.string_value, value.int_value, value.double_value, value.float_value):
            if each is not None:
                found[key] = each
                break
    return found


def _row_id(row: _Document, name: str) -> str | None:
    """Returns an id of a row, where the export says its place in the batch of a device.

    The export has no id of an event; without its place two of a kind in one batch look alike.
    """
    if row.batch_event_index is None:
        return None
    parts = (
        row.user_pseudo_id,
        row.event_timestamp,
        name,
        row.batch_page_id,
        row.batch_ordering_id,
        row.batch_event_index,
    )
    return ".".join(id_of(part, "batch_event_index") or "" for part in parts)


def _sender(body: _Document) -> str:
    for value, where in (
        (body.user_id, "user_id"),
        (body.client_id, "client_id"),
        (body.app_instance_id, "app_instance_id"),
    ):
        if (found := id_of(value, where)) is not None:
            return found
    raise BadEvent(
        "missing-field",
        "user_id, client_id and app_instance_id are all missing; every body needs one",
    )
