"""What each part of a trained model carries: every scorer alone, and the blend without one of them, on the same cases.

Users are split into two halves; the weights of a blend are fitted to the cases of one half and asked for those of the other, and the
other way round. So no row has seen its own answers, and a blend with a part missing may make the best of what is left. The networks
are not trained again: a row without text, soft tokens or recent events says what the trained network loses without them.

Glossary: T cases, U users, V items, F scorers, D width, n recent events.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models import blend as blending
from models import metrics
from models.errors import ModelDataError
from models.evaluate import Progress, Ranker
from models.predictor import Predictor
from models.protocols import Split
from models.replay import replay
from models.scorer import Known

Array = np.ndarray[Any, Any]
Columns = dict[str, Tensor]
"""Item scores [T, V + 1] by name; the case of a row never changes."""

CELLS: Final = 40_000_000
"""Cases times items, of each of some ten score tables: 160 MB of each."""
LEAST_CASES: Final = 100
WHOLE: Final = "blend"
BLINDED: Final = {
    "without soft tokens": ("language_model",),
    "without recent events": ("language_model",),
    "without text": ("language_model", "lstm"),
}
"""Networks that are kept from reading something, and the scorers that this changes."""
WITHOUT: Final = {
    "the language model": ("language_model",),
    "the LSTM": ("lstm",),
    "both networks": ("language_model", "lstm"),
    "co-occurrence": ("cooccurrence",),
    "EASE": ("ease",),
    "co-occurrence and EASE": ("cooccurrence", "ease"),
    "what followed the last item": ("following",),
    "popularity": ("popularity", "recent_popularity"),
    "what was seen": ("seen", "seen_lately", "seen_this_session"),
    "what was seen in this session": ("seen_this_session",),
}
ALONE: Final = ("lstm", "language_model", "cooccurrence", "ease", "following", "popularity", "recent_popularity")


def measure_parts(
    predictor: Predictor, split: Split, *, seen: str = "keep", seed: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """A row for each part: HR@10 and NDCG@10, and their paired difference from the whole blend with its 95 % interval.

    Raises ModelDataError for a model that another language model was put into, or with too few users.
    """
    if type(predictor) is not Predictor:
        raise ModelDataError(
            "parts are measured of the model's own small language model; name a directory without another"
        )
    report = progress or (lambda stage, done, total: None)
    split = _fewer(split, seed)
    users = np.unique(split.cases.user)
    if len(users) < 4:
        raise ModelDataError(f"{len(users)} users are asked; two halves need at least 4")
    half = np.isin(split.cases.user, np.random.default_rng(seed).permutation(users)[: len(users) // 2])
    columns, length, session = _scores(predictor, split, report)
    ranker = _Ranks(split, seen, torch.from_numpy(half), length, session)
    ways = _blends(columns)
    ranks: dict[str, Array] = {}
    for done, (name, scorers) in enumerate(ways.items()):
        report("blends", done, len(ways))
        ranks[name] = ranker.of_blend(scorers)
    report("blends", len(ways), len(ways))
    ranks |= {f"{name.replace('_', ' ')} alone": ranker.of_scores(columns[name]) for name in _alone(columns)}
    return {
        "protocol": split.protocol,
        "description": split.description,
        "cases": len(split.cases),
        "users": len(users),
        "seen_items": "stay candidates" if seen == "keep" else "are no candidates",
        "seed": seed,
        "parts": [_row(name, rank, ranks[WHOLE], split.cases.user, seed) for name, rank in ranks.items()],
    }


def _fewer(split: Split, seed: int) -> Split:
    most = max(LEAST_CASES, CELLS // (len(split.whole.item_ids) + 1))
    if len(split.cases) <= most:
        return split
    chosen = np.sort(np.random.default_rng(seed).choice(len(split.cases), most, replace=False))
    text = f"{split.description}; {most} of {len(split.cases)} cases drawn with seed {seed}"
    return replace(split, description=text, cases=split.cases.take(chosen))


def _scores(predictor: Predictor, split: Split, report: Progress) -> tuple[Columns, Tensor, Tensor]:
    """Every scorer's table, in float32 and in the order of the cases; lengths int64 [T] of the histories and of the sessions."""
    readers = {"": Predictor(*predictor.parts), **{name: _blinded(predictor, name) for name in BLINDED}}
    cases, columns = split.cases, dict[str, Tensor]()
    length, session = torch.zeros(2, len(cases), dtype=torch.long)
    for turn, (blinded, reader) in enumerate(readers.items()):
        wanted = BLINDED.get(blinded, blending.ITEM_SCORERS)
        for name in wanted:
            columns[_column(name, blinded)] = torch.zeros(len(cases), len(split.whole.item_ids) + 1)
        done = 0
        for places, state, recent in replay(reader, reader.info.state_size, split.whole, cases, 256):
            with torch.inference_mode():
                reading = reader.read(state, recent)
            length[places] = blending.lengths(reading.held)
            session[places] = blending.session_lengths(reading.session)
            for name, scores in zip(blending.ITEM_SCORERS, reading.scorers, strict=True):
                if name in wanted:
                    columns[_column(name, blinded)][places] = scores.clone()
            done += len(places)
            report("scores", turn * len(cases) + done, len(readers) * len(cases))
    return columns, length, session


