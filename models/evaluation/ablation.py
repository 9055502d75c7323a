"""Measures what each part of a trained model carries, on the same cases (an ablation).

A row is every scorer alone, and the blend without one of them. Users are split into two halves; the
weights of a blend are fitted to the cases of one half and tested on those of the other, and the
other way round. So no row was fitted to its own cases, and a blend with a part missing may make the
best of what is left. The networks are not trained again: a row without text, soft tokens or recent
events shows what the trained network loses without them.

Glossary: T cases, U users, V items, F scorers, D width, n recent events.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.data.replay import replay
from models.data.splits import Split
from models.errors import ModelDataError
from models.evaluation import metrics
from models.evaluation.evaluate import Ranker
from models.progress import Progress, ignore_progress
from models.scorers import blend as blending
from models.scorers.fit_weights import fit_item_weights
from models.scorers.registry import NAMES, SCORERS
from models.scorers.scorer import Family
from models.serving.predictor import Predictor
from models.serving.reading import Known

Array = np.ndarray[Any, Any]
Columns = dict[str, Tensor]
"""Item scores [T, V + 1] by name; the case of a row never changes."""

CELLS: Final = 40_000_000
"""Cases times items, of each of some ten score tables: 160 MB of each."""
LEAST_CASES: Final = 100
"""Cases that are measured whatever they take in memory."""
WHOLE: Final = "blend"
EACH: Final = ""
ALL_NETWORKS: Final = "all networks"
"""Names the row without any of the networks that a model has."""
ALL_BY_NAME: Final = " and "
"""Ways to name what a row leaves out: each by itself, or all by their labels joined."""
BLINDED: Final = {
    "without soft tokens": ("language_model",),
    "without recent events": ("language_model",),
    "without text": ("language_model", "lstm", "attention"),
}
"""Networks that are kept from reading something, and the scorers that this changes."""
RANK_ALONE: Final = tuple(each.name for each in SCORERS if each.family is not Family.SEEN)
"""Scorers that say something of every item: what a user saw is too little for a ranking."""
ROWS: Final = (
    (Family.NETWORK, EACH),
    (Family.NETWORK, ALL_NETWORKS),
    (Family.PAIRS, EACH),
    (Family.PAIRS, ALL_BY_NAME),
    (Family.SUCCESSION, EACH),
    (Family.POPULARITY, "popularity"),
    (Family.SEEN, "what was seen"),
    (Family.SEEN, EACH),
    (Family.TITLES, EACH),
)
"""What is left out of the blend, row after row.

