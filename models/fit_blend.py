"""Weights of the blend, fitted to the last events of validation users: what a predictor says of them, as it would serve.

The users whose last events are newest take part. Recent popularity is taken as if the model had been trained every week: of the
moment when the week of an event began, seen from the newest one. Where events have times, a second set of weights is fitted to a
recent popularity that comes in live, of the hour of each event.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models import blend as blending
from models.blend import Blend
from models.popularity import LivePopularity, log_recent_shares, popularity_by_week
from models.predictor import Predictor
from models.prepare import Dataset
from models.protocols import Cases
from models.replay import replay
from models.scorer import Reading

Array = np.ndarray[Any, Any]

USERS: Final = 3_000
CELLS: Final = 20_000_000
"""Users times items: 560 MB of scores."""
LENGTH_NAMES: Final = (*(f"up to {most} events" for most in blending.LENGTHS), "more events")
LEAST_USERS: Final = 50
"""Whatever the catalogue: 1.2 GB a million items."""


def fit_blend(
    predictor: Predictor, blend: Blend, dataset: Dataset, item_rows: Array, validation_users: Array, most: int = USERS
) -> tuple[Blend, dict[str, Any]]:
    """The blend with fitted weights, and what they are. item_rows int64 [N]: catalogue rows of the data set's events."""
    items, times = len(dataset.item_ids), dataset.events["time_ms"]
    timed = not dataset.report.get("events_without_time")
    newest = np.argsort(-times[dataset.user_start[1:][validation_users] - 1], kind="stable")
    users = validation_users[newest[: min(most, max(LEAST_USERS, CELLS // items))]]
    start, last = dataset.user_start[:-1][users], dataset.user_start[1:][users] - 1
    rows = item_rows[last]
    cases = Cases(last, users, last - start, rows.astype(np.int32) - 1, dataset.events["time_ms"][last])

    def fitted(popularity: Tensor | None) -> Blend:
        """With recent popularity [U, V + 1], if it is of each moment."""
        places, readings = [], []
        with torch.no_grad():
            for some, state, recent in replay(predictor, predictor.info.state_size, dataset, cases, 512):
                if popularity is not None:
                    predictor.log_recent = popularity[torch.from_numpy(some)]
                places.append(some)
                readings.append(predictor.read(state, recent))
        predictor.log_recent = blend.log_recent[None]
        return _fit(predictor, readings, torch.from_numpy(rows[np.concatenate(places)]), blend)

    found = fitted(popularity_by_week(item_rows, times, times[last], items) if timed else None)
    figures: dict[str, Any] = {"users": len(users)}
    if timed:
        live = fitted(LivePopularity(item_rows, times, blend.log_popularity).at(times[last]))
        until_now = log_recent_shares(item_rows, times, int(times.max()) + 1, items)
        found = replace(found, log_recent=until_now, live_item=live.item, live_interest=live.interest)
        figures |= {f"live_{name}": each for name, each in _weights(live).items()}
    return found, figures | _weights(found)


def _fit(predictor: Predictor, readings: list[Reading], targets: Tensor, blend: Blend) -> Blend:
    """Item weights, then those of the interests with the items as they are weighed by them."""
    scorers = [torch.cat(columns) for columns in zip(*(each.scorers for each in readings), strict=True)]
    held = torch.cat([each.held for each in readings])
    blend = replace(blend, item=blending.fit_item_weights(scorers, targets, blending.lengths(held)))
    with torch.no_grad():
        for each in readings:
            each.items = blending.weighted(each.scorers, blend.item_weights(each.held))
        opinions = torch.cat([predictor.interest_features(each)[0] for each in readings])
    happened = torch.from_numpy(predictor.membership.astype(np.float32))[targets - 1]
    return replace(blend, interest=blending.fit_interest_weights(opinions, happened))


def _weights(blend: Blend) -> dict[str, Any]:
    item = {name: _named(blending.ITEM_SCORERS, each) for name, each in zip(LENGTH_NAMES, blend.item, strict=True)}
    return {"item": item, "interest": _named(blending.INTEREST_FEATURES, blend.interest)}


def _named(names: tuple[str, ...], weights: Tensor) -> dict[str, float]:
    return dict(zip(names, [round(each, 4) for each in weights.tolist()], strict=True))
