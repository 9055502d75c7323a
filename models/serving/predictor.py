"""Serves a loaded model: LSTM steps in rounds across users, one scoring pass a touched user.

Glossary: U users, N events, R rounds, S floats of state, D width, V items (row 0: unknown),
C interests, P phrases, n recent events read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from models.compact import COMPACT, RECENT, WORDS, hash64, of_last_session, text_of
from models.contract import InterestScores, Scores
from models.network.interest_network import InterestNetwork
from models.network.lstm import input_gates
from models.scorers.recent_popularity import log_live_shares
from models.serving import zero_shot
from models.serving.membership import Membership
from models.serving.reading import Known, Reading
from models.serving.scoring_pass import ScoringPass
from models.serving.search_choice import cells_of
from models.serving.trained_model import TrainedModel
from models.vocabulary import gap_buckets

Array = np.ndarray[Any, Any]

CHUNK: Final = 512
"""Users scored in one pass: activations stay in the cache. Fewer of a large catalogue."""

CHUNK_BYTES: Final = 1 << 28
"""Bytes that the scores of one pass take; a user has one a catalogue item, SCORES_HELD times."""

SCORES_HELD: Final = 17
"""Item scores of a pass that are alive together, at most (measured).

They are each scorer's, their blend, and what explanations derive.
"""

TEXTS_KEPT: Final = 20_000
"""Encodings of queries and unknown titles that are remembered."""


class Predictor(ScoringPass):
    """Steps, scores and rebuilds users by a trained model; it holds no state of any of them."""

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__(trained)
        self.info = trained.info
        self._tokenizer = trained.tokenizer
        self._index = trained.info.index
        self.popularity_as_of: int | None = None
        """When the live snapshot in use was taken, in Unix ms."""
        self._text = lru_cache(TEXTS_KEPT)(self._encode_text)

    def serve(self, precision: str) -> str:
        """Makes a pass one operation, as `ScoringPass.serve` does, and chooses its search."""
        why = super().serve(precision)
        with torch.inference_mode():
            cells = cells_of(self)
            if cells is not None:
                self.search_by(cells)
        return why

    @property
    def cheaper(self) -> Predictor | None:
        """Returns the same model without its costly part; None: a model that has none."""
        return None

    @property
    def network(self) -> InterestNetwork:
        """Returns the network with its weights."""
        return self._network

    @property
    def log_popularity(self) -> Tensor:
        """Returns the log share of each item in all training events, [V + 1]."""
        return self._blend.log_popularity

    @property
    def membership(self) -> Array:
        """Returns which interests each item belongs to, bool [V, C]."""
        return self._membership.belongs

    def of(self, trained: TrainedModel) -> Predictor:
        """Returns another model of the same form."""
        return Predictor(trained)

    def with_all_items(self) -> Predictor:
        """Returns the same model, which scores every item of its catalogue."""
        return self.of(replace(self.trained, candidates=False))

    def items_scored(self, state: Array, recent: Array) -> float:
        """Returns how many items of a user are scored, on average."""
        with torch.inference_mode():
            pool = self.read(state, recent).pool
        if pool.rows is None:
            return float(len(self.info.items))
        return float((pool.rows > 0).sum(1).float().mean())

    def randomised(self, seed: int) -> Predictor:
        """Returns the same model as if it had learned nothing.

        Its network has weights as before any training, its tables are of other items, and how long
        users keep to an interest is not known.
        """
        torch.manual_seed(seed)
        items = np.random.default_rng(seed).permutation(len(self.info.items))
        scorers = self.trained.scorers.permuted(np.concatenate(([0], 1 + items)))
        fresh = InterestNetwork(self._network.config)
        blend = replace(self._blend, rates=None)
        return Predictor(replace(self.trained, network=fresh, scorers=scorers, blend=blend))

    # -- memory

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        """Returns the memory after some events, float32 [U, S]; it may write into `state`.

        events: COMPACT [N], round by round: round r holds one event of each of the first sizes[r]
        users. previous_ms: int64 [U], the time of each user's event before, -1 if there was none.
        """
        sizes = np.asarray(sizes, np.int64)
        before = _previous_times(events["time_ms"], sizes, previous_ms)
        with torch.inference_mode():
            memory = torch.from_numpy(np.ascontiguousarray(state, np.float32))
            # what does not depend on the memory, of all events at once
            x = self.vectors(events, before)
            gates = input_gates(self._network.lstm.blocks[0].lstm, x)
            # then one step a round, of all users who have an event in it
            start = 0
            for size in sizes.tolist():
                self._network.lstm.step(
                    x[start : start + size], gates[start : start + size], memory[:size]
                )
                start += size
            return memory.numpy()

    def rebuild(self, recent: Array) -> Array:
        """Returns the memory float32 [U, S] of users whose model has changed.

        recent: COMPACT [U, 32], newest first; they are stepped through anew.
        """
        # users with the most events first, so that a round is of the first users
        counts = (recent["key"] != 0).sum(1)
        order = np.argsort(-counts, kind="stable")
        oldest_first = recent[order]
        rounds = []
        sizes = []
        for place in range(int(counts.max(initial=0))):
            size = int((counts > place).sum())
            slot = counts[order][:size] - 1 - place
            rounds.append(oldest_first[np.arange(size), slot])
            sizes.append(size)
        state = np.zeros((len(recent), self.info.state_size), np.float32)
        if rounds:
            before = np.full(len(recent), -1, np.int64)
            state[order] = self.step(state[order], np.concatenate(rounds), np.array(sizes), before)
        return state

    # -- scores

    def score(
        self, state: Array, recent: Array, *, interests: int, items: int, because: int
    ) -> Scores:
        """Returns the best interests and items of each user, and the events they rest on."""
        chunk = CHUNK
        if self._cells is None:
            chunk = users_a_pass(len(self.info.items), candidates=self.trained.candidates)
        passes = [
            self._score(
                state[start : start + chunk],
                recent[start : start + chunk],
                interests,
                items,
                because,
            )
            for start in range(0, len(state), chunk)
        ]
        return Scores(*(np.concatenate(columns) for columns in zip(*passes, strict=True)))

    def warm_up(self, *, interests: int, items: int, because: int) -> None:
        """Makes two passes over a user without events, so that the next one is as fast as ever.

        The first is traced, the second compiled.
        """
        if self._serving:
            for _ in range(2):
                self.score(
                    np.zeros((1, self.info.state_size), np.float32),
                    no_events(1),
                    interests=interests,
                    items=items,
                    because=because,
                )

    def score_all(self, state: Array, recent: Array) -> Array:
        """Returns the blended scores of every item, float32 [U, V]; higher is better.

        An item that is no candidate has minus infinity.
        """
        with torch.inference_mode():
            reading = self.read(state, recent)
            if reading.pool.rows is None:
                return reading.items[:, 1:].numpy()
            every = torch.full((len(state), len(self.info.items) + 1), float("-inf"))
            every.scatter_(1, reading.pool.rows, reading.items)
            return every[:, 1:].numpy()

    def interest_probabilities(self, state: Array, recent: Array) -> Array:
        """Returns the probability of every interest, float32 [U, C]."""
        with torch.inference_mode():
            return self._interests(self.read(state, recent))[0].numpy()

    def interest_scores(self, state: Array, recent: Array) -> InterestScores:
        """Returns probability, change and trend of every interest, [U, C] each."""
        with torch.inference_mode():
            reading = self.read(state, recent)
            log_odds, slow = self.interest_log_odds(reading)
            probability = self._probability(reading, log_odds)
            change = probability - slow
            every = torch.arange(change.shape[1]).expand_as(change)
            trend = self._trend(reading, every, change)
            before = None if self._blend.calibration is None else torch.sigmoid(log_odds).numpy()
        return InterestScores(
            probability.numpy(), change.numpy(), trend.to(torch.uint8).numpy(), before
        )

    def _score(
        self, state: Array, recent: Array, interests: int, items: int, because: int
    ) -> list[Array]:
        """Returns the columns of Scores of one pass."""
        with torch.inference_mode():
            columns = self.columns(self.known(state, recent), interests, items, because)
        return [column.numpy() for column in columns]

    def read(self, state: Array, recent: Array) -> Reading:
        """Returns one language-model pass over U users and their item scores."""
        return self.read_known(self.known(state, recent))

    def known(self, state: Array, recent: Array) -> Known:
        """Returns what a pass has to know of users, as tensors.

        state: float32 [U, S]; recent: COMPACT [U, 32], newest first.
        """
        n = self._network.config.recent
        rows = self._index.rows(recent["key"])
        times = recent["time_ms"]
        before = np.full_like(times, -1)
        before[:, :-1] = np.where(recent["key"][:, 1:] != 0, times[:, 1:], -1)
        # the n newest events, oldest first, as the networks read them
        newest, newest_rows = (
            np.ascontiguousarray(each[:, :n][:, ::-1]) for each in (recent, rows)
        )
        x = self.vectors(
            newest.reshape(-1), before[:, :n][:, ::-1].reshape(-1), newest_rows.reshape(-1)
        )
        return Known(
            x=x.view(len(state), n, -1),
            there=torch.from_numpy(newest["key"] != 0),
            memory=torch.from_numpy(np.ascontiguousarray(state, np.float32)),
            rows=torch.from_numpy(rows),
            held=torch.from_numpy(recent["key"] != 0),
            session=torch.from_numpy(of_last_session(recent)),
            titles=self._titles(newest, newest_rows),
            log_recent=self.log_recent,
        )

    def _titles(self, newest: Array, rows: Array) -> Tensor:
        """Returns what a language model that reads titles needs of the events; here there is none.

        newest: COMPACT [U, n]; rows: their item rows.
        """
        return torch.zeros(0)

    def set_popularity(self, item_ids: Sequence[str], shares: Array, as_of_ms: int) -> None:
        """Scores with a live snapshot of what all users met lately from now on.

        shares: [N], one of each item; unknown items are left out. as_of_ms: when it was taken.
        Raises ModelDataError for a model that was not fitted to it.
        """
        counts = np.zeros(len(self.info.items) + 1)
        counts[self._index.rows(np.array([hash64(each) for each in item_ids], np.uint64))] = shares
        counts[0] = 0
        self.use_popularity(log_live_shares(counts, self._blend.log_popularity)[None])
        if self.popularity_as_of is None:
            for interests, items, because, _ in list(self._operations):
                self.warm_up(interests=interests, items=items, because=because)
        self.popularity_as_of = as_of_ms

    # -- interests in words that were not trained

    def score_phrases(self, names: Sequence[str], belongs: Array | None = None) -> None:
        """Scores these phrases too from now on.

        belongs: bool [V, P], their items; None: found by the likeness of the texts.
        """
        with torch.inference_mode():
            encodings = self.encode_texts(names)
            if belongs is None:
                belongs = zero_shot.match(self._network.text[1:], encodings)
            belongs = np.pad(belongs, ((1, 0), (0, 0)))
            base = zero_shot.base_rates(
                torch.from_numpy(belongs).float(), self._blend.log_popularity
            )
            membership = Membership(belongs, whole=not self.trained.candidates)
            self._phrases = zero_shot.Phrases(
                tuple(names), membership, self._network.text_out(encodings), base
            )
        self._operations.clear()

    @property
    def phrases(self) -> tuple[str, ...]:
        """Returns the phrases that are scored too."""
        return self._phrases.names if self._phrases is not None else ()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Returns the encodings [N, D] of texts by the text model, as of titles and queries."""
        return self._network.text_model.encode_text(torch.from_numpy(self._tokenizer.encode(texts)))

    # -- inputs

    def vectors(self, events: Array, before_ms: Array, rows: Array | None = None) -> Tensor:
        """Returns the event vectors [N, D].

        They come from tables for what the catalogue knows, from the text model for queries and for
        titles of other items. before_ms: int64 [N], time of the same user's event before each one.
        """
        rows = self._index.rows(events["key"]) if rows is None else rows
        gaps = gap_buckets(
            np.where(before_ms < 0, -1, np.maximum(events["time_ms"] - before_ms, 0))
        )
        tables = self._tables
        x = embedding(torch.from_numpy(np.ascontiguousarray(rows)), tables.known)
        x += embedding(torch.from_numpy(events["action"].astype(np.int64)), tables.action)
        x += embedding(torch.from_numpy(gaps), tables.gap)
        unknown = np.flatnonzero((rows == 0) & np.isin(events["kind"], WORDS))
        if len(unknown):
            texts = torch.stack([self._text(raw) for raw in events["text"][unknown].tolist()])
            x[torch.from_numpy(unknown)] += linear(texts, self._network.text_in.weight)
        vectors: Tensor = x
        return vectors

    def _encode_text(self, raw: bytes) -> Tensor:
        """Returns the encoding [D] of a compact event's text."""
        tokens = torch.from_numpy(self._tokenizer.encode([text_of(raw)]))
        return self._network.text_model.encode_text(tokens)[0]


def users_a_pass(items: int, *, candidates: bool = False) -> int:
    """Returns how many users are scored at once; their item scores take CHUNK_BYTES at most.

    candidates: whether they are one product with all items, and all else is of a few.
    """
    held = 1 if candidates else SCORES_HELD
    return max(1, min(CHUNK, CHUNK_BYTES // (4 * held * (items + 1))))


def _previous_times(times: Array, sizes: Array, previous_ms: Array) -> Array:
    """Returns the time of the event of the same user before each one, int64 [N].

    In round r > 0 that is the event one round before.
    """
    before = np.empty(len(times), np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes)))
    for place, size in enumerate(sizes.tolist()):
        start = starts[place]
        before[start : start + size] = (
            previous_ms[:size]
            if place == 0
            else times[starts[place - 1] : starts[place - 1] + size]
        )
    return before


def no_events(users: int) -> Array:
    """Returns the recent events of users without history, COMPACT [U, 32]."""
    return np.zeros((users, RECENT), COMPACT)
