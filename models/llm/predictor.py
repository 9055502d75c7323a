"""A predictor whose scoring step is a user's own language model; memory, rules and blend are those of the small model.

Glossary: U users, n recent events read, D width of the LSTM, V items, C interests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.blend import Blend
from models.bridge import InterestNetwork
from models.compact import WORDS, text_of
from models.llm.base_model import BaseModel
from models.llm.bridge import Bridge
from models.llm.texts import encode, title_tokens
from models.pairs import Pairs
from models.predict import ModelInfo
from models.predictor import TEXTS_KEPT, Predictor
from models.scorer import Known
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]

USERS: Final = 64
"""In one pass of the large model: activations of more do not help it, and the first result comes earlier."""


class LstmPredictor(Predictor):
    """Scores without any language model: the LSTM's feature is the answer. Causes are those that act beside it."""

    _looks_inside = False

    def serve(self, precision: str) -> str:
        """The hosted model was loaded in its own precision."""
        return f"{precision or 'as in training'}: of the hosted language model"

    def _answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return feature, known.x, known.there


class HostedPredictor(LstmPredictor):
    """Steps, scores and rebuilds, with the answer of the hosted model; a look inside it would cost as much as its scores."""

    def __init__(
        self,
        network: InterestNetwork,
        tokenizer: Tokenizer,
        pairs: Pairs,
        blend: Blend,
        membership: Array,
        info: ModelInfo,
        host: BaseModel,
        bridge: Bridge,
    ) -> None:
        super().__init__(network, tokenizer, pairs, blend, membership, info)
        self._host, self.bridge = host, bridge.eval()
        self._title = lru_cache(TEXTS_KEPT)(lambda raw: title_tokens(host, [text_of(raw)])[0])
        self.cheaper = LstmPredictor(network, tokenizer, pairs, blend, membership, info)
        """The same model without its costly part: the feature of the LSTM is the answer."""
        with torch.inference_mode():
            tables = self._tables
            tables.answers = tables.items + bridge.text_out(bridge.item_text)
            tables.interests = tables.interests + bridge.text_out(bridge.interest_text)

    @property
    def host(self) -> BaseModel:
        """The language model in use."""
        return self._host

    def hear(self, names: Sequence[str], belongs: Array | None = None) -> None:
        super().hear(names, belongs)
        assert self._phrases is not None
        self.cheaper.hear(names, self._phrases.membership[1:].numpy() > 0)
        with torch.inference_mode():
            read = self.bridge.text_out(self.bridge.centred(encode(self._host, names)))
            self._phrases = replace(self._phrases, candidates=self._phrases.candidates + read)

    def use_popularity(self, log_recent: Tensor) -> None:
        super().use_popularity(log_recent)
        self.cheaper.use_popularity(log_recent)

    def _titles(self, newest: Array, rows: Array) -> Tensor:
        titles = self.bridge.title[torch.from_numpy(rows)]
        unknown = np.argwhere((rows == 0) & np.isin(newest["kind"], WORDS) & (newest["key"] != 0))
        for user, place in unknown.tolist():
            titles[user, place] = self._title(newest["text"][user, place])
        return titles

    def _answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        events, soft = self.bridge.event_tokens(known.x, known.titles), self.bridge.soft_tokens(feature)
        count = known.there.sum(1)
        parts = [
            self.bridge.serve(self._host.backbone, events[low : low + USERS], count[low : low + USERS], part)
            for low, part in zip(range(0, len(soft), USERS), soft.split(USERS), strict=True)  # type: ignore[no-untyped-call]
        ]
        return self.bridge.answer(feature, torch.cat(parts)), known.x, known.there


def catalogue_texts(titles: list[str], interests: list[str], membership: Array) -> list[str]:
    """[V] what the language model reads of each item: its title and the names of its interests."""
    texts = []
    for title, belongs in zip(titles, membership, strict=True):
        names = ", ".join(interests[place] for place in np.flatnonzero(belongs)[:4].tolist())
        texts.append(f"{title} ({names})" if names else title)
    return texts
