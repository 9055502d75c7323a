"""Weights of the blend, fitted to the last events of validation users: what a predictor says of them, as it would serve.

The users whose last events are newest take part. Recent popularity is taken as if the model had been trained every week: of the
moment when the week of an event began, seen from the newest one. Where events have times, a second set of weights is fitted to a
recent popularity that comes in live, of the hour of each event. Weights for users without events are fitted to first
events, those for users whose items are all unknown to the same last events after histories that show titles alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models import blend as blending
from models import metrics
from models.blend import Blend
from models.compact import TEXT_BYTES, TITLE, hash64
from models.popularity import LivePopularity, log_recent_shares, popularity_by_week
from models.predictor import Predictor
from models.prepare import Dataset
from models.protocols import Cases
from models.replay import replay
from models.scorer import Reading

Array = np.ndarray[Any, Any]
Popularity = Callable[[Array], Tensor]
"""Recent popularity [U, V + 1] of each moment int64 [U]."""

USERS: Final = 3_000
DECIDERS: Final = 1_500
"""Users by whom it is decided whether EASE is worth its cost, at most."""
LEAST_DECIDERS: Final = 10
"""Fewer show nothing."""
CELLS: Final = 20_000_000
"""Users times items: 560 MB of scores."""
LENGTH_NAMES: Final = (*(f"up to {most} events" for most in blending.LENGTHS), "more events")
SESSION_NAMES: Final = (
    *(f"besides, up to {most} events in this session" for most in blending.SESSION_LENGTHS),
    "besides, more events in this session",
)
STRANGERS: Final = ("no events", "no known item")
LEAST_USERS: Final = 50
"""Whatever the catalogue: 1.2 GB a million items."""


def ease_gain(
    predictor: Predictor, blend: Blend, dataset: Dataset, item_rows: Array, validation_users: Array
) -> tuple[float, float]:
    """What EASE takes from the cross-entropy of the next item, in nats, 95 %: it costs a pass a fifth, so a gain has to be seen.

    Weights with and without it are fitted to one half of the newest users and asked of the other, and in turn.
    """
    cases = _last_events(dataset, item_rows, validation_users, DECIDERS)
    if len(cases) < LEAST_DECIDERS:
        return 0.0, 0.0
    readings, targets = _read(predictor, dataset, cases, _popularity(blend, dataset, item_rows)(cases.time_ms))
    scorers, *length = _columns(readings)
    place = blending.ITEM_SCORERS.index("ease")
    losses = blending.crossed_losses(scorers, targets, *length)
    scorers[place] = torch.zeros(1, 1).expand_as(scorers[0])
    gains = (blending.crossed_losses(scorers, targets, *length) - losses).numpy()
    low, high = metrics.interval(gains, np.arange(len(gains)))
    return round(low, 4), round(high, 4)


def fit_blend(
    predictor: Predictor, blend: Blend, dataset: Dataset, item_rows: Array, validation_users: Array, most: int = USERS
) -> tuple[Blend, dict[str, Any]]:
    """The blend with fitted weights, and what they are. item_rows int64 [N]: catalogue rows of the data set's events."""
    items, times = len(dataset.item_ids), dataset.events["time_ms"]
    cases = _last_events(dataset, item_rows, validation_users, most)
    starts = dataset.user_start[:-1][validation_users]
    first = starts[item_rows[starts] > 0]
    first = first[_newest(times[first])[: len(cases)]] if len(first) else cases.position
    nameless = _nameless(dataset, item_rows)

    def fitted(popularity: Popularity) -> Blend:
        recently = popularity(cases.time_ms)
        found = _fit(predictor, *_read(predictor, dataset, cases, recently), blend)
        by_text = _of_texts(*_read(predictor, nameless, cases, recently))
        prior = _prior(blend.log_popularity, popularity(times[first]), item_rows[first])
        return replace(found, strangers=torch.stack((prior, by_text)))

    found = fitted(_popularity(blend, dataset, item_rows))
    if not _timed(dataset):
        return found, {"users": len(cases)} | _weights(found)
    live = fitted(LivePopularity(item_rows, times, blend.log_popularity).at)
    until_now = log_recent_shares(item_rows, times, int(times.max()) + 1, items)
    found = replace(
        found,
        log_recent=until_now,
        live_item=live.item,
        live_session=live.session,
        live_interest=live.interest,
        live_strangers=live.strangers,
    )
    figures = {f"live_{name}": each for name, each in _weights(live).items()}
    return found, {"users": len(cases)} | figures | _weights(found)


