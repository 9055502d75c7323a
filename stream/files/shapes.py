"""Knows the files of public data sets that have no header, by what stands in their first row.

MovieLens separates the cells of its .dat files by `::`; MIND, of Microsoft News, by tabs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream.contracts.faults import BadEvent
from stream.files.table import COLONS

_RATING: Final = re.compile(r"[0-5](\.[05])?")
_MIND_TIME: Final = re.compile(r"(\d\d?)/(\d\d?)/(\d{4}) (\d\d?):(\d\d):(\d\d) ([AP])M", re.ASCII)
_SHOWN: Final = re.compile(r"(.+)-([01])")

NOT_CLICKED: Final = "items that were shown and not clicked"
NOT_LABELLED: Final = "items that were shown, and the file does not say whether they were clicked"


@dataclass(frozen=True)
class Shape:
    """Holds what a file without a header is: its fields by the places of the columns, from 1."""

    title: str
    events: Mapping[str, str] = field(default_factory=dict)  # {field: place}; none: no events
    items: Mapping[str, str] = field(default_factory=dict)  # none: no catalogue
    instead: str = ""  # which file to give in its place
    unread: str = ""  # what of it is not read, for a note


MOVIELENS_RATINGS: Final = Shape(
    "MovieLens ratings (user, item, rating, time)",
    events={"user_id": "1", "item_id": "2", "value": "3", "time": "4"},
    instead="the catalogue is movies.dat",
)
MOVIELENS_MOVIES: Final = Shape(
    "MovieLens movies (item, title, genres)",
    items={"item_id": "1", "title": "2", "categories": "3"},
    instead="the events are ratings.dat; give this file as the catalogue, with --items",
)
MOVIELENS_OTHER: Final = Shape(
    "MovieLens users or tags", instead="the events are ratings.dat, the catalogue is movies.dat"
)
MIND_BEHAVIORS: Final = Shape(
    "MIND behaviors (an event for each item that was clicked)",
    events={"user_id": "2", "time": "3", "item_id": "5"},
    instead="the catalogue is news.tsv",
    unread="the histories of earlier clicks are not read: they have no times",
)
MIND_NEWS: Final = Shape(
    "MIND news (item, category, subcategory, title)",
    items={"item_id": "1", "title": "4", "categories": "2", "subcategory": "3"},
    instead="the events are behaviors.tsv; give this file as the catalogue, with --items",
)


def shape_of(cells: Sequence[str], delimiter: str) -> Shape | None:
    """Returns what a file is whose first line has these cells, None if it is none of these."""
    if delimiter == COLONS and cells[0].isdecimal():
        return _movielens(cells)
    if delimiter == "\t":
        if len(cells) == 5 and cells[0].isdecimal() and _MIND_TIME.fullmatch(cells[2]):
            return MIND_BEHAVIORS
        if len(cells) == 8 and re.fullmatch(r"N\d+", cells[0]):
            return MIND_NEWS
    return None


def _movielens(cells: Sequence[str]) -> Shape | None:
    if len(cells) == 3:
        return MOVIELENS_MOVIES
    if len(cells) == 4 and cells[1].isdecimal() and cells[3].isdecimal():
        return MOVIELENS_RATINGS if _RATING.fullmatch(cells[2]) else MOVIELENS_OTHER
    return MOVIELENS_OTHER if len(cells) == 5 and cells[1] in ("M", "F") else None


def shown_items(cell: str) -> Iterator[tuple[str, str]]:
    """Yields the items of a row of MIND's behaviors, and why each is no event, empty if it is."""
    for word in cell.split():
        found = _SHOWN.fullmatch(word)
        if found is None:
            yield word, NOT_LABELLED
        else:
            yield found[1], "" if found[2] == "1" else NOT_CLICKED


def mind_time(text: str) -> str:
    """Returns a time of MIND, such as 11/15/2019 8:55:22 AM, as a time without a zone."""
    found = _MIND_TIME.fullmatch(text.strip())
    if found is None:
        raise BadEvent("bad-time", f"time {text[:40]!r} is not written as 11/15/2019 8:55:22 AM")
    month, day, year, hour, minute, second, half = found.groups()
    hours = int(hour) % 12 + 12 * (half == "P")
    return f"{year}-{month:0>2}-{day:0>2}T{hours:02}:{minute}:{second}"