It is each scorer of a family that has a label, or all of the family together under one name.
"""


def left_out() -> dict[str, tuple[str, ...]]:
    """Returns the scorers that each row leaves out, by the name of the row."""
    found: dict[str, tuple[str, ...]] = {}
    for family, name in ROWS:
        members = [scorer for scorer in SCORERS if scorer.family is family]
        labelled = [scorer for scorer in members if scorer.label]
        if name == EACH:
            found |= {scorer.label: (scorer.name,) for scorer in labelled}
        elif name != ALL_BY_NAME:
            found[name] = tuple(scorer.name for scorer in members)
        elif len(labelled) > 1:
            label = ALL_BY_NAME.join(scorer.label for scorer in labelled)
            found[label] = tuple(scorer.name for scorer in labelled)
    return found


def measure_ablation(
    predictor: Predictor,
    split: Split,
    *,
    seen: str = "keep",
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> dict[str, Any]:
    """Returns a row for each part: HR@10 and NDCG@10, and how far they are from the whole blend.

    The differences are paired, with 95 % intervals. Raises ModelDataError for a model that another
    language model was put into, or with too few users.
    """
    # Cases, and two halves of their users.
    if type(predictor) is not Predictor:
        raise ModelDataError(
            "parts are measured of the model's own small language model; name a directory without "
            "another"
        )
    predictor, split = predictor.with_all_items(), _fewer(split, seed)
    users = np.unique(split.cases.user)
    if len(users) < 4:
        raise ModelDataError(f"{len(users)} users are asked; two halves need at least 4")
    half = np.isin(
        split.cases.user, np.random.default_rng(seed).permutation(users)[: len(users) // 2]
    )

    # What each scorer gives, and the ranks by each blend of it and by some scorers alone.
    columns, length, session = _scores(predictor, split, progress)
    ranker = _Ranks(split, seen, torch.from_numpy(half), length, session)
    ways = _blends(columns)
    ranks: dict[str, Array] = {}
    for done, (name, scorers) in enumerate(ways.items()):
        progress("blends", done, len(ways), {})
        ranks[name] = ranker.of_blend(scorers)
    progress("blends", len(ways), len(ways), {})
    ranks |= {
        f"{name.replace('_', ' ')} alone": ranker.of_scores(columns[name])
        for name in _alone(columns)
    }
    return {
        "protocol": split.protocol,
        "description": split.description,
        "cases": len(split.cases),
        "users": len(users),
        "seen_items": "stay candidates" if seen == "keep" else "are no candidates",
        "seed": seed,
        "parts": [
            _row(name, rank, ranks[WHOLE], split.cases.user, seed) for name, rank in ranks.items()
        ],
    }


def _fewer(split: Split, seed: int) -> Split:
    """Returns the split with no more cases than memory holds, drawn by the seed."""
    most = max(LEAST_CASES, CELLS // (len(split.whole.item_ids) + 1))
    if len(split.cases) <= most:
        return split
    chosen = np.sort(np.random.default_rng(seed).choice(len(split.cases), most, replace=False))
    text = f"{split.description}; {most} of {len(split.cases)} cases drawn with seed {seed}"
    return replace(split, description=text, cases=split.cases.take(chosen))


def _scores(
    predictor: Predictor, split: Split, progress: Progress
) -> tuple[Columns, Tensor, Tensor]:
    """Returns every scorer's table, in float32 and in the order of the cases, and lengths.

    The lengths are those of the histories and of the sessions, int64 [T] each.
    """
    readers = {
        "": Predictor(predictor.trained),
        **{name: _blinded(predictor, name) for name in BLINDED},
    }
    cases, columns = split.cases, dict[str, Tensor]()
    length, session = torch.zeros(2, len(cases), dtype=torch.long)
    for turn, (blinded, reader) in enumerate(readers.items()):
        wanted = BLINDED.get(blinded, NAMES)
        for name in wanted:
            columns[_column(name, blinded)] = torch.zeros(len(cases), len(split.whole.item_ids) + 1)
        done = 0
        for places, state, recent in replay(
            reader, reader.info.state_size, split.whole, cases, 256
        ):
            with torch.inference_mode():
                reading = reader.read(state, recent)
            length[places] = blending.lengths(reading.recent.held)
            session[places] = blending.session_lengths(reading.recent.session)
            for name, scores in zip(NAMES, reading.scores, strict=True):
                if name in wanted:
                    columns[_column(name, blinded)][places] = scores.clone()
            done += len(places)
            progress("scores", turn * len(cases) + done, len(readers) * len(cases), {})
    return columns, length, session


def _column(scorer: str, blinded: str) -> str:
    """Returns the name of a table: a scorer, and what was kept from the networks."""
    return f"{scorer} {blinded}".strip()


def _blinded(predictor: Predictor, name: str) -> Predictor:
    """Returns the predictor whose networks do not read something; name: one of BLINDED."""
    if name == "without text":
        network = copy.deepcopy(predictor.network)
        with torch.no_grad():
            network.text.zero_()
            network.interest_text.zero_()
        return Predictor(replace(predictor.trained, network=network))
    return _Blind(
        predictor, soft=name != "without soft tokens", recent=name != "without recent events"
    )


class _Blind(Predictor):
    """Scores with a language model that reads no recent event, or no soft tokens of anybody.

    Soft tokens of nobody are those of a feature of zeros.
    """

    def __init__(self, predictor: Predictor, *, soft: bool, recent: bool) -> None:
        super().__init__(predictor.trained)
        self._soft, self._recent = soft, recent

    def answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the answer of a language model that reads less; see Predictor.answer."""
        known = known if self._recent else known._replace(there=torch.zeros_like(known.there))
        return super().answer(known, feature if self._soft else torch.zeros_like(feature))


