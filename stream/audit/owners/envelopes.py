"""Says what CloudEvents and change events of Debezium mean, for the audit."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from models.compact import ACTION_CODES
from stream.audit.documents import Headers, Meant, NotReadableError
from stream.audit.owners.casts import (
    LISTED_HERE,
    categories_of,
    first_of,
    folded,
    id_of,
    milliseconds_of,
    moment_of,
    needed,
    object_of,
    utc_ms,
    words_of,
)


def cloudevents(document: bytes, headers: Headers, received_ms: int | None) -> Meant:
    """Returns what a CloudEvent means, structured or binary."""
    given = {name.lower(): (value or b"").decode("utf-8", "replace") for name, value in headers}
    if "ce_specversion" in given:
        event: dict[str, Any] = {
            name.removeprefix("ce_"): value for name, value in given.items() if name[:3] == "ce_"
        }
        event["datacontenttype"] = given.get("content-type") or None
        data: Any = object_of(document)
    else:
        event, data = dict(object_of(document)), None
    kind = event.get("datacontenttype")
    if not isinstance(event.get("specversion"), str) or event["specversion"][:2] != "1.":
        raise NotReadableError
    if kind is not None and not (
        isinstance(kind, str) and re.fullmatch(r"[^;]*[/+]json\s*(;.*)?", kind, re.IGNORECASE)
    ):
        raise NotReadableError
    if data is None:
        data = event.get("data")
        if data is None and event.get("data_base64") is not None:
            data = object_of(_unbase(event["data_base64"]))
    if data is not None and not isinstance(data, dict):
        raise NotReadableError
    named = _named(data or {})
    said = words_of(named.get("action")) or words_of(event.get("type")) or ""
    row = _named_row(named, known=_ends_with_known(said))
    user = id_of(named.get("user_id"))
    if row is None:
        return Meant(dropped=1)
    own, source = id_of(event.get("id")), None
    event_id = id_of(named.get("event_id"))
    if event_id is None and own is not None:
        source = id_of(event.get("source"))
        event_id = f"{source}#{own}" if source else own
    moment = moment_of(named.get("time"))
    if moment is None:  # the envelope's is not looked at where the data has one
        moment = first_of(utc_ms(event.get("time")), received_ms)
    shared = {"user_id": needed(user), "event_id": event_id, "action": said or "other"}
    return Meant([{**shared, "time": moment, **row}])


def _ends_with_known(said: str) -> bool:
    """Returns whether a type ends with the name of a listed action, of one word or two."""
    words = [word for word in re.split("[./:]", said) if word]
    while len(words) > 1 and re.fullmatch(r"v?[0-9]+([._][0-9]+)*", words[-1]):
        words.pop()
    ends = ("_".join(words[-2:]), words[-1]) if words else ()
    return any(ACTION_CODES[end] or folded(end) in LISTED_HERE for end in ends)


def debezium(document: bytes, headers: Headers, received_ms: int | None) -> Meant:
    """Returns what a change event of Debezium means."""
    change: Mapping[str, Any] = object_of(document)
    if isinstance(change.get("payload"), dict):
        change = change["payload"]
    source = change.get("source") if isinstance(change.get("source"), dict) else {}
    if "op" not in change and "__op" in change:
        row: Any = change
        op = "d" if change.get("__deleted") in ("true", True) else change["__op"]
        op = op if op in ("u", "d", "t", "m", "r") else "c"
        table, committed = change.get("__table"), change.get("__source_ts_ms")
        committed = change.get("__ts_ms") if committed is None else committed
    else:
        row, op = change.get("after"), change.get("op")
        table = source.get("table") or source.get("collection")  # type: ignore[union-attr]
        committed = source.get("ts_ms")  # type: ignore[union-attr]
        committed = change.get("ts_ms") if committed is None else committed
    if op in ("u", "d", "t", "m"):
        return Meant(dropped=1)
    row = object_of(row.encode()) if isinstance(row, str) else row
    if op not in ("c", "r") or not isinstance(row, dict):
        raise NotReadableError
    plain = {name: _plain(value) for name, value in row.items()}
    named = _named(plain)
    said = words_of(named.get("action")) or "view"
    subject = _named_row(named, known=bool(ACTION_CODES[said]) or folded(said) in LISTED_HERE)
    user = id_of(named.get("user_id"))
    if subject is None and user is None:
        return Meant(dropped=1)
    key = id_of(plain["id"] if "id" in plain else plain.get("_id"))
    event_id = id_of(named.get("event_id")) or (f"{table or 'row'}:{key}" if key else None)
    moment = moment_of(named.get("time"))
    if moment is None and op == "r":
        raise NotReadableError
    moment = first_of(moment if moment is not None else milliseconds_of(committed))
    if subject is None:
        raise NotReadableError
    return Meant(
        [{"user_id": needed(user), "action": said, "time": moment, "event_id": event_id} | subject]
    )


def _plain(value: Any) -> Any:
    wrapped = ("$oid", "$numberLong", "$numberInt", "$numberDouble", "$numberDecimal", "$date")
    while isinstance(value, dict) and len(value) == 1 and next(iter(value)) in wrapped:
        value = next(iter(value.values()))
    return value


USUAL: Final = {
    "user_id": "user_id user userid uid visitor_id visitorid customer_id customerid client_id "
    "user_pseudo_id distinct_id reviewerid reviewer_id",
    "action": "action event_type eventtype event event_name behavior behaviour behavior_type type",
    "time": "time timestamp ts event_time eventtime datetime date unix_time unixreviewtime "
    "unix_review_time created_at time_stamp event_timestamp event_datetime event_date",
    "item_id": "item_id item itemid product_id productid sku parent_asin asin movie_id movieid "
    "article_id",
    "title": "title item_title product_name product_title item_name movie_title movie_name name",
    "categories": "categories category genres genre category_code",
    "query": "query search_query search_term keywords",
    "event_id": "event_id eventid",
    "session_id": "session_id sessionid session user_session",
}
"""What fields are usually called; the first that an object has is meant."""


def _named(found: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, value in reversed(list(found.items())):
        plain[re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")] = value
        plain[name.lower()] = value
    fields = {}
    for field, names in USUAL.items():
        first = next((name for name in names.split() if name in plain), None)
        if first is not None:
            fields[field] = plain[first]
    return fields


def _named_row(named: Mapping[str, Any], *, known: bool) -> dict[str, Any] | None:
    item, title = id_of(named.get("item_id")), words_of(named.get("title"))
    query = words_of(named.get("query"))
    if not (item or query or (title and known)):
        return None
    return {
        "item_id": item,
        "title": title,
        "query": None if item else query,
        "categories": categories_of(named.get("categories")),
        "session_id": id_of(named.get("session_id")),
    }


def _unbase(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise NotReadableError from None
