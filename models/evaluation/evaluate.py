"""Measures a model and its baselines on the same cases, in one table, with intervals.

The ranking is a full one: every item of the catalogue is a candidate. metrics.py defines the
measures, models/data/splits.py the cases.

Glossary: T cases, B cases of a batch, V items, C interests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol, cast

import numpy as np

from models.contract import InterestScores
from models.data.prepare import catalogue_rows
from models.data.replay import Stepper, replay
from models.data.splits import Cases, Split, frozen_at_cut
from models.errors import ModelDataError
from models.evaluation import metrics
from models.evaluation.baselines import Baseline, Histories, item_baselines
from models.evaluation.interest_baselines import interest_baselines, touched_rows
from models.evaluation.reliability import Shown, reliability
from models.evaluation.session_baselines import session_baselines
from models.progress import Progress, ignore_progress
from models.scorers.recent_popularity import LivePopularity

Array = np.ndarray[Any, Any]

SEEN: Final = ("keep", "remove")
"""What to do with the items of a case's history: keep them as candidates, or remove them."""
CELLS: Final = 4_000_000
"""Scores that are held at once; it bounds memory whatever the catalogue."""
MOST_BATCH: Final = 256
"""Cases that are scored at once, at most."""
UNCORRECTED: Final = "model, before calibration"
"""Names the row of interests as they were before they were corrected."""
WINDOWS: Final = 10
"""Windows of accuracy over time."""


class EvaluatedModel(Stepper, Protocol):
    """Scores all items and interests: what an evaluation needs of a model."""

    @property
    def info(self) -> Any:
        """Returns the names that its numbers stand for, a models.contract.ModelInfo."""
        ...

    def score_all(self, state: Array, recent: Array) -> Array:
        """Returns the score of each item, float32 [B, V]."""
        ...

    def interest_scores(self, state: Array, recent: Array) -> InterestScores:
        """Returns what it says of every interest, [B, C] each."""
        ...


class SaidInterests(NamedTuple):
    """Holds what a model says of the interests before each case."""

    probability: Array  # float32 [T, C] of each to be touched by the next event
    shown: Shown  # the most probable, as an update shows them
    uncorrected: Array | None  # float32 [T, C] the same before calibration; None: there is none


class LiveModel(EvaluatedModel, Protocol):
    """Is a model that takes the recent popularity of items from outside."""

    @property
    def log_popularity(self) -> Any:
        """Returns the popularity in all of the training, as log shares [V + 1]."""
        ...

    def use_popularity(self, log_recent: Any) -> None:
        """Scores from now on with a recent popularity, log shares [V + 1] or [B, V + 1]."""
        ...


def check_seen(seen: str) -> None:
    """Raises ModelDataError if a value is none of SEEN."""
    if seen not in SEEN:
        raise ModelDataError(f"seen is {seen!r}; use keep or remove")


