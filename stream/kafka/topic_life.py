"""Says how long a record can be read from a topic, by the settings that the topic really has.

Kafka deletes whole segments and compacts only those that are closed, so a record lives longer than
`retention.ms` or `max.compaction.lag.ms` say. Two things are beyond these bounds. A segment of a
compacted topic is closed when a record comes after its time, so where nobody writes to a partition,
nothing of it is compacted. And the broker deletes and compacts some minutes after a record's time.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stream.plain_text import span

ENDLESS_MS: Final = 100 * 366 * 86_400_000
"""Kafka writes "no bound" as -1 or as the largest number there is; a century says the same."""


@dataclass(frozen=True, slots=True)
class Life:
    """Holds how long the records of one topic can be read, in milliseconds; None: without end.

    Of a log `value_ms` and `key_ms` are the same, counted from a record's own time. Of a compacted
    topic `value_ms` counts from the moment at which a newer record replaces a value, or a null
    erases it, and `key_ms` is the time until nothing of an erased key is left, its null included.
    """

    value_ms: int | None
    key_ms: int | None
    newest_stays: bool  # compacted: the newest record of a key is kept until another replaces it

    def in_words(self) -> str:
        """Returns the life of a record in a few words."""
        if not self.newest_stays:
            return _words(self.value_ms)
        return f"replaced: {_words(self.value_ms)}; erased key: {_words(self.key_ms)}"

    def as_json(self) -> dict[str, int | bool | None]:
        """Returns the same for a program to read."""
        return {
            "value_ms": self.value_ms,
            "key_ms": self.key_ms,
            "newest_stays": self.newest_stays,
        }


def life_of(settings: Mapping[str, str]) -> Life:
    """Returns how long the records of a topic with these settings live."""
    policy = settings.get("cleanup.policy", "delete")
    segment = _number(settings, "segment.ms")
    in_log = _sum(_number(settings, "retention.ms"), segment, _ahead(settings))
    if "compact" not in policy:
        return Life(in_log, in_log, newest_stays=False)
    value = _sum(_number(settings, "max.compaction.lag.ms"), segment)
    key = _sum(value, _number(settings, "delete.retention.ms"))
    if "delete" not in policy:
        return Life(value, key, newest_stays=True)
    return Life(_least(value, in_log), _least(key, in_log), newest_stays=False)


def _ahead(settings: Mapping[str, str]) -> int | None:
    """Returns how far a record may be dated ahead of the broker's clock.

    Only the clock of a producer can be; a segment is as old as its latest record.
    """
    if settings.get("message.timestamp.type") == "LogAppendTime":
        return 0
    return _number(settings, "message.timestamp.after.max.ms") or 0


def _number(settings: Mapping[str, str], name: str) -> int | None:
    """Returns a setting in milliseconds, None where it is missing or sets no bound."""
    number = int(settings.get(name, -1))
    return number if 0 <= number < ENDLESS_MS else None


def _sum(*parts: int | None) -> int | None:
    return None if None in parts else sum(each or 0 for each in parts)


def _least(*parts: int | None) -> int | None:
    return min((each for each in parts if each is not None), default=None)


def _words(length_ms: int | None) -> str:
    return "without end" if length_ms is None else span(length_ms)
