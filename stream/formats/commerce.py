"""Turns calls with products into events, in the words that Segment, RudderStack and PostHog share.

An item is a product's `product_id`, else its `sku`, else the ids that other specifications use. A
call with a list of products is one event a product. A search is its query, whatever products stand
beside it. A call that names no item, no query and no page says nothing that a user did with an
item: it is dropped, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from models.compact import ACTION_CODES, ACTIONS
from stream.contracts.event import Event
from stream.contracts.faults import BadEvent, shown
from stream.formats.decoding import id_of, weight_of, words_of
from stream.formats.event_format import NO_BEHAVIOUR, Reading

DROPPED: Final = Reading(dropped={NO_BEHAVIOUR: 1})
"""Of a document that says nothing that a user did with an item."""

SEARCH: Final = "search"

ITEM_IDS: Final = ("product_id", "sku", "item_id", "asset_id", "content_id")
"""Properties that name an item: Segment's e-commerce and video specifications, and usual names."""

FOLDED_ACTIONS: Final = {
    "viewed_product": "view",
    "viewed_product_category": "impression",
    "clicked_product": "click",
    "added_product": "add_to_cart",
    "removed_product": "remove_from_cart",
    "product_list_filtered": "impression",
    "viewed_promotion": "impression",
    "clicked_promotion": "click",
    "promotion_clicked": "click",
    "cart_viewed": "view",
    "cart_shared": "share",
    "order_updated": "edit",
    "wishlist_product_added_to_cart": "add_to_cart",
    "video_content_started": "play",
    "video_content_completed": "play",
}
"""Names of these specifications that models/compact.py does not list, versions 1 and 2."""

HEARTBEATS: Final = frozenset(
    ("video_content_playing", "video_playback_playing", "video_ad_playing", "page_ping")
)
"""Names of what is sent again and again while nothing happens."""

_THING: Final = re.compile(r"product|promotion", re.IGNORECASE)
_NOT_WORDS: Final = re.compile(r"[\W_]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Properties(msgspec.Struct, gc=False):
    """Holds what is read of the properties of a call; others are skipped."""

    product_id: Any = None
    sku: Any = None
    item_id: Any = None
    asset_id: Any = None
    content_id: Any = None
    name: Any = None
    title: Any = None
    category: Any = None
    query: Any = None
    search_query: Any = None
    search_term: Any = None
    products: Any = None
    price: Any = None
    rating: Any = None


class Occurrence(NamedTuple):
    """Holds what all events of one document share."""

    user_id: str
    action: str
    time_ms: int
    event_id: str | None
    session_id: str | None


def action_named(name: str, others: Mapping[str, str] = FOLDED_ACTIONS) -> str:
    """Returns the listed action that a name means, else the name in small letters."""
    code = ACTION_CODES[name]
    if code:
        return ACTIONS[code]
    folded = _NOT_WORDS.sub("_", _HUMP.sub("_", name)).strip("_").lower()
    return others.get(folded, folded)


def called(
    occurrence: Occurrence, properties: Properties, *, name: str = "", page: str | None = None
) -> Reading:
    """Returns the events of a call with properties; raises BadEvent.

    name: of the call. Only of a product or a promotion is the property `name` a title where no item
    is named: of another call it may be a person's.
    page: the title of the page or screen that was viewed, which is the subject where no item is.
    """
    if occurrence.action == SEARCH and (query := _query(properties)):
        return Reading((_event(occurrence, query=query),))
    if properties.products is not None and (found := _each_product(occurrence, properties)):
        return found
    item_id = item_of(properties, "properties")
    title = page
    if item_id or _THING.search(name):
        title = words_of(properties.name, "properties.name") or title
    if item_id or ACTION_CODES[occurrence.action]:
        title = words_of(properties.title, "properties.title") or title
    query = None if item_id or title else _query(properties)
    if not (item_id or title or query):
        return DROPPED
    rating = weight_of(properties.rating)
    return Reading(
        (
            _event(
                occurrence,
                item_id=item_id,
                title=title,
                query=query,
                categories=categories_of(properties.category, "properties.category"),
                value=weight_of(properties.price) if rating is None else rating,
            ),
        )
    )


def item_of(product: Any, where: str) -> str | None:
    """Returns the id of the item that properties or a product of a list name; raises BadEvent."""
    of = product.get if isinstance(product, dict) else lambda name: getattr(product, name)
    for name in ITEM_IDS:
        value = of(name)
        if value is not None and (found := id_of(value, f"{where}.{name}")):
            return found
    return None


def categories_of(value: Any, where: str) -> list[str] | None:
    """Returns the categories of a product: a name, or a list of names; None where none is given."""
    if value is None or value == "":
        return None
    names = value if isinstance(value, list) else [value]
    return [text for each in names if (text := words_of(each, where))] or None


def numbered(event_id: str | None, index: int) -> str | None:
    """Returns the id of one event of a document that holds several."""
    return f"{event_id}#{index}" if event_id else None


def _event(occurrence: Occurrence, **fields: Any) -> Event:
    user_id, action, time_ms, event_id, session_id = occurrence
    return Event(user_id, action, time_ms, event_id=event_id, session_id=session_id, **fields)


def _query(properties: Properties) -> str | None:
    """Returns the words searched for; an object, which the specification allows, says none."""
    for value in (properties.query, properties.search_query, properties.search_term):
        if value is not None and not isinstance(value, dict | list):
            found = words_of(value, "properties.query")
            if found:
                return found
    return None


def _each_product(occurrence: Occurrence, properties: Properties) -> Reading | None:
    """Returns an event a product, None if `products` is a number or the like, or empty."""
    products = properties.products
    if isinstance(products, bool | int | float) or products in ([], ""):
        return None
    if not isinstance(products, list):
        raise BadEvent(
            "wrong-type",
            f"properties.products is {shown(products)}; send a list of objects with a product_id",
        )
    events, without = [], 0
    for index, product in enumerate(products):
        where = f"properties.products.{index}"
        if not isinstance(product, dict):
            raise BadEvent(
                "wrong-type", f"{where} is {shown(product)}; send an object with a product_id"
            )
        item_id = item_of(product, where)
        title = words_of(product.get("name"), f"{where}.name")
        if not (item_id or title):
            without += 1
            continue
        category = product.get("category")
        if category is None:
            category = properties.category
        event = _event(
            occurrence,
            item_id=item_id,
            title=title,
            categories=categories_of(category, f"{where}.category"),
            value=weight_of(product.get("price")),
        )
        event.event_id = numbered(occurrence.event_id, index)
        events.append(event)
    return Reading(events, {NO_BEHAVIOUR: without} if without else {})
