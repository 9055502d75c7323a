"""A model and its baselines on the same cases, in one table, with intervals. Definitions: metrics.py; splits: protocols.py.

Full ranking: every item of the catalogue is a candidate. T cases, V items, C interests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Protocol, cast

import numpy as np

from models import metrics
from models.baselines import Baseline, Histories, item_baselines
from models.errors import ModelDataError
from models.interest_baselines import interest_baselines, touched_rows
from models.popularity import LivePopularity
from models.prepare import catalogue_rows
from models.protocols import Cases, Split, frozen_at_cut
from models.replay import Stepper, replay
from models.session_baselines import session_baselines

Array = np.ndarray[Any, Any]
Progress = Callable[[str, int, int], None]

SEEN: Final = ("keep", "remove")
CELLS: Final = 4_000_000  # of a score matrix held at once; bounds memory whatever the catalogue
MOST_BATCH: Final = 256
WINDOWS: Final = 10  # of accuracy over time


class Model(Stepper, Protocol):
    """What is evaluated: models.predict.Predictor."""

    @property
    def info(self) -> Any: ...

    def score_all(self, state: Array, recent: Array) -> Array: ...

    def interest_probabilities(self, state: Array, recent: Array) -> Array: ...


class LiveModel(Model, Protocol):
    """One that can be told what all users met lately."""

    @property
    def log_popularity(self) -> Any: ...

    def use_popularity(self, log_recent: Any) -> None: ...


def check_seen(seen: str) -> None:
    """Raises ModelDataError if it is none of SEEN."""
    if seen not in SEEN:
        raise ModelDataError(f"seen is {seen!r}; use keep or remove")


def evaluate(
    model: Model,
    split: Split,
    *,
    seen: str = "keep",
    seed: int = 0,
    live: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All measures of the model and of its baselines. `seen`: items of a case's history stay candidates, or not.

    live: the model knows what all users did until the hour before each case, as a worker with --live-popularity does.
    """
    check_seen(seen)
    report = progress or (lambda stage, done, total: None)
    ranker = Ranker(split, seen)
    popularity = live_popularity(model, split) if live else None
    rank, probability = of_model(model, split, ranker, report, popularity)
    baselines = baselines_of(split)
    ranks = {"model": rank}
    if split.protocol == "prequential":
        still = replace(split, cases=frozen_at_cut(split))
        frozen = of_model(model, still, Ranker(still, seen), report, popularity)
        ranks["model, states frozen at the cut"] = frozen[0]
    for place, baseline in enumerate(baselines):
        report("baselines", place, len(baselines))
        ranks[baseline.name] = ranker.ranks(baseline.scores)
    report("baselines", len(baselines), len(baselines))
    return {
        "protocol": split.protocol,
        "description": split.description,
        "candidates": len(split.whole.item_ids),
        "seen_items": "stay candidates" if seen == "keep" else "are no candidates",
        "ties": "count against the scorer",
        "popularity": "live, of the hour before each case" if live else "of the training",
        "cases": len(split.cases),
        "users": len(np.unique(split.cases.user)),
        "seed": seed,
        "items": _item_table(ranks, split.cases, seed),
        "by_history": {name: metrics.by_history(mine, split.cases.history) for name, mine in ranks.items()},
        "over_time": {name: metrics.over_time(mine, split.cases.time_ms, WINDOWS) for name, mine in ranks.items()}
        if split.timed_out
        else {},
        "spread": ranker.spread,
        "interests": _interest_table(probability, split, seed),
        "verdict": _verdict(ranks, split.cases, seed),
    }


def baselines_of(split: Split) -> list[Baseline]:
    """All baselines for the next item that data and protocol allow."""
    return [*item_baselines(split), *(session_baselines(split) if split.begun is not None else [])]


