"""Fits the weights of the blend to the last events of validation users.

A predictor that scores all items scores them as it would serve them. A large catalogue is served by
candidates, so the weights of its interests are fitted to those, once those of the scorers are
known. The users whose last events are newest take part.
Recent popularity is taken as if the model had been trained every week: of the moment when the week
of an event began, seen from the newest one. Where events have times, a second set of weights is
fitted to a recent popularity that comes in live, of the hour of each event. Weights for users
without events are fitted to first events, those for users whose items are all unknown to the same
last events after histories that show titles alone.

Glossary: N events, U users, T cases, V items (row 0: unknown), F scorers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.compact import RECENT, TEXT_BYTES, TITLE, hash64
from models.data.prepare import Dataset
from models.data.replay import replay
from models.data.splits import Cases
from models.evaluation import metrics
from models.scorers import blend as blending
from models.scorers.blend import Blend
from models.scorers.fit_weights import (
    crossed_losses,
    fit_interest_weights,
    fit_item_weights,
    fit_weights_of,
)
from models.scorers.recent_popularity import LivePopularity, log_recent_shares, popularity_by_week
from models.scorers.registry import NAMES, READERS, SCORERS, ScorerSet
from models.scorers.scorer import Needs, RecentItems, Scorer, ScorerInput
from models.serving.predictor import Predictor
from models.serving.reading import Reading
from models.serving.trained_model import MOST_WHOLE

Array = np.ndarray[Any, Any]
Popularity = Callable[[Array], Tensor]
"""Returns the recent popularity [U, V + 1] of each moment int64 [U]."""

USERS: Final = 3_000
DECIDERS: Final = 1_500
"""Users by whom it is decided whether a scorer is worth its cost, at most."""
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


def gains_of_costly_scorers(
    predictor: Predictor, blend: Blend, dataset: Dataset, item_rows: Array, validation_users: Array
) -> dict[type[Scorer], tuple[float, float]]:
    """Returns what each scorer that must earn its cost takes from the loss of the next item.

    The loss is cross-entropy in nats, the gain a 95 % interval. Weights with and without the scorer
    are fitted to one half of the newest users and measured on the other, and in turn.
    """
    costly = [scorer for scorer in SCORERS if scorer.must_earn_its_cost]
    cases = _last_events(dataset, item_rows, validation_users, DECIDERS)
    if len(cases) < LEAST_DECIDERS:
        return dict.fromkeys(costly, (0.0, 0.0))

    # the loss with all scorers
    popularity = _popularity(blend, dataset, item_rows)(cases.time_ms)
    scores, targets, *length = _scores(predictor, dataset, cases, popularity)
    losses = crossed_losses(scores, targets, *length)

    # and without one of them
    found: dict[type[Scorer], tuple[float, float]] = {}
    for scorer in costly:
        if predictor.trained.scorers[scorer.name] is None:
            found[scorer] = 0.0, 0.0  # there was nothing to learn, so there is nothing to leave out
            continue
        fewer = list(scores)
        fewer[NAMES.index(scorer.name)] = torch.zeros(1, 1).expand_as(scores[0])
        gains = (crossed_losses(fewer, targets, *length) - losses).numpy()
        low, high = metrics.interval(gains, np.arange(len(gains)))
        found[scorer] = round(low, 4), round(high, 4)
    return found


def blend_loss(
    predictor: Predictor, blend: Blend, dataset: Dataset, item_rows: Array, validation_users: Array
) -> float:
    """Returns the loss of the next item, in nats, by which networks are chosen for the blend.

    The newest users decide; each half of them is scored by weights that were fitted to the other.
    A single user has no other half, so the loss is 0 and decides nothing.
    """
    cases = _last_events(dataset, item_rows, validation_users, USERS)
    if len(cases) < 2:
        return 0.0
    popularity = _popularity(blend, dataset, item_rows)(cases.time_ms)
    scores, targets, *length = _scores(predictor, dataset, cases, popularity)
    return float(crossed_losses(scores, targets, *length).mean())


def fit_blend(
    predictor: Predictor,
    blend: Blend,
    dataset: Dataset,
    item_rows: Array,
    validation_users: Array,
    most: int = USERS,
) -> tuple[Blend, dict[str, Any]]:
    """Returns the blend with fitted weights, and what they are.

    item_rows: int64 [N], catalogue rows of the data set's events.
    """
    # last events to fit to, and first events for users of whom nothing is known
    items, times = len(dataset.item_ids), dataset.events["time_ms"]
    cases = _last_events(dataset, item_rows, validation_users, most)
    starts = dataset.user_start[:-1][validation_users]
    first = starts[item_rows[starts] > 0]
    first = first[_newest(times[first])[: len(cases)]] if len(first) else cases.position
    nameless = _nameless(dataset, item_rows)

    def fitted(popularity: Popularity) -> Blend:
        """Returns the blend fitted to one recent popularity."""
        recently = popularity(cases.time_ms)
        found = _fit(predictor, *read_cases(predictor, dataset, cases, recently), blend)
        if items > MOST_WHOLE:
            served = predictor.of(replace(predictor.trained, blend=found, candidates=True))
            readings, targets = read_cases(served, dataset, cases, recently)
            found = replace(found, interest=_interest_weights(served, readings, targets))
        by_text = _of_texts(*read_cases(predictor, nameless, cases, recently))
        recently = popularity(times[first])
        prior = _prior(predictor.trained.scorers, blend.log_popularity, recently, item_rows[first])
        return replace(found, strangers=torch.stack((prior, by_text)))

    # once for the popularity of the last training, once for a live one
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
    """Returns the last events of the users whose last events are the newest.

    There are no more of them than their scores may take memory.
    """
    most = min(most, max(LEAST_USERS, CELLS // len(dataset.item_ids)))
    starts, last = (
        dataset.user_start[:-1][validation_users],
        dataset.user_start[1:][validation_users] - 1,
    )
    times = dataset.events["time_ms"]
    chosen = _newest(times[last])[:most]
    start, last = starts[chosen], last[chosen]
    return Cases(
        last,
        validation_users[chosen],
        last - start,
        item_rows[last].astype(np.int32) - 1,
        times[last],
    )


def _timed(dataset: Dataset) -> bool:
    """Returns whether every event has a time."""
    return not dataset.report.get("events_without_time")


def _popularity(blend: Blend, dataset: Dataset, item_rows: Array) -> Popularity:
    """Returns the popularity as a model knows it that is trained every week."""
    if not _timed(dataset):
        return lambda asked_ms: blend.log_recent.expand(len(asked_ms), -1)
    return lambda asked_ms: popularity_by_week(
        item_rows, dataset.events["time_ms"], asked_ms, len(dataset.item_ids)
    )


def read_cases(
    predictor: Predictor, dataset: Dataset, cases: Cases, log_recent: Tensor
) -> tuple[list[Reading], Tensor]:
    """Returns what the predictor reads before each case, and the rows of the next events.

    log_recent: recent popularity before each case, [T, V + 1]. Both results are in the same order.
    """
    places, readings, before = [], [], predictor.log_recent
    with torch.no_grad():
        for some, state, recent in replay(
            predictor, predictor.info.state_size, dataset, cases, 512
        ):
            predictor.log_recent = log_recent[torch.from_numpy(some)]
            places.append(some)
            readings.append(predictor.read(state, recent))
    predictor.log_recent = before
    return readings, torch.from_numpy(cases.target[np.concatenate(places)].astype(np.int64)) + 1


def _scores(
    predictor: Predictor, dataset: Dataset, cases: Cases, log_recent: Tensor
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Returns F score tables [U, V + 1] of cases, their targets, and the lengths that decide."""
    readings, targets = read_cases(predictor, dataset, cases, log_recent)
    scores, length, session = _columns(readings)
    return scores, targets, length, session


