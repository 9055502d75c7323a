"""Compares the invalid records of the input topic with the dead letters; it reads no Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from stream.audit.compare import SHOWN
from stream.audit.replay import Replay


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Holds a dead letter with its headers.

    A key or value that was too large is kept in part; the headers then hold its size and SHA-256.
    """

    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    timestamp_ms: int | None = None  # of the original; None: it does not say

    def may_be_of(self, timestamp_ms: int) -> bool:
        """Returns whether the record at its place, of this timestamp, may be the original.

        A topic that was deleted and created again has another record there.
        """
        return self.timestamp_ms in (None, timestamp_ms)

    def is_of(self, key: bytes | None, value: bytes | None) -> bool:
        """Returns whether these are the key and value of the original."""
        return self._holds("key", key, self.key) and self._holds("value", value, self.value)

    def _holds(self, name: str, original: bytes | None, kept: bytes | None) -> bool:
        digest = self.headers.get(f"is.dlq.{name}-sha256")
        if digest is None or original is None or kept is None:
            return original == kept
        size = int(self.headers.get(f"is.dlq.{name}-bytes", b"-1"))
        return (
            original.startswith(kept)
            and len(original) == size
            and sha256(original).hexdigest().encode() == digest
        )


def letter_of(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]], topic: str
) -> tuple[tuple[int, ...], DeadLetter] | None:
    """Returns a dead letter of a topic and the partition and offset of its original.

    The number of a document among the bad ones of its record is the third. None: the record is of
    another topic, or no dead letter but what another service parked there.
    """
    notes = {name: content or b"" for name, content in headers}
    of, *numbers = (
        notes.get(f"is.dlq.{name}", b"").decode("utf-8", "replace")
        for name in ("topic", "partition", "offset", "timestamp", "document")
    )
    partition, offset, stamp, document = (
        int(each) if each.isascii() and each.removeprefix("-").isdecimal() else None
        for each in numbers
    )
    if of != topic or partition is None or offset is None:
        return None
    place = (partition, offset) if document is None else (partition, offset, document)
    return place, DeadLetter(key, value, notes, stamp)


def compare_dead_letters(
    replay: Replay, letters: Mapping[Any, DeadLetter], committed: dict[int, int]
) -> dict[str, Any]:
    """Returns how the invalid records and the dead letters of the topic differ.

    `letters` are by partition and offset of the original, and number of a document. An invalid
    record that is not committed yet needs no dead letter. A dead letter whose original was not
    read, because it is gone or came later, is not judged.
    """
    invalid = replay.invalid
    due = {place for place in invalid if place[1] < committed.get(place[0], 0)}
    missing = sorted(due - letters.keys())
    changed = sorted(
        place
        for place, letter in letters.items()
        if place in invalid and not letter.is_of(*invalid[place])
    )
    valid = sorted(
        place
        for place in letters.keys() - invalid.keys()
        if replay.begins.get(place[0], 0) <= place[1] < replay.ends.get(place[0], 0)
    )
    described = [f"invalid record {place} is no dead letter" for place in missing]
    described += [f"the dead letter of {place} has other bytes" for place in changed]
    described += [
        f"{place} is a dead letter, but the audit finds the event valid" for place in valid
    ]
    return {
        "dead_letters": len(letters),
        "dead_letters_missing": len(missing),
        "dead_letters_changed": len(changed),
        "dead_letters_of_valid": len(valid),
        "dead_letter_examples": described[:SHOWN],
    }
