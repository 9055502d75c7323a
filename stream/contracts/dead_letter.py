"""Turns bad records into dead letters: the original key, value and headers, and why they are bad.

A dead letter keeps the original bytes. Only when key, value and headers exceed MAX_KEPT_BYTES
together are the largest of them replaced: a key or value by its first KEPT_BYTES with size and
SHA-256 in the headers, the headers by their size and SHA-256. The original can then still be read
from the source topic, partition and offset that the headers name.

Headers added, each `is.dlq.` + : topic, partition, offset, timestamp (of the original,
milliseconds), reason (closed list, faults.REASONS), stage (decode or score), error (class), message
(field and fix), time (when the record was parked, milliseconds), worker (version); if something was
cut, `value-bytes`, `value-sha256` and so on; if the value holds a batch or record that could not be
read, `first-offset`, the first of the offsets that it stands for; if it is one of several documents
of a record, `document`, its number among the bad ones, from 0. Original headers with this
prefix, left by an earlier visit here, become `is.dlq.previous.` + rest. Pure: no clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Final

from stream.contracts.faults import Reject, UnreadableBytes
from stream.plain_text import plain

PREFIX: Final = "is.dlq."
PREVIOUS: Final = "is.dlq.previous."
MAX_KEPT_BYTES: Final = 640_000
"""Bytes of a record up to which it is kept whole.

It is below the largest record that the worker writes (record_batches.MAX_RECORD_BYTES), with room
for the headers added here.
"""
KEPT_BYTES: Final = 1_024
MESSAGE_CHARACTERS: Final = 500
SCORE_REASON: Final = "unprocessable"

Headers = Sequence[tuple[str, bytes | None]]
Letter = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Key, value and headers to send."""


def dead_letter(
    topic: str, partition: int, record: Any, reject: Reject, parked_at_ms: int | None = None
) -> Letter:
    """Returns the dead letter of a source record that was rejected.

    The record has key, value, headers, offset and timestamp.
    """
    key, value, headers, notes = _kept(
        record.key, record.value, [_renamed(header) for header in record.headers or ()]
    )
    facts = {
        "topic": topic,
        "partition": partition,
        "offset": reject.offset,
        "timestamp": record.timestamp,
        "reason": reject.reason,
        "stage": "score" if reject.reason == SCORE_REASON else "decode",
        "error": reject.error,
        "message": printable(reject.message),
        "worker": _worker_version(),
        **notes,
    }
    if isinstance(record.value, UnreadableBytes):
        facts["first-offset"] = record.value.first_offset
    if reject.document is not None:
        facts["document"] = reject.document
    if parked_at_ms is not None:
        facts["time"] = parked_at_ms
    return (
        key,
        value,
        headers + [(PREFIX + name, str(fact).encode()) for name, fact in facts.items()],
    )


def printable(text: str) -> str:
    """Returns a message that is safe to show: control characters escaped, and cut."""
    safe = plain(text)
    return safe if len(safe) <= MESSAGE_CHARACTERS else safe[: MESSAGE_CHARACTERS - 3] + "..."


@cache
def _worker_version() -> str:
    return version("interest-stream")


def _renamed(header: tuple[str, bytes | None]) -> tuple[str, bytes | None]:
    name, value = header
    return (PREVIOUS + name.removeprefix(PREFIX), value) if name.startswith(PREFIX) else header


def _kept(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]], dict[str, Any]]:
    """Returns what is kept of key, value and headers, and notes about what was cut.

    A record that is too large loses the largest of the three.
    """
    notes: dict[str, Any] = {}
    kept = {"key": key or b"", "value": value or b"", "headers": _flat(headers)}
    for name in sorted(kept, key=lambda each: -len(kept[each])):
        if sum(map(len, kept.values())) <= MAX_KEPT_BYTES:
            break
        notes |= {
            f"{name}-bytes": len(kept[name]),
            f"{name}-sha256": sha256(kept[name]).hexdigest(),
        }
        kept[name] = kept[name][:KEPT_BYTES] if name != "headers" else b""
    if "headers-bytes" in notes:
        headers = []
    return (
        kept["key"] if "key-bytes" in notes else key,
        kept["value"] if "value-bytes" in notes else value,
        headers,
        notes,
    )


def _flat(headers: list[tuple[str, bytes | None]]) -> bytes:
    """Returns headers as one string of bytes: name, NUL, value, newline each."""
    return b"".join(name.encode() + b"\0" + (value or b"") + b"\n" for name, value in headers)
