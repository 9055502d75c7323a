"""Says why an event is bad: a closed list of reasons, and a message that names field and fix.

Only bad records come here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

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
    "bad-time",  # not RFC 3339 with a zone, not a moment that exists, before 2000, no milliseconds
    "future-time",  # ahead of the record's timestamp by more than max_future_s
    "text-too-long",
    "control-character",  # in an id
    "no-subject",  # none of item_id, title, query
    "key-mismatch",  # the key is not the user_id
    "no-user",  # --rekey found no user_id to forward by
    "unprocessable",  # sound, but the model failed on it alone
    "batch-too-large",  # a record batch that decompresses to far more than events need
    "corrupt-batch",  # its checksum does not fit, or it cannot be decompressed or read
    "corrupt-record",  # one of a sound batch whose bytes are not as Kafka's format says
    "bad-control",  # a control record that cannot be obeyed, or that nobody signed
    "unknown-schema",  # the schema registry has no schema of the id that the value names
    "bad-schema",  # that schema cannot be used to read values
    "schema-mismatch",  # the bytes are not as their schema says
)
"""Closed list: labels of a metric, header of a dead letter. Append only."""

UNREADABLE: Final = ("batch-too-large", "corrupt-batch", "corrupt-record")
"""Reasons of dead letters that hold what lay in the log instead of a record."""

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
NO_REGISTRY: Final = (
    "the value begins with a zero byte, as values with a schema id of a registry do; name the "
    "registry with --schema-registry URL, or send JSON"
)
_BOM: Final = b"\xef\xbb\xbf"
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_FIELD: Final = re.compile(r"(?:field `|at `\$\.)(\w+)")


class BadEvent(ValueError):
    """Says that an event breaks the contract.

    `reason` is one of REASONS, `error` the class of the error behind it.
    """

    def __init__(self, reason: str, message: str, error: str = "BadEvent") -> None:
        super().__init__(message)
        self.reason = reason
        self.error = error


class UnreadableBytes(bytes):
    """Holds the bytes of a record batch, or of one record, that cannot be read.

    It stands where a record has its value; the record has no key, and the last offset of the batch.
    """

    reason: str  # one of REASONS
    message: str  # says nothing of what the bytes hold
    first_offset: int  # of those that the bytes stand for


@dataclass(frozen=True, slots=True)
class Reject:
    """Holds a bad record on its way to the dead-letter topic."""

    offset: int
    reason: str  # closed list: one of REASONS
    error: str  # class of the error behind it
    message: str  # names field and fix
    # as fetched, with key, value, headers, timestamp; None when only the offset is at hand
    record: Any
    # of a record that holds several documents: which of its bad ones this is, from 0; its own bytes
    # are the record's value
    document: int | None = None
    partial: bool = False  # others of the record could be read


def fault_of(value: bytes, error: Exception) -> BadEvent:
    """Returns the precise fault of a value that the decoder refused with `error`."""
    reason, message = (
        _fault_of_bytes(value) or _fault_of_type(error) or _fault_of_json(value, error)
    )
    return BadEvent(reason, message, type(error).__name__)


def depth_of(value: bytes) -> int:
    """Returns how deep arrays and objects nest, with strings left out.

    It is right for sound JSON, and an upper bound for other bytes.
    """
    depth = deepest = 0
    for byte in _STRING.sub(b"", value):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def shown(text: object, limit: int = 60) -> str:
    """Returns a value for a message: quoted, escaped and short."""
    quoted = repr(text)
    return quoted if len(quoted) <= limit else f"{quoted[:limit]}..."


def _fault_of_bytes(value: bytes) -> tuple[str, str] | None:
    if not value.strip(b" \t\r\n"):
        return "empty-value", "the value is empty; send a JSON object"
    if value.startswith(b"\0"):
        return "not-json", NO_REGISTRY
    if value.startswith(_BOM):
        return "byte-order-mark", "the value starts with a byte order mark; write UTF-8 without one"
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return (
            "not-utf8",
            f"byte {error.start} is not UTF-8 ({error.reason}); encode the value as UTF-8",
        )
    return None


def _fault_of_type(error: Exception) -> tuple[str, str] | None:
    """Returns the fault that the decoder's message names together with the field."""
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
            return (
                "lone-surrogate",
                "a \\ud800..\\udfff escape stands alone; write surrogates in pairs, or plain UTF-8",
            )
    return "not-json", f"not JSON: {error}; send one JSON object a record"
