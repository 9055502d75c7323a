"""Computes loss and validation of the bridge: the next item, and the interests that it touches.

Both are read from windows of histories. The loss is the cross-entropy of the next item over the
catalogue plus the binary cross-entropy of each interest.

Glossary: B windows, n events of a window, A answers of a window, M answers that are used, D width
of the LSTM, V items (row 0: unknown).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear

from models.data.prepare import Dataset
from models.llm.bridge import Bridge
from models.serving.predictor import Predictor
from models.training.hosted_windows import Windows, cut_windows, read_histories

Array = np.ndarray[Any, Any]


class Objective:
    """Computes loss and validation of a bridge on top of a finished small model.

    The LSTM of the small model reads every history once, when this is made.
    """

    def __init__(
        self,
        dataset: Dataset,
        small: Predictor,
        bridge: Bridge,
        backbone: Any,
        interest_weight: float,
    ) -> None:
        self._network, self._bridge, self._backbone = small.network, bridge, backbone
        self._starts, self._interest_weight = dataset.user_start, interest_weight
        self._histories = read_histories(small, dataset)
        self._dropout = torch.nn.Dropout(small.network.config.dropout)
        self._membership = torch.from_numpy(
            np.pad(small.membership, ((1, 0), (0, 0))).astype(np.float32)
        )
        met = (
            np.bincount(self.rows, minlength=len(self._membership))[1:] > 0
        )  # see models.network.losses.Negatives
        self._absent = torch.from_numpy(np.where(met, 0.0, -np.inf).astype(np.float32))
        self.windows = cut_windows(dataset, self.rows, bridge.config.recent)

    @property
    def rows(self) -> Array:
        """Returns the catalogue rows of the data set's events, int64 [N]; 0: unknown."""
        return self._histories.rows

    def loss(self, windows: Windows) -> Tensor:
        """Returns the cross-entropy of the next items, and of the interests that they touch."""
        network, bridge = self._network, self._bridge
        answers, places = self._answers(windows)
        targets = torch.from_numpy(self.rows)[places + 1]
        loss = cross_entropy(
            linear(answers, self._items()[1:], network.item_bias[1:] + self._absent), targets - 1
        )
        interests = network.interest_candidates() + bridge.text_out(bridge.interest_text)
        logits = linear(answers, interests, network.interest_bias)
        return loss + self._interest_weight * binary_cross_entropy_with_logits(
            logits, self._membership[targets]
        )

    def validate(self, windows: Windows) -> float:
        """Returns NDCG@10 of the answers of windows.

        It is a full ranking, ties count against the model, seen items stay candidates.
        """
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
        """Returns at most `most` users, drawn, whose last event can be predicted.

        It has to be about a known item and not the only one of its user.
        """
        start, last = self._starts[:-1], self._starts[1:] - 1
        users = np.flatnonzero((self.rows[last] > 0) & (last > start))
        drawn: Array = np.random.default_rng(seed).permutation(users)[:most]
        return drawn

    def last_events(self, users: Array) -> Windows:
        """Returns one window a user, whose answer is the last event."""
        end = torch.from_numpy(self._starts[1:][users])
        count = (end - 1 - torch.from_numpy(self._starts[:-1][users])).clamp(
            max=self._bridge.config.recent
        )
        return Windows(end - 1 - count, count, (count - 1)[:, None])

    def _items(self) -> Tensor:
        """Returns the candidates [V + 1, D]."""
        items: Tensor = self._network.item_candidates() + self._bridge.text_out(
            self._bridge.item_text
        )
        return items

    def _answers(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """Returns the answers [M, D] of windows, and the events [M] after which they come.

        Events are places in the data set.
        """
        bridge, histories = self._bridge, self._histories
        n = int(windows.count.max())
        inside = torch.arange(n)[None] < windows.count[:, None]
        events = torch.where(
            inside, windows.first[:, None] + torch.arange(n)[None], windows.first[:, None]
        )
        after = windows.after.clamp(min=0)
        before = windows.first[:, None] + after
        x, features = histories.x[events], histories.features[before]
        if bridge.training:
            x, features = self._dropout(x), self._dropout(features)
        tokens = bridge.event_tokens(x, bridge.title[torch.from_numpy(histories.rows)[events]])
        hidden = bridge.train_windows(self._backbone, tokens, bridge.soft_tokens(features), after)
        used = windows.after >= 0
        return bridge.answer(features[used], hidden[used]), before[used]
