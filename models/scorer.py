"""The tensor half of a predictor: from what is known of some users to what is said of them. Serving runs it as one operation.

Each operation of PyTorch hands Python's lock back and takes it again, and a pass has some two hundred: while another thread decodes or
packs, each may wait for that thread's turn. Traced once (torch.jit.trace), the same operations run without the lock and give the
same numbers (docs/decisions/0009-one-operation.md). A trace follows `tensor.shape[0]`; `len(tensor)` would be fixed for ever.

Glossary: U users, D width, S floats of state, V items (row 0: unknown), C interests, P phrases, n recent events read, k soft tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from models import blend as blending
from models import zero_shot
from models.because import Scorers, losses
from models.blend import Blend
from models.bridge import InterestNetwork
from models.compact import RECENT
from models.errors import ModelDataError
from models.pair_tables import FEW
from models.pairs import Pairs
from models.reader import Reader, faster_reader

Array = np.ndarray[Any, Any]

SLOW: Final = "own_16"
NOTICEABLE: Final = 0.05
"""A change of probability smaller than this is `steady`."""
NEWEST: Final = 4
"""Of the recent events; an interest that only they touched is `new`."""


class Known(NamedTuple):
    """What a pass knows of U users."""

    x: Tensor  # [U, n, D] vectors of the recent events, oldest first
    there: Tensor  # bool [U, n], which of them exist
    memory: Tensor  # [U, S]
    rows: Tensor  # int64 [U, 32] item rows, newest first
    held: Tensor  # bool [U, 32], which of them exist
    session: Tensor  # bool [U, 32], which of them are of the newest one's session
    titles: Tensor  # what a hosted language model reads of the n events; of no size without one
    log_recent: Tensor  # [1, V + 1] log share of each item lately; or of each user's moment, [U, V + 1]


@dataclass(slots=True)
class Reading:
    """What the language model made of some users; intermediate values that scores and explanations share."""

    answer: Tensor  # [U, D]
    tokens: Tensor  # [U, n + k, D] input of the last block
    bias: Tensor  # [U, H, n + k, n + k]
    there: Tensor  # bool [U, n], oldest first
    rows: Tensor  # int64 [U, 32] item rows, newest first
    held: Tensor  # bool [U, 32]
    session: Tensor  # bool [U, 32]
    cooccurrence: Tensor  # [U, V + 1] sums over the table of pairs
    ease: Tensor | None  # the same
    scorers: list[Tensor]  # each [U, V + 1], in the order of blend.ITEM_SCORERS
    items: Tensor  # [U, V + 1] their blend


class Scorer:
    """Reads, weighs and explains. Holds no state of any user."""

    _looks_inside = True  # for causes: the answer is the small language model's

    def __init__(self, network: InterestNetwork, pairs: Pairs, blend: Blend, membership: Array) -> None:
        self._network = network.eval()
        self._pairs = pairs
        self._blend = blend
        self._membership = torch.from_numpy(membership)
        self._phrases: zero_shot.Phrases | None = None
        with torch.inference_mode():
            self._tables = _Tables(network, blend.log_popularity)
            self._scorers = Scorers(
                language_model=network.language_model,
                pairs=pairs.strongest(FEW),
                blend=blend,
                membership=self._membership,
                answers=self._tables.answers,
                interests=self._tables.interests,
            )
        self._reader: Reader | None = None
        self._serving = False
        self._operations: dict[tuple[int, int, int, bool], Callable[..., tuple[Tensor, ...]]] = {}
        self.log_recent, self._live = blend.log_recent[None], False  # of the next pass: [1, V + 1] or [U, V + 1]

    def serve(self, precision: str) -> str:
        """From now on nothing is trained and a pass is one operation; returns in which precision it reads, and why.

        precision: float32, bfloat16, or "" for the one that is faster here.
        """
        self._network.requires_grad_(False)
        self._serving = True
        self._operations.clear()
        with torch.inference_mode():
            if not precision:
                self._reader, why = faster_reader(self._network.language_model)
                return why
            self._reader = Reader(self._network.language_model, torch.bfloat16) if precision == "bfloat16" else None
        return f"{precision}: as set"

    def use_popularity(self, log_recent: Tensor) -> None:
        """From now on recent popularity is live: [1, V + 1], or [U, V + 1] of the moments of the users asked next.

        Raises ModelDataError for a model that was not fitted to it.
        """
        if not self._live:
            blend = self._blend.live()
            if blend is None:
                raise ModelDataError(
                    "the model was trained without live popularity (or on events without times); train it again"
                )
            self._blend, self._scorers, self._live = blend, replace(self._scorers, blend=blend), True
        self.log_recent = log_recent

    def say(self, known: Known, interests: int, items: int, because: int) -> tuple[Tensor, ...]:
        """The columns of models.predict.Scores."""
        if not self._serving:
            return self._said(known, interests, items, because)
        asked = interests, items, because, self._live
        operation = self._operations.get(asked)
        if operation is None:
            operation = _one_operation(lambda *each: self._said(Known(*each), interests, items, because), known)
            self._operations[asked] = operation
        return operation(*known)

    def _said(self, known: Known, interests: int, items: int, because: int) -> tuple[Tensor, ...]:
        reading = self.read_known(known)
        probability, slow = self._interests(reading)
        best, which = probability.topk(min(max(interests, 1), probability.shape[1]), dim=1)
        slots, weights = self._because(reading, which, because)
        best, which = best[:, :interests], which[:, :interests]
        change = best - slow.gather(1, which)
        trend = self._trend(reading, which, change)
        item_score, item = reading.items.topk(min(items, len(self._membership) - 1), dim=1)
        return (
            which.to(torch.int32),
            best,
            change,
            trend.to(torch.uint8),
            (item - 1).to(torch.int32),
            item_score,
            slots.to(torch.int8),
            weights,
            self._phrase_probabilities(reading),
        )

    def read_known(self, known: Known) -> Reading:
        """One language-model pass and the item scores of U users."""
        feature = self._network.lstm.feature(known.x[:, -1], known.memory)
        answer, tokens, bias = self._answer(known, feature)
        tables = self._tables
        pairs = self._pairs
        together = pairs.cooccurrence.scores(known.rows)
        ease = None if pairs.ease is None else pairs.ease.scores(known.rows)
        biases = tables.biases(known.log_recent)
        features = blending.item_features(
            _logits(answer, tables.answers, biases),
            _logits(feature, tables.items, biases),
            together,
            ease,
            self._blend.log_popularity,
            known.log_recent,
            known.rows,
            known.session,
            pairs.followers,
        )
        return Reading(
            answer=answer,
            tokens=tokens,
            bias=bias,
            there=known.there,
            rows=known.rows,
            held=known.held,
            session=known.session,
            cooccurrence=together,
            ease=ease,
            scorers=features,
            items=blending.weighted(features, self._blend.item_weights(known.held, known.session, known.rows)),
        )

    def _answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The language model's answer [U, D] with feature [U, D], and what its last block read: tokens and bias."""
        model = self._network.language_model
        tokens, bias = self._network.serving_tokens(known.x, known.there, feature)
        if self._reader is not None:
            return *self._reader(tokens, bias), bias
        for block in model.blocks[:-1]:
            tokens = block(tokens, bias)
        return model.norm(model.blocks[-1](tokens, bias, last=1)[:, -1]), tokens, bias

    def _interests(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """Probability [U, C] and the user's slower average [U, C]."""
        features, slow = self.interest_features(reading)
        return torch.sigmoid(features @ self._blend.interest), slow

    def interest_features(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """[U, C, F] of the stack, and the slower average [U, C]."""
        tables, base = self._tables, self._blend.base
        touched = embedding(reading.rows, self._membership)
        there = reading.held.float()
        own = blending.own_shares(touched, there, base)
        by_items = torch.softmax(reading.items, 1) @ self._membership
        direct = linear(reading.answer, tables.interests, tables.interest_bias)
        features = blending.interest_features(by_items, direct, own, base)
        return features, own[SLOW]

    def _phrase_probabilities(self, reading: Reading) -> Tensor:
        if self._phrases is None:
            return torch.zeros(reading.answer.shape[0], 0)
        return zero_shot.probabilities(
            self._phrases, reading.items, reading.answer, reading.rows, reading.held, self._blend.interest
        )

    def _trend(self, reading: Reading, which: Tensor, change: Tensor) -> Tensor:
        older = embedding(reading.rows[:, NEWEST:], self._membership).sum(1).gather(1, which)
        trend = torch.zeros_like(which)
        trend[change > NOTICEABLE] = 1
        trend[change < -NOTICEABLE] = 2
        trend[(older == 0) & (change > NOTICEABLE)] = 3
        return trend

    def _because(self, reading: Reading, which: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Slots [U, B] of recent events and their shares in what the first interest rests on; only what raises it counts."""
        lost = losses(reading, which[:, 0], self._scorers, look_inside=self._looks_inside).clamp(min=0)
        weights, slots = (lost / lost.sum(1, keepdim=True).clamp(min=1e-9)).topk(min(most, RECENT), dim=1)
        return torch.where(weights > 0, slots, -1), weights


class _Tables:
    """Products of weights alone, computed once."""

    def __init__(self, network: InterestNetwork, log_popularity: Tensor) -> None:
        config = network.config
        rows = torch.arange(config.items + 1)
        self.known = network.item(rows) * config.width**0.5 + network.text_in(network.text)
        self.known[0] = network.text_in.bias
        self.action, self.gap = network.action.weight, network.gap.weight
        self.items, self._bias = network.item_candidates(), network.item_bias
        unmet = (network.item.weight == 0).all(1)  # see InterestNetwork.start_items
        self._unmet = unmet if unmet[1:].any() else None
        self._average = log_popularity[~unmet].mean()
        self.answers = self.items  # the candidates that the language model's answer is held against
        self.interests, self.interest_bias = network.interest_candidates(), network.interest_bias

    def biases(self, log_recent: Tensor) -> Tensor:
        """[1, V + 1] or of each user, as log_recent: an item that no training met has the one that a training would start with now."""
        if self._unmet is None:
            return self._bias[None]
        return torch.where(self._unmet, log_recent - self._average, self._bias)


def _logits(hidden: Tensor, candidates: Tensor, biases: Tensor) -> Tensor:
    """[U, V + 1]; biases [1, V + 1] (always so in a traced pass) or [U, V + 1]."""
    if biases.shape[0] == 1:
        return linear(hidden, candidates, biases[0])
    return linear(hidden, candidates) + biases


def _one_operation(program: Callable[..., tuple[Tensor, ...]], given: tuple[Tensor, ...]) -> Callable[..., Any]:
    """The program for any number of users, traced with some."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated, and that constants are taken for constants
        traced: Callable[..., Any] = torch.jit.trace(program, given, check_trace=False)  # type: ignore[no-untyped-call]
    return traced
