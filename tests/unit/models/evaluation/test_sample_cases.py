"""Checks that a report shows what users did, and not what they typed."""

from __future__ import annotations

import json
from collections.abc import Callable

from models.contract import DEMO_MODEL
from models.data.prepare import Dataset
from models.data.splits import split
from models.evaluation.sample_cases import RARE, TYPED, describe_sample_cases
from models.model_directory import load


def test_searches_are_not_quoted(prepared: Callable[..., Dataset]) -> None:
    model = load(DEMO_MODEL)
    items = dict.fromkeys(model.info.items, ())
    events = [
        (f"u{user}", each, 1_000 * place)
        for user in range(4)
        for place, each in enumerate(["item-0001", "?my own disease", "item-0002", "item-0003"])
    ]
    found = describe_sample_cases(model, split(prepared(events, items)), count=3)
    assert len(found) == 3
    assert f"search {TYPED}" in found[0]["history"]
    assert "disease" not in json.dumps(found)


def test_what_few_users_met_is_not_named(prepared: Callable[..., Dataset]) -> None:
    model = load(DEMO_MODEL)
    shared, own = model.info.items[0], model.info.items[1:5]
    events = [
        (f"u{user}", each, 1_000 * place)
        for user in range(4)
        for place, each in enumerate([shared, own[user], "nowhere", shared, own[user]])
    ]
    cut = split(prepared(events, dict.fromkeys(model.info.items, ())))
    for least, named in ((1, True), (2, False)):
        found = describe_sample_cases(model, cut, count=4, least_users=least)
        text = json.dumps([[each["history"], each["because"], each["next"]] for each in found])
        assert f"Title {shared}" in text
        assert "nowhere" in text
        assert any(f"Title {item}" in text for item in own) == named
        assert (RARE in text) != named
