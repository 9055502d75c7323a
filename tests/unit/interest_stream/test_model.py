"""Histories are ranked as the command `rank` ranks them, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from interest_stream import BadEvent, Event, Model, ModelError, Update
from interest_stream.updates import decode_update
from stream.cli.rank_command import command
from stream.simulation.population import events

NOW_MS = 1_767_225_600_000


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(demo=True)


@pytest.fixture(scope="module")
def histories() -> dict[str, list[dict[str, Any]]]:
    """Events of some simulated users, by user."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in events(users=7, count=120, seed=5, start_ms=NOW_MS, step_ms=10_000):
        found.setdefault(each.event["user_id"], []).append(each.event)
    return found


def without_its_moment(update: Update) -> dict[str, Any]:
    fields = {name: getattr(update, name) for name in Update.__dataclass_fields__}
    del fields["published_at"]
    return fields


def test_the_numbers_are_those_of_the_command(
    model: Model, histories: dict[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Bit for bit: the same batch takes the same way."""
    lines = [json.dumps({"user_id": user, "events": own}) for user, own in histories.items()]
    path = tmp_path / "histories.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    done = CliRunner().invoke(command, ["--demo-model", "--histories", str(path), "--items", "7"])
    assert done.exit_code == 0, done.output

    mine = model.rank(histories.values(), items=7)
    theirs = [decode_update(line.encode(), "a line") for line in done.stdout.splitlines()]
    assert [without_its_moment(each) for each in mine] == [
        without_its_moment(each) for each in theirs
    ]
    assert [each.user_id for each in mine] == list(histories)


def test_event_objects_and_dictionaries_are_the_same(model: Model) -> None:
    given = [{"action": "view", "time": NOW_MS + place, "item_id": "item-0002"} for place in (0, 9)]
    typed = [Event("u", "view", NOW_MS + place, item_id="item-0002") for place in (0, 9)]
    (one,), (two,) = model.rank([given]), model.rank([typed])
    assert (one.user_id, two.user_id) == ("history-0", "u")
    assert (one.interests, one.items, one.because) == (two.interests, two.items, two.because)
    assert one.events_seen == 2


def test_an_answer_has_the_size_that_is_asked_for(model: Model) -> None:
    history = [{"action": "search", "time": NOW_MS, "query": "tent"}]
    first, second = model.rank([history, history], interests=2, items=3, because=0)
    assert (len(first.interests), len(first.items), first.because) == (2, 3, ())
    assert first.interests == second.interests
    assert first.interests[0].interest in model.info.interests
    assert first.model.fingerprint == f"{model.info.fingerprint:016x}"


@pytest.mark.parametrize(
    ("event", "reason", "message"),
    [
        ({"action": "view", "item_id": "a"}, "missing-field", r"events\[0\]: time is missing"),
        ({"action": "view", "time": 5}, "no-subject", r"events\[0\]: item_id, title and query"),
        ({"action": "view", "time": "now", "item_id": "a"}, "bad-time", "write 2026-"),
        ({"action": "view", "time": 5, "item_id": {1}}, "not-json", "cannot be written as JSON"),
        ({"action": "view", "time": 5, "item_id": "\ud800"}, "not-json", "as JSON"),
        ({"user_id": 7, "action": "view", "time": 5}, "missing-field", "user_id is missing or no"),
    ],
)
def test_a_bad_event_is_named_with_its_history(
    model: Model, event: dict[str, Any], reason: str, message: str
) -> None:
    good = [{"action": "search", "time": NOW_MS, "query": "tent"}]
    with pytest.raises(BadEvent, match=rf"histories\[1\]: .*{message}") as raised:
        model.rank([good, [event]])
    assert raised.value.reason == reason


def test_two_users_in_one_history_are_refused(model: Model) -> None:
    with pytest.raises(BadEvent, match=r"histories\[0\]: events\[1\] has another user_id"):
        model.rank([[Event(user, "view", NOW_MS, item_id="a") for user in "uv"]])


def test_an_empty_history_is_refused(model: Model) -> None:
    with pytest.raises(BadEvent, match="at least one event"):
        model.rank([[]])
    assert model.rank([]) == []


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing-here is not a model directory"):
        Model.load(tmp_path / "nothing-here")


@pytest.mark.parametrize("given", [{}, {"path": "models/shop", "demo": True}])
def test_nobody_gets_the_demo_model_unasked(given: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="demo=True"):
        Model.load(**given)
