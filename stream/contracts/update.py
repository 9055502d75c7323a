"""Writes interest updates as the published contract says (schemas/update-1.json).

The texts of a batch are written column by column (json_columns.py). Pure.

U users, K interests, M items, B past events named as causes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Final

import numpy as np

from models.compact import ACTIONS, ITEM_ID, QUERY, TITLE, hash64, text_of
from models.contract import TRENDS, ModelInfo, Scores
from stream.config import Settings
from stream.contracts.json_columns import (
    Array,
    Column,
    json_text,
    list_columns,
    numbers,
    quoted,
    rounded,
)
from stream.errors import ModelError

SCHEMA: Final = "interest-update/1"
DIGITS: Final = 5
"""Of probabilities and scores: finer than any calibration, and short on the wire."""

CAUSES_KEPT: Final = 100_000
"""Past events whose JSON is remembered; some 20 MB at most."""

ITEMS_KEPT: Final = 100_000
"""Items whose JSON is remembered; some 10 MB at most."""

PHRASES: Final = 5
"""Zero-shot interests in an update, the most probable ones."""

_TREND: Final = [f',"trend":"{trend}","change":'.encode() for trend in TRENDS]


@dataclass(frozen=True, slots=True)
class UpdateSize:
    """Holds how much an update says."""

    interests: int = 5
    items: int = 5
    because: int = 3

    @classmethod
    def of(cls, settings: Settings) -> UpdateSize:
        """Returns the size that the settings of a worker ask for."""
        return cls(
            settings.interests_per_update, settings.items_per_update, settings.because_per_update
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredUsers:
    """Holds what the updates of one partition's users are made from, after a call of the model."""

    source: tuple[str, int]  # topic and partition
    users: list[bytes]  # [U] as UTF-8
    rows: Array  # row dtype [U] of state_record.py, after the batch
    scores: Scores
    by_model: Array  # bool [U]; False: the scoring budget left the user to the LSTM
    published_at_ms: int
    popularity_as_of: int | None = None  # time of the snapshot that they were scored with


class UpdateWriter:
    """Writes updates, and knows the names that the model's numbers stand for."""

    def __init__(self, info: ModelInfo, phrases: tuple[str, ...] = ()) -> None:
        self._phrases = phrases
        self._fingerprint = f"{info.fingerprint:016x}".encode()
        self._model = json_text(
            {"name": info.name, "version": info.version, "fingerprint": self._fingerprint.decode()}
        )
        self._interests = [
            b'{"interest":%b,"probability":' % json_text(name) for name in info.interests
        ]
        self._items = _Items(info)
        self._causes = _Causes(info)

    def write(self, scored: ScoredUsers) -> list[bytes]:
        """Returns the updates as JSON, in the order of the users; all scores must be finite."""
        rows, scores = scored.rows, scored.scores
        topic, partition = json_text(scored.source[0]), b"%d" % scored.source[1]
        offset = numbers(rows["offset"])
        where = (scored.published_at_ms, topic, partition)
        columns: list[Column] = [
            # which update this is, of whom and of when
            repeat(b'{"schema":"%b","update_id":"' % SCHEMA.encode()),
            repeat(b"%b-%b-" % (topic[1:-1], partition)),
            offset,
            repeat(b'-%b","user_id":' % self._fingerprint),
            quoted(scored.users),
            repeat(b',"time":'),
            numbers(rows["time_ms"]),
            # what it was made from
            repeat(b',"published_at":%d,"source":{"topic":%b,"partition":%b,"offset":' % where),
            offset,
            repeat(b'},"model":%b,"events_seen":' % self._model),
            numbers(rows["count"]),
            # what it says
            repeat(b',"interests":['),
            *self._interest_columns(scores),
            repeat(b'],"items":['),
            *self._item_columns(scores),
            repeat(b'],"because":['),
            *self._cause_columns(scores, rows["recent"]),
            repeat(b"]"),
        ]
        if scored.popularity_as_of is not None:
            columns.append(repeat(b',"popularity_as_of":%d' % scored.popularity_as_of))
        columns += [*self._extra_columns(scored), repeat(b"}")]
        return list(map(b"".join, zip(*columns, strict=False)))

    def _interest_columns(self, scores: Scores) -> list[Column]:
        names, count = self._interests, scores.interest.shape[1]
        probability = numbers(rounded(scores.probability, DIGITS))
        change = numbers(rounded(scores.change, DIGITS))
        return list_columns(
            scores.interest >= 0,
            lambda slot: [
                [names[which] for which in scores.interest[:, slot].tolist()],
                probability[slot::count],
                [_TREND[trend] for trend in scores.trend[:, slot].tolist()],
                change[slot::count],
            ],
        )

    def _item_columns(self, scores: Scores) -> list[Column]:
        names, count = self._items, scores.item.shape[1]
        score = numbers(rounded(scores.item_score, DIGITS))
        return list_columns(
            scores.item >= 0,
            lambda slot: [
                [names[which] for which in scores.item[:, slot].tolist()],
                score[slot::count],
            ],
        )

    def _cause_columns(self, scores: Scores, recent: Array) -> list[Column]:
        """Returns what is known of the events that each prediction rests on."""
        count = scores.because.shape[1]
        slots = np.maximum(scores.because, 0).astype(np.int64)
        events = recent[np.arange(len(recent))[:, None], slots]
        time_ms = numbers(events["time_ms"])
        weight = numbers(rounded(scores.because_weight, DIGITS))
        return list_columns(
            (scores.because >= 0) & (events["key"] != 0),
            lambda slot: [
                self._causes.of(events[:, slot]),
                time_ms[slot::count],
                repeat(b',"weight":'),
                weight[slot::count],
            ],
        )

    def _extra_columns(self, scored: ScoredUsers) -> list[Column]:
        """Returns what most updates do not have: `scored_by` and `zero_shot`."""
        columns: list[Column] = []
        if not scored.by_model.all():
            by_model = scored.by_model.tolist()
            columns.append([b"" if each else b',"scored_by":"lstm"' for each in by_model])
        if self._phrases:
            chances = scored.scores.phrases
            best = np.argsort(-chances, axis=1, kind="stable")[:, :PHRASES]
            columns.append(
                [self._zero_shot(*each) for each in zip(chances, best.tolist(), strict=True)]
            )
        return columns

    def _zero_shot(self, chances: Array, best: list[int]) -> bytes:
        """Returns the phrases that fit one user best; their probabilities are not calibrated."""
        interests = [
            {"interest": self._phrases[each], "probability": round(float(chances[each]), DIGITS)}
            for each in best
        ]
        return b',"zero_shot":' + json_text({"calibrated": False, "interests": interests})


