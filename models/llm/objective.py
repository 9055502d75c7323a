"""What the bridge is trained for: the next item over the catalogue and the interests it touches, read from windows of histories.

Glossary: B windows, n events of a window, A answers of a window, M answers that are used, D width of the LSTM, V items (row 0: unknown).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear

from models.llm.bridge import Bridge
from models.llm.windows import Windows, cut_windows, read_histories
from models.predictor import Predictor
from models.prepare import Dataset

Array = np.ndarray[Any, Any]


class Objective:
    """Loss and validation of a bridge behind a finished small model, whose LSTM has read every history once."""

    def __init__(
        self, dataset: Dataset, small: Predictor, bridge: Bridge, backbone: Any, interest_weight: float
    ) -> None:
        self._network, self._bridge, self._backbone = small.network, bridge, backbone
        self._starts, self._interest_weight = dataset.user_start, interest_weight
        self._histories = read_histories(small, dataset)
        self._dropout = torch.nn.Dropout(small.network.config.dropout)
        self._membership = torch.from_numpy(np.pad(small.membership, ((1, 0), (0, 0))).astype(np.float32))
        met = np.bincount(self.rows, minlength=len(self._membership))[1:] > 0  # see models.bridge.Negatives
        self._absent = torch.from_numpy(np.where(met, 0.0, -np.inf).astype(np.float32))
        self.windows = cut_windows(dataset, self.rows, bridge.config.recent)

    @property
    def rows(self) -> Array:
        """Catalogue rows int64 [N] of the data set's events, 0 unknown."""
        return self._histories.rows

    def loss(self, windows: Windows) -> Tensor:
        """Cross-entropy of the next item over the catalogue, and of the interests it touches."""
        network, bridge = self._network, self._bridge
        answers, places = self._answers(windows)
        targets = torch.from_numpy(self.rows)[places + 1]
        loss = cross_entropy(linear(answers, self._items()[1:], network.item_bias[1:] + self._absent), targets - 1)
        interests = network.interest_candidates() + bridge.text_out(bridge.interest_text)
        opinions = linear(answers, interests, network.interest_bias)
        return loss + self._interest_weight * binary_cross_entropy_with_logits(opinions, self._membership[targets])

    def validate(self, windows: Windows) -> float:
        """NDCG@10 of what windows ask: full ranking, ties count against us, seen items stay candidates."""
        self._bridge.eval()
        gains = []
        with torch.inference_mode():
            items = self._items()
            for low in range(0, len(windows), 64):
                answers, places = self._answers(windows.part(low, low + 64))
                logits = linear(answers, items, self._network.item_bias)[:, 1:]
                wanted = logits.gather(1, torch.from_numpy(self.rows)[places + 1][:, None] - 1)
                rank = (logits >= wanted).sum(1)
                gains.append(torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0))
        return float(torch.cat(gains).mean())

    def validation_users(self, most: int, seed: int) -> Array:
        """At most that many users, drawn, whose last event is about a known item and not their only one."""
        start, last = self._starts[:-1], self._starts[1:] - 1
        users = np.flatnonzero((self.rows[last] > 0) & (last > start))
        drawn: Array = np.random.default_rng(seed).permutation(users)[:most]
        return drawn

    def last_events(self, users: Array) -> Windows:
        """One window a user: all but the last event are known, that one is asked for."""
        end = torch.from_numpy(self._starts[1:][users])
        count = (end - 1 - torch.from_numpy(self._starts[:-1][users])).clamp(max=self._bridge.config.recent)
        return Windows(end - 1 - count, count, (count - 1)[:, None])

    def _items(self) -> Tensor:
        """Candidates [V + 1, D]."""
        items: Tensor = self._network.item_candidates() + self._bridge.text_out(self._bridge.item_text)
        return items

    def _answers(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Answers [M, D] of all used slots, and the events [M] (places in the data set) that they follow."""
        bridge, histories = self._bridge, self._histories
        n = int(windows.count.max())
        inside = torch.arange(n)[None] < windows.count[:, None]
        events = torch.where(inside, windows.first[:, None] + torch.arange(n)[None], windows.first[:, None])
        asked = windows.asked.clamp(min=0)
        follows = windows.first[:, None] + asked
        x, features = histories.x[events], histories.features[follows]
        if bridge.training:
            x, features = self._dropout(x), self._dropout(features)
        tokens = bridge.event_tokens(x, bridge.title[torch.from_numpy(histories.rows)[events]])
        hidden = bridge.train_windows(self._backbone, tokens, bridge.soft_tokens(features), asked)
        used = windows.asked >= 0
        return bridge.answer(features[used], hidden[used]), follows[used]
