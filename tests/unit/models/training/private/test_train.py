"""Checks that users reach a model through the noise alone, within the norms that it is made for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Dataset, subset
from models.data.splits import split
from models.errors import ModelDataError
from models.evaluation.evaluate import Ranker, rank_cases
from models.evaluation.metrics import hits
from models.model_directory import load
from models.progress import ignore_progress
from models.scorers.registry import NAMES
from models.training.config import TrainConfig
from models.training.private import network
from models.training.private.account import Budget, Release, epsilon_of
from models.training.private.noise import Noise
from models.training.private.train import FITTING_SHARE, train_private

Array = np.ndarray[Any, Any]

LETTERS = "abcdefghijkl"
SMALL = TrainConfig(width=16, text_epochs=1)


class Spy:
    """Stands in for the noise: remembers what it was given, and gives what depends on nothing."""

    def __init__(self) -> None:
        self.given: list[tuple[str, Array, float]] = []

    def drawn(self, _: Any, users: int, rate: float) -> Any:
        return np.ones(users, bool)

    def dense(
        self, real: Any, what: str, sums: Any, norm: float, noise: float, rate: Any = 1.0
    ) -> Any:
        self.given.append((what, sums, norm))
        real.releases.append(Release(what, noise, rate))
        # there and back again, so that weights do not drift to where no user moves them
        back = sum(each[0] == what for each in self.given) % 2 == 0
        return np.linspace(1, 40, len(sums)) * (-1 if back else 1), norm * noise

    def pairs(self, real: Any, what: str, table: Any, items: int, norm: float, noise: float) -> Any:
        cells, sums = table
        whole = np.zeros((items + 1) ** 2)
        whole[cells] = sums
        self.given.append((what, whole, norm))
        real.releases.append(Release(what, noise))
        first = np.arange(1, items)
        return first * (items + 1) + first + 1, first * 1.0


def walks(prepared: Callable[..., Dataset], users: int, seed: int = 0) -> Dataset:
    """Users who mostly go on to the next letter, with interests by the catalogue."""
    random = np.random.default_rng(seed)
    events = []
    for user in range(users):
        place = int(random.integers(12))
        for turn in range(int(random.integers(4, 30))):
            events.append((f"u{user}", LETTERS[place % 12], 1_000 * turn + int(random.integers(9))))
            place += 1 if random.random() < 0.9 else int(random.integers(12))
    items = {letter: ("AB"[place % 2],) for place, letter in enumerate(LETTERS)}
    dataset = prepared(events, items)
    return find_interests(dataset, InterestConfig(least_items=1), by_catalogue=True)


def spied(dataset: Dataset, out: Path, patch: pytest.MonkeyPatch) -> Spy:
    """Trains with a spy in the place of the noise."""
    spy = Spy()
    patch.setattr(network, "STEPS", 3)
    patch.setattr(Noise, "drawn", lambda self, *given: spy.drawn(self, *given))
    patch.setattr(Noise, "dense", lambda self, *given: spy.dense(self, *given))
    patch.setattr(Noise, "pairs", lambda self, *given: spy.pairs(self, *given))
    train_private(dataset, out, SMALL, Budget(3, 1e-6, lstm_share=0.5))
    return spy


def test_nothing_but_what_the_noise_gives_back_is_in_the_directory(
    prepared: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks two sets of users who share nothing but the catalogue: every file is the same."""
    first, second = walks(prepared, 60, seed=1), walks(prepared, 90, seed=2)
    spied(first, tmp_path / "first" / "m", monkeypatch)
    spied(second, tmp_path / "second" / "m", monkeypatch)
    files = {path.name for path in (tmp_path / "first" / "m").iterdir()}
    assert "weights.safetensors" in files
    assert files == {path.name for path in (tmp_path / "second" / "m").iterdir()}
    for name in files:
        one, other = (tmp_path / each / "m" / name for each in ("first", "second"))
        assert one.read_bytes() == other.read_bytes(), name


