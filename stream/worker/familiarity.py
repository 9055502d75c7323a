"""Counts what is decoded: events that a model knows nothing of, and what was left out on purpose.

A model that was trained on another catalogue still answers every event with confident numbers. So
the first thousand events about items of each partition are held against the catalogue of the model,
and a stream that is mostly strange to it is said to be so, once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.compact import ACTIONS, QUERY
from models.contract import ModelInfo
from stream.contracts.event import Limits
from stream.contracts.event_batch import EventBatch
from stream.formats.event_format import EventFormat
from stream.metrics import Metrics
from stream.pipeline.decode import Decoder

log = logging.getLogger("interest_stream")

FIRST: Final = 1_000
"""Events about items of a partition that decide whether the model fits the stream."""

TELL_S: Final = 60.0
"""Between two lines of the log about what was left out."""

_OTHER: Final = ACTIONS.index("other")


class Familiarity:
    """Counts events about unknown items and of other actions, and remembers a stream of strangers.

    A search for words names no item, so it is neither known nor unknown.
    """

    def __init__(self, model: ModelInfo, metrics: Metrics) -> None:
        self._model = model.name
        self._rows = model.index.rows
        self._metrics = metrics
        self._first: dict[int, tuple[int, int]] = {}  # partition -> events, unknown ones
        self.remarks: list[str] = []  # in sentences, for the log and /readyz

    def look(self, batch: EventBatch) -> None:
        """Counts the events of one decoded batch."""
        events = batch.compact
        unknown = self._rows(events["key"][events["kind"] != QUERY]) == 0
        self._metrics.unknown_items.inc(int(unknown.sum()))
        self._metrics.other_actions.inc(int((events["action"] == _OTHER).sum()))
        count, strange = self._first.get(batch.partition, (0, 0))
        if count < FIRST:
            some = unknown[: FIRST - count]
            count, strange = count + len(some), strange + int(some.sum())
            self._first[batch.partition] = count, strange
            if count == FIRST and 2 * strange > FIRST:
                self._remark(f"{batch.topic}[{batch.partition}]", strange)

    def _remark(self, partition: str, strange: int) -> None:
        """Says once that the model does not know this stream."""
        if self.remarks:
            return
        text = (
            f"of the first {FIRST} events about items in {partition}, {strange} are about items "
            f"that the model {self._model} does not know, so its updates say little; name a model "
            "that was trained on this stream with --model"
        )
        self.remarks = [text]
        log.warning("%s", text)


class Drops:
    """Counts what a format leaves out on purpose, and logs it once a minute at most."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._untold: Counter[str] = Counter()
        self._due_s = 0.0

    def look(self, batch: EventBatch) -> None:
        """Counts what is missing in one decoded batch."""
        self.count(batch.topic, batch.dropped)

    def count(self, topic: str, dropped: Mapping[str, int]) -> None:
        """Counts what was left out of some records of a topic, by why."""
        for reason, count in dropped.items():
            self._metrics.dropped.labels(reason).inc(count)
        self._untold.update(dropped)
        if self._untold and time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + TELL_S
            told = ", ".join(f"{count} {reason}" for reason, count in self._untold.most_common())
            log.info("%s: left out on purpose since the last such line: %s", topic, told)
            self._untold.clear()


class WatchedDecoder(Decoder):
    """Decodes as its parent does, and lets what it decoded be counted."""

    def __init__(
        self,
        limits: Limits,
        watchers: Sequence[Familiarity | Drops],
        control_key: bytes | None = None,
        event_format: EventFormat | None = None,
    ) -> None:
        super().__init__(limits, control_key, event_format)
        self._watchers = watchers

    def decode(
        self, topic: str, partition: int, records: Sequence[Any], now_ms: int | None = None
    ) -> EventBatch:
        """Returns one fetched batch as columns."""
        batch = super().decode(topic, partition, records, now_ms)
        for each in self._watchers:
            each.look(batch)
        return batch
