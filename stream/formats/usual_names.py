"""Finds the fields of an event in objects whose names nobody has agreed on, by their usual names.

Rows of tables and the data of envelopes (CloudEvents, Debezium) say what they hold by what they are
called. Case does not count, nor whether words are joined as `userId` or as `user_id`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from models.compact import ACTION_CODES
from stream.contracts.event import Event
from stream.formats.commerce import categories_of
from stream.formats.decoding import id_of, ids_of, weight_of, words_of

SYNONYMS: Final[dict[str, tuple[str, ...]]] = {
    "user_id": (
        "user",
        "userid",
        "uid",
        "visitor_id",
        "visitorid",
        "customer_id",
        "customerid",
        "client_id",
        "user_pseudo_id",
        "distinct_id",
        "reviewerid",
        "reviewer_id",
    ),
    "action": (
        "event_type",
        "eventtype",
        "event",
        "event_name",
        "behavior",
        "behaviour",
        "behavior_type",
        "type",
    ),
    "time": (
        "timestamp",
        "ts",
        "event_time",
        "eventtime",
        "datetime",
        "date",
        "unix_time",
        "unixreviewtime",
        "unix_review_time",
        "created_at",
        "time_stamp",
        "event_timestamp",
        "event_datetime",
        "event_date",
    ),
    "item_id": (
        "item",
        "itemid",
        "product_id",
        "productid",
        "sku",
        "parent_asin",  # of all variants of a product, by which catalogues of Amazon go
        "asin",
        "movie_id",
        "movieid",
        "article_id",
    ),
    "title": (
        "item_title",
        "product_name",
        "product_title",
        "item_name",
        "movie_title",
        "movie_name",
        "name",
    ),
    "categories": ("category", "genres", "genre", "category_code"),
    "query": ("search_query", "search_term", "keywords"),
    "event_id": ("eventid",),
    "session_id": ("sessionid", "session", "user_session"),
    "dwell_ms": (),
    "value": ("rating", "stars", "overall", "star_rating", "price"),
}
"""Fields of the contract and the names that data sets give them; the first in a header is taken."""

USER_NAMES: Final = frozenset(("user_id", *SYNONYMS["user_id"]))

MOST_LAYOUTS: Final = 1_000
"""Objects with other names whose fields are remembered."""

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Named(msgspec.Struct, gc=False):
    """Holds what an object says of each field of the contract, None where it says nothing."""

    user_id: Any
    action: Any
    time: Any
    item_id: Any
    title: Any
    categories: Any
    query: Any
    event_id: Any
    session_id: Any
    dwell_ms: Any
    value: Any

    def subject(self, action: str) -> Subject | None:
        """Returns what says what an event is about, None where nothing does.

        A title alone is a subject of a known action: else any object with a name had one. Raises
        BadEvent.
        """
        item_id = id_of(self.item_id, "item_id")
        title = words_of(self.title, "title")
        query = words_of(self.query, "query")
        if not (item_id or query or (title and ACTION_CODES[action])):
            return None
        return Subject(item_id, title, None if item_id else query)

    def event(
        self, user_id: str, action: str, time_ms: int, event_id: str | None, subject: Subject
    ) -> Event:
        """Returns the event about a subject, with all else that the object says."""
        item_id, title, query = subject
        return Event(
            user_id,
            action,
            time_ms,
            item_id,
            title,
            categories_of(self.categories, "categories"),
            query,
            event_id,
            id_of(self.session_id, "session_id"),
            weight_of(self.dwell_ms),
            weight_of(self.value),
        )


class Subject(NamedTuple):
    """Holds what an event is about."""

    item_id: str | None
    title: str | None
    query: str | None


class Layouts:
    """Finds fields by their usual names, and remembers where objects with equal names have them."""

    def __init__(self) -> None:
        """Remembers nothing yet."""
        self._known: dict[tuple[str, ...], tuple[Any, ...]] = {}

    def read(self, found: Mapping[str, Any]) -> Named:
        """Returns what an object says of each field."""
        return Named(*map(found.get, self._layout(tuple(found))))

    def columns(self, rows: Sequence[Mapping[str, Any]]) -> Named:
        """Returns what objects say of each field: each holds a column in place of a value."""
        names = set(map(tuple, rows))
        if len(names) > 1:
            read = [map(row.get, self._layout(tuple(row))) for row in rows]
            return Named(*map(list, zip(*read, strict=True)))
        nothing = [None] * len(rows)
        return Named(
            *(
                nothing if name is None else list(map(itemgetter(name), rows))
                for name in self._layout(names.pop())
            )
        )

    def _layout(self, names: tuple[str, ...]) -> tuple[Any, ...]:
        layout = self._known.get(names)
        if layout is None:
            if len(self._known) >= MOST_LAYOUTS:
                self._known.clear()
            layout = self._known[names] = _layout(names)
        return layout


@lru_cache(MOST_LAYOUTS)
def names_user(name: str) -> bool:
    """Returns whether a field of this name says who a user is."""
    return not USER_NAMES.isdisjoint((name.lower(), _joined(name)))


def users_in(found: Mapping[str, Any]) -> set[str]:
    """Returns the users whom an object names, under any of the usual names."""
    return ids_of(found, filter(names_user, found))


def _joined(name: str) -> str:
    """Returns a name with its words joined as `user_id`."""
    return _HUMP.sub("_", name).lower().replace("-", "_")


def _layout(names: tuple[str, ...]) -> tuple[Any, ...]:
    """Returns what each field of `Named` is called among some names, None where it is not there."""
    plain: dict[str, str] = {}
    for name in reversed(names):
        plain[_joined(name)] = name
        plain[name.lower()] = name
    return tuple(
        next((plain[each] for each in (field, *SYNONYMS[field]) if each in plain), None)
        for field in Named.__struct_fields__
    )