def _of_texts(readings: list[Reading], targets: Tensor) -> Tensor:
    """Returns the weights [F] for users without any known item, of what was read of such."""
    scores = {
        name: torch.cat([each.scores[NAMES.index(name)] for each in readings]) for name in READERS
    }
    return fit_weights_of(scores, targets)


def _prior(scorers: ScorerSet, log_popularity: Tensor, log_recent: Tensor, rows: Array) -> Tensor:
    """Returns the weights [F] for users of whom nothing is known, fitted to first events.

    log_popularity: [V + 1]; log_recent: before each event, [U, V + 1]; rows: of the events, [U].
    """
    no_rows = torch.zeros(len(rows), RECENT, dtype=torch.long)
    nothing = torch.zeros(1, 1).expand_as(log_recent)
    given = ScorerInput(
        recent=RecentItems(no_rows, no_rows > 0, no_rows > 0),
        language_model=nothing,
        lstm=nothing,
        log_popularity=log_popularity,
        log_recent=log_recent,
    )
    priors = [scorer for scorer in scorers if scorer.needs is Needs.NOTHING]
    scores = {scorer.name: scorer.scores(given).scores for scorer in priors}
    return fit_weights_of(scores, torch.from_numpy(rows))


def _nameless(dataset: Dataset, item_rows: Array) -> Dataset:
    """Returns the same events as if no item were in the catalogue: with titles alone."""
    events = dataset.events.copy()
    known = item_rows > 0
    titles = np.array(
        [title.encode()[:TEXT_BYTES] for title in dataset.titles], events.dtype["text"]
    )
    events["key"][known] = hash64("an item that no catalogue has")
    events["kind"][known], events["text"][known] = TITLE, titles[item_rows[known] - 1]
    return replace(dataset, events=events)