def _column(scorer: str, blinded: str) -> str:
    return f"{scorer} {blinded}".strip()


def _blinded(predictor: Predictor, name: str) -> Predictor:
    if name == "without text":
        network = copy.deepcopy(predictor.network)
        with torch.no_grad():
            network.text.zero_()
            network.interest_text.zero_()
        return Predictor(network, *predictor.parts[1:])
    return _Blind(predictor, soft=name != "without soft tokens", recent=name != "without recent events")


class _Blind(Predictor):
    """One whose language model reads no event, or the soft tokens of nobody (a feature of zeros)."""

    def __init__(self, predictor: Predictor, *, soft: bool, recent: bool) -> None:
        super().__init__(*predictor.parts)
        self._soft, self._recent = soft, recent

    def _answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        known = known if self._recent else known._replace(there=torch.zeros_like(known.there))
        return super()._answer(known, feature if self._soft else torch.zeros_like(feature))


def _blends(columns: Columns) -> dict[str, list[Tensor]]:
    """Scorers of each blend, in the order of ITEM_SCORERS; zeros where one is missing."""
    whole = {name: columns[name] for name in blending.ITEM_SCORERS}
    nothing = torch.zeros(1, 1).expand(whole["lstm"].shape)
    found = {WHOLE: list(whole.values())}
    tables = {name for name, scores in whole.items() if scores.any()}
    for name, missing in WITHOUT.items():
        if not tables.issuperset(missing):
            continue  # the model has no such table; what it has of several is left out by a row of its own
        found[f"blend without {name}"] = [nothing if each in missing else scores for each, scores in whole.items()]
    for name, changed in BLINDED.items():
        found[f"blend, networks {name}"] = [
            columns[_column(each, name)] if each in changed else scores for each, scores in whole.items()
        ]
    return found


def _alone(columns: Columns) -> list[str]:
    return [name for name, scores in columns.items() if (name in ALONE and scores.any()) or " without " in name]


class _Ranks:
    """Ranks of the cases, by a blend fitted to the other half of the users, or by one scorer."""

    def __init__(self, split: Split, seen: str, half: Tensor, length: Tensor, session: Tensor) -> None:
        self._ranker, self._half = Ranker(split, seen), half
        self._length, self._session = length, session
        self._target = torch.from_numpy(split.cases.target.astype(np.int64)) + 1

    def of_blend(self, scorers: list[Tensor]) -> Array:
        """int64 [T]."""
        rank = np.empty(len(self._half), np.int64)
        for half in (self._half, ~self._half):
            some = [scores[~half] for scores in scorers]
            fitted_to = self._target[~half], self._length[~half], self._session[~half]
            weights = blending.fit_item_weights(some, *fitted_to)
            places = half.nonzero()[:, 0]
            for part in torch.split(places, self._ranker.batch):
                own = weights.of(self._length[part], self._session[part])
                scores = blending.weighted([each[part] for each in scorers], own)
                rank[part.numpy()] = self._ranker.of_batch(part.numpy(), scores[:, 1:].numpy())
        return rank

    def of_scores(self, scores: Tensor) -> Array:
        """int64 [T]."""
        rank = np.empty(len(self._half), np.int64)
        for part in torch.split(torch.arange(len(rank)), self._ranker.batch):
            rank[part.numpy()] = self._ranker.of_batch(part.numpy(), scores[part, 1:].numpy())
        return rank


def _row(name: str, rank: Array, whole: Array, user: Array, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"part": name, "HR@10": float(metrics.hits(rank, 10).mean())}
    row["NDCG@10"] = float(metrics.gains(rank, 10).mean())
    if name != WHOLE:
        row["minus blend"] = {
            "HR@10": metrics.interval(metrics.hits(rank, 10) - metrics.hits(whole, 10), user, seed),
            "NDCG@10": metrics.interval(metrics.gains(rank, 10) - metrics.gains(whole, 10), user, seed),
        }
    return row
