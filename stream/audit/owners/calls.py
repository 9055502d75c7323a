"""Says what calls of Segment and RudderStack, and events of PostHog, mean, for the audit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from models.compact import ACTION_CODES, ACTIONS
from stream.audit.documents import (
    Headers,
    Meant,
    NotReadableError,
    behind_space,
    elements,
    scan,
    together,
)
from stream.audit.owners.casts import (
    LISTED_HERE,
    categories_of,
    first_of,
    folded,
    id_of,
    item_of,
    listed,
    needed,
    number_of,
    object_of,
    part_of,
    utc_ms,
    words_of,
)


def segment(
    document: bytes,
    headers: Headers,
    received_ms: int | None,
    purposes: Collection[str] = (),
) -> Meant:
    """Returns what a call of Segment means."""
    return _call(document, received_ms, purposes, of_rudderstack=False)


def rudderstack(
    document: bytes,
    headers: Headers,
    received_ms: int | None,
    purposes: Collection[str] = (),
) -> Meant:
    """Returns what a call of RudderStack means."""
    return _call(document, received_ms, purposes, of_rudderstack=True)


def _call(
    document: bytes, received_ms: int | None, purposes: Collection[str], *, of_rudderstack: bool
) -> Meant:
    call = object_of(document)
    context, batch = part_of(call, "context", dict), part_of(call, "batch", list)
    properties = part_of(call, "properties", dict) or {}
    if context is not None and _denies(context, purposes, of_rudderstack):
        return Meant(dropped=len(batch) if batch else 1)
    if batch is not None:
        return together(
            elements(_raw(document, "batch")),
            lambda each: _call(each, received_ms, purposes, of_rudderstack=of_rudderstack),
        )
    kind, name, page = call.get("type"), "", None
    if kind in ("identify", "group", "alias", "merge", "reset", "delete"):
        return Meant(dropped=1)
    if kind == "track":
        name = needed(words_of(call.get("event")))
        if folded(name) in ("video_content_playing", "video_playback_playing"):
            return Meant(dropped=1)
    elif kind in ("page", "screen"):
        within = context.get("page") if context is not None else None
        page = words_of(within.get("title")) if isinstance(within, dict) else None
        page = page or words_of(call.get("name"))
    else:
        raise NotReadableError
    shared = {
        "user_id": needed(id_of(call.get("userId")) or id_of(call.get("anonymousId"))),
        "time": _corrected(call, received_ms),
        "event_id": id_of(call.get("messageId")),
        "action": "view" if name == "" else name,
    }
    if of_rudderstack and context is not None:
        shared["session_id"] = id_of(context.get("sessionId"))
    return of_properties(shared, properties, name, page)


def _denies(context: Mapping[str, Any], purposes: Collection[str], of_rudderstack: bool) -> bool:
    consent = context.get("consent")
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    denied: set[Any] = set()
    if isinstance(preferences, dict):
        denied = {name for name, allowed in preferences.items() if allowed is False}
    managed = context.get("consentManagement") if of_rudderstack else None
    ids = managed.get("deniedConsentIds") if isinstance(managed, dict) else None
    if ids:
        # what is no text may be any purpose
        listed_ids = ids if isinstance(ids, list) else [ids]
        denied |= {each if isinstance(each, str) else None for each in listed_ids}
    return bool(denied if not purposes or None in denied else denied.intersection(purposes))


def _corrected(call: Mapping[str, Any], received_ms: int | None) -> int:
    given = utc_ms(call.get("timestamp"))
    if given is not None:
        return given
    original, received, sent = (
        utc_ms(call.get(name)) for name in ("originalTimestamp", "receivedAt", "sentAt")
    )
    if original is not None:
        both = received is not None and sent is not None
        return received - sent + original if both else original  # type: ignore[operator]
    return first_of(received, sent, received_ms)


def of_properties(
    shared: dict[str, Any], properties: Mapping[str, Any], name: str, page: str | None
) -> Meant:
    """Returns the events of a call with properties in the words of Segment's specification."""
    queries = [properties.get(each) for each in ("query", "search_query", "search_term")]
    asked = next(
        filter(None, (words_of(q) for q in queries if not isinstance(q, dict | list))), None
    )
    code = ACTION_CODES[shared["action"]]
    if ACTIONS[code] == "search" and asked:
        return Meant([{**shared, "query": asked}])
    products = properties.get("products")
    if products is not None and not isinstance(products, int | float) and products not in ([], ""):
        if not isinstance(products, list):
            raise NotReadableError
        rows = []
        for product in products:
            if not isinstance(product, dict):
                raise NotReadableError
            row: dict[str, Any] = {
                "item_id": item_of(product),
                "title": words_of(product.get("name")),
            }
            category = product.get("category")
            row["categories"] = categories_of(
                properties.get("category") if category is None else category
            )
            rows.append(row)
        return listed(shared, rows)
    item, title = item_of(properties), page
    if item or re.search("product|promotion", name, re.IGNORECASE):
        title = words_of(properties.get("name")) or title
    if item or code or folded(name) in LISTED_HERE:
        title = words_of(properties.get("title")) or title
    query = None if item or title else asked
    if not (item or title or query):
        return Meant(dropped=1)
    categories = categories_of(properties.get("category"))
    subject = {"item_id": item, "title": title, "query": query, "categories": categories}
    return Meant([{**shared, **subject}])


