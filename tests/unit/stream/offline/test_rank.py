"""Histories go the worker's way: the same answer as a worker gives that saw the same events."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from models.compact import RECENT
from models.predict import null_predictor
from stream.contracts.event import Event, Limits, compact_events
from stream.contracts.event_batch import EventBatch
from stream.contracts.faults import BadEvent
from stream.contracts.update import UpdateSize
from stream.offline.rank import EVENTS, HISTORIES, History, parse_history, rank_histories
from stream.pipeline.scoring import Scoring
from stream.pipeline.state import Arena

SIZE = UpdateSize(2, 2, 1)


def history(user: str, count: int, line: int = 1, **more: Any) -> History:
    events = [
        Event(user, "view", 1_000 + place, item_id=f"item-{place % 9}", **more)
        for place in range(count)
    ]
    return History(line, user, events)


def answers(*histories: History) -> list[Any]:
    found = rank_histories(histories, Scoring(null_predictor(), SIZE), 7)
    return [
        (each.line, json.loads(answer) if isinstance(answer, bytes) else answer)
        for each, answer in found
    ]


def test_answers_come_in_the_order_of_the_lines() -> None:
    found = answers(*(history(f"u{line}", 1 + line % 5, line) for line in range(HISTORIES + 40)))
    assert [line for line, _ in found] == list(range(HISTORIES + 40))
    assert all(
        each["user_id"] == f"u{line}" and each["events_seen"] == 1 + line % 5
        for line, each in found
    )


def test_a_user_named_twice_is_two_users() -> None:
    assert [each["events_seen"] for _, each in answers(history("u", 3, 1), history("u", 2, 2))] == [
        3,
        2,
    ]


def test_long_histories_and_repeated_events_count_as_in_a_worker() -> None:
    ((_, whole),) = answers(history("u", EVENTS + 3))
    assert whole["events_seen"] == EVENTS + 3
    ((_, once),) = answers(history("u", RECENT, event_id="same"))
    assert once["events_seen"] == 1


def test_the_update_is_the_one_a_worker_publishes() -> None:
    events = history("u", 5).events
    predictor = null_predictor()
    arena, scoring = (
        Arena(predictor.info.state_size, predictor.info.fingerprint, 4),
        Scoring(predictor, SIZE),
    )
    for place, event in enumerate(events):  # a worker may see them one at a time
        batch = EventBatch(
            "clickstream",
            2,
            place,
            place,
            [b"u"],
            np.array([place]),
            np.array([9], np.uint32),
            compact_events([event]),
            np.array([place]),
            [],
        )
        outcome = scoring.process(batch, arena, 7)
    worker = json.loads(outcome.updates[0] or b"")
    ((_, mine),) = answers(history("u", 5))
    origin = {"update_id", "source"}
    assert {name: value for name, value in mine.items() if name not in origin} == {
        name: value for name, value in worker.items() if name not in origin
    }


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        ("{", "not-json", "not JSON"),
        ("[]", "not-object", "JSON object"),
        ('{"events": [{}]}', "missing-field", "user_id is missing"),
        ('{"user_id": 5, "events": [{}]}', "missing-field", "user_id is missing or no string"),
        ('{"user_id": "u"}', "missing-field", "events is missing"),
        ('{"user_id": "u", "events": []}', "missing-field", "at least one event"),
        ('{"user_id": "u", "events": [4]}', "not-object", r"events\[0\] is no object"),
        (
            '{"user_id": "u", "events": [{"time": 5, "item_id": "a"}]}',
            "missing-field",
            r"events\[0\]: action is missing",
        ),
        (
            '{"user_id": "u", "events": [{"action": "view", "time": 5}]}',
            "no-subject",
            r"events\[0\]: item_id, title and query",
        ),
        ('{"user_id": "u", "events": [{"user_id": "v"}]}', "key-mismatch", "another user_id"),
    ],
)
def test_bad_lines_name_the_field(line: str, reason: str, message: str) -> None:
    with pytest.raises(BadEvent, match=message) as raised:
        parse_history(line.encode(), 3, Limits())
    assert raised.value.reason == reason


def test_events_need_no_user_of_their_own() -> None:
    line = {
        "user_id": "u",
        "events": [{"action": "view", "time": "2025-11-24T16:00:00Z", "item_id": "a"}],
    }
    found = parse_history(json.dumps(line).encode(), 1, Limits())
    assert (found.events[0].user_id, found.events[0].time) == ("u", 1764000000000)
