"""Checks that training reaches what can be reached, and that two runs of it are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.compact import COMPACT, QUERY, hash64
from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Dataset
from models.errors import ModelDataError
from models.evaluation.explanations import remembered
from models.model_directory import load
from models.scorers.ease import Ease
from models.scorers.registry import SCORERS
from models.scorers.scorer import Scorer
from models.serving.predictor import no_events
from models.training.config import TrainConfig
from models.training.train import train_model

pytestmark = pytest.mark.slow

SMALL = TrainConfig(
    width=16,
    dropout=0.0,
    batch=8,
    text_epochs=1,
    lstm_epochs=40,
    bridge_epochs=20,
    patience=1_000,
    learning_rate=1e-2,
    min_users=1,
)
QUERIES = ("hiking boots", "espresso cup", "guitar strings", "garden hose")


@pytest.fixture
def eight(prepared: Callable[..., Dataset]) -> Dataset:
    """Returns eight users, each with an order of its own through the same letters.

    Only remembering the order tells what comes next.
    """
    letters = "abcdefgh"
    orders = [letters[user:] + letters[:user] for user in range(4)]
    orders += [order[::-1] for order in orders]
    events = [
        (f"u{user}", item, 1_000 * place)
        for user, order in enumerate(orders)
        for place, item in enumerate(order * 2)
    ]
    items = {letter: (letter.upper(),) for letter in letters}
    return find_interests(prepared(events, items), InterestConfig(least_items=1, largest_share=1))


def worth_it(*_: Any) -> dict[type[Scorer], tuple[float, float]]:
    """Says that each costly scorer takes enough from the loss: too few users could show it."""
    return {each: (1.0, 2.0) for each in SCORERS if each.must_earn_its_cost}


def test_attention_is_learned_by_heart_and_stored_where_it_is_worth_it(
    eight: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(
        SMALL, lstm_epochs=1, bridge_epochs=1, attention_epochs=40, attention_dropout=0.0
    )
    monkeypatch.setattr("models.training.train.gains_of_costly_scorers", worth_it)
    report = train_model(eight, tmp_path / "model", settings)
    assert max(each["ndcg@10"] for each in report["curves"]["attention"]) == 1.0
    assert report["network"]["window"] == settings.window
    weights = load_file(tmp_path / "model" / "weights.safetensors")
    learned = load(tmp_path / "model").network.attention
    assert learned is not None
    assert torch.equal(learned.item.weight, weights["network.attention.item.weight"])


def test_attention_that_is_not_worth_it_leaves_nothing_behind(
    eight: Dataset, tmp_path: Path
) -> None:
    short = replace(SMALL, lstm_epochs=2, bridge_epochs=2)
    report = train_model(eight, tmp_path / "with", replace(short, attention_epochs=2))
    train_model(eight, tmp_path / "without", short)
    assert report["curves"]["attention"]  # eight users cannot show that it is worth anything
    names = ("with", "without")
    weights = [load_file(tmp_path / each / "weights.safetensors") for each in names]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    first, second = (load(tmp_path / each) for each in names)
    assert first.info.fingerprint == second.info.fingerprint


def test_attention_is_left_out_where_nobody_met_two_items_to_learn_from(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Searches are targets of nothing; one item before the last leaves no window."""
    events = [
        (f"u{user}", each, 1_000 * place)
        for user in range(12)
        for place, each in enumerate(["?tent", "ab"[user % 2], "ba"[user % 2]])
    ]
    dataset = find_interests(
        prepared(events, {"a": ("A",), "b": ("B",)}),
        InterestConfig(least_items=1, largest_share=1),
    )
    short = replace(SMALL, lstm_epochs=1, bridge_epochs=1, attention_epochs=2)
    report = train_model(dataset, tmp_path / "model", short)
    assert "attention" not in report["curves"]
    assert load(tmp_path / "model").network.attention is None


def test_eight_sequences_are_learned_by_heart(eight: Dataset, tmp_path: Path) -> None:
    report = train_model(eight, tmp_path / "model", replace(SMALL, learn_validation=False))
    for stage in ("lstm", "bridge"):
        curve = report["curves"][stage]
        assert curve[-1]["ndcg@10"] == 1.0
    assert (
        report["curves"]["lstm"][-1]["loss"] < 0.35
    )  # nats; guessing one of eight letters costs 2.08
    assert report["curves"]["bridge"][-1]["loss"] < report["curves"]["bridge"][0]["loss"]
    assert load(tmp_path / "model").info.items == tuple("abcdefgh")


