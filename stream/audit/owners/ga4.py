"""Says what rows and bodies of Google Analytics 4 mean, for the audit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from models.compact import ACTION_CODES, ACTIONS
from stream.audit.documents import Headers, Meant, NotReadableError
from stream.audit.owners.casts import (
    first_of,
    id_of,
    listed,
    micros_of,
    needed,
    object_of,
    part_of,
    words_of,
)


def ga4(
    document: bytes,
    headers: Headers,
    received_ms: int | None,
    purposes: Collection[str] = (),
) -> Meant:
    """Returns what a row of the export, or a body of the Measurement Protocol, means."""
    found = object_of(document)
    privacy, consent = part_of(found, "privacy_info", dict), part_of(found, "consent", dict)
    given, items = _parameters(found), _objects(found, "items")
    sent = None if found.get("events") is None else _objects(found, "events")
    for each in sent or ():
        part_of(each, "params", dict)
    purposes = purposes or ("analytics_storage", "ad_user_data", "ad_personalization")
    if sent is not None:
        asked = {"ad_user_data", "ad_personalization"}.intersection(purposes)
        if any((consent or {}).get(each) == "DENIED" for each in asked):
            return Meant(dropped=max(1, len(sent)))
        return _body(found, sent, received_ms)
    asked = {"analytics_storage", "ads_storage"}.intersection(purposes)
    if any((privacy or {}).get(each) in ("No", "no", False) for each in asked):
        return Meant(dropped=1)
    name = needed(words_of(found.get("event_name")))
    rows = _rows(name, given, items)
    if not rows:
        return Meant(dropped=1)
    shared = {
        "time": first_of(micros_of(found.get("event_timestamp"))),
        "user_id": needed(id_of(found.get("user_id")) or id_of(found.get("user_pseudo_id"))),
        "event_id": _row_id(found, name),
        "session_id": _session(given),
        "action": name,
    }
    return listed(shared, rows) if _lists(name, items) else Meant([{**shared, **rows[0]}])


def _body(body: Mapping[str, Any], sent: list[dict[str, Any]], received_ms: int | None) -> Meant:
    """Returns what the events of a body mean."""
    together = Meant(dropped=0 if sent else 1)
    of_body = micros_of(body.get("timestamp_micros"))
    senders = ("user_id", "client_id", "app_instance_id")
    for each in sent:
        name, given = needed(words_of(each.get("name"))), part_of(each, "params", dict) or {}
        items = _objects(given, "items")
        rows = _rows(name, given, items)
        if not rows:
            together.dropped += 1
            continue
        ids = (id_of(body.get(by)) for by in senders)
        shared = {
            "time": first_of(micros_of(each.get("timestamp_micros")), of_body, received_ms),
            "user_id": needed(next(filter(None, ids), None)),
            "session_id": _session(given),
            "action": name,
        }
        one = listed(shared, rows) if _lists(name, items) else Meant([{**shared, **rows[0]}])
        together.events += one.events
        together.dropped += one.dropped
    return together


def _objects(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    objects = part_of(found, name, list) or []
    if not all(isinstance(each, dict) for each in objects):
        raise NotReadableError
    return objects


def _parameters(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a row by their names; the first kind that is set counts."""
    given: dict[str, Any] = {}
    for each in _objects(row, "event_params"):
        if not isinstance(each.get("key"), str):
            raise NotReadableError
        value = part_of(each, "value", dict) or {}
        for kind in ("float_value", "double_value", "int_value", "string_value"):
            if value.get(kind) is not None:
                given[each["key"]] = value[kind]
    return given


def _lists(name: str, items: list[Any]) -> bool:
    return bool(items) and ACTIONS[ACTION_CODES[name]] != "search"


def _rows(name: str, given: Mapping[str, Any], items: list[Any]) -> list[dict[str, Any]]:
    """Returns what an event is about, an entry each."""
    if ACTIONS[ACTION_CODES[name]] == "search":
        query = words_of(given.get("search_term"))
        return [{"query": query}] if query else []
    if items:
        return [_item(item) for item in items]
    titled = {
        "page_view": "page_title",
        "screen_view": "firebase_screen",
        "video_start": "video_title",
        "video_complete": "video_title",
    }
    row = {"item_id": id_of(given.get("item_id")), "title": id_of(given.get(titled.get(name, "")))}
    return [row] if row["item_id"] or row["title"] else []


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "item_id": id_of(item.get("item_id")),
        "title": id_of(item.get("item_name")),
    }
    if row["item_id"] or row["title"]:
        levels = [id_of(item.get(f"item_category{level}")) for level in ("", 2, 3, 4, 5)]
        path = " > ".join(filter(None, levels))
        row["categories"] = [path] if path else None
    return row


def _session(given: Mapping[str, Any]) -> str | None:
    session = given.get("ga_session_id")
    return id_of(given.get("session_id") if session is None else session)


def _row_id(row: Mapping[str, Any], name: str) -> str | None:
    if row.get("batch_event_index") is None:
        return None
    names = ("user_pseudo_id", "event_timestamp", "", "batch_page_id", "batch_ordering_id")
    parts = [id_of(row.get(each)) if each else name for each in (*names, "batch_event_index")]
    return ".".join(each or "" for each in parts)
