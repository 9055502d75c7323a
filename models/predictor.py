"""A loaded model, ready to serve: LSTM steps in rounds across users, one language-model pass a touched user.

Glossary: U users, N events, R rounds, S floats of state, D width, V items (row 0: unknown), C interests, n recent events read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, linear

from models import zero_shot
from models.allocator import keep_freed_memory
from models.blend import Blend
from models.bridge import InterestNetwork
from models.compact import COMPACT, RECENT, WORDS, hash64, of_last_session, text_of
from models.lstm import input_gates
from models.pairs import Pairs
from models.popularity import log_live_shares
from models.predict import Hosting, ModelInfo, Scores
from models.scorer import Known, Reading, Scorer
from models.vocabulary import ItemIndex, Tokenizer, gap_buckets

Array = np.ndarray[Any, Any]

log = logging.getLogger("interest_stream")

CHUNK: Final = 512
"""Users scored in one pass: activations stay in the cache. Fewer of a large catalogue."""

CHUNK_BYTES: Final = 1 << 28
"""Of the scores of one pass; a user has one a catalogue item, SCORES_HELD times."""

SCORES_HELD: Final = 17
"""Item scores of a pass that are alive together, at most: each scorer's, their blend, and what explanations derive (measured)."""

TEXTS_KEPT: Final = 20_000
"""Encodings of queries and unknown titles that are remembered."""

Parts = tuple[InterestNetwork, Tokenizer, Pairs, Blend, Array, ModelInfo]
"""What a predictor is made of, in the order of its arguments."""


