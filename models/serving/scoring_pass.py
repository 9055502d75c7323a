"""Computes the tensor half of a predictor: from what is known of some users to their scores.

Serving runs it as one operation. Each operation of PyTorch gives Python's lock back and takes it
again, and a pass has some two hundred: while another thread decodes or packs, each may wait for
that thread's turn. Traced once (torch.jit.trace), the same operations run without the lock and give
the same numbers (docs/understand/decisions/0009-one-operation.md). A trace adapts to
`tensor.shape[0]`; `len(tensor)` would be fixed for ever.

Glossary: U users, D width, S floats of state, V items (row 0: unknown), C interests, P phrases,
K interests and B causes of an update, n recent events read, k soft tokens, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from models.compact import RECENT
from models.errors import ModelDataError
from models.network.attention import newest_items
from models.network.bfloat16 import Reader, faster_reader
from models.scorers import blend as blending
from models.scorers.calibration import corrected
from models.scorers.pair_table import FEW
from models.scorers.scorer import EVERYTHING, NOBODY, Scored, ScorerInput
from models.serving import zero_shot
from models.serving.because import Explainer
from models.serving.item_index import CellSearch
from models.serving.item_search import ProductSearch
from models.serving.membership import Membership
from models.serving.one_operation import one_operation
from models.serving.reading import Known, Networks, Reading
from models.serving.retrieval import (
    Asked,
    Candidates,
    ItemSearch,
    Query,
    Retrieval,
    looked_for,
)
from models.serving.tables import Tables, logits
from models.serving.trained_model import TrainedModel

Columns = tuple[Tensor, ...]
"""The fields of models.contract.Scores, as tensors."""

ASKED: Final = 10
"""Items that an update names where nothing is set."""
SLOW: Final = "own_16"
NOTICEABLE: Final = 0.05
"""A change of probability smaller than this is `steady`."""
NEWEST: Final = 4
"""Of the recent events; an interest that only they touched is `new`."""


class ScoringPass:
    """Reads, weighs and explains; it holds no state of any user."""

    looks_inside = True  # for causes: the answer is the small language model's

    def __init__(self, trained: TrainedModel) -> None:
        self.trained = trained
        network, blend = trained.network.eval(), trained.blend
        self._network = network
        self._blend = blend
        self._membership = Membership(trained.membership, whole=not trained.candidates)
        self._phrases: zero_shot.Phrases | None = None
        with torch.inference_mode():
            self._tables = Tables(network, blend.log_popularity)
            self.item_vectors = self._tables.item_vectors(ASKED) if trained.candidates else None
            """What the networks multiply items by; None where all of them are scored."""
            self._explainer = Explainer(
                language_model=network.language_model,
                scorers=trained.scorers.pruned(FEW),
                blend=blend,
                membership=self._membership,
                answers=(self.item_vectors.block if self.item_vectors else self._tables.answers),
                interests=self._tables.interests,
                attention=network.attention,
                attended=self._tables.attended,
                looks_inside=self.looks_inside,
            )
            self._retrieval = self._by_product()
        self._reader: Reader | None = None
        self._serving = False
        self._cells: CellSearch | None = None  # what searches the items, if not a product
        self._operations: dict[tuple[int, int, int, bool], Callable[..., tuple[Tensor, ...]]] = {}
        self._networks_alone: Callable[..., tuple[Tensor, ...]] | None = None
        self._live = False
        self.log_recent = blend.log_recent[None]
        """Recent popularity in the next pass: [1, V + 1] or [U, V + 1]."""

    def _by_product(self) -> Retrieval | None:
        """Returns what finds the candidates by a product with all items; None: all are scored."""
        if self.item_vectors is None:
            return None
        search = ProductSearch(self.item_vectors)
        return Retrieval(self.trained.scorers, search, self.item_vectors)

    def search_by(self, cells: CellSearch) -> None:
        """Searches the items of candidates in cells from now on."""
        self._cells = cells
        assert self.item_vectors is not None
        self._retrieval = Retrieval(self.trained.scorers, cells, self.item_vectors)
        self._operations.clear()

    def serve(self, precision: str) -> str:
        """Makes a pass one operation and returns in which precision it reads, and why.

        From now on nothing is trained. precision: float32, bfloat16, or "" for the one that is
        faster here.
        """
        self._network.requires_grad_(False)
        self._serving = True
        self._operations.clear()
        self._networks_alone = None
        with torch.inference_mode():
            if not precision:
                self._reader, why = faster_reader(self._network.language_model)
                return why
            self._reader = (
                Reader(self._network.language_model, torch.bfloat16)
                if precision == "bfloat16"
                else None
            )
        return f"{precision}: as set"

    def use_popularity(self, log_recent: Tensor) -> None:
        """Uses a live recent popularity from now on.

        log_recent: [1, V + 1], or [U, V + 1] of the moments of the users that come next. Raises
        ModelDataError for a model that was not fitted to it.
        """
        if not self._live:
            blend = self._blend.live()
            if blend is None:
                raise ModelDataError(
                    "the model was trained without live popularity (or on events without times); "
                    "train it again"
                )
            self._blend, self._live = blend, True
            self._explainer = replace(self._explainer, blend=blend)
            if self._cells is not None:  # they are of the popularity that the model was stored with
                self._cells = None
                with torch.inference_mode():
                    self._retrieval = self._by_product()
        self.log_recent = log_recent

    def columns(self, known: Known, interests: int, items: int, because: int) -> Columns:
        """Returns the columns of models.contract.Scores, of as many interests and so on.

        While serving, the pass runs as one operation, which is traced when a size is first met.
        """
        if not self._serving:
            return self._columns(self.read_known(known, items), interests, items, because)
        given: tuple[Tensor, ...] = known
        if self._cells is not None:
            given = (*known, *self._searched(known, items, self._cells))
        size = interests, items, because, self._live
        operation = self._operations.get(size)
        if operation is None:
            operation = one_operation(
                lambda *each: self._columns(self._read(each, items), interests, items, because),
                given,
            )
            self._operations[size] = operation
        return operation(*given)

    def _searched(self, known: Known, most: int, cells: CellSearch) -> tuple[Tensor, ...]:
        """Returns what the networks made of users, and the rows that were found for them.

        The search is no operation of PyTorch, so it stands between two traced ones.
        """
        if self._networks_alone is None:
            self._networks_alone = one_operation(
                lambda *each: self._asked_of(Known(*each)), tuple(known)
            )
        *networks, vector, priors = self._networks_alone(*known)
        most = min(self._membership.count, looked_for(most))
        return *networks, cells.nearest(Query(vector, priors), most)

    def _asked_of(self, known: Known) -> tuple[Tensor, ...]:
        """Returns the networks' part of a pass, and the query of each user."""
        networks = self.networks(known)
        return *networks, *Query.of(self.asked(known, networks), shared=True)

    def _read(self, given: tuple[Tensor, ...], most: int) -> Reading:
        """Returns the reading of users, of whom more than `Known` may be known."""
        count = len(Known._fields)
        known, beyond = Known(*given[:count]), given[count:]
        if self._cells is None:
            return self.read_known(known, most)
        cells, rows = self._cells, beyond[-1]
        return self.read_known(
            known, most, Networks(*beyond[:-1]), lambda query, asked, most: cells.found(query, rows)
        )

    def _columns(self, reading: Reading, interests: int, items: int, because: int) -> Columns:
        """Returns the same of a reading, operation by operation."""
        # one interest at least is looked at, since causes are those of the first one
        probability, slow = self._interests(reading)
        best, which = probability.topk(min(max(interests, 1), probability.shape[1]), dim=1)
        slots, weights = self._because(reading, which, because)
        best, which = best[:, :interests], which[:, :interests]
        # how each interest moves against the user's slower average
        change = best - slow.gather(1, which)
        trend = self._trend(reading, which, change)
        item_score, place = reading.items.topk(min(items, self._membership.count), dim=1)
        item = reading.pool.rows_of(place)
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

    def networks(self, known: Known) -> Networks:
        """Returns the networks' part of a pass: what each of them makes of the users."""
        network = self._network
        feature = network.lstm.feature(known.x[:, -1], known.memory)
        return Networks(*self.answer(known, feature), feature, *self._attended(known))

    def _attended(self, known: Known) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns what the attention says, and what it read: the last fields of `Networks`."""
        attention, vectors = self._network.attention, self._tables.attended
        if attention is None or vectors is None:
            nothing = known.rows[:, :0]
            return known.memory[:, :0], nothing, nothing, known.x[:, :0]
        windows, slots = newest_items(known.rows, attention.window)
        read = attention.read(windows, embedding(windows, vectors))
        return attention.answer(windows, read), windows, slots, read

    def asked(self, known: Known, networks: Networks) -> Asked:
        """Returns what is known of users when their candidates are looked for."""
        return Asked(
            known.recent,
            networks.answer,
            networks.feature,
            networks.attended,
            self._blend.item_weights(known.recent),
            self._tables.biases(known.log_recent),
            known.log_recent,
        )

    def read_known(
        self,
        known: Known,
        most: int = ASKED,
        networks: Networks | None = None,
        search: ItemSearch | None = None,
    ) -> Reading:
        """Returns one language-model pass over U users and their item scores.

        most: how many items will be asked for, where not all of them are scored; networks, search:
        what is known of them already.
        """
        networks = networks or self.networks(known)
        asked = self.asked(known, networks)
        weights = asked.weights
        # all scorers, and their blend
        if self._retrieval is None:
            pool, rest = EVERYTHING, None
            scored = self._scored_whole(known, networks, asked.biases)
            blended = blending.weighted([each.scores for each in scored], weights)
        else:
            picked = self._retrieval(asked, most, search)
            pool, rest = picked.pool, picked.rest
            scored = self._scored_pool(known, picked)
            places = self.trained.scorers.beside_products
            others = blending.weighted([scored[at].scores for at in places], weights[:, places])
            blended = others + picked.products
            # the other items have what the scorers say of an item that nobody names
            rest = rest._replace(scores=rest.scores + others[:, NOBODY].unsqueeze(1))
        return Reading(
            answer=networks.answer,
            tokens=networks.tokens,
            bias=networks.bias,
            windows=networks.windows,
            slots=networks.slots,
            read=networks.read,
            there=known.there,
            recent=known.recent,
            scored=scored,
            items=blended,
            pool=pool,
            rest=rest,
        )

    def _scored_whole(self, known: Known, networks: Networks, biases: Tensor) -> list[Scored]:
        """Returns what each scorer says of every item."""
        attended = self._tables.attended
        given = ScorerInput(
            recent=known.recent,
            language_model=logits(networks.answer, self._tables.answers, biases),
            lstm=logits(networks.feature, self._tables.items, biases),
            log_popularity=self._blend.log_popularity,
            log_recent=known.log_recent,
            attention=(None if attended is None else logits(networks.attended, attended, biases)),
        )
        return self.trained.scorers.scores(given)

    def _scored_pool(self, known: Known, picked: Candidates) -> list[Scored]:
        """Returns what each scorer says of the pool's items, those left out that are products."""
        nothing = torch.zeros(1, 1).expand_as(picked.products)
        given = ScorerInput(
            recent=known.recent,
            language_model=nothing,
            lstm=nothing,
            log_popularity=self._blend.log_popularity,
            log_recent=known.log_recent,
            pool=picked.pool,
        )
        return self.trained.scorers.scores(given, picked.looked_up)

    def answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the language model's answer, and what its last block read: tokens and bias.

        The answer is [U, D], as is the LSTM's feature.
        """
        model = self._network.language_model
        tokens, bias = self._network.serving_tokens(known.x, known.there, feature)
        if self._reader is not None:
            return *self._reader(tokens, bias), bias
        for block in model.blocks[:-1]:
            tokens = block(tokens, bias)
        return model.norm(model.blocks[-1](tokens, bias, last=1)[:, -1]), tokens, bias

    def _interests(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """Returns the probability of each interest and the user's slower average, [U, C] each."""
        log_odds, slow = self.interest_log_odds(reading)
        return self._probability(reading, log_odds), slow

    def _probability(self, reading: Reading, log_odds: Tensor) -> Tensor:
        """Returns the probabilities [U, C] of log-odds, of which the first are corrected."""
        weights = self._blend.calibration
        if weights is not None:
            log_odds = corrected(log_odds, reading.recent, weights)
        return torch.sigmoid(log_odds)

    def interest_log_odds(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """Returns the log-odds of each interest before calibration, and the slower average.

        Both are [U, C].
        """
        features, slow = self.interest_features(reading)
        return features @ self._blend.interest, slow

    def interest_features(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """Returns the features of each interest [U, C, F] and the slower average [U, C]."""
        tables, base = self._tables, self._blend.base
        touched = self._membership.of(reading.recent.rows)
        there = reading.recent.held.float()
        own = blending.own_shares(touched, there, base)
        reading.by_items = by_items = reading.chances(self._membership)
        reading.current = current = blending.follow(touched, base, self._blend.rates)
        direct = linear(reading.answer, tables.interests, tables.interest_bias)
        features = blending.interest_features(by_items, direct, own, base, current)
        return features, own[SLOW]

    def _phrase_probabilities(self, reading: Reading) -> Tensor:
        """Returns the probability [U, P] of each interest in words."""
        if self._phrases is None:
            return torch.zeros(reading.answer.shape[0], 0)
        return zero_shot.probabilities(
            self._phrases,
            reading.chances(self._phrases.membership),
            reading.answer,
            reading.recent,
            self._blend,
        )

    def _trend(self, reading: Reading, which: Tensor, change: Tensor) -> Tensor:
        """Returns the trend of each interest [U, K], a place in models.contract.TRENDS."""
        older = self._membership.of(reading.recent.rows[:, NEWEST:]).sum(1).gather(1, which)
        trend = torch.zeros_like(which)
        trend[change > NOTICEABLE] = 1
        trend[change < -NOTICEABLE] = 2
        trend[(older == 0) & (change > NOTICEABLE)] = 3
        return trend

    def _because(self, reading: Reading, which: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Returns the recent events that the first interest rests on: slots and shares, [U, B].

        Only what raises it counts.
        """
        lost = self._explainer.log_odds_lost(reading, which[:, 0]).clamp(min=0)
        weights, slots = (lost / lost.sum(1, keepdim=True).clamp(min=1e-9)).topk(
            min(most, RECENT), dim=1
        )
        return torch.where(weights > 0, slots, -1), weights
