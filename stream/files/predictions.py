"""Reads updates that a worker published (`tail --json`), and the users' events to judge them by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from models.evaluation import Prediction, UserLog
from stream.files.events import EventFiles
from stream.files.lines import read_lines

# The fields of an update that are compared with what users did next; the others are ignored.


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
    """Iterates over the updates of a file, and counts the lines that are none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad: Counter[str] = Counter()  # lines by what is wrong with them
        self.first_bad = ""

    def __iter__(self) -> Iterator[Prediction]:
        for number, line in read_lines(self.path):
            try:
                update = _decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self.bad["not an interest update"] += 1
                self.first_bad = (
                    self.first_bad or f"{self.path}:{number}: not an interest update: {error}"
                )
                continue
            yield Prediction(
                update.user_id,
                update.time,
                update.events_seen,
                [(each.interest, each.probability) for each in update.interests],
                [each.item_id for each in update.items],
            )


def read_logs(events: EventFiles) -> dict[str, UserLog]:
    """Returns the log of each user, in the order of the files, in which `produce` sends them."""
    logs: dict[str, UserLog] = {}
    for chunk in events:
        for event in chunk:
            log = logs.setdefault(event.user_id, UserLog())
            log.times_ms.append(int(event.time))
            log.items.append(event.item_id)
    return logs
