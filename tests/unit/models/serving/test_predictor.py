"""Serving: whatever way users are put together, each gets the numbers it would get alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.compact import COMPACT, ITEM_ID, QUERY, RECENT, TITLE, hash64
from models.evaluation.explanations import remembered
from models.evaluation.reliability import Shown
from models.predict import load_predictor
from models.serving.predictor import CHUNK_BYTES, SCORES_HELD, Predictor, no_events, users_a_pass
from stream.offline.explanations import simulated_histories

Array = np.ndarray[Any, Any]
CLOSE = 2e-5  # float32 in matrices of other shapes


@pytest.fixture(scope="module")
def model() -> Predictor:
    return load_predictor()


@pytest.fixture(scope="module")
def histories() -> list[Array]:
    return simulated_histories(30, seed=3)


def event(text: str, kind: int, time_ms: int = 1_000) -> Array:
    return np.array([(hash64(text), 0, time_ms, 1, kind, text.encode()[:30])], COMPACT)


def one_by_one(model: Predictor, events: Array) -> Array:
    state, before = np.zeros((1, model.info.state_size), np.float32), np.full(1, -1, np.int64)
    for place in range(len(events)):
        state = model.step(state, events[place : place + 1], np.ones(1, np.int64), before)
        before = events["time_ms"][place : place + 1].astype(np.int64)
    return state


def test_stepping_in_rounds_equals_event_by_event(model: Predictor, histories: list[Array]) -> None:
    state, _ = remembered(model, histories)
    for mine, events in zip(state, histories, strict=True):
        np.testing.assert_allclose(mine, one_by_one(model, events)[0], atol=CLOSE, rtol=0)


def test_a_user_alone_equals_that_user_in_a_batch(model: Predictor, histories: list[Array]) -> None:
    state, recent = remembered(model, histories)
    together = model.score(state, recent, interests=5, items=5, because=3)
    every, chance = model.score_all(state, recent), model.interest_probabilities(state, recent)
    for place in range(len(histories)):
        mine = slice(place, place + 1)
        alone = model.score(state[mine], recent[mine], interests=5, items=5, because=3)
        np.testing.assert_allclose(
            alone.probability, together.probability[mine], atol=CLOSE, rtol=0
        )
        np.testing.assert_allclose(
            model.score_all(state[mine], recent[mine]), every[mine], atol=1e-3
        )
        np.testing.assert_allclose(
            model.interest_probabilities(state[mine], recent[mine]),
            chance[mine],
            atol=CLOSE,
            rtol=0,
        )
        np.testing.assert_allclose(alone.because_weight, together.because_weight[mine], atol=1e-3)
        assert alone.interest[0, 0] == together.interest[place, 0]


def test_more_users_than_a_chunk_are_scored_in_order(
    model: Predictor, histories: list[Array]
) -> None:
    state, recent = remembered(model, histories)
    places = np.arange(1_100) % len(histories)
    many = model.score(state[places], recent[places], interests=2, items=2, because=1)
    few = model.score(state, recent, interests=2, items=2, because=1)
    np.testing.assert_allclose(many.probability, few.probability[places], atol=CLOSE, rtol=0)


def test_a_rebuilt_memory_is_that_of_the_recent_events(
    model: Predictor, histories: list[Array]
) -> None:
    _, recent = remembered(model, histories)
    rebuilt = model.rebuild(recent)
    for mine, events in zip(rebuilt, histories, strict=True):
        np.testing.assert_allclose(mine, one_by_one(model, events[-RECENT:])[0], atol=CLOSE, rtol=0)
    assert (model.rebuild(no_events(3)) == 0).all()
    assert model.rebuild(no_events(0)).shape == (0, model.info.state_size)


def test_what_is_asked_is_what_comes_best_first(model: Predictor, histories: list[Array]) -> None:
    state, recent = remembered(model, histories)
    found = model.score(state, recent, interests=4, items=6, because=2)
    chance, scores = model.interest_probabilities(state, recent), model.score_all(state, recent)
    assert (np.diff(found.probability) <= 0).all()
    assert (np.diff(found.item_score) <= 0).all()
    np.testing.assert_allclose(found.probability, -np.sort(-chance)[:, :4], atol=CLOSE, rtol=0)
    np.testing.assert_allclose(found.item_score, -np.sort(-scores)[:, :6], atol=CLOSE, rtol=0)
    assert (found.because_weight >= 0).all()
    assert (found.because_weight.sum(1) <= 1 + 1e-5).all()
    held = (recent["key"] != 0).sum(1)
    assert (found.because < held[:, None]).all()


def test_what_is_measured_of_interests_is_what_updates_show(
    model: Predictor, histories: list[Array]
) -> None:
    state, recent = remembered(model, histories)
    sent = model.score(state, recent, interests=5, items=1, because=0)
    every = model.interest_scores(state, recent)
    shown = Shown.of(every, 5)
    np.testing.assert_array_equal(shown.which, sent.interest)
    np.testing.assert_array_equal(shown.trend, sent.trend)
    np.testing.assert_allclose(shown.probability, sent.probability, atol=CLOSE, rtol=0)
    np.testing.assert_allclose(shown.change, sent.change, atol=CLOSE, rtol=0)


@pytest.mark.parametrize("asked", [(0, 0, 0), (1, 0, 0), (0, 3, 2), (10_000, 10_000, 10_000)])
def test_nothing_asked_or_more_than_there_is(
    model: Predictor, histories: list[Array], asked: tuple[int, int, int]
) -> None:
    state, recent = remembered(model, histories[:3])
    interests, items, because = asked
    found = model.score(state, recent, interests=interests, items=items, because=because)
    info = model.info
    assert (
        found.interest.shape
        == found.change.shape
        == found.trend.shape
        == (3, min(interests, len(info.interests)))
    )
    assert found.item.shape == found.item_score.shape == (3, min(items, len(info.items)))
    assert found.because.shape == found.because_weight.shape == (3, min(because, RECENT))
    assert np.isfinite(found.probability).all()


def test_a_user_without_history_gets_base_rates_and_no_cause(model: Predictor) -> None:
    found = model.score(
        np.zeros((2, model.info.state_size), np.float32),
        no_events(2),
        interests=3,
        items=3,
        because=3,
    )
    assert (found.because == -1).all()
    assert (found.because_weight == 0).all()
    assert ((found.probability > 0) & (found.probability < 0.5)).all()
    assert np.isfinite(found.item_score).all()


def test_items_it_never_met_are_read_by_their_text(model: Predictor) -> None:
    """Titles under an id that nobody knows say more than as many events with the id alone."""
    title = next(title for title in model.info.titles if "Tent" in title)
    histories = [
        np.concatenate([event("unknown-id", ITEM_ID)] * 3),
        np.concatenate([event(title, TITLE)] * 3),
        np.concatenate([event("camping tent", QUERY)] * 3),
        np.concatenate([event("x" * 5_000, QUERY)] * 3),
        np.concatenate([event("普" * 40, QUERY)] * 3),
        np.array([(hash64("bare"), 0, 1_000, 1, 0, b"")], COMPACT),
    ]
    chance = model.interest_probabilities(*remembered(model, histories))
    assert np.isfinite(chance).all()
    camping = model.info.interests.index("Camping")
    assert chance[1, camping] > 2 * chance[0, camping]
    assert chance[2, camping] > 2 * chance[0, camping]


def test_a_bare_id_that_nobody_knows_says_nothing_whatever_its_words(model: Predictor) -> None:
    histories = [event("item-99999", ITEM_ID), event("camping tent", ITEM_ID)]
    chance = model.interest_probabilities(*remembered(model, histories))
    np.testing.assert_allclose(chance[0], chance[1], atol=CLOSE, rtol=0)


def test_times_that_go_backwards_or_stand_still_are_no_harm(
    model: Predictor, histories: list[Array]
) -> None:
    events = histories[0][:10].copy()
    events["time_ms"] = [5, 5, 4, 2**62, 0, -(2**62), 3, 3, 3, 1]
    assert np.isfinite(model.interest_probabilities(*remembered(model, [events]))).all()


def test_a_query_alone_is_explained_by_itself(model: Predictor) -> None:
    found = model.score(
        *remembered(model, [event("camping tent", QUERY)]), interests=1, items=1, because=3
    )
    assert set(found.because[0].tolist()) <= {0, -1}


def test_a_pass_over_a_large_catalogue_takes_fewer_users() -> None:
    assert users_a_pass(400) == 512
    for items in (100_000, 1_000_000):
        assert 1 < users_a_pass(items) <= CHUNK_BYTES / (4 * SCORES_HELD * items)
    assert users_a_pass(100_000_000) == 1