def evaluate_model(
    model: EvaluatedModel,
    split: Split,
    *,
    seen: str = "keep",
    seed: int = 0,
    live: bool = False,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Returns all measures of a model and of its baselines on the cases of a split, as JSON.

    seen: whether items of a case's history stay candidates, one of SEEN. live: whether the model
    knows what all users did until the hour before each case, as a worker with --live-popularity
    does.
    """
    # Ranks of the targets by the model; of a prequential split also with states that stopped at
    # the cut.
    check_seen(seen)
    ranker = Ranker(split, seen)
    popularity = live_popularity(model, split) if live else None
    rank, said = rank_cases(model, split, ranker, progress, popularity)
    ranks = {"model": rank}
    if split.protocol == "prequential":
        still = replace(split, cases=frozen_at_cut(split))
        frozen = rank_cases(model, still, Ranker(still, seen), progress, popularity)
        ranks["model, states frozen at the cut"] = frozen[0]

    # The same by each baseline.
    baselines = baselines_of(split)
    for place, baseline in enumerate(baselines):
        progress("baselines", place, len(baselines), {})
        ranks[baseline.name] = ranker.ranks(baseline.scores)
    progress("baselines", len(baselines), len(baselines), {})

    # What was measured on, then the measures.
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
        "by_history": {
            name: metrics.by_history(mine, split.cases.history) for name, mine in ranks.items()
        },
        "over_time": {
            name: metrics.over_time(mine, split.cases.time_ms, WINDOWS)
            for name, mine in ranks.items()
        }
        if split.timed_out
        else {},
        "spread": ranker.spread,
        "interests": _interest_table(said, split, seed),
        "verdict": _verdict(ranks, split.cases, seed),
    }


def baselines_of(split: Split) -> list[Baseline]:
    """Returns all baselines for the next item that data and protocol allow."""
    return [*item_baselines(split), *(session_baselines(split) if split.begun is not None else [])]


class Ranker:
    """Ranks the targets of cases, batch by batch.

    `spread` says, after `close`, how the first ten are spread over the catalogue.
    """

    def __init__(self, split: Split, seen: str) -> None:
        self._cases = split.cases
        self._histories = Histories(split.whole) if seen == "remove" else None
        self.batch = max(1, min(MOST_BATCH, CELLS // max(len(split.whole.item_ids), 1)))
        rows = catalogue_rows(split.train.events["key"], split.train.item_ids)
        self._popular = np.bincount(rows, minlength=len(split.whole.item_ids) + 1)[1:]
        self.spread: dict[str, float] = {}
        self._shown = np.zeros(len(split.whole.item_ids), np.int64)

    def ranks(self, scores: Callable[[Cases], Array]) -> Array:
        """Returns the ranks of all targets by some scores of cases, int64 [T]."""
        found = np.empty(len(self._cases), np.int64)
        for begin in range(0, len(found), self.batch):
            places = np.arange(begin, min(begin + self.batch, len(found)))
            found[places] = self.of_batch(places, scores(self._cases.take(places)))
        return found

    def of_batch(self, places: Array, scores: Array, *, count_shown: bool = False) -> Array:
        """Returns the ranks int64 [B] of the targets of some cases by scores float [B, V].

        count_shown: whether the first ten count for `spread`.
        """
        some = self._cases.take(places)
        if self._histories is not None:
            scores = scores.copy()
            for row in range(len(some)):
                scores[row, self._histories.before(some, row)] = -np.inf
        if count_shown:
            top = min(10, scores.shape[1])
            self._shown += np.bincount(
                np.argpartition(-scores, top - 1)[:, :top].ravel(), minlength=len(self._shown)
            )
        return metrics.ranks(scores, some.target)

    def close(self) -> None:
        """Sets `spread` from all batches that were counted.

        Coverage is the share of items in somebody's first ten, popular share the share of places
        there that the top 1 % of items hold.
        """
        head = np.argsort(-self._popular, kind="stable")[: max(1, len(self._popular) // 100)]
        total = max(int(self._shown.sum()), 1)
        self.spread = {
            "coverage@10": float((self._shown > 0).mean()),
            "popular_share@10": float(self._shown[head].sum() / total),
        }


def live_popularity(model: EvaluatedModel, split: Split) -> LivePopularity:
    """Returns a count of what may be known at each case.

    Of a split in time it counts all events before the case, else those trained on. Raises
    ModelDataError if events have no times.
    """
    seen = split.whole if split.timed_out else split.train
    if split.whole.report.get("events_without_time"):
        raise ModelDataError("live popularity needs times, and some events have none")
    rows = catalogue_rows(seen.events["key"], seen.item_ids)
    return LivePopularity(rows, seen.events["time_ms"], cast(LiveModel, model).log_popularity)


def rank_cases(
    model: EvaluatedModel,
    split: Split,
    ranker: Ranker,
    progress: Progress,
    popularity: LivePopularity | None = None,
) -> tuple[Array, SaidInterests]:
    """Returns the ranks int64 [T] of all targets, and what is said of the interests.

    popularity: a live one that the model is given before each batch, if any.
    """
    cases = split.cases
    rank = np.empty(len(cases), np.int64)
    probability = np.empty((len(cases), len(split.whole.interests)), np.float32)
    before: Array | None = None
    parts: list[tuple[Array, Shown]] = []
    done = 0
    for places, state, recent in replay(
        model, model.info.state_size, split.whole, cases, ranker.batch
    ):
        if popularity is not None:
            cast(LiveModel, model).use_popularity(popularity.at(cases.time_ms[places]))
        rank[places] = ranker.of_batch(places, model.score_all(state, recent), count_shown=True)
        scores = model.interest_scores(state, recent)
        probability[places] = scores.probability
        if scores.uncorrected is not None:
            before = np.empty_like(probability) if before is None else before
            before[places] = scores.uncorrected
        parts.append((places, Shown.of(scores)))
        done += len(places)
        progress("evaluate", done, len(cases), {})
    ranker.close()
    asked, shown = zip(*parts, strict=True)
    return rank, SaidInterests(probability, Shown.joined(shown, asked), before)


def _item_table(ranks: dict[str, Array], cases: Cases, seed: int) -> list[dict[str, Any]]:
    """Returns a row a scorer: ranking measures, and what the model has more, with intervals."""
    table = []
    for name, mine in ranks.items():
        row: dict[str, Any] = {"scorer": name, **metrics.ranking(mine)}
        row["HR@10 interval"] = metrics.interval(metrics.hits(mine, 10), cases.user, seed)
        if name != "model":
            row["model minus this"] = {
                "HR@10": metrics.interval(
                    metrics.hits(ranks["model"], 10) - metrics.hits(mine, 10), cases.user, seed
                ),
                "NDCG@10": metrics.interval(
                    metrics.gains(ranks["model"], 10) - metrics.gains(mine, 10), cases.user, seed
                ),
            }
        table.append(row)
    return table


def _interest_table(said: SaidInterests, split: Split, seed: int) -> dict[str, Any]:
    """Returns the measures of interest probabilities, of the model and of the baselines."""
    probability, touched = said.probability, touched_rows(split.whole)
    happened = touched[split.cases.target + 1]
    losses = metrics.interest_losses(probability, happened)
    table: list[dict[str, Any]] = [{"scorer": "model", **metrics.interests(probability, happened)}]
    others = [(each.name, each.probabilities(split.cases)) for each in interest_baselines(split)]
    if said.uncorrected is not None:
        others.insert(0, (UNCORRECTED, said.uncorrected))
    for name, theirs in others:
        difference = metrics.interest_losses(theirs, happened) - losses
        table.append(
            {
                "scorer": name,
                **metrics.interests(theirs, happened),
                "this minus model": {"NLL": metrics.interval(difference, split.cases.user, seed)},
            }
        )
    return {
        "count": len(split.whole.interests),
        "cases_with_an_interest": int(happened.any(1).sum()),
        "table": table,
        "calibration": metrics.calibration_bins(probability, happened),
        "reliability": reliability(said.shown, touched, split.cases, split.whole, seed),
    }


def _verdict(ranks: dict[str, Array], cases: Cases, seed: int) -> list[str]:
    """Returns in words which baselines the model beats by HR@10, by more than chance."""
    found = []
    mine = metrics.hits(ranks["model"], 10)
    for name, theirs in ranks.items():
        if name == "model":
            continue
        low, high = metrics.interval(mine - metrics.hits(theirs, 10), cases.user, seed)
        word = "beats" if low > 0 else "is behind" if high < 0 else "cannot be told from"
        found.append(f"The model {word} {name} (HR@10 difference {low:+.4f} to {high:+.4f}).")
    return found
