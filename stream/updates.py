"""Hop 6. Scores to interest updates: one JSON object a touched user, as schemas/update-1.json says. Pure.

U users, K interests, M items, B past events named as causes. Nothing that is not a finite number is ever published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson

from models.compact import ACTIONS, ITEM_ID, QUERY, TITLE, hash64, text_of
from models.predict import TRENDS, ModelInfo, Scores
from stream.errors import ModelError

SCHEMA: Final = "interest-update/1"
DIGITS: Final = 5
"""Of probabilities and scores: finer than any calibration, and short on the wire."""

_Json = dict[str, Any]


class UpdateBuilder:
    """Knows the names that the model's numbers stand for."""

    def __init__(self, info: ModelInfo) -> None:
        self._interests = info.interests
        self._items = info.items
        self._item_of = {hash64(item_id): item_id for item_id in info.items}
        self._fingerprint = f"{info.fingerprint:016x}"
        self._model = {"name": info.name, "version": info.version, "fingerprint": self._fingerprint}

    def build(
        self,
        users: Sequence[bytes],  # [U] user ids as UTF-8
        scores: Scores,
        *,
        source: tuple[str, int],  # topic and partition the events came from
        offsets: np.ndarray[Any, Any],  # int64 [U] of the last event included
        times_ms: np.ndarray[Any, Any],  # int64 [U] its time
        counts: np.ndarray[Any, Any],  # uint64 [U] events applied so far
        recent: np.ndarray[Any, Any],  # COMPACT [U, 32] newest first
        published_at_ms: int,
    ) -> list[bytes]:
        """The updates as JSON, in the order of `users`. Raises ModelError if a score is not a finite number."""
        _ensure_publishable(scores)
        topic, partition = source
        interests, items = self._name_interests(scores), self._name_items(scores)
        because = self._name_causes(scores, recent)
        return [
            orjson.dumps(
                {
                    "schema": SCHEMA,
                    "update_id": f"{topic}-{partition}-{offset}-{self._fingerprint}",
                    "user_id": user.decode(),
                    "time": time_ms,
                    "published_at": published_at_ms,
                    "source": {"topic": topic, "partition": partition, "offset": offset},
                    "model": self._model,
                    "events_seen": count,
                    "interests": interests[place],
                    "items": items[place],
                    "because": because[place],
                }
            )
            for place, (user, offset, time_ms, count) in enumerate(
                zip(users, offsets.tolist(), times_ms.tolist(), counts.tolist(), strict=True)
            )
        ]

    def _name_interests(self, scores: Scores) -> list[list[_Json]]:
        names = self._interests
        return [
            [
                {"interest": names[which], "probability": probability, "trend": TRENDS[trend], "change": change}
                for which, probability, trend, change in zip(*row, strict=True)
                if which >= 0
            ]
            for row in zip(
                scores.interest.tolist(),
                _rounded(scores.probability),
                scores.trend.tolist(),
                _rounded(scores.change),
                strict=True,
            )
        ]

    def _name_items(self, scores: Scores) -> list[list[_Json]]:
        names = self._items
        return [
            [{"item_id": names[which], "score": score} for which, score in zip(*row, strict=True) if which >= 0]
            for row in zip(scores.item.tolist(), _rounded(scores.item_score), strict=True)
        ]

    def _name_causes(self, scores: Scores, recent: np.ndarray[Any, Any]) -> list[list[_Json]]:
        """[U] lists: what is known of the events that each prediction rests on."""
        slots = scores.because
        users, places = np.nonzero(slots >= 0)
        events = recent[users, slots[users, places].astype(np.int64)]
        weights = _rounded(scores.because_weight[users, places])
        causes: list[list[_Json]] = [[] for _ in range(len(slots))]
        for user, weight, (key, _, time_ms, action, kind, text) in zip(
            users.tolist(), weights, events.tolist(), strict=True
        ):
            if key:
                subject = self._subject(key, kind, text_of(text))
                causes[user].append({**subject, "action": ACTIONS[action], "time": time_ms, "weight": weight})
        return causes

    def _subject(self, key: int, kind: int, text: str) -> dict[str, str]:
        """item_id, query or title of a past event; a text is kept to its first 30 bytes, so a long unknown id is a title."""
        subject: dict[str, str] = {}
        item_id = self._item_of.get(key)
        if item_id is None and kind == ITEM_ID and hash64(text) == key:
            item_id = text
        if item_id is not None:
            subject["item_id"] = item_id
        if kind == QUERY:
            subject["query"] = text
        elif kind == TITLE or item_id is None:
            subject["title"] = text
        return subject


def _rounded(values: np.ndarray[Any, Any]) -> list[Any]:
    """As float64, so that 0.1 is written as 0.1; never a negative zero."""
    rounded: list[Any] = (np.round(values.astype(np.float64), DIGITS) + 0.0).tolist()
    return rounded


def _ensure_publishable(scores: Scores) -> None:
    for name in ("probability", "change", "item_score", "because_weight"):
        if not np.isfinite(getattr(scores, name)).all():
            raise ModelError(f"the model gave a {name} that is not a finite number; its updates were not published")
    if ((scores.probability < 0) | (scores.probability > 1)).any():
        raise ModelError("the model gave a probability outside 0..1; its updates were not published")
