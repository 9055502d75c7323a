"""Counts what users met as noisy tables: popularity, co-occurrence and what followed what.

Only tables whose every cell can bear noise are made. EASE and recent popularity are left out: a
regression needs every cell of its matrix, and what is recent depends on the newest event.

Glossary: U users, N events, V items (row 0: unknown).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from models.data.prepare import Dataset, owners
from models.scorers.blend import Blend
from models.scorers.cooccurrence import Cooccurrence
from models.scorers.markov import FEW, FLOOR, MANY, MANY_ITEMS, PRIOR, Markov, Successors
from models.scorers.pair_table import WINDOW, most_kept, strongest
from models.serving.trained_model import TrainedModel
from models.training.private.noise import Noise, clipped

Array = np.ndarray[Any, Any]

SHARES: Final = {"popularity": 0.2, "co-occurrence": 0.4, "what followed": 0.4}
"""How the squared budget of the tables is divided."""
NORMS: Final = {"popularity": 3.0, "co-occurrence": 4.0, "what followed": 3.0}
"""Largest L2 norm of what a user adds: some ten events count fully, those of more a little less."""
CERTAIN: Final = 2.5
"""Standard deviations of noise below which a popularity counts as none."""


def counted(
    model: TrainedModel, dataset: Dataset, rows: Array, chosen: Array, mu: float, noise: Noise
) -> TrainedModel:
    """Returns the model with what was counted of the chosen users, bool [U].

    rows: of the data set's events, [N]; mu: of all tables together.
    """
    items, owner = len(dataset.item_ids), owners(dataset)
    here = chosen[owner] & (rows > 0)
    owner, rows = owner[here], rows[here]
    noises = {what: 1 / (mu * math.sqrt(part)) for what, part in SHARES.items()}

    # how many met each item, once a user
    what = "popularity"
    once = np.unique(owner * (items + 1) + rows)
    cells, met = clipped(once // (items + 1), once % (items + 1), np.ones(len(once)), NORMS[what])
    sums = np.zeros(items)
    sums[cells - 1] = met
    counts, deviation = noise.dense(what, sums, NORMS[what], noises[what])

    # which went together, and which came directly after which
    tables = {
        what: noise.pairs(what, clipped(*found, NORMS[what]), items, NORMS[what], noises[what])
        for what, found in _pairs(owner, rows, items).items()
    }

    # from here on nothing is read but what the noise let through
    counts = np.concatenate(([0.0], np.where(counts > CERTAIN * deviation, counts, 0)))
    shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    log_popularity = torch.from_numpy(np.log(shares).astype(np.float32))
    log_popularity[0], shares[0] = 0, 0
    touched = (shares @ model.membership / shares.sum()).clip(1e-5, 1 - 1e-5)
    base = torch.from_numpy(touched.astype(np.float32))
    with torch.no_grad():
        model.network.interest_bias.copy_(torch.logit(base))
    scorers = model.scorers.replaced(
        "cooccurrence", _cooccurrence(*tables["co-occurrence"], counts, items)
    ).replaced("following", _followers(*tables["what followed"], items))
    return replace(model, scorers=scorers, blend=Blend.start(base, log_popularity))


def _pairs(owner: Array, rows: Array, items: int) -> dict[str, tuple[Array, Array, Array]]:
    """Returns what each event adds to the tables of pairs: users, cells and amounts.

    owner, rows: of events about known items, user after user. The amounts are those of
    models/scorers/cooccurrence.py, and 1 for what directly followed.
    """
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    together, followed = [nothing], [nothing]
    for distance in range(1, min(WINDOW, len(rows) - 1) + 1):
        mine, first, second = owner[:-distance], rows[:-distance], rows[distance:]
        good = (mine == owner[distance:]) & (first != second)
        mine, first, second = mine[good], first[good], second[good]
        ahead, back = first * (items + 1) + second, second * (items + 1) + first
        ones = np.ones(len(mine))
        together += [(mine, ahead, ones / distance), (mine, back, ones / distance / 2)]
        if distance == 1:
            followed.append((mine, ahead, ones))
    found = {}
    for what, parts in (("co-occurrence", together), ("what followed", followed)):
        users, cells, amounts = (np.concatenate(column) for column in zip(*parts, strict=True))
        found[what] = (users, cells, amounts)
    return found


def _cooccurrence(keys: Array, sums: Array, counts: Array, items: int) -> Cooccurrence:
    """Returns the scorer of noisy sums; counts: of each item, noisy as well, [V + 1]."""
    first, second = keys // (items + 1), keys % (items + 1)
    strength = (sums / np.sqrt(counts[second] + 1)).astype(np.float32)
    return Cooccurrence.of(*strongest(first, second, strength, items, most_kept(items)))


def _followers(keys: Array, sums: Array, items: int) -> Markov:
    """Returns the scorer of noisy counts of what followed what."""
    first, second = keys // (items + 1), keys % (items + 1)
    total = np.bincount(first, sums, minlength=items + 1)
    scores = np.log1p(sums / (total[first] + PRIOR) / FLOOR)
    most = MANY if items <= MANY_ITEMS else FEW
    return Markov(Successors(*strongest(first, second, scores, items, most)))
