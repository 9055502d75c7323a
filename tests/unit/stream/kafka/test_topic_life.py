"""Checks how long a record can be read from a topic, by its settings."""

from __future__ import annotations

import pytest

from stream.config import Settings
from stream.kafka.topic_life import Life, life_of
from stream.kafka.topic_rules import DAY_MS, HOUR_MS, declared
from stream.plain_text import span

MOST = str(2**63 - 1)
LOG = {"cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS), "segment.ms": str(7 * DAY_MS)}
COMPACTED = {
    "cleanup.policy": "compact",
    "max.compaction.lag.ms": str(7 * DAY_MS),
    "segment.ms": str(6 * HOUR_MS),
    "delete.retention.ms": str(7 * DAY_MS),
}


def test_seven_days_are_fourteen_where_a_segment_has_seven() -> None:
    assert life_of(LOG) == Life(14 * DAY_MS, 14 * DAY_MS, newest_stays=False)
    assert life_of(LOG).in_words() == "14 d"


def test_a_clock_that_is_ahead_keeps_a_segment_longer_unless_the_broker_writes_the_time() -> None:
    ahead = LOG | {"message.timestamp.after.max.ms": str(HOUR_MS)}
    assert life_of(ahead).value_ms == 14 * DAY_MS + HOUR_MS
    assert life_of(ahead | {"message.timestamp.type": "LogAppendTime"}).value_ms == 14 * DAY_MS
    assert life_of(LOG | {"message.timestamp.after.max.ms": MOST}).value_ms == 14 * DAY_MS


def test_an_erased_value_outlives_the_lag_by_a_segment_and_its_key_by_the_null() -> None:
    life = life_of(COMPACTED)
    assert life == Life(7 * DAY_MS + 6 * HOUR_MS, 14 * DAY_MS + 6 * HOUR_MS, newest_stays=True)
    assert life.in_words() == "replaced: 7 d 6 h; erased key: 14 d 6 h"


@pytest.mark.parametrize(
    ("settings", "value_ms", "key_ms"),
    [
        (LOG | {"retention.ms": "-1"}, None, None),
        (COMPACTED | {"max.compaction.lag.ms": MOST}, None, None),
        (COMPACTED | {"delete.retention.ms": MOST}, 7 * DAY_MS + 6 * HOUR_MS, None),
        ({}, None, None),
        (LOG | COMPACTED | {"cleanup.policy": "compact,delete"}, 174 * HOUR_MS, 174 * HOUR_MS),
    ],
)
def test_what_has_no_bound_is_without_end(
    settings: dict[str, str], value_ms: int | None, key_ms: int | None
) -> None:
    life = life_of(settings)
    assert (life.value_ms, life.key_ms) == (value_ms, key_ms)
    assert ("without end" in life.in_words()) == (key_ms is None)


def test_each_topic_as_created_has_an_end() -> None:
    for topic in declared(Settings(rekey=True, live_popularity=True), 1):
        life = life_of({name: str(rule.value) for name, rule in topic.rules.items()})
        assert life.value_ms is not None
        assert topic.most_life_ms is None or (life.key_ms or 0) <= topic.most_life_ms


@pytest.mark.parametrize(
    ("length_ms", "words"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (90_000, "90 s"),
        (150_000, "2 min 30 s"),
        (HOUR_MS, "1 h"),
        (DAY_MS, "1 d"),
        (DAY_MS + 1, "1 d 1 h"),
        (7 * DAY_MS + 6 * HOUR_MS, "7 d 6 h"),
    ],
)
def test_a_span_is_told_by_its_two_largest_units(length_ms: int, words: str) -> None:
    assert span(length_ms) == words