class _Items(dict[int, bytes]):
    """Remembers the JSON of items up to their score, by their places in ModelInfo.items."""

    def __init__(self, info: ModelInfo) -> None:
        super().__init__()
        self._item_ids = info.items

    def __missing__(self, place: int) -> bytes:
        if len(self) >= ITEMS_KEPT:
            self.clear()
        item = self[place] = b'{"item_id":%b,"score":' % json_text(self._item_ids[place])
        return item


class _Causes(dict[tuple[int, int, int, bytes], bytes]):
    """Remembers the JSON of past events up to their time, by key, action, kind and text."""

    def __init__(self, info: ModelInfo) -> None:
        super().__init__()
        self._info = info

    def of(self, events: Array) -> list[bytes]:
        """Returns one text for each of COMPACT [U]."""
        if len(self) > CAUSES_KEPT:
            self.clear()
        fields = (events[name].tolist() for name in ("key", "action", "kind", "text"))
        return [self[event] for event in zip(*fields, strict=True)]

    def __missing__(self, event: tuple[int, int, int, bytes]) -> bytes:
        key, action, kind, text = event
        named = {**self._subject(key, kind, text_of(text)), "action": ACTIONS[action]}
        cause = self[event] = json_text(named)[:-1] + b',"time":'
        return cause

    def _subject(self, key: int, kind: int, text: str) -> dict[str, str]:
        """Returns the item_id, query or title of a past event.

        A text is kept to its first 30 bytes, so a long unknown id is a title.
        """
        subject: dict[str, str] = {}
        row = int(self._info.index.rows(np.array([key], np.uint64))[0])
        item_id = self._info.items[row - 1] if row else None
        if item_id is None and kind == ITEM_ID and hash64(text) == key:
            item_id = text
        if item_id is not None:
            subject["item_id"] = item_id
        if kind == QUERY:
            subject["query"] = text
        elif kind == TITLE or item_id is None:
            subject["title"] = text
        return subject


def ensure_publishable(scores: Scores) -> None:
    """Raises ModelError if a score is not a finite number, or a probability is outside 0..1."""
    for name in ("probability", "change", "item_score", "because_weight"):
        if not np.isfinite(getattr(scores, name)).all():
            raise ModelError(
                f"the model gave a {name} that is not a finite number; "
                "its updates were not published"
            )
    if ((scores.probability < 0) | (scores.probability > 1)).any():
        raise ModelError(
            "the model gave a probability outside 0..1; its updates were not published"
        )