def _last_events(dataset: Dataset, item_rows: Array, validation_users: Array, most: int) -> Cases:
    """Of the users whose last events are the newest; no more of them than their scores may take memory."""
    most = min(most, max(LEAST_USERS, CELLS // len(dataset.item_ids)))
    starts, last = dataset.user_start[:-1][validation_users], dataset.user_start[1:][validation_users] - 1
    times = dataset.events["time_ms"]
    chosen = _newest(times[last])[:most]
    start, last = starts[chosen], last[chosen]
    return Cases(last, validation_users[chosen], last - start, item_rows[last].astype(np.int32) - 1, times[last])


def _timed(dataset: Dataset) -> bool:
    return not dataset.report.get("events_without_time")


def _popularity(blend: Blend, dataset: Dataset, item_rows: Array) -> Popularity:
    """As a model knows it that is trained every week."""
    if not _timed(dataset):
        return lambda asked_ms: blend.log_recent.expand(len(asked_ms), -1)
    return lambda asked_ms: popularity_by_week(item_rows, dataset.events["time_ms"], asked_ms, len(dataset.item_ids))


def _read(predictor: Predictor, dataset: Dataset, cases: Cases, log_recent: Tensor) -> tuple[list[Reading], Tensor]:
    """What the predictor reads before each case with its recent popularity [T, V + 1], and the rows asked for, in the same order."""
    places, readings, before = [], [], predictor.log_recent
    with torch.no_grad():
        for some, state, recent in replay(predictor, predictor.info.state_size, dataset, cases, 512):
            predictor.log_recent = log_recent[torch.from_numpy(some)]
            places.append(some)
            readings.append(predictor.read(state, recent))
    predictor.log_recent = before
    return readings, torch.from_numpy(cases.target[np.concatenate(places)].astype(np.int64)) + 1


def _of_texts(readings: list[Reading], targets: Tensor) -> Tensor:
    """Weights [F] for users without any known item, of what was read of such."""
    places = {name: blending.ITEM_SCORERS.index(name) for name in blending.READERS}
    opinions = {name: torch.cat([each.scorers[place] for each in readings]) for name, place in places.items()}
    return blending.fit_weights_of(opinions, targets)


def _prior(log_popularity: Tensor, log_recent: Tensor, rows: Array) -> Tensor:
    """Weights [F] for users of whom nothing is known, fitted to first events, item rows int64 [U]."""
    opinions = dict(zip(blending.PRIORS, (log_popularity.expand_as(log_recent), log_recent), strict=True))
    return blending.fit_weights_of(opinions, torch.from_numpy(rows))


def _nameless(dataset: Dataset, item_rows: Array) -> Dataset:
    """The same events as a stream would bring them whose items are all missing from the catalogue: titles alone."""
    events = dataset.events.copy()
    known = item_rows > 0
    titles = np.array([title.encode()[:TEXT_BYTES] for title in dataset.titles], events.dtype["text"])
    events["key"][known] = hash64("an item that no catalogue has")
    events["kind"][known], events["text"][known] = TITLE, titles[item_rows[known] - 1]
    return replace(dataset, events=events)


def _newest(times_ms: Array) -> Array:
    return np.argsort(-times_ms, kind="stable")


def _fit(predictor: Predictor, readings: list[Reading], targets: Tensor, blend: Blend) -> Blend:
    """Item weights, then those of the interests with the items as they are weighed by them."""
    scorers, *length = _columns(readings)
    weights = blending.fit_item_weights(scorers, targets, *length)
    blend = replace(blend, item=weights.length, session=weights.session)
    with torch.no_grad():
        for each in readings:
            each.items = blending.weighted(each.scorers, blend.item_weights(each.held, each.session, each.rows))
        opinions = torch.cat([predictor.interest_features(each)[0] for each in readings])
    happened = torch.from_numpy(predictor.membership.astype(np.float32))[targets - 1]
    return replace(blend, interest=blending.fit_interest_weights(opinions, happened))


def _columns(readings: list[Reading]) -> tuple[list[Tensor], Tensor, Tensor]:
    """F tables [U, V + 1], and lengths int64 [U] of the users' histories and sessions."""
    scorers = [torch.cat(columns) for columns in zip(*(each.scorers for each in readings), strict=True)]
    length = blending.lengths(torch.cat([each.held for each in readings]))
    return scorers, length, blending.session_lengths(torch.cat([each.session for each in readings]))


def _weights(blend: Blend) -> dict[str, Any]:
    of = dict(zip(LENGTH_NAMES, blend.item, strict=True))
    if blend.strangers is not None:
        of = dict(zip(STRANGERS, blend.strangers, strict=True)) | of
    if blend.session is not None:
        of |= dict(zip(SESSION_NAMES, blend.session, strict=True))
    item = {name: _named(blending.ITEM_SCORERS, each) for name, each in of.items()}
    return {"item": item, "interest": _named(blending.INTEREST_FEATURES, blend.interest)}


def _named(names: tuple[str, ...], weights: Tensor) -> dict[str, float]:
    return dict(zip(names, [round(each, 4) for each in weights.tolist()], strict=True))
