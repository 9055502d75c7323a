"""Serves with a user's own language model in the scoring step.

Memory, rules and blend are those of the small model. Glossary: U users, n recent events read, D
width of the LSTM, V items, C interests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.compact import WORDS, text_of
from models.llm.base_model import BaseModel
from models.llm.bridge import Bridge
from models.llm.texts import encode, title_tokens
from models.serving.predictor import TEXTS_KEPT, Predictor
from models.serving.reading import Known
from models.serving.scoring_pass import ASKED
from models.serving.trained_model import TrainedModel

Array = np.ndarray[Any, Any]

USERS: Final = 64
"""Users in one pass of the large model: more do not make it faster, and delay the first result."""


class LstmPredictor(Predictor):
    """Scores without any language model: the LSTM's feature is the answer.

    Causes of an update are the events that the other scorers rest on.
    """

    looks_inside = False

    def serve(self, precision: str) -> str:
        """Returns the precision in use: that in which the hosted model was loaded."""
        return f"{precision or 'as in training'}: of the hosted language model"

    def answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the feature as the answer, and the events as they are."""
        return feature, known.x, known.there


class HostedPredictor(LstmPredictor):
    """Steps, scores and rebuilds, with the answer of the hosted model.

    It does not look inside the hosted model for causes: that would cost as much as its scores.
    """

    def __init__(
        self,
        trained: TrainedModel,
        host: BaseModel,
        bridge: Bridge,
    ) -> None:
        super().__init__(trained)
        self._host, self.bridge = host, bridge.eval()
        self._title = lru_cache(TEXTS_KEPT)(lambda raw: title_tokens(host, [text_of(raw)])[0])
        self._cheaper = LstmPredictor(trained)
        with torch.inference_mode():
            tables = self._tables
            tables.answers = tables.items + bridge.text_out(bridge.item_text)
            tables.interests = tables.interests + bridge.text_out(bridge.interest_text)
            if trained.candidates:
                self.item_vectors = tables.item_vectors(ASKED)
                self._retrieval = self._by_product()

    def of(self, trained: TrainedModel) -> Predictor:
        """Returns another model with the same hosted one."""
        return HostedPredictor(trained, self._host, self.bridge)

    @property
    def cheaper(self) -> LstmPredictor:
        """Returns the model without the hosted one: the feature of the LSTM is the answer."""
        return self._cheaper

    @property
    def host(self) -> BaseModel:
        """Returns the language model in use."""
        return self._host

    def score_phrases(self, names: Sequence[str], belongs: Array | None = None) -> None:
        """Scores interests in words from now on, by their texts as the hosted model reads them."""
        super().score_phrases(names, belongs)
        assert self._phrases is not None
        self.cheaper.score_phrases(names, self._phrases.membership.belongs)
        with torch.inference_mode():
            read = self.bridge.text_out(self.bridge.centred(encode(self._host, names)))
            self._phrases = replace(self._phrases, candidates=self._phrases.candidates + read)

    def use_popularity(self, log_recent: Tensor) -> None:
        """Scores from now on with a recent popularity, in both forms of the model."""
        super().use_popularity(log_recent)
        self.cheaper.use_popularity(log_recent)

    def _titles(self, newest: Array, rows: Array) -> Tensor:
        """Returns the tokens of titles [U, n, H].

        Those of unknown items are made from their texts.
        """
        titles = self.bridge.title[torch.from_numpy(rows)]
        unknown = np.argwhere((rows == 0) & np.isin(newest["kind"], WORDS) & (newest["key"] != 0))
        for user, place in unknown.tolist():
            titles[user, place] = self._title(newest["text"][user, place])
        return titles

    def answer(self, known: Known, feature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the answer of the hosted model, in passes of some users each."""
        events, soft = (
            self.bridge.event_tokens(known.x, known.titles),
            self.bridge.soft_tokens(feature),
        )
        count = known.there.sum(1)
        parts = [
            self.bridge.serve(
                self._host.backbone, events[low : low + USERS], count[low : low + USERS], part
            )
            for low, part in zip(range(0, len(soft), USERS), torch.split(soft, USERS), strict=True)
        ]
        return self.bridge.answer(feature, torch.cat(parts)), known.x, known.there


def catalogue_texts(titles: list[str], interests: list[str], membership: Array) -> list[str]:
    """Returns what the language model reads of each item, [V].

    It is the item's title and the names of its interests.
    """
    texts = []
    for title, belongs in zip(titles, membership, strict=True):
        names = ", ".join(interests[place] for place in np.flatnonzero(belongs)[:4].tolist())
        texts.append(f"{title} ({names})" if names else title)
    return texts
