"""A model that scores candidates says what it says when it scores every item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.compact import RECENT
from models.evaluation.synthetic_catalogue import synthetic_model, wandering_users
from models.model_directory import load, write_model
from models.network.interest_network import InterestNetwork
from models.scorers.networks import Attention
from models.scorers.registry import NAMES, SCORERS
from models.serving.predictor import Predictor, no_events
from models.serving.retrieval import DRAWN, POPULAR, sample_of
from models.serving.trained_model import MOST_WHOLE, TrainedModel

Array = np.ndarray[Any, Any]
ITEMS, USERS = MOST_WHOLE + 1_000, 48
SIZE = {"interests": 5, "items": 10, "because": 3}


@pytest.fixture(scope="module", params=[False, True], ids=["two networks", "and the attention"])
def model(request: pytest.FixtureRequest) -> Predictor:
    made = synthetic_model(ITEMS)
    return Predictor(with_attention(made) if request.param else made)


def with_attention(trained: TrainedModel) -> TrainedModel:
    """The same model with an attention that knows nothing, and has a say all the same."""
    torch.manual_seed(5)
    network = InterestNetwork(replace(trained.network.config, window=8))
    network.load_state_dict(trained.network.state_dict(), strict=False)
    assert network.attention is not None
    torch.nn.init.normal_(network.attention.item.weight[1:], std=0.3)
    item = trained.blend.item.clone()
    item[:, NAMES.index("attention")] = 0.4
    return replace(
        trained,
        network=network,
        scorers=trained.scorers.replaced("attention", Attention()),
        blend=replace(trained.blend, item=item),
    )


@pytest.fixture(scope="module")
def users(model: Predictor) -> tuple[Array, Array]:
    recent = wandering_users(model.trained, USERS)
    return model.rebuild(recent), recent


def test_a_large_catalogue_scores_some_hundred_items(
    model: Predictor, users: tuple[Array, Array]
) -> None:
    assert RECENT < model.items_scored(*users) < ITEMS / 5
    assert model.with_all_items().items_scored(*users) == ITEMS


def test_what_is_a_product_or_no_pair_scores_as_in_the_whole_catalogue(
    model: Predictor, users: tuple[Array, Array]
) -> None:
    """Pairs are summed over the strongest alone; all else is the same number for the same item."""
    trained = model.trained
    pairs = [place for place, each in enumerate(SCORERS) if each.family.name == "PAIRS"]
    item = trained.blend.item.clone()
    item[:, pairs] = 0
    some = Predictor(replace(trained, blend=replace(trained.blend, item=item)))
    with torch.inference_mode():
        reading = some.read(*users)
        whole = some.with_all_items().read(*users).items
    rows = reading.pool.rows
    assert rows is not None
    # log-probabilities of the networks differ from products by one number a user
    apart = (reading.items - whole.gather(1, rows))[:, 1:]
    apart[rows[:, 1:] == 0] = float("nan")
    middle = apart.nanmedian(1, keepdim=True).values
    torch.testing.assert_close(
        apart.nan_to_num(0), middle.expand_as(apart) * ~apart.isnan(), atol=1e-3, rtol=0
    )
    # so the first ten are those of all items, whoever asks
    found, wanted = (
        each.score(users[0], users[1], **SIZE) for each in (some, some.with_all_items())
    )
    np.testing.assert_array_equal(np.sort(found.item), np.sort(wanted.item))


def test_no_item_is_named_twice_and_none_that_is_no_item(
    model: Predictor, users: tuple[Array, Array]
) -> None:
    state, recent = users
    for who, before in ((state, recent), (np.zeros_like(state[:1]), no_events(1))):
        found = model.score(who, before, **SIZE)
        assert (found.item >= 0).all()
        assert all(len(set(mine.tolist())) == 10 for mine in found.item)
        assert np.isfinite(found.item_score).all()
        assert np.isfinite(found.probability).all()
    many = model.score(state, recent, interests=1, items=300, because=1)
    assert (many.item >= 0).all()


def test_a_traced_pass_over_candidates_says_what_an_untraced_one_says(
    model: Predictor, users: tuple[Array, Array]
) -> None:
    one = Predictor(model.trained)
    one.serve("float32")
    state, recent = users
    for count in (1, USERS, 7):  # the first is traced
        said = one.score(state[:count], recent[:count], **SIZE)
        wanted = model.score(state[:count], recent[:count], **SIZE)
        np.testing.assert_array_equal(said.item, wanted.item)
        np.testing.assert_allclose(said.probability, wanted.probability, atol=1e-5)
        np.testing.assert_array_equal(said.because, wanted.because)


def test_an_item_that_is_no_candidate_ranks_behind_all_that_are(
    model: Predictor, users: tuple[Array, Array]
) -> None:
    every = model.score_all(*users)
    assert every.shape == (USERS, ITEMS)
    named = model.score(users[0], users[1], **SIZE)
    first = np.argsort(-every, axis=1)[:, :10]
    np.testing.assert_array_equal(np.sort(first), np.sort(named.item))
    assert np.isinf(every).any()


def test_interests_have_the_chances_that_all_items_give_them(
    model: Predictor, users: tuple[Array, Array]
) -> None:
    """What is no candidate counts too: some items stand for it."""
    found, wanted = (
        each.interest_probabilities(*users) for each in (model, model.with_all_items())
    )
    assert np.abs(found - wanted).mean() < 0.005
    assert np.abs(found - wanted).max() < 0.1


@pytest.mark.parametrize("candidates", [True, False], ids=["candidates", "all items"])
def test_a_model_that_is_read_back_says_the_same(
    model: Predictor, users: tuple[Array, Array], tmp_path: Path, candidates: bool
) -> None:
    """Nothing of it is drawn or left to chance when it is read."""
    written = replace(model.trained, candidates=candidates)
    lines: list[dict[str, Any]] = [
        {"item_id": each, "title": each, "interests": []} for each in model.info.items
    ]
    for line, belongs in zip(lines, model.membership, strict=True):
        line["interests"] = np.flatnonzero(belongs).tolist()
    write_model(tmp_path / "model", written, catalogue=lines, report={})
    found, wanted = (
        each.score(users[0], users[1], **SIZE)
        for each in (load(tmp_path / "model"), Predictor(written))
    )
    np.testing.assert_array_equal(found.item, wanted.item)
    np.testing.assert_allclose(found.item_score, wanted.item_score, rtol=1e-5)
    np.testing.assert_allclose(found.probability, wanted.probability, rtol=1e-5)
    np.testing.assert_array_equal(found.because, wanted.because)


def test_what_stands_for_the_rest_stands_for_every_item_once() -> None:
    shares = torch.randn(10_001, generator=torch.Generator().manual_seed(2))
    rows, many = sample_of(shares)
    assert len(set(rows.tolist())) == len(rows) == POPULAR + DRAWN
    assert (rows > 0).all()
    assert many.exp().sum().item() == pytest.approx(10_000, rel=1e-4)
    least = shares[rows[:POPULAR]].min()
    assert (shares[1:] > least).sum() < POPULAR


def test_causes_are_events_that_are_held_and_share_one(
    model: Predictor, users: tuple[Array, Array]
) -> None:
    state, recent = users
    found = model.score(state, recent, **SIZE)
    assert (found.because[:, 0] >= 0).all()
    assert (found.because < RECENT).all()
    assert (found.because_weight.sum(1) <= 1 + 1e-5).all()
    assert (model.score(state[:1], no_events(1), **SIZE).because == -1).all()
