"""Finds the fields of an event in objects whose names nobody has agreed on, by their usual names.

Rows of tables and the data of envelopes (CloudEvents, Debezium) say what they hold by what they are
called. Case does not count, nor whether words are joined as `userId` or as `user_id`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from models.compact import ACTION_CODES
from stream.formats.commerce import categories_of
from stream.formats.decoding import id_of, weight_of, words_of

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

MOST_LAYOUTS: Final = 1_000
"""Objects with other names whose fields are remembered."""

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Named(dict[str, Any]):
    """Holds what an object says of each field of the contract that it has, by the field."""

    def words(self, field: str) -> str | None:
        """Returns a title, a query or an action; raises BadEvent."""
        return words_of(self.get(field), field)

    def id(self, field: str) -> str | None:
        """Returns an id; raises BadEvent."""
        return id_of(self.get(field), field)

    def subject(self, action: str) -> dict[str, Any] | None:
        """Returns the fields that say what an event is about, None where nothing does.

        A title alone is a subject of a known action: else any object with a name had one.
        """
        item_id, title, query = self.id("item_id"), self.words("title"), self.words("query")
        if not (item_id or query or (title and ACTION_CODES[action])):
            return None
        return {
            "item_id": item_id,
            "title": title,
            "query": None if item_id else query,
            "categories": categories_of(self.get("categories"), "categories"),
            "session_id": self.id("session_id"),
            "dwell_ms": weight_of(self.get("dwell_ms")),
            "value": weight_of(self.get("value")),
        }


class Layouts:
    """Finds fields by their usual names, and remembers where objects with equal names have them."""

    def __init__(self) -> None:
        """Remembers nothing yet."""
        self._known: dict[tuple[str, ...], list[tuple[str, str]]] = {}

    def read(self, found: Mapping[str, Any]) -> Named:
        """Returns what an object says of each field."""
        names = tuple(found)
        layout = self._known.get(names)
        if layout is None:
            if len(self._known) >= MOST_LAYOUTS:
                self._known.clear()
            layout = self._known[names] = _layout(names)
        return Named({field: found[name] for field, name in layout})


def _layout(names: tuple[str, ...]) -> list[tuple[str, str]]:
    plain: dict[str, str] = {}
    for name in reversed(names):
        plain[_HUMP.sub("_", name).lower().replace("-", "_")] = name
        plain[name.lower()] = name
    found = []
    for field, others in SYNONYMS.items():
        named = next((plain[each] for each in (field, *others) if each in plain), None)
        if named is not None:
            found.append((field, named))
    return found