def test_equal_seeds_equal_models_and_other_seeds_others(eight: Dataset, tmp_path: Path) -> None:
    short = replace(SMALL, lstm_epochs=2, bridge_epochs=2)
    torch.set_num_threads(
        2
    )  # as another part of the process wants it; loading a model sets it to 1

    def fingerprint(name: str, **changes: Any) -> int:
        train_model(eight, tmp_path / name, replace(short, **changes))
        return load(tmp_path / name).info.fingerprint

    first = fingerprint("first")
    assert fingerprint("again") == first
    assert fingerprint("other", seed=1) != first


def test_a_stopped_training_goes_on_where_it_stopped(
    eight: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(SMALL, lstm_epochs=4, bridge_epochs=3, attention_epochs=3)
    monkeypatch.setattr("models.training.train.gains_of_costly_scorers", worth_it)
    train_model(eight, tmp_path / "whole", short)

    def stopping(at: tuple[str, int]) -> Callable[[str, int, int, dict[str, Any]], None]:
        def stop(stage: str, done: int, total: int, figures: dict[str, Any]) -> None:
            if (stage, done) == at:
                raise KeyboardInterrupt

        return stop

    for at in (
        ("text", 1),
        ("lstm", 2),
        ("bridge", 1),
        ("bridge", 3),
        ("attention", 2),
        ("lstm_anew", 1),
        ("bridge_anew", 1),
        ("attention_anew", 1),
    ):
        with pytest.raises(KeyboardInterrupt):
            train_model(eight, tmp_path / "parts", short, stopping(at))
    train_model(eight, tmp_path / "parts", short)
    assert load(tmp_path / "parts").info.fingerprint == load(tmp_path / "whole").info.fingerprint


BY_HEART = replace(SMALL, patience=1, lstm_epochs=9, bridge_epochs=3, more_dropout=0.5)
"""Settings with which validation stops to rise, as where a network learns by heart."""


def test_more_dropout_is_tried_and_the_one_stays_with_which_the_blend_loses_less(
    eight: Dataset, tmp_path: Path
) -> None:
    report = train_model(eight, tmp_path / "model", BY_HEART)
    tried = report["dropouts"]
    assert [each["dropout"] for each in tried] == [0.0, 0.5]
    best = min(tried, key=lambda each: each["blend_loss"])
    assert [each["dropout"] for each in tried if each["kept"]] == [best["dropout"]]
    assert report["config"]["dropout"] == report["network"]["dropout"] == best["dropout"]
    assert list(report["curves"]) == ["text", "lstm", "bridge", "lstm_anew", "bridge_anew"]
    known = report["curves"]["bridge"]
    assert best["ndcg@10"] == max(epoch["ndcg@10"] for epoch in known)


def test_a_single_user_trains_a_model_that_names_everything(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Checks the smallest log: no half of the users to decide by, no interest that many met."""
    events = [("u", f"item {place % 3}", 1_000 * place) for place in range(12)]
    config = InterestConfig(least_users=5)
    train_model(
        find_interests(prepared(events), config), tmp_path / "model", replace(BY_HEART, min_users=5)
    )
    info = load(tmp_path / "model").info
    assert (info.interests, len(info.items)) == (("everything",), 3)


@pytest.mark.parametrize("loss", [{0.0: 1.0, 0.5: 2.0}, {0.0: 2.0, 0.5: 1.0}])
def test_the_blend_decides_about_dropout_also_after_a_stop(
    eight: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: dict[float, float]
) -> None:
    def blend_loss(predictor: Any, *given: Any) -> float:
        return loss[predictor.network.config.dropout]

    def stop(stage: str, done: int, total: int, figures: dict[str, Any]) -> None:
        if stage == "bridge_more_dropout":
            raise KeyboardInterrupt

    monkeypatch.setattr("models.training.train.blend_loss", blend_loss)
    with pytest.raises(KeyboardInterrupt):
        train_model(eight, tmp_path / "parts", BY_HEART, stop)
    parts = train_model(eight, tmp_path / "parts", BY_HEART)
    whole = train_model(eight, tmp_path / "whole", BY_HEART)
    assert parts["config"]["dropout"] == min(loss, key=loss.__getitem__)
    assert (parts["dropouts"], parts["curves"]) == (whole["dropouts"], whole["curves"])
    assert load(tmp_path / "parts").info.fingerprint == load(tmp_path / "whole").info.fingerprint


@pytest.mark.parametrize(
    ("changes", "minutes"), [({"patience": 1_000}, np.inf), ({"dropout": 0.6}, np.inf), ({}, 0.0)]
)
def test_more_dropout_is_left_where_there_is_no_reason_or_no_time(
    eight: Dataset, tmp_path: Path, changes: dict[str, Any], minutes: float
) -> None:
    config = replace(BY_HEART, lstm_epochs=4, **changes)
    assert train_model(eight, tmp_path / "model", config, minutes=minutes)["dropouts"] == []


@pytest.fixture
def rehearsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a log of eight users be enough to calibrate on."""
    monkeypatch.setattr("models.calibration.later_events.LEAST_CASES", 4)
    monkeypatch.setattr("models.calibration.later_events.LEAST_USERS", 2)


@pytest.mark.usefixtures("rehearsing")
def test_a_rehearsal_calibrates_and_leaves_no_trace_in_what_is_learned(
    eight: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks that all but the correction is what a training without a rehearsal writes.

    A stop in the middle of the rehearsal changes nothing either.
    """
    short = replace(SMALL, lstm_epochs=4, bridge_epochs=3)

    def stop(stage: str, done: int, total: int, figures: dict[str, Any]) -> None:
        if stage == "bridge_rehearsal":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(eight, tmp_path / "with", short, stop)
    report = train_model(eight, tmp_path / "with", short)
    assert report["calibration"]["cases"] >= 4
    assert len(report["curves"]["lstm_rehearsal"]) <= len(report["curves"]["lstm_anew"])
    monkeypatch.setattr("models.calibration.later_events.LEAST_CASES", 1_000)
    plain = train_model(eight, tmp_path / "without", short)
    assert plain["calibration"]["why"].startswith("16 later events are too few")
    assert "lstm_rehearsal" not in plain["curves"]
    lacking = train_model(eight, tmp_path / "lacking", replace(short, all_events=False))
    assert lacking["calibration"]["why"].startswith("the last event of each user is held out")
    found, wanted = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("with", "without")
    )
    corrections = {"blend.calibration", "blend.live_calibration"}
    assert found.keys() - corrections == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert (found.keys() & corrections != set()) == (
        report["calibration"]["kept"] or report["calibration"]["live"]["kept"]
    )


def test_validation_events_held_out_are_never_learned(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Checks by an item that only the last event of each user is about.

    A model that held it out knows no pair with it.
    """
    events = [
        (f"u{user}", item, 1_000 * place) for user in range(6) for place, item in enumerate("abcaz")
    ]
    dataset = find_interests(
        prepared(events, {item: (item.upper(),) for item in "abcz"}),
        InterestConfig(least_items=1, largest_share=1),
    )
    short = replace(SMALL, lstm_epochs=1, bridge_epochs=1)
    for learn in (True, False):
        report = train_model(dataset, tmp_path / str(learn), replace(short, learn_validation=learn))
        assert ("bridge_anew" in report["curves"]) == learn
        neighbours = load_file(tmp_path / str(learn) / "weights.safetensors")[
            "cooccurrence.neighbours"
        ]
        assert bool((neighbours == dataset.item_ids.index("z") + 1).any()) == learn


def test_who_did_nothing_yet_is_shown_what_others_begin_with(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Checks users who begin with a, which is popular, and end with z, which is learned."""
    events = [
        (f"u{user}", item, 1_000 * place)
        for user in range(20)
        for place, item in enumerate("abacazz")
    ]
    dataset = find_interests(
        prepared(events, {item: (item.upper(),) for item in "abcz"}),
        InterestConfig(least_items=1, largest_share=1),
    )
    report = train_model(
        dataset, tmp_path / "model", replace(SMALL, lstm_epochs=10, bridge_epochs=5)
    )
    model = load(tmp_path / "model")
    scores = model.score_all(np.zeros((1, model.info.state_size), np.float32), no_events(1))
    assert model.info.items[int(scores.argmax())] == "a"
    weights = report["blend"]["item"]["no events"]
    del weights[
        "recent_popularity"
    ]  # nothing was popular before all first events: its weight is what rounding leaves, or 0
    assert {name for name, weight in weights.items() if weight} == {"popularity"}


def test_a_costly_scorer_is_kept_where_it_earns_its_cost_and_left_out_where_it_does_not(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Checks with pairs of items, of which the second comes sooner or later, and without.

    Pairs are drawn for each user; or every item is drawn by itself.
    """
    short = replace(SMALL, lstm_epochs=1, bridge_epochs=1)
    random = np.random.default_rng(6)
    for told, groups in (
        ("pairs", random.integers(0, 12, (300, 4))),
        ("chance", random.integers(0, 24, (300, 8))),
    ):
        orders = [
            random.permutation(np.concatenate([2 * user, 2 * user + 1]))
            if told == "pairs"
            else user
            for user in groups
        ]
        events = [
            (f"u{user}", f"i{item}", 1_000 * place)
            for user, order in enumerate(orders)
            for place, item in enumerate(order)
        ]
        items = {f"i{item}": (f"I{item}",) for item in range(24)}
        dataset = find_interests(
            prepared(events, items), InterestConfig(least_items=1, largest_share=1)
        )
        report = train_model(dataset, tmp_path / told, short)
        kept = told == "pairs"
        assert (report["blend"][f"{Ease.name}_gain"][0] > 0) == kept
        stored = load_file(tmp_path / told / "weights.safetensors")
        assert any(key.startswith(Ease.tensors_prefix) for key in stored) == kept
        weights = [each[Ease.name] for each in report["blend"]["item"].values()]
        assert any(weights) == kept
        assert load(tmp_path / told).score_all(
            np.zeros((1, 32), np.float32), no_events(1)
        ).shape == (1, 24)


def test_what_a_search_was_for_is_learned(prepared: Callable[..., Dataset], tmp_path: Path) -> None:
    """Checks items that come after a search for them, in an order that nobody can know.

    Only the words of the search tell which item is next.
    """
    wanted = np.random.default_rng(5).integers(0, 4, (40, 6))
    events = [
        (f"u{user}", each, 1_000 * place)
        for user, items in enumerate(wanted.tolist())
        for place, each in enumerate(
            name for item in items for name in (f"?{QUERIES[item]}", "abcd"[item])
        )
    ]
    dataset = find_interests(
        prepared(events, {item: (item.upper(),) for item in "abcd"}),
        InterestConfig(least_items=1, largest_share=1),
    )
    report = train_model(
        dataset, tmp_path / "model", replace(SMALL, lstm_epochs=15, bridge_epochs=5)
    )
    assert report["curves"]["lstm"][-1]["loss"] < 0.3  # nats; without the words ln 4 = 1.39
    model = load(tmp_path / "model")
    searches = [
        np.array([(hash64(words), 0, 1_000, 3, QUERY, words.encode())], COMPACT)
        for words in QUERIES
    ]
    found = model.score_all(*remembered(model, searches)).argmax(1)
    assert [model.info.items[item] for item in found] == list("abcd")


def test_the_loss_does_not_jump_when_the_lstm_begins_to_learn_too(
    eight: Dataset, tmp_path: Path
) -> None:
    """Checks that at a rate of nought each epoch of the bridge has the same loss, frozen or not."""
    still = replace(SMALL, learning_rate=0.0, lstm_epochs=1, bridge_epochs=3)
    curve = train_model(eight, tmp_path / "model", still)["curves"]["bridge"]
    assert [epoch["loss"] for epoch in curve] == pytest.approx([curve[0]["loss"]] * 3, rel=1e-3)
    assert ["lstm_loss" in epoch for epoch in curve] == [False, False, True]


def test_checkpoints_of_other_settings_are_refused(eight: Dataset, tmp_path: Path) -> None:
    short = replace(SMALL, lstm_epochs=1, bridge_epochs=1)
    train_model(eight, tmp_path / "model", short)
    with pytest.raises(ModelDataError, match="other data or settings"):
        train_model(eight, tmp_path / "model", replace(short, seed=5))


def test_a_training_is_not_resumed_after_items_moved_to_other_interests(
    eight: Dataset, tmp_path: Path
) -> None:
    short = replace(SMALL, lstm_epochs=1, bridge_epochs=1)
    train_model(eight, tmp_path / "model", short)
    moved = replace(eight, membership=eight.membership._replace(indices=eight.membership[1][::-1]))
    with pytest.raises(ModelDataError, match=r"other data or settings.*--restart"):
        train_model(moved, tmp_path / "model", short)


def test_data_without_interests_is_refused(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    with pytest.raises(ModelDataError, match="has no interests yet"):
        train_model(prepared([("u", "a", 1), ("u", "b", 2)], "ab"), tmp_path / "model", SMALL)