class Ranker:
    """Ranks of the items asked for, batch by batch; `spread` says how the first ten are spread over the catalogue."""

    def __init__(self, split: Split, seen: str) -> None:
        self._cases = split.cases
        self._histories = Histories(split.whole) if seen == "remove" else None
        self.batch = max(1, min(MOST_BATCH, CELLS // max(len(split.whole.item_ids), 1)))
        rows = catalogue_rows(split.train.events["key"], split.train.item_ids)
        self._popular = np.bincount(rows, minlength=len(split.whole.item_ids) + 1)[1:]
        self.spread: dict[str, float] = {}
        self._shown = np.zeros(len(split.whole.item_ids), np.int64)

    def ranks(self, scores: Callable[[Cases], Array]) -> Array:
        """int64 [T] of a scorer of cases."""
        found = np.empty(len(self._cases), np.int64)
        for begin in range(0, len(found), self.batch):
            places = np.arange(begin, min(begin + self.batch, len(found)))
            found[places] = self.of_batch(places, scores(self._cases.take(places)))
        return found

    def of_batch(self, places: Array, scores: Array, *, count_shown: bool = False) -> Array:
        """int64 [B] from the scores, float [B, V], of some cases."""
        some = self._cases.take(places)
        if self._histories is not None:
            scores = scores.copy()
            for row in range(len(some)):
                scores[row, self._histories.before(some, row)] = -np.inf
        if count_shown:
            top = min(10, scores.shape[1])
            self._shown += np.bincount(np.argpartition(-scores, top - 1)[:, :top].ravel(), minlength=len(self._shown))
        return metrics.ranks(scores, some.target)

    def close(self) -> None:
        """Coverage: share of items in somebody's first ten. Popular: share of places there held by the top 1 % of items."""
        head = np.argsort(-self._popular, kind="stable")[: max(1, len(self._popular) // 100)]
        total = max(int(self._shown.sum()), 1)
        self.spread = {
            "coverage@10": float((self._shown > 0).mean()),
            "popular_share@10": float(self._shown[head].sum() / total),
        }


def live_popularity(model: Model, split: Split) -> LivePopularity:
    """A count of what may be known at each case: all events of a split in time, else those trained on."""
    seen = split.whole if split.timed_out else split.train
    if split.whole.report.get("events_without_time"):
        raise ModelDataError("live popularity needs times, and some events have none")
    rows = catalogue_rows(seen.events["key"], seen.item_ids)
    return LivePopularity(rows, seen.events["time_ms"], cast(LiveModel, model).log_popularity)


def of_model(
    model: Model, split: Split, ranker: Ranker, report: Progress, popularity: LivePopularity | None = None
) -> tuple[Array, Array]:
    """Ranks int64 [T] and interest probabilities float32 [T, C]."""
    cases = split.cases
    rank = np.empty(len(cases), np.int64)
    probability = np.empty((len(cases), len(split.whole.interests)), np.float32)
    done = 0
    for places, state, recent in replay(model, model.info.state_size, split.whole, cases, ranker.batch):
        if popularity is not None:
            cast(LiveModel, model).use_popularity(popularity.at(cases.time_ms[places]))
        rank[places] = ranker.of_batch(places, model.score_all(state, recent), count_shown=True)
        probability[places] = model.interest_probabilities(state, recent)
        done += len(places)
        report("evaluate", done, len(cases))
    ranker.close()
    return rank, probability


def _item_table(ranks: dict[str, Array], cases: Cases, seed: int) -> list[dict[str, Any]]:
    table = []
    for name, mine in ranks.items():
        row: dict[str, Any] = {"scorer": name, **metrics.ranking(mine)}
        row["HR@10 interval"] = metrics.interval(metrics.hits(mine, 10), cases.user, seed)
        if name != "model":
            row["model minus this"] = {
                "HR@10": metrics.interval(metrics.hits(ranks["model"], 10) - metrics.hits(mine, 10), cases.user, seed),
                "NDCG@10": metrics.interval(
                    metrics.gains(ranks["model"], 10) - metrics.gains(mine, 10), cases.user, seed
                ),
            }
        table.append(row)
    return table


def _interest_table(probability: Array, split: Split, seed: int) -> dict[str, Any]:
    happened = touched_rows(split.whole)[split.cases.target + 1]
    losses = metrics.interest_losses(probability, happened)
    table: list[dict[str, Any]] = [{"scorer": "model", **metrics.interests(probability, happened)}]
    for baseline in interest_baselines(split):
        theirs = baseline.probabilities(split.cases)
        difference = metrics.interest_losses(theirs, happened) - losses
        table.append(
            {
                "scorer": baseline.name,
                **metrics.interests(theirs, happened),
                "this minus model": {"NLL": metrics.interval(difference, split.cases.user, seed)},
            }
        )
    return {
        "count": len(split.whole.interests),
        "cases_with_an_interest": int(happened.any(1).sum()),
        "table": table,
        "calibration": metrics.calibration_bins(probability, happened),
    }


def _verdict(ranks: dict[str, Array], cases: Cases, seed: int) -> list[str]:
    """In words: which baselines the model beats by HR@10, by more than chance, and which it does not."""
    found = []
    mine = metrics.hits(ranks["model"], 10)
    for name, theirs in ranks.items():
        if name == "model":
            continue
        low, high = metrics.interval(mine - metrics.hits(theirs, 10), cases.user, seed)
        word = "beats" if low > 0 else "is behind" if high < 0 else "cannot be told from"
        found.append(f"The model {word} {name} (HR@10 difference {low:+.4f} to {high:+.4f}).")
    return found