class Predictor(Scorer):
    """Steps, scores and rebuilds. Holds no state of any user."""

    def __init__(
        self,
        network: InterestNetwork,
        tokenizer: Tokenizer,
        pairs: Pairs,
        blend: Blend,
        membership: Array,  # float32 [V + 1, C], row 0 empty
        info: ModelInfo,
    ) -> None:
        super().__init__(network, pairs, blend, membership)
        self.info = info
        self.parts: Parts = (network, tokenizer, pairs, blend, membership, info)
        self._tokenizer = tokenizer
        self._index = ItemIndex(info.items)
        self.popularity_as_of: int | None = None
        """When the live snapshot in use was taken, in ms."""
        self._text = lru_cache(TEXTS_KEPT)(self._encode_text)

    @property
    def network(self) -> InterestNetwork:
        """The weights."""
        return self._network

    @property
    def log_popularity(self) -> Tensor:
        """[V + 1] of all training events."""
        return self._blend.log_popularity

    @property
    def membership(self) -> Array:
        """Bool [V, C]: which interests each item belongs to."""
        belongs: Array = self._membership[1:].numpy() > 0
        return belongs

    def randomised(self, seed: int) -> Predictor:
        """The same with weights as before any training, and pairs of other items: what nothing was learned by."""
        torch.manual_seed(seed)
        order = np.concatenate(([0], 1 + np.random.default_rng(seed).permutation(len(self.info.items))))
        pairs = self._pairs.permuted(order)
        fresh = InterestNetwork(self._network.config)
        return Predictor(fresh, self._tokenizer, pairs, self._blend, self._membership.numpy(), self.info)

    # -- memory

    def step(self, state: Array, events: Array, sizes: Array, previous_ms: Array) -> Array:
        """float32 [U, S] after the events; may be written in place.

        events COMPACT [N] round-major: round r holds one event of each of the first sizes[r] users. previous_ms int64 [U]: time
        of the user's event before, -1 if there was none.
        """
        sizes = np.asarray(sizes, np.int64)
        before = _previous_times(events["time_ms"], sizes, previous_ms)
        with torch.inference_mode():
            memory = torch.from_numpy(np.ascontiguousarray(state, np.float32))
            x = self.vectors(events, before)
            gates = input_gates(self._network.lstm.blocks[0].lstm, x)
            start = 0
            for size in sizes.tolist():
                self._network.lstm.step(x[start : start + size], gates[start : start + size], memory[:size])
                start += size
            return memory.numpy()

    def rebuild(self, recent: Array) -> Array:
        """Memory float32 [U, S] from the recent events COMPACT [U, 32], newest first, of users whose model has changed."""
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

    def score(self, state: Array, recent: Array, *, interests: int, items: int, because: int) -> Scores:
        """The best interests and items of each user, and the events they rest on."""
        chunk = users_a_pass(len(self.info.items))
        parts = [
            self._score(state[start : start + chunk], recent[start : start + chunk], interests, items, because)
            for start in range(0, len(state), chunk)
        ]
        return Scores(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def warm_up(self, *, interests: int, items: int, because: int) -> None:
        """Two passes over a user without events: the first is traced, after the second it is as fast as ever."""
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
        """float32 [U, V] blended scores of every item, higher is better."""
        with torch.inference_mode():
            return self.read(state, recent).items[:, 1:].numpy()

    def interest_probabilities(self, state: Array, recent: Array) -> Array:
        """float32 [U, C]."""
        with torch.inference_mode():
            return self._interests(self.read(state, recent))[0].numpy()

    def _score(self, state: Array, recent: Array, interests: int, items: int, because: int) -> list[Array]:
        with torch.inference_mode():
            said = self.say(self.known(state, recent), interests, items, because)
        return [column.numpy() for column in said]

    def read(self, state: Array, recent: Array) -> Reading:
        """One language-model pass and the item scores of U users."""
        return self.read_known(self.known(state, recent))

    def known(self, state: Array, recent: Array) -> Known:
        """As tensors."""
        n = self._network.config.recent
        rows = self._index.rows(recent["key"])
        times = recent["time_ms"]
        before = np.full_like(times, -1)
        before[:, :-1] = np.where(recent["key"][:, 1:] != 0, times[:, 1:], -1)
        newest, newest_rows = (np.ascontiguousarray(each[:, :n][:, ::-1]) for each in (recent, rows))
        x = self.vectors(newest.reshape(-1), before[:, :n][:, ::-1].reshape(-1), newest_rows.reshape(-1))
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
        """Of the events COMPACT [U, n] and their item rows, for a language model that reads titles."""
        return torch.zeros(0)

    def follow(self, item_ids: Sequence[str], shares: Array, as_of_ms: int) -> None:
        """Score with a live snapshot of what all users met lately: a share [N] of each item; unknown items are left out.

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

    def hear(self, names: Sequence[str], belongs: Array | None = None) -> None:
        """From now on score these phrases too. belongs: bool [V, P] their items; None: by likeness of the texts."""
        with torch.inference_mode():
            encodings = self.encode_texts(names)
            if belongs is None:
                belongs = zero_shot.match(self._network.text[1:], encodings)
            membership = torch.zeros(len(belongs) + 1, len(names))
            membership[1:] = torch.from_numpy(belongs)
            base = zero_shot.base_rates(membership, self._blend.log_popularity)
            self._phrases = zero_shot.Phrases(tuple(names), membership, self._network.text_out(encodings), base)
        self._operations.clear()

    @property
    def phrases(self) -> tuple[str, ...]:
        """Names of what `hear` was told."""
        return self._phrases.names if self._phrases is not None else ()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """[N, D] by the text model, as titles and queries are."""
        return self._network.text_model.encode_text(torch.from_numpy(self._tokenizer.encode(texts)))

    # -- inputs

    def vectors(self, events: Array, before_ms: Array, rows: Array | None = None) -> Tensor:
        """Event vectors [N, D]: tables for what the catalogue knows, the text model for queries and titles of other items."""
        rows = self._index.rows(events["key"]) if rows is None else rows
        gaps = gap_buckets(np.where(before_ms < 0, -1, np.maximum(events["time_ms"] - before_ms, 0)))
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
        tokens = torch.from_numpy(self._tokenizer.encode([text_of(raw)]))
        return self._network.text_model.encode_text(tokens)[0]


def users_a_pass(items: int) -> int:
    """How many users are scored at once, so that their item scores take CHUNK_BYTES at most."""
    return max(1, min(CHUNK, CHUNK_BYTES // (4 * SCORES_HELD * (items + 1))))


def _previous_times(times: Array, sizes: Array, previous_ms: Array) -> Array:
    """int64 [N]: time of each event's predecessor of the same user; in round r > 0 that is the event one round before."""
    before = np.empty(len(times), np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes)))
    for place, size in enumerate(sizes.tolist()):
        start = starts[place]
        before[start : start + size] = (
            previous_ms[:size] if place == 0 else times[starts[place - 1] : starts[place - 1] + size]
        )
    return before


def load(path: Path, threads: int = 1, hosting: Hosting | None = None) -> Predictor:
    """Read and check a model directory. With `hosting` it is made to serve; without, it computes as in training."""
    from models.model_directory import read_model

    torch.set_num_threads(threads)
    if hosting is not None:
        keep_freed_memory()
    predictor = read_model(path, hosting or Hosting())
    if hosting is not None:
        log.info("precision %s", predictor.serve(hosting.precision))
    return predictor


def no_events(users: int) -> Array:
    """COMPACT [U, 32] of users without history."""
    return np.zeros((users, RECENT), COMPACT)
