"""Compares forms of the calibration: what each of them leaves of gap and ECE on test events.

    python -m tests.benchmarks.calibration_forms EVENTS ITEMS WORK [PROTOCOL [SEED [EPOCHS]]]
    python -m tests.benchmarks.calibration_forms demo

The second call asks the shipped demo model: simulated users of one seed take the place of the later
events, and those of another are the test. In the first one a training of effort quick rehearses as
`train` does. What its rehearsal says of later events, and what the finished model says of the test
events before anything is corrected, is kept in WORK, so that a repeated call only fits.

Each form is fitted to the later events and asked of the test. Two last rows are fitted to the other
half of the users of the test itself: how far a form can come at all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from models.calibration.correction import Said, asked, calibrated
from models.calibration.later_events import LaterEvents
from models.data.interests import InterestConfig
from models.data.prepare import PrepareConfig, catalogue_rows, owners
from models.data.splits import Cases, split
from models.evaluation import reliability
from models.model_directory import load
from models.predict import load_predictor
from models.scorers.blend import Blend
from models.scorers.calibration import SIZES, Lengths, identity, moved
from models.scorers.fit_weights import fit_calibration
from models.serving.predictor import Predictor
from models.training import effort_of, settings_for, train_model
from stream.offline.dataset import (
    Inputs,
    load_dataset,
    simulated_dataset,
    with_found_interests,
)

SIMULATIONS: Final = (101, 102)
"""Seeds of the simulated users that the demo model is asked of; it was trained with another."""
USERS: Final = 170
EVENTS: Final = 6_000
PARTS: Final = ("slope", "place", "history", "session")
FORMS: Final[tuple[tuple[str, ...], ...]] = (
    ("slope",),
    ("place",),
    ("slope", "place"),
    ("slope", "place", "history"),
    ("slope", "place", "session"),
    PARTS,
)


def main(
    events: str,
    items: str = "",
    work: str = "",
    protocol: str = "time-split",
    seed: str = "0",
    epochs: str = "",
) -> None:
    """Prints a line a form: first said, happened, gap, ECE by chance in brackets, loss."""
    if events == "demo":
        compare(*(of_simulation(simulation) for simulation in SIMULATIONS))
        return
    place = Path(work)
    if not (place / "test.pt").exists():
        ask(Path(events), Path(items) if items else None, place, protocol, int(seed), epochs)
    later, test = (
        Said(each[0], Lengths(each[1], each[2]), each[3], each[4])
        for each in (torch.load(place / f"{name}.pt") for name in ("later", "test"))
    )
    compare(later, test)


def compare(later: Said, test: Said) -> None:
    """Prints a line a form that is fitted to later events and asked of the test."""
    show("as it is", test, identity())
    show("  of the later events", later, identity())
    for form in FORMS:
        show(" + ".join(form), test, only(form, later))
    for name, form in (("place", ("place",)), ("all", PARTS)):
        half = torch.from_numpy(np.unique(test.user.numpy(), return_inverse=True)[1] % 2 == 0)
        said = test.first.clone()
        for mine in (half, ~half):
            weights = only(form, test.of(~mine))
            said[mine] = moved(test.first[mine], test.of(mine).lengths, weights)
        show(f"{name}, by the other half of the test", test._replace(first=said), identity())


def of_simulation(seed: int) -> Said:
    """Returns what the shipped demo model says of simulated users before some of their events."""
    model = load_predictor()
    dataset = replace(
        simulated_dataset(USERS, seed, PrepareConfig()), item_ids=list(model.info.items)
    )
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    user = owners(dataset)
    places = np.flatnonzero((rows > 0) & (np.arange(len(rows)) > dataset.user_start[user]))
    places = np.sort(np.random.default_rng(0).permutation(places)[:EVENTS])
    history = places - dataset.user_start[user[places]]
    target, times = rows[places] - 1, dataset.events["time_ms"][places]
    return asked(model, dataset, Cases(places, user[places], history, target, times))


def ask(
    events: Path, items: Path | None, work: Path, protocol: str, seed: int, epochs: str
) -> None:
    """Trains, and keeps what is said of later events and of test events."""
    inputs = Inputs([events], [items] if items else [], sequences=items is None)
    dataset = with_found_interests(
        load_dataset(inputs, PrepareConfig()), InterestConfig(least_users=5), None, seed
    )
    cut = split(dataset, protocol, seed=seed)
    config, _ = settings_for("quick", cut.train, seed=seed, model="model")
    if epochs:
        config = replace(config, lstm_epochs=int(epochs), bridge_epochs=int(epochs))

    def kept(rehearsed: Predictor, blend: Blend, later: LaterEvents) -> Any:
        keep(work / "later.pt", asked(rehearsed, later.dataset, later.cases))
        return calibrated(rehearsed, blend, later)

    with mock.patch("models.training.train.calibrated", kept):
        train_model(cut.train, work / "model", config, progress, effort_of("quick").minutes)
    keep(work / "test.pt", asked(load(work / "model"), cut.whole, cut.cases))


def keep(place: Path, said: Said) -> None:
    """Writes what was said; log-odds are those before any correction."""
    torch.save([said.first, *said.lengths, said.happened, said.user], place)


def only(form: Sequence[str], said: Said) -> Tensor:
    """Returns the weights of a form that has some of the parts alone."""
    real, still = moved, identity()
    mask = torch.cat(
        [torch.full((size,), part in form) for part, size in zip(PARTS, SIZES, strict=True)]
    )

    def masked(first: Tensor, lengths: Lengths, weights: Tensor) -> Tensor:
        return real(first, lengths, torch.where(mask, weights, still))

    with mock.patch("models.scorers.fit_weights.moved", masked):
        return torch.where(mask, fit_calibration(*said[:3]), still)


def show(name: str, said: Said, weights: Tensor) -> None:
    """Prints gap and ECE of the first interest, the ECE of the first five, and the loss."""
    log_odds = moved(said.first, said.lengths, weights)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, said.happened)
    probability, happened = log_odds.sigmoid().double().numpy(), said.happened.numpy() > 0
    user = said.user.numpy()
    first, every = (
        reliability.figures(probability[:, :most], happened[:, :most], user, 0)
        for most in (1, reliability.SHOWN)
    )
    sys.stdout.write(
        f"{name:40s} {first['cases']:6d} said {first['said']:.4f} happened {first['happened']:.4f} "
        f"gap {first['gap']:+.4f} ECE {first['ECE']:.4f} ({first['ECE by chance'][0]:.4f}) "
        f"five {every['ECE']:.4f} ({every['ECE by chance'][0]:.4f}) loss {loss:.5f}\n"
    )


def progress(stage: str, done: int, total: int, figures: dict[str, Any]) -> None:
    """Prints a line an epoch."""
    sys.stderr.write(f"{stage} {done}/{total} {figures}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
