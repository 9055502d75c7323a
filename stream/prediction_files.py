"""Updates as a worker published them, from a file of `tail --json`; and users' logs to hold against them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from models.followed import Happened, Prediction
from stream.event_files import EventFiles
from stream.text_files import read_lines


class _Interest(msgspec.Struct):
    interest: str
    probability: float


class _Item(msgspec.Struct):
    item_id: str


class _Update(msgspec.Struct):
    user_id: str
    time: int
    events_seen: int
    interests: list[_Interest]
    items: list[_Item]


_decode: Final = msgspec.json.Decoder(_Update).decode


class PredictionFile:
    """Iterates over the updates of a file; lines that are none are counted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad: Counter[str] = Counter()
        self.first_bad = ""

    def __iter__(self) -> Iterator[Prediction]:
        for number, line in read_lines(self.path):
            try:
                update = _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self.bad["not an interest update"] += 1
                self.first_bad = self.first_bad or f"{self.path}:{number}: not an interest update: {error}"
                continue
            yield Prediction(
                update.user_id,
                update.time,
                update.events_seen,
                [(each.interest, each.probability) for each in update.interests],
                [each.item_id for each in update.items],
            )


def read_logs(events: EventFiles) -> dict[str, Happened]:
    """The log of each user, in the order of the files, which is the order that `produce` sends."""
    logs: dict[str, Happened] = {}
    for chunk in events:
        for event in chunk:
            log = logs.setdefault(event.user_id, Happened())
            log.times_ms.append(int(event.time))
            log.items.append(event.item_id)
    return logs
