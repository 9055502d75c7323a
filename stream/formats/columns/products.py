"""Makes columns of what calls with properties are about, row for row as `commerce.called` does."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from models.compact import ACTION_CODES
from stream.contracts.faults import BadEvent
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import NONE, first_of, ids, joined_categories, words
from stream.formats.commerce import (
    ITEM_IDS,
    NO_PROPERTIES,
    SEARCH,
    THING,
    Properties,
    query_of,
)
from stream.formats.event_format import NO_BEHAVIOUR


def add_subjects(
    found: EventColumns,
    given: Sequence[Properties | None],
    names: Sequence[str],
    pages: Sequence[str] | None,
    odd: set[int],
) -> None:
    """Adds items, titles, queries and categories to the columns of N calls, whose actions it has.

    names: of the calls; pages: the titles of pages, None where no call is of one. A call with a
    list of products is odd, and one about nothing is dropped.
    """
    properties = [each or NO_PROPERTIES for each in given]
    if _given(products := _column("products", properties)):
        odd.update(place for place, each in enumerate(products) if each is not None)
    columns = [column for name in ITEM_IDS if _given(column := _column(name, properties))]
    items = first_of([ids(column, odd) for column in columns] or [[""] * len(properties)])
    titles = pages or [""] * len(properties)
    if _given(column := _column("name", properties)):
        rows = zip(words(column, odd), titles, items, names, strict=True)
        titles = [
            (given_ or title) if given_ and (item or THING.search(name)) else title
            for given_, title, item, name in rows
        ]
    if _given(column := _column("title", properties)):
        rows = zip(words(column, odd), titles, items, found.actions, strict=True)
        titles = [
            given_ if given_ and (item or ACTION_CODES[action]) else title
            for given_, title, item, action in rows
        ]
    if _given(column := _column("category", properties)):
        found.others += (joined_categories(column, odd),)
    found.item_ids, found.titles = items, titles
    if SEARCH in found.actions or not all(items):
        _add_queries(found, properties, odd)


def _add_queries(found: EventColumns, properties: Sequence[Properties], odd: set[int]) -> None:
    """Adds what was searched for where an event is about that; drops those about nothing."""
    items, titles = list(found.item_ids), list(found.titles)
    queries = [""] * len(items)
    for place, action in enumerate(found.actions):
        is_search = action == SEARCH
        if not is_search and (items[place] or titles[place]):
            continue
        try:
            query = query_of(properties[place])
        except BadEvent:
            odd.add(place)
            continue
        if query:
            queries[place], items[place], titles[place] = query, "", ""
        elif not (items[place] or titles[place]):
            if found.users[place] and action and found.times_ms[place]:
                found.dropped.setdefault(place, NO_BEHAVIOUR)
            else:
                odd.add(place)  # that any of them is missing is a fault, said before all else
    found.item_ids, found.titles, found.queries = items, titles, queries


def _column(name: str, properties: Sequence[Properties]) -> list[Any]:
    return list(map(attrgetter(name), properties))


def _given(column: Sequence[Any]) -> bool:
    """Returns whether any value of a column is given."""
    return set(map(type, column)) != {NONE}
