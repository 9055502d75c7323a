"""Why an event is bad: a closed list of reasons, and a message that names field and fix. Only bad records come here."""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

REASONS: Final = (
    "null-key",  # no key: the user's partition is undefined
    "null-value",  # a tombstone
    "empty-value",
    "too-large",  # value over max_value_bytes
    "byte-order-mark",
    "not-utf8",
    "too-deep",  # arrays or objects nested over MAX_DEPTH
    "lone-surrogate",  # half of a UTF-16 pair, as \ud800
    "not-json",
    "not-object",
    "missing-field",  # required and absent, or empty
    "wrong-type",
    "out-of-range",
    "bad-time",  # not RFC 3339 with a zone, not a moment that exists, before 1970
    "future-time",  # ahead of the broker's time by more than max_future_s
    "text-too-long",
    "control-character",  # in an id
    "no-subject",  # none of item_id, title, query
    "key-mismatch",  # the key is not the user_id
    "no-user",  # --rekey found no user_id to forward by
    "unprocessable",  # sound, but the model failed on it alone
)
"""Closed list: labels of a metric, header of a dead letter. Append only."""

REKEY_FIX: Final = "produce with the user_id as key, or start the worker with --rekey"
_FIXES: Final = {
    "user_id": "a string of 1 to 256 bytes",
    "action": "a string such as view, click, search or purchase",
    "time": "RFC 3339 such as 2026-11-25T10:00:00Z, or integer Unix milliseconds",
    "item_id": "a string; put numbers in quotes",
    "title": "a string",
    "query": "a string",
    "categories": "an array of strings",
    "event_id": "a string; put numbers in quotes",
    "session_id": "a string; put numbers in quotes",
    "dwell_ms": "a number of milliseconds, 0 or more",
    "value": "a finite number",
}
_BOM: Final = b"\xef\xbb\xbf"
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_FIELD: Final = re.compile(r"(?:field `|at `\$\.)(\w+)")


class BadEvent(ValueError):
    """An event that breaks the contract. `reason` is one of REASONS, `error` the class of the error behind it."""

    def __init__(self, reason: str, message: str, error: str = "BadEvent") -> None:
        super().__init__(message)
        self.reason = reason
        self.error = error


def fault_of(value: bytes, error: Exception) -> BadEvent:
    """The precise fault of a value that the decoder refused with `error`."""
    reason, message = _fault_of_bytes(value) or _fault_of_type(error) or _fault_of_json(value, error)
    return BadEvent(reason, message, type(error).__name__)


def depth_of(value: bytes) -> int:
    """How deep arrays and objects nest, strings left out; right for sound JSON, an upper bound for other bytes."""
    depth = deepest = 0
    for byte in _STRING.sub(b"", value):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def shown(text: object, limit: int = 60) -> str:
    """A value for a message: quoted, escaped and short."""
    quoted = repr(text)
    return quoted if len(quoted) <= limit else f"{quoted[:limit]}..."


def _fault_of_bytes(value: bytes) -> tuple[str, str] | None:
    if not value.strip(b" \t\r\n"):
        return "empty-value", "the value is empty; send a JSON object"
    if value.startswith(_BOM):
        return "byte-order-mark", "the value starts with a byte order mark; write UTF-8 without one"
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return "not-utf8", f"byte {error.start} is not UTF-8 ({error.reason}); encode the value as UTF-8"
    return None


def _fault_of_type(error: Exception) -> tuple[str, str] | None:
    """From the decoder's message, which names the field."""
    if not isinstance(error, msgspec.ValidationError):
        return None
    text = str(error)
    found = _FIELD.search(text)
    if found is None:
        return "not-object", f"{text}; send a JSON object"
    name = found[1]
    fix = f"it must be {_FIXES.get(name, 'as the schema event-1.json says')}"
    if "missing" in text:
        return "missing-field", f"{name} is missing; {fix}"
    if "out of range" in text or "` >= " in text or "` <= " in text:
        return ("bad-time" if name == "time" else "out-of-range"), f"{name} is out of range; {fix}"
    return "wrong-type", f"{name} has the wrong type ({text.split(' - at', maxsplit=1)[0]}); {fix}"


def _fault_of_json(value: bytes, error: Exception) -> tuple[str, str]:
    if _SURROGATE.search(value):
        try:
            json.loads(value)
        except ValueError:
            pass
        else:
            return "lone-surrogate", "a \\ud800..\\udfff escape stands alone; write surrogates in pairs, or plain UTF-8"
    return "not-json", f"not JSON: {error}; send one JSON object a record"