@pytest.mark.parametrize("scores_held", [10_000, 36])
def test_no_user_moves_what_the_noise_is_given_by_more_than_its_norm(
    prepared: Callable[..., Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores_held: int,
) -> None:
    """Checks whole users, also where only three of those who fit have room in memory."""
    monkeypatch.setattr("models.training.private.weights.CELLS", scores_held)
    dataset = walks(prepared, 40)
    whole = spied(dataset, tmp_path / "whole", monkeypatch).given
    moved = np.zeros(len(whole))
    for user in (0, 1, 2, 3, 4, 5, 6, 7):
        keep = np.ones(len(dataset.events), bool)
        keep[dataset.user_start[user] : dataset.user_start[user + 1]] = False
        without = spied(subset(dataset, keep), tmp_path / f"{user}", monkeypatch).given
        assert [each[0] for each in without] == [each[0] for each in whole]
        changed = set()
        for place, ((what, mine, norm), (_, others, _)) in enumerate(
            zip(whole, without, strict=True)
        ):
            far = float(np.linalg.norm(mine - others))
            # gradients of all others are of 32 bits, and come in other batches
            rounding = 1e-4 if what == "steps of the LSTM" else 1e-6
            assert far <= norm * (1 + rounding), what
            moved[place] = max(moved[place], far / norm)
            if far > rounding * norm:
                changed.add("fitting" if what == "weights of the blend" else "counted")
        assert len(changed) == 1  # nobody is in both groups
    assert (moved > 0.05).mean() > 0.9  # the check sees something


def hit_rate(dataset: Dataset, out: Path, epsilon: float, lstm_share: float = 0.0) -> float:
    cut = split(dataset)
    train_private(cut.train, out, SMALL, Budget(epsilon, 1e-6, lstm_share))
    ranks, _ = rank_cases(load(out), cut, Ranker(cut, "keep"), ignore_progress)
    return float(hits(ranks, 1).mean())


def test_a_large_budget_learns_what_comes_next_and_a_small_one_does_not(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = walks(prepared, 400)
    assert hit_rate(dataset, tmp_path / "large", 50) > 0.7  # nine of ten go on to the next letter
    assert hit_rate(dataset, tmp_path / "with LSTM", 50, lstm_share=0.5) > 0.7
    assert hit_rate(dataset, tmp_path / "small", 0.01) < 0.4


def test_the_report_says_what_was_spent_and_what_is_outside(
    prepared: Callable[..., Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "STEPS", 5)
    dataset, budget = walks(prepared, 60), Budget(8, 1e-5, lstm_share=0.5)
    report = train_private(dataset, tmp_path / "m", SMALL, budget)
    stored = json.loads((tmp_path / "m" / "report.json").read_text())
    assert set(stored) == {"config", "network", "privacy"}
    assert stored["privacy"] == json.loads(json.dumps(report["privacy"]))
    account = report["privacy"]["account"]
    assert set(account) == {"counted users", "fitting users"}
    for group in account.values():
        recomputed = epsilon_of([Release(**each) for each in group["releases"]], budget.delta)
        assert group["epsilon"] == pytest.approx(recomputed, abs=1e-4)
        assert 0.99 * budget.epsilon < recomputed <= budget.epsilon * (1 + 1e-9)
    assert [(each["what"], each["times"]) for each in account["counted users"]["releases"]] == [
        ("popularity", 1),
        ("co-occurrence", 1),
        ("what followed", 1),
        ("steps of the LSTM", 5),
    ]
    assert 0 < FITTING_SHARE < 1
    assert any("catalogue" in each for each in report["privacy"]["outside"])


def test_networks_without_a_share_stay_untrained_and_the_account_is_exact(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset, budget = walks(prepared, 60), Budget(8, 1e-5)
    report = train_private(dataset, tmp_path / "m", SMALL, budget)
    for group in report["privacy"]["account"].values():
        assert group["epsilon"] == pytest.approx(8, abs=1e-4)
        assert "steps of the LSTM" not in [each["what"] for each in group["releases"]]
    weights = load(tmp_path / "m").trained.blend.item
    assert not weights[:, NAMES.index("lstm")].any()
    assert "the networks over users: no weight" in report["privacy"]["not_trained"]


def test_an_interrupted_training_leaves_nothing_behind(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    """Checks that no noisy sum lies about that a second call could meet again."""
    dataset, out = walks(prepared, 60), tmp_path / "m"
    out.mkdir()

    def interrupt(stage: str, done: int, _total: int, figures: dict[str, Any]) -> None:
        if stage == "text":
            return  # of the catalogue alone
        assert not figures  # losses would tell of users
        if (stage, done) == ("lstm", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_private(dataset, out, SMALL, Budget(8, 1e-6, lstm_share=0.5), interrupt)
    assert not list(out.iterdir())


def test_items_of_users_and_too_few_users_are_refused(
    prepared: Callable[..., Dataset], tmp_path: Path
) -> None:
    events = [(f"u{user}", item, place) for user in range(9) for place, item in enumerate("abab")]
    added = find_interests(
        prepared(events, "a", unknown_items="add"), InterestConfig(2, least_items=1)
    )
    with pytest.raises(ModelDataError, match="give --items"):
        train_private(added, tmp_path / "m", SMALL, Budget(3, 1e-6))
    with pytest.raises(ModelDataError, match="too few users"):
        train_private(walks(prepared, 1), tmp_path / "m", SMALL, Budget(3, 1e-6))
