"""Writes events as the contract wants them, and judges them by the rules that a worker applies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from stream.contracts.event import Event, Limits, parse_event
from stream.contracts.faults import BadEvent


def event_json(event: Event | Mapping[str, Any]) -> bytes:
    """Returns an event as JSON; raises BadEvent if it holds what JSON cannot say."""
    try:
        if isinstance(event, Event):
            return msgspec.json.encode(event)
        return orjson.dumps(dict(event))
    except (TypeError, ValueError) as error:
        raise BadEvent(
            "not-json", f"the event cannot be written as JSON: {error}; give texts and numbers"
        ) from None


def user_of(event: Event | Mapping[str, Any]) -> object:
    """Returns whatever an event holds as its user_id, None if nothing."""
    return event.user_id if isinstance(event, Event) else event.get("user_id")


@dataclass(frozen=True, slots=True)
class _Unsent:
    """Stands in for the record that an event would be, so that the contract can judge it."""

    key: bytes
    value: bytes
    timestamp: int  # what the broker would stamp it with
    headers: tuple[()] = ()


def record_of(event: Event | Mapping[str, Any], limits: Limits, now_ms: int) -> tuple[bytes, bytes]:
    """Returns key and value of the record of one event; raises BadEvent naming field and fix.

    `now_ms` stands for the broker's time. Fields that the contract does not know stay in the value.
    """
    value, user = event_json(event), user_of(event)
    key = user.encode() if isinstance(user, str) else b""
    parse_event(_Unsent(key, value, now_ms), limits)
    return key, value