def _blends(columns: Columns) -> dict[str, list[Tensor]]:
    """Returns the scorers of each blend, in the order of SCORERS; zeros where one is missing."""
    whole = {name: columns[name] for name in NAMES}
    nothing = torch.zeros(1, 1).expand(whole["lstm"].shape)
    found = {WHOLE: list(whole.values())}
    tables = {name for name, scores in whole.items() if scores.any()}
    for name, missing in left_out().items():
        if name == ALL_NETWORKS:
            missing = tuple(tables.intersection(missing))
        if not tables.issuperset(missing):
            # The model has no such table; what it has of several is left out by a row of its own.
            continue
        found[f"blend without {name}"] = [
            nothing if each in missing else scores for each, scores in whole.items()
        ]
    for name, changed in BLINDED.items():
        found[f"blend, networks {name}"] = [
            columns[_column(each, name)] if each in changed else scores
            for each, scores in whole.items()
        ]
    return found


def _alone(columns: Columns) -> list[str]:
    """Returns the tables that are ranked by themselves."""
    return [
        name
        for name, scores in columns.items()
        if (name in RANK_ALONE and scores.any()) or " without " in name
    ]


class _Ranks:
    """Ranks the cases by a blend fitted to the other half of the users, or by one scorer."""

    def __init__(
        self, split: Split, seen: str, half: Tensor, length: Tensor, session: Tensor
    ) -> None:
        self._ranker, self._half = Ranker(split, seen), half
        self._length, self._session = length, session
        self._target = torch.from_numpy(split.cases.target.astype(np.int64)) + 1

    def of_blend(self, scorers: list[Tensor]) -> Array:
        """Returns the ranks by a blend of some score tables, int64 [T]."""
        rank = np.empty(len(self._half), np.int64)
        for half in (self._half, ~self._half):
            some = [scores[~half] for scores in scorers]
            fitted_to = self._target[~half], self._length[~half], self._session[~half]
            weights = fit_item_weights(some, *fitted_to)
            places = half.nonzero()[:, 0]
            for part in torch.split(places, self._ranker.batch):
                own = weights.of(self._length[part], self._session[part])
                scores = blending.weighted([each[part] for each in scorers], own)
                rank[part.numpy()] = self._ranker.of_batch(part.numpy(), scores[:, 1:].numpy())
        return rank

    def of_scores(self, scores: Tensor) -> Array:
        """Returns the ranks by one score table, int64 [T]."""
        rank = np.empty(len(self._half), np.int64)
        for part in torch.split(torch.arange(len(rank)), self._ranker.batch):
            rank[part.numpy()] = self._ranker.of_batch(part.numpy(), scores[part, 1:].numpy())
        return rank


def _row(name: str, rank: Array, whole: Array, user: Array, seed: int) -> dict[str, Any]:
    """Returns a row of the result; rank, whole: ranks [T] of the row and of the whole blend."""
    row: dict[str, Any] = {"part": name, "HR@10": float(metrics.hits(rank, 10).mean())}
    row["NDCG@10"] = float(metrics.gains(rank, 10).mean())
    if name != WHOLE:
        row["minus blend"] = {
            "HR@10": metrics.interval(metrics.hits(rank, 10) - metrics.hits(whole, 10), user, seed),
            "NDCG@10": metrics.interval(
                metrics.gains(rank, 10) - metrics.gains(whole, 10), user, seed
            ),
        }
    return row