def posthog(document: bytes, headers: Headers, received_ms: int | None) -> Meant:
    """Returns what an event of PostHog means, in any of its shapes."""
    found: Mapping[str, Any] = object_of(document)
    batch = part_of(found, "batch", list)
    given = found.get("properties")
    if given is not None and not isinstance(given, dict | str):
        raise NotReadableError
    if batch is not None:
        return together(
            elements(_raw(document, "batch")), lambda each: posthog(each, headers, received_ms)
        )
    if found.get("event") is None and isinstance(found.get("data"), str):
        inner = dict(object_of(found["data"].encode()))
        part_of(inner, "batch", list)
        outer = {name: found.get(name) for name in ("distinct_id", "uuid", "now", "sent_at")}
        found = inner | {name: value for name, value in outer.items() if value is not None}
        given = found.get("properties")
        if given is not None and not isinstance(given, dict | str):
            raise NotReadableError
    name = needed(words_of(found.get("event")))
    if name.startswith("$") and name not in ("$pageview", "$screen"):
        return Meant(dropped=1)
    properties = object_of(given.encode()) if isinstance(given, str) else given or {}
    user = None
    for each in (
        found.get("distinct_id"),
        properties.get("distinct_id"),
        found.get("$distinct_id"),
    ):
        user = user or id_of(each.get("distinct_id") if isinstance(each, dict) else each)
    if needed(user) == "$posthog_cookieless" or properties.get("$cookieless_mode") is True:
        return Meant(dropped=1)
    if folded(name) in ("video_content_playing", "video_playback_playing"):
        return Meant(dropped=1)
    shared = {
        "user_id": user,
        "time": _captured_time(found, properties, received_ms),
        "event_id": id_of(found.get("uuid")),
        "session_id": id_of(properties.get("$session_id")),
        "action": "view" if name.startswith("$") else name,
    }
    page = words_of(properties.get("$screen_name")) if name == "$screen" else None
    return of_properties(shared, properties, name, page)


def _captured_time(
    found: Mapping[str, Any], properties: Mapping[str, Any], received_ms: int | None
) -> int:
    now, given = utc_ms(found.get("now")), utc_ms(found.get("timestamp"))
    if given is not None:
        sent = None if properties.get("$ignore_sent_at") else utc_ms(found.get("sent_at"))
        return given if now is None or sent is None else now - sent + given
    now = first_of(now, received_ms)
    offset = number_of(found.get("offset"))
    return now if offset is None else now - round(offset)


def _raw(document: bytes, wanted: str) -> bytes:
    """Returns the bytes of a field of an object, as they are written; the last one of the name."""
    text, found = document.decode(), ""
    at = text.index("{") + 1
    while True:
        at = behind_space(text, at)
        if text[at] == "}":
            return found.encode()
        name, at = scan(text, at)
        begin = behind_space(text, behind_space(text, at) + 1)
        _, end = scan(text, begin)
        found = text[begin:end] if name == wanted else found
        at = behind_space(text, end)
        at += text[at] == ","
