"""One operation says what many say, for any number of users."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from models.compact import COMPACT, RECENT, hash64
from models.contract import Hosting
from models.errors import ModelDataError
from models.evaluation.explanations import remembered
from models.predict import load_predictor
from models.scorers.calibration import identity
from models.scorers.pair_table import DENSE_ITEMS
from models.scorers.registry import NAMES
from models.serving.predictor import Predictor
from stream.offline.explanations import simulated_histories

Array = np.ndarray[Any, Any]
SIZE = {"interests": 5, "items": 4, "because": 3}


def same(one: Any, other: Any) -> None:
    for each in fields(one):
        np.testing.assert_array_equal(
            getattr(one, each.name), getattr(other, each.name), err_msg=each.name
        )


@pytest.fixture(scope="module")
def histories() -> list[Array]:
    return simulated_histories(40, seed=5)


@pytest.mark.parametrize("most", [DENSE_ITEMS, 0], ids=["small catalogue", "large catalogue"])
def test_a_traced_pass_says_what_an_untraced_one_says(
    histories: list[Array], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.scorers.pair_table.DENSE_ITEMS", most)
    many, one = load_predictor(), load_predictor(hosting=Hosting(precision="float32"))
    state, recent = remembered(many, histories)
    for users in (1, 40, 7, 39):  # the first is traced
        chosen = slice(0, users)
        same(
            one.score(state[chosen], recent[chosen], **SIZE),
            many.score(state[chosen], recent[chosen], **SIZE),
        )
    some = recent.copy()
    some["key"][:, RECENT // 4 :] = 0
    same(one.score(state, some, **SIZE), many.score(state, some, **SIZE))


def calibrated_model() -> Predictor:
    """The demo model with a first interest that says less, and more while popularity is live."""
    trained = load_predictor().trained
    weights, live = identity(), identity()
    weights[2], live[2] = -0.6, 0.6
    blend = replace(
        trained.blend,
        calibration=weights,
        live_item=trained.blend.item,
        live_interest=trained.blend.interest,
        live_calibration=live,
    )
    return Predictor(replace(trained, blend=blend))


def test_a_calibrated_pass_says_the_same_in_one_operation_and_for_any_number_of_interests(
    histories: list[Array],
) -> None:
    many, one = calibrated_model(), calibrated_model()
    one.serve("float32")
    state, recent = remembered(many, histories)
    for interests in (5, 1, 9):
        size = {**SIZE, "interests": interests}
        found = one.score(state, recent, **size)
        same(found, many.score(state, recent, **size))
        every = -np.sort(-many.interest_probabilities(state, recent), axis=1)
        np.testing.assert_array_equal(found.probability, every[:, :interests])


def test_a_calibration_changes_what_is_said_and_nothing_else(histories: list[Array]) -> None:
    plain, model = load_predictor(), calibrated_model()
    state, recent = remembered(plain, histories)
    before, after = (each.score(state, recent, **SIZE) for each in (plain, model))
    for kept in ("interest", "item", "item_score", "because"):
        np.testing.assert_array_equal(getattr(before, kept), getattr(after, kept))
    assert (after.probability[:, 0] < before.probability[:, 0]).all()
    # what is said less moved less against the user's own average
    np.testing.assert_allclose(
        after.change - before.change, after.probability - before.probability, atol=1e-6
    )
    shares = np.ones(len(model.info.items)) / len(model.info.items)
    model.set_popularity(list(model.info.items), shares, 1)
    live = model.score(state, recent, **SIZE)
    assert (live.probability[:, 0] > after.probability[:, 0]).mean() > 0.9


def test_items_that_have_a_text_and_no_vector_are_all_scored(histories: list[Array]) -> None:
    """Checks a training with a privacy budget, which learns no vector of any item."""
    trained = load_predictor().trained
    network = copy.deepcopy(trained.network)
    with torch.no_grad():
        network.item.weight.zero_()
    predictor = Predictor(replace(trained, network=network))
    state, recent = remembered(predictor, histories)
    scores = predictor.score(state, recent, **SIZE)
    assert np.isfinite(scores.item_score).all()
    assert np.isfinite(scores.probability).all()


def test_another_size_of_update_is_another_operation(histories: list[Array]) -> None:
    many, one = load_predictor(), load_predictor(hosting=Hosting(precision="float32"))
    state, recent = remembered(many, histories)
    for interests in (5, 2):
        size = {**SIZE, "interests": interests}
        same(one.score(state, recent, **size), many.score(state, recent, **size))


def test_phrases_heard_later_are_scored(histories: list[Array]) -> None:
    one = load_predictor(hosting=Hosting(precision="float32"))
    state, recent = remembered(one, histories)
    assert one.score(state, recent, **SIZE).phrases.shape == (40, 0)
    one.score_phrases(["camping by a lake"])
    many = load_predictor()
    many.score_phrases(["camping by a lake"])
    same(one.score(state, recent, **SIZE), many.score(state, recent, **SIZE))


def test_a_live_snapshot_is_followed_by_all_forms_of_a_pass(histories: list[Array]) -> None:
    many, one = live_model(), live_model()
    one.serve("float32")
    state, recent = remembered(many, histories)
    still = one.score(state, recent, **SIZE)
    for as_of, item in enumerate(("item-3", "item-50")):
        named = [one.info.items[int(item.removeprefix("item-"))], "not in the catalogue"]
        for each in (many, one):
            each.set_popularity(named, np.array([0.2, 0.8]), as_of)
            assert each.popularity_as_of == as_of
        said = one.score(state, recent, **SIZE)
        same(said, many.score(state, recent, **SIZE))
        assert (said.item[:, 0] == one.info.items.index(named[0])).all()
        assert (said.item[:, 0] != still.item[:, 0]).any()
        assert said.because.shape == still.because.shape


def test_a_warm_model_that_begins_to_follow_stays_warm(
    histories: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = live_model()
    one.serve("float32")
    one.warm_up(**SIZE)
    one.set_popularity([one.info.items[3]], np.ones(1), 1)
    monkeypatch.setattr(
        "models.serving.scoring_pass.one_operation",
        lambda *_: pytest.fail("traced while users wait"),
    )
    state, recent = remembered(one, histories)
    one.score(state, recent, **SIZE)


def test_each_of_some_moments_is_answered_by_its_own_popularity(histories: list[Array]) -> None:
    model = live_model()
    state, recent = remembered(model, histories[:2])
    shares = torch.full((2, len(model.info.items) + 1), -9.0)
    shares[0, 7], shares[1, 9] = 0.0, 0.0
    model.use_popularity(shares)
    assert model.score_all(state, recent).argmax(1).tolist() == [6, 8]


def test_an_item_that_no_training_met_has_the_bias_of_its_popularity_now(
    histories: list[Array],
) -> None:
    model = live_model()
    with torch.no_grad():
        model.network.item.weight[5] = 0
    model = Predictor(replace(model.trained, network=model.network.requires_grad_(False)))
    state, recent = remembered(model, histories)
    found = []
    for share in (-8.0, -2.0):
        shares = model.log_popularity.clone()
        shares[5] = share
        model.use_popularity(shares[None])
        said = model.read(state, recent).scores
        model.use_popularity(shares.expand(len(state), -1))
        for one, each in zip(said, model.read(state, recent).scores, strict=True):
            torch.testing.assert_close(one, each, atol=1e-4, rtol=0)
        found.append(
            torch.stack([scores[:, 5] - scores[:, 6] for scores in said[:2]])
        )  # language model and LSTM
    torch.testing.assert_close(
        found[1] - found[0], torch.full_like(found[0], 6.0), atol=1e-3, rtol=0
    )


def test_a_model_that_was_not_fitted_to_it_follows_nothing(histories: list[Array]) -> None:
    trained = load_predictor().trained
    without = replace(trained.blend, live_item=None, live_interest=None)
    model = Predictor(replace(trained, blend=without))
    state, recent = remembered(model, histories)
    before = model.score_all(state, recent)
    with pytest.raises(ModelDataError, match="trained without live popularity"):
        model.set_popularity([model.info.items[0]], np.ones(1), 1)
    np.testing.assert_array_equal(model.score_all(state, recent), before)


def test_items_of_this_session_are_told_from_those_of_the_last_one() -> None:
    trained = load_predictor().trained
    weights = trained.blend.item.clone()
    weights[:, NAMES.index("seen_this_session")] -= 100.0
    model = Predictor(replace(trained, blend=replace(trained.blend, item=weights)))
    recent = np.zeros((1, RECENT), COMPACT)
    recent["key"][0, :6] = [hash64(item) for item in trained.info.items[:6]]
    minutes_ago = np.array([0, 20, 40, 80, 90, 100])  # 40 minutes of silence after three
    recent["time_ms"][0, :6] = 1_770_000_000_000 - 60_000 * minutes_ago
    state = model.rebuild(recent)
    scores = model.score_all(state, recent)
    usual = Predictor(trained).score_all(state, recent)
    assert np.flatnonzero((usual - scores)[0] > 50).tolist() == [0, 1, 2]


def live_model() -> Predictor:
    """The demo model as if what is popular now decided."""
    trained = load_predictor().trained
    live = torch.zeros_like(trained.blend.item)
    live[:, NAMES.index("recent_popularity")] = 100.0
    blend = replace(trained.blend, live_item=live, live_interest=trained.blend.interest)
    return Predictor(replace(trained, blend=blend))


def test_a_pass_is_one_operation_of_the_interpreter(
    histories: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each of its two hundred would wait for the turn of another thread."""
    one = load_predictor(hosting=Hosting(precision="float32"))
    state, recent = remembered(one, histories)
    one.score(state, recent, **SIZE)

    def never(self: Predictor, *given: Any) -> Any:
        raise AssertionError("the pass ran in Python")

    monkeypatch.setattr(Predictor, "read_known", never)
    same(one.score(state, recent, **SIZE), one.score(state, recent, **SIZE))
    with pytest.raises(AssertionError, match="ran in Python"):
        load_predictor().score(state, recent, **SIZE)


def test_a_warm_model_traces_nothing_any_more(
    histories: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = load_predictor(hosting=Hosting(precision="float32"))
    one.warm_up(**SIZE)
    monkeypatch.setattr("models.serving.scoring_pass.one_operation", None)
    state, recent = remembered(one, histories)
    same(one.score(state, recent, **SIZE), load_predictor().score(state, recent, **SIZE))


def test_weights_of_a_serving_model_are_frozen() -> None:
    one = load_predictor(hosting=Hosting())
    assert not any(weight.requires_grad for weight in one.network.parameters())
    assert all(weight.requires_grad for weight in load_predictor().network.parameters())
    assert isinstance(one.network.item_bias, torch.nn.Parameter)
