"""Weights of the blend, fitted to the last events of validation users: what a predictor says of them, as it would serve."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from models import blend as blending
from models.blend import Blend
from models.predictor import Predictor
from models.prepare import Dataset
from models.protocols import Cases
from models.replay import replay

Array = np.ndarray[Any, Any]

USERS: Final = 3_000
CELLS: Final = 20_000_000
"""Users times items: 500 MB of scores."""
LEAST_USERS: Final = 50
"""Whatever the catalogue: 1.2 GB a million items."""


def fit_blend(
    predictor: Predictor, blend: Blend, dataset: Dataset, item_rows: Array, validation_users: Array, most: int = USERS
) -> tuple[Blend, dict[str, Any]]:
    """The blend with fitted weights, and what they are. item_rows int64 [N]: catalogue rows of the data set's events."""
    users = validation_users[: min(most, max(LEAST_USERS, CELLS // len(dataset.item_ids)))]
    start, last = dataset.user_start[:-1][users], dataset.user_start[1:][users] - 1
    rows = item_rows[last]
    cases = Cases(last, users, last - start, rows.astype(np.int32) - 1, dataset.events["time_ms"][last])
    places, readings = [], []
    with torch.no_grad():
        for some, state, recent in replay(predictor, predictor.info.state_size, dataset, cases, 512):
            places.append(some)
            readings.append(predictor.read(state, recent))
    targets = torch.from_numpy(rows[np.concatenate(places)])
    scorers = [torch.cat(columns) for columns in zip(*(each.scorers for each in readings), strict=True)]
    item = blending.fit_item_weights(scorers, targets)
    with torch.no_grad():
        for each in readings:
            each.items = blending.weighted(each.scorers, item)
        opinions = torch.cat([predictor.interest_features(each)[0] for each in readings])
    happened = torch.from_numpy(predictor.membership.astype(np.float32))[targets - 1]
    interest = blending.fit_interest_weights(opinions, happened)
    figures = {
        "users": len(users),
        "item": _named(blending.ITEM_SCORERS, item),
        "interest": _named(blending.INTEREST_FEATURES, interest),
    }
    return Blend(item, interest, blend.base, blend.log_popularity), figures


def _named(names: tuple[str, ...], weights: torch.Tensor) -> dict[str, float]:
    return dict(zip(names, [round(each, 4) for each in weights.tolist()], strict=True))
