"""What is said wrongly is corrected for users it was not fitted to, and what is right is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.calibration.correction import Said, asked, calibrated, correction
from models.calibration.later_events import later_events
from models.data.prepare import Dataset, PrepareConfig, catalogue_rows
from models.evaluation.reliability import equal_mass_error
from models.predict import load_predictor
from models.scorers.calibration import PLACES, Lengths, moved
from models.scorers.fit_weights import fit_calibration
from models.serving.predictor import Predictor
from stream.offline.dataset import simulated_dataset

CASES = 6_000


def said(wrong_by: float, slope: float = 1.0, cases: int = CASES, seed: int = 0) -> Said:
    """First interests of which each place says another thing than what is drawn.

    wrong_by: what the first place says too much in log-odds; slope: how much too sure all are.
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(cases, PLACES, generator=generator).sort(1, descending=True).values - 1
    happened = (torch.rand(cases, PLACES, generator=generator) < truth.sigmoid()).float()
    first = slope * truth
    first[:, 0] += wrong_by
    lengths = Lengths(*torch.randint(0, 3, (2, cases), generator=generator))
    user = torch.randint(0, cases // 10, (cases,), generator=generator)
    return Said(first, lengths, happened, user)


@pytest.mark.parametrize(("wrong_by", "slope"), [(0.5, 1.0), (-0.4, 1.0), (0.0, 1.6), (0.3, 0.7)])
def test_a_first_interest_that_says_too_much_or_too_little_is_corrected(
    wrong_by: float, slope: float
) -> None:
    weights, figures = correction(said(wrong_by, slope))
    assert weights is not None
    assert figures["kept"]
    assert figures["loss_after"] < figures["loss_before"]
    assert abs(figures["said_after"] - figures["happened"]) < 0.01
    # other cases of the same kind, before and after
    others = said(wrong_by, slope, seed=1)
    happened = others.happened[:, 0].numpy() > 0
    before, after = (
        each[:, 0].sigmoid().double().numpy()
        for each in (others.first, moved(others.first, others.lengths, weights))
    )
    assert abs(after.mean() - happened.mean()) < 0.02
    assert equal_mass_error(after, happened) < 0.03
    assert equal_mass_error(before, happened) > equal_mass_error(after, happened) + 0.01


def test_a_length_of_history_that_says_too_much_is_corrected_alone() -> None:
    given = said(0.0)
    wrong = given.first + 0.8 * (given.lengths.history == 1)[:, None]
    weights = fit_calibration(wrong, given.lengths, given.happened)
    found = moved(wrong, given.lengths, weights)
    for group in range(3):
        some = given.lengths.history == group
        gap = found[some, 0].sigmoid().mean() - given.happened[some, 0].mean()
        assert abs(gap.item()) < 0.03, group


def test_what_is_right_is_left_or_hardly_moved() -> None:
    weights, figures = correction(said(0.0))
    assert figures["loss_after"] == pytest.approx(figures["loss_before"], abs=1e-3)
    assert abs(figures["said_after"] - figures["said_before"]) < 0.01
    assert (
        (weights is not None) == figures["kept"] == (figures["loss_after"] < figures["loss_before"])
    )


def test_what_helps_only_those_it_was_fitted_to_is_not_kept() -> None:
    """Each half of the users needs the opposite of the other."""
    given = said(0.0)
    odd = torch.from_numpy(np.unique(given.user.numpy(), return_inverse=True)[1] % 2 == 1)
    given.first[odd] += 0.7
    given.first[~odd] -= 0.7
    weights, figures = correction(given)
    assert weights is None
    assert not figures["kept"]
    assert figures["loss_after"] > figures["loss_before"]


def test_few_cases_change_little() -> None:
    weights = fit_calibration(*said(0.5, cases=20)[:3])
    many = fit_calibration(*said(0.5)[:3])
    assert weights[2].abs() < many[2].abs() / 2


@pytest.fixture(scope="module")
def simulated() -> Dataset:
    return simulated_dataset(60, 5, PrepareConfig())


@pytest.mark.parametrize("candidates", [False, True], ids=["every item", "candidates"])
def test_a_model_is_asked_as_a_worker_would_ask_it(simulated: Dataset, candidates: bool) -> None:
    """The answers are those of the scoring pass before each case, and the live ones differ."""
    model = Predictor(replace(load_predictor().trained, candidates=candidates))
    rows = catalogue_rows(simulated.events["key"], list(model.info.items)).astype(np.int64)
    later = later_events(replace(simulated, item_ids=list(model.info.items)), rows, seed=0)
    found = asked(model, later.dataset, later.cases)
    assert found.first.shape == found.happened.shape == (len(later.cases), PLACES)
    assert (found.first.diff(dim=1) <= 0).all()
    assert 0 < found.happened.mean() < 1
    assert sorted(found.user.tolist()) == sorted(later.cases.user.tolist())
    blend, figures = calibrated(model, model.trained.blend, later)
    assert figures["cases"] == len(later.cases)
    assert (blend.calibration is None) != figures["kept"]
    # the same model with the correction says what the correction makes of it
    weights = fit_calibration(*found[:3])
    corrected = Predictor(replace(model.trained, blend=replace(blend, calibration=weights)))
    again = asked(corrected, later.dataset, later.cases)
    torch.testing.assert_close(again.first, found.first)  # asked before the correction