def _newest(times_ms: Array) -> Array:
    """Returns the places of times, the newest first."""
    return np.argsort(-times_ms, kind="stable")


def _fit(predictor: Predictor, readings: list[Reading], targets: Tensor, blend: Blend) -> Blend:
    """Returns the blend with item weights, then interest weights on top of the items so weighed."""
    scores, *length = _columns(readings)
    weights = fit_item_weights(scores, targets, *length)
    blend = replace(blend, item=weights.length, session=weights.session)
    with torch.no_grad():
        for each in readings:
            each.items = blending.weighted(each.scores, blend.item_weights(each.recent))
    return replace(blend, interest=_interest_weights(predictor, readings, targets))


def _interest_weights(predictor: Predictor, readings: list[Reading], targets: Tensor) -> Tensor:
    """Returns the weights of the interest features, of the items as they are blended."""
    with torch.no_grad():
        features = torch.cat([predictor.interest_features(each)[0] for each in readings])
    happened = torch.from_numpy(predictor.membership.astype(np.float32))[targets - 1]
    return fit_interest_weights(features, happened)


def _columns(readings: list[Reading]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Returns F score tables [U, V + 1], and the lengths of histories and sessions, int64 [U]."""
    scores = [
        torch.cat(columns) for columns in zip(*(each.scores for each in readings), strict=True)
    ]
    length = blending.lengths(torch.cat([each.recent.held for each in readings]))
    session = blending.session_lengths(torch.cat([each.recent.session for each in readings]))
    return scores, length, session


def _weights(blend: Blend) -> dict[str, Any]:
    """Returns the weights of a blend by their names, for a report."""
    of = dict(zip(LENGTH_NAMES, blend.item, strict=True))
    if blend.strangers is not None:
        of = dict(zip(STRANGERS, blend.strangers, strict=True)) | of
    if blend.session is not None:
        of |= dict(zip(SESSION_NAMES, blend.session, strict=True))
    item = {name: _named(NAMES, each) for name, each in of.items()}
    return {"item": item, "interest": _named(blending.INTEREST_FEATURES, blend.interest)}


def _named(names: tuple[str, ...], weights: Tensor) -> dict[str, float]:
    """Returns rounded weights by name."""
    return dict(zip(names, [round(each, 4) for each in weights.tolist()], strict=True))
