"""Hop 6. Scores to interest updates: one JSON object a touched user, as schemas/update-1.json says. Pure.

Most of an update is the same for every user, or one of a few names. So updates are joined from prepared pieces, column by
column, and no Python object stands for an interest, an item or a cause. Nothing that is not a finite number is ever published.

U users, K interests, M items, B past events named as causes. A column is U byte strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
import orjson

from models.compact import ACTIONS, ITEM_ID, QUERY, TITLE, hash64, text_of
from models.predict import TRENDS, ModelInfo, Scores
from stream.errors import ModelError

SCHEMA: Final = "interest-update/1"
DIGITS: Final = 5
"""Of probabilities and scores: finer than any calibration, and short on the wire."""

CAUSES_KEPT: Final = 100_000
"""Past events whose JSON is remembered; some 20 MB at most."""

Array = np.ndarray[Any, Any]
Column = Iterable[bytes]

_TREND: Final = [f',"trend":"{trend}","change":'.encode() for trend in TRENDS]
_TO_ESCAPE: Final = re.compile(rb'["\\\x00-\x1f]')


class UpdateBuilder:
    """Knows the names that the model's numbers stand for."""

    def __init__(self, info: ModelInfo) -> None:
        self._fingerprint = f"{info.fingerprint:016x}"
        self._model = _json({"name": info.name, "version": info.version, "fingerprint": self._fingerprint})
        self._interests = [b'{"interest":%b,"probability":' % _json(name) for name in info.interests]
        self._items = [b'{"item_id":%b,"score":' % _json(item_id) for item_id in info.items]
        self._causes = _Causes(info)

    def build(
        self,
        users: Sequence[bytes],  # [U] user ids as UTF-8
        scores: Scores,
        *,
        source: tuple[str, int],  # topic and partition the events came from
        offsets: Array,  # int64 [U] of the last event included
        times_ms: Array,  # int64 [U] its time
        counts: Array,  # uint64 [U] events applied so far
        recent: Array,  # COMPACT [U, 32] newest first
        published_at_ms: int,
    ) -> list[bytes]:
        """The updates as JSON, in the order of `users`; scores must be publishable."""
        topic, partition = _json(source[0]), b"%d" % source[1]
        offset = _numbers(offsets)
        columns: list[Column] = [
            repeat(b'{"schema":"%b","update_id":"%b-%b-' % (SCHEMA.encode(), topic[1:-1], partition)),
            offset,
            repeat(b'-%b","user_id":' % self._fingerprint.encode()),
            _quoted(users),
            repeat(b',"time":'),
            _numbers(times_ms),
            repeat(
                b',"published_at":%d,"source":{"topic":%b,"partition":%b,"offset":'
                % (published_at_ms, topic, partition)
            ),
            offset,
            repeat(b'},"model":%b,"events_seen":' % self._model),
            _numbers(counts),
            repeat(b',"interests":['),
            *self._interest_columns(scores),
            repeat(b'],"items":['),
            *self._item_columns(scores),
            repeat(b'],"because":['),
            *self._cause_columns(scores, recent),
            repeat(b"]}"),
        ]
        return list(map(b"".join, zip(*columns, strict=False)))

    def _interest_columns(self, scores: Scores) -> list[Column]:
        names, count = self._interests, scores.interest.shape[1]
        probability, change = _numbers(_rounded(scores.probability)), _numbers(_rounded(scores.change))
        return _list_columns(
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
        score = _numbers(_rounded(scores.item_score))
        return _list_columns(
            scores.item >= 0,
            lambda slot: [[names[which] for which in scores.item[:, slot].tolist()], score[slot::count]],
        )

    def _cause_columns(self, scores: Scores, recent: Array) -> list[Column]:
        """What is known of the events that each prediction rests on."""
        count = scores.because.shape[1]
        events = recent[np.arange(len(recent))[:, None], np.maximum(scores.because, 0).astype(np.int64)]
        time_ms, weight = _numbers(events["time_ms"]), _numbers(_rounded(scores.because_weight))
        return _list_columns(
            (scores.because >= 0) & (events["key"] != 0),
            lambda slot: [
                self._causes.of(events[:, slot]),
                time_ms[slot::count],
                repeat(b',"weight":'),
                weight[slot::count],
            ],
        )


class _Causes(dict[tuple[int, int, int, bytes], bytes]):
    """The JSON of past events up to their time, remembered; by key, action, kind and text of a compact event."""

    def __init__(self, info: ModelInfo) -> None:
        super().__init__()
        self._item_of = {hash64(item_id): item_id for item_id in info.items}

    def of(self, events: Array) -> list[bytes]:
        """One text for each of COMPACT [U]."""
        if len(self) > CAUSES_KEPT:
            self.clear()
        fields = (events[name].tolist() for name in ("key", "action", "kind", "text"))
        return [self[event] for event in zip(*fields, strict=True)]

    def __missing__(self, event: tuple[int, int, int, bytes]) -> bytes:
        key, action, kind, text = event
        named = {**self._subject(key, kind, text_of(text)), "action": ACTIONS[action]}
        cause = self[event] = _json(named)[:-1] + b',"time":'
        return cause

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


def _list_columns(present: Array, parts_of: Callable[[int], list[Column]]) -> list[Column]:
    """The inside of a JSON list of objects: slot after slot, those that are not present left out.

    present: bool [U, slots]; parts_of(slot): the columns of an object without its closing brace.
    """
    whole, later = bool(present.all()), present & (present.cumsum(1) > 1)
    columns: list[Column] = []
    for slot in range(present.shape[1]):
        parts = parts_of(slot)
        if whole:
            columns += [repeat(b"," if slot else b""), *parts, repeat(b"}")]
        else:
            there = present[:, slot].tolist()
            columns.append([b"," if comma else b"" for comma in later[:, slot].tolist()])
            columns += [_where(there, part) for part in (*parts, repeat(b"}"))]
    return columns


def _where(there: list[bool], column: Column) -> list[bytes]:
    return [text if is_there else b"" for is_there, text in zip(there, column, strict=False)]


def _numbers(values: Array) -> list[bytes]:
    """The JSON of each number, row by row."""
    if not values.size:
        return []
    return orjson.dumps(np.ascontiguousarray(values).ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")


def _quoted(users: Sequence[bytes]) -> list[bytes]:
    if _TO_ESCAPE.search(b"".join(users)):
        return [_json(user.decode()) for user in users]
    return [b'"%b"' % user for user in users]


def _json(value: Any) -> bytes:
    return orjson.dumps(value)


def _rounded(values: Array) -> Array:
    """As float64, so that 0.1 is written as 0.1; never a negative zero."""
    rounded: Array = np.round(values.astype(np.float64), DIGITS) + 0.0
    return rounded


def ensure_publishable(scores: Scores) -> None:
    """Raise ModelError if a score is not a finite number, or a probability outside 0..1."""
    for name in ("probability", "change", "item_score", "because_weight"):
        if not np.isfinite(getattr(scores, name)).all():
            raise ModelError(f"the model gave a {name} that is not a finite number; its updates were not published")
    if ((scores.probability < 0) | (scores.probability > 1)).any():
        raise ModelError("the model gave a probability outside 0..1; its updates were not published")
