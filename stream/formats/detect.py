"""Finds out which owner's format a document has, by fields that no other format has together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from stream.formats.decoding import child
from stream.formats.snowplow import COLUMNS

CALLS: Final = ("track", "page", "screen", "identify", "group", "alias")
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def detected(value: bytes) -> str | None:
    """Returns the name of the format of a document, None if it is none of an owner's."""
    if value.count(b"\t") >= COLUMNS - 1 and value.count(b"\t") < 2 * COLUMNS:
        return "snowplow"
    try:
        document = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return _of_object(document)


def _of_object(document: Mapping[str, Any]) -> str | None:
    names = document.keys()
    if {"user_id", "action", "time"} <= names:
        return None
    if {"specversion", "type", "source"} <= names:
        return "cloudevents"
    if {"collector_tstamp", "event_id"} <= names:
        return "snowplow"
    if _is_change(document) or _is_change(document.get("payload")):
        return "debezium"
    if _is_ga4(document):
        return "ga4"
    batch = document.get("batch")
    if isinstance(batch, list) and batch and isinstance(batch[0], dict):
        return _of_object(batch[0]) or ("posthog" if "api_key" in names else None)
    if document.get("type") in CALLS and names & {"userId", "anonymousId"}:
        return "rudderstack" if _is_rudderstack(document) else "segment"
    in_properties = child(document.get("properties"), "distinct_id") is not None
    if ("distinct_id" in names or in_properties) and names & {"event", "token"}:
        return "posthog" if names & {"properties", "data"} else None
    return None


def _is_change(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    whole = (
        "op" in document and "source" in document and bool(document.keys() & {"before", "after"})
    )
    return whole or "__op" in document


def _is_ga4(document: Mapping[str, Any]) -> bool:
    """Returns whether it is a row of the export or a body; a row that was flattened is neither."""
    if "event_name" in document and "event_timestamp" in document:
        return isinstance(document.get("event_params"), list) or isinstance(
            document.get("items"), list
        )
    sent = isinstance(document.get("events"), list)
    return sent and bool(document.keys() & {"client_id", "app_instance_id"})


def _is_rudderstack(call: Mapping[str, Any]) -> bool:
    context = call.get("context")
    library = str(child(child(context, "library"), "name")).lower()
    own = child(context, "sessionId") or child(context, "consentManagement")
    return bool(own) or "rudder" in library or bool(call.keys() & {"rudderId", "channel"})
