"""Bad records as dead letters: the original key, value and headers, and why. And the breaker that stops a flood. Pure.

A dead letter keeps the original bytes. Only when key, value and headers exceed MAX_KEPT_BYTES together are the largest parts
replaced: a key or value by its first KEPT_BYTES with size and SHA-256 in the headers, the headers by their size and SHA-256. The
original can then still be read from the source topic, partition and offset that the headers name.

Headers added, each `is.dlq.` + : topic, partition, offset, timestamp (of the original, milliseconds), reason (closed list,
event_faults.REASONS), stage (decode or score), error (class), message (field and fix), time (parked at, milliseconds), worker
(version); if something was cut, `value-bytes`, `value-sha256` and so on. Original headers with this prefix, left by an
earlier visit here, become `is.dlq.previous.` + rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from typing import Any, Final

from stream.errors import PoisonError
from stream.events import Reject

PREFIX: Final = "is.dlq."
PREVIOUS: Final = "is.dlq.previous."
MAX_KEPT_BYTES: Final = 640_000
"""Below the largest record the worker writes (record_batches.MAX_RECORD_BYTES), with room for the headers added here."""
KEPT_BYTES: Final = 1_024
MESSAGE_CHARACTERS: Final = 500
SCORE_REASON: Final = "unprocessable"

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Headers = Sequence[tuple[str, bytes | None]]
Letter = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]
"""Key, value and headers to send."""


def dead_letter(topic: str, partition: int, record: Any, reject: Reject, parked_at_ms: int | None = None) -> Letter:
    """The dead letter of a source record (key, value, headers, offset, timestamp) that was rejected."""
    key, value, headers, notes = _kept(record.key, record.value, [_renamed(header) for header in record.headers or ()])
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
    if parked_at_ms is not None:
        facts["time"] = parked_at_ms
    return key, value, headers + [(PREFIX + name, str(fact).encode()) for name, fact in facts.items()]


def printable(text: str) -> str:
    """A message that is safe to show: control characters escaped, and cut."""
    safe = _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return safe if len(safe) <= MESSAGE_CHARACTERS else safe[: MESSAGE_CHARACTERS - 3] + "..."


@dataclass(slots=True)
class _Run:
    """Bad records in a row at the end of what a partition has shown so far."""

    length: int = 0
    next_offset: int = 0


class DeadLetterBreaker:
    """Stops a worker that would divert everything: a wrong producer or decoder is a deployment to fix, not bad records."""

    def __init__(self, max_consecutive: int) -> None:
        self._max_consecutive = max_consecutive
        self._runs: dict[int, _Run] = {}  # by partition

    def check(self, partition: int, records: Sequence[Any], rejects: Iterable[Reject]) -> None:
        """Count the bad records of a fetched batch, before they are diverted. Raises PoisonError when too many follow in a row.

        records: of the whole batch in log order, each with an offset. After a replay of earlier offsets counting starts anew.
        """
        if not records:
            return
        run = self._runs.setdefault(partition, _Run())
        if records[0].offset < run.next_offset:
            run.length = 0
        bad = {reject.offset: reject for reject in rejects}
        for record in records if bad else ():
            reject = bad.get(record.offset)
            run.length = 0 if reject is None else run.length + 1
            if reject is not None and run.length > self._max_consecutive:
                raise PoisonError(
                    f"{run.length} bad records in a row on partition {partition} up to offset {reject.offset}, the last: "
                    f"{reject.reason}: {printable(reject.message)}. Correct the producer, then start again; to divert them all to "
                    f"the dead letters raise max_consecutive_dead_letters (now {self._max_consecutive})"
                )
        if not bad:
            run.length = 0
        run.next_offset = records[-1].offset + 1


@cache
def _worker_version() -> str:
    return version("interest-stream")


def _renamed(header: tuple[str, bytes | None]) -> tuple[str, bytes | None]:
    name, value = header
    return (PREVIOUS + name.removeprefix(PREFIX), value) if name.startswith(PREFIX) else header


def _kept(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]], dict[str, Any]]:
    """The parts as they were, or, of a record that is too large, without its largest parts and with notes about them."""
    notes: dict[str, Any] = {}
    parts = {"key": key or b"", "value": value or b"", "headers": _flat(headers)}
    for name in sorted(parts, key=lambda part: -len(parts[part])):
        if sum(map(len, parts.values())) <= MAX_KEPT_BYTES:
            break
        notes |= {f"{name}-bytes": len(parts[name]), f"{name}-sha256": sha256(parts[name]).hexdigest()}
        parts[name] = parts[name][:KEPT_BYTES] if name != "headers" else b""
    if "headers-bytes" in notes:
        headers = []
    return (
        parts["key"] if "key-bytes" in notes else key,
        parts["value"] if "value-bytes" in notes else value,
        headers,
        notes,
    )


def _flat(headers: list[tuple[str, bytes | None]]) -> bytes:
    """Headers as one string of bytes: name, NUL, value, newline each."""
    return b"".join(name.encode() + b"\0" + (value or b"") + b"\n" for name, value in headers)
