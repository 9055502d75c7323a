"""Makes columns of objects whose fields have usual names, row for row as usual_names.py does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.compact import ACTION_CODES
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS
from stream.formats.columns.event_columns import EventColumns
from stream.formats.columns.fields import NONE, ids, joined_categories, read_each, words
from stream.formats.decoding import moment_ms, weight_of
from stream.formats.usual_names import Named


def columns_of_named(named: Named, actions: Sequence[str], odd: set[int]) -> EventColumns:
    """Returns columns without times and ids of events, which envelopes say as well.

    named: a column in place of each value. A row without a subject has no item, title or query.
    """
    items = ids(named.item_id, odd)
    titles = words(named.title, odd)
    queries = words(named.query, odd)
    if any(titles) or any(queries):
        rows = list(zip(items, titles, queries, actions, strict=True))
        queries = ["" if item else query for item, _, query, _ in rows]
        titles = [
            title if item or query or ACTION_CODES[action] else ""
            for item, title, query, action in rows
        ]
    odd.update(
        place
        for place, dwell in enumerate(named.dwell_ms)
        if dwell is not None and (weight_of(dwell) or 0) < 0
    )
    return EventColumns(
        users=ids(named.user_id, odd),
        actions=actions,
        times_ms=(),
        item_ids=items,
        titles=titles,
        queries=queries,
        others=(
            ids(named.session_id, odd),
            joined_categories(named.categories, odd),
        ),
    )


def without_subject(found: EventColumns) -> list[int]:
    """Returns the places of the rows that are about nothing."""
    if all(found.item_ids):
        return []
    rows = zip(found.item_ids, found.titles, found.queries, strict=True)
    return [place for place, subject in enumerate(rows) if not any(subject)]


def times_of(
    column: Sequence[Any], otherwise: Callable[[], Sequence[int]], odd: set[int]
) -> Sequence[int]:
    """Returns the moments that objects name themselves, else those of their envelopes."""
    kinds = set(map(type, column))
    if kinds == {NONE}:
        return otherwise()
    if kinds == {int} and min(column) >= FIRST_TIME_MS and max(column) <= MAX_TIME_MS:
        return column
    found = read_each(lambda value: moment_ms(value, ""), column, 0, odd)
    if all(found):
        return found
    return [own or other for own, other in zip(found, otherwise(), strict=True)]
