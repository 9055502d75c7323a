"""Turns calls with products into events, in the words that Segment, RudderStack and PostHog share.

An item is a product's `product_id`, else its `sku`, else the ids that other specifications use. A
call with a list of products is one event a product. A search is its query, whatever products stand
beside it. A call that names no item, no query and no page says nothing that a user did with an
item: it is dropped, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import structs

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

NAMES_KEPT: Final = 10_000
"""Names of actions whose meaning is remembered."""

LONGEST_KEPT: Final = 100
"""Characters of such a name."""

_ids: Final = attrgetter(*ITEM_IDS)
THING: Final = re.compile(r"product|promotion", re.IGNORECASE)
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


NO_PROPERTIES: Final = Properties()


class ActionNames(dict[str, str]):
    """Holds the action of each name: the listed one that it means, else it in small letters.

    Ask with [], which knows all names, and remembers NAMES_KEPT of them at most.
    """

    def __init__(self, others: Mapping[str, str] = FOLDED_ACTIONS) -> None:
        """`others`: names without spaces that models/compact.py does not list."""
        super().__init__()
        self._others = others

    def __missing__(self, name: str) -> str:
        action = self._named(name)
        if len(name) <= LONGEST_KEPT:
            if len(self) >= NAMES_KEPT:
                self.clear()
            self[name] = action
        return action

    def _named(self, name: str) -> str:
        if code := ACTION_CODES[name]:
            return ACTIONS[code]
        folded = _NOT_WORDS.sub("_", _HUMP.sub("_", name)).strip("_").lower()
        return self._others.get(folded, folded)


ACTION_NAMED: Final = ActionNames()
"""The action of a name of these specifications."""


def called(
    event: Event, properties: Properties, *, name: str = "", page: str | None = None
) -> Reading:
    """Returns the events of a call with properties; raises BadEvent.

    event: who did what, and when; it is about nothing yet.
    name: of the call. Only of a product or a promotion is the property `name` a title where no item
    is named: of another call it may be a person's.
    page: the title of the page or screen that was viewed, which is the subject where no item is.
    """
    if event.action == SEARCH and (query := query_of(properties)):
        event.query = query
        return Reading((event,))
    if properties.products is not None and (found := _each_product(event, properties)):
        return found

    item_id, title = item_of(properties, "properties"), page
    if properties.name is not None and (item_id or THING.search(name)):
        title = words_of(properties.name, "properties.name") or title
    if properties.title is not None and (item_id or ACTION_CODES[event.action]):
        title = words_of(properties.title, "properties.title") or title
    if item_id:
        event.item_id = item_id
    elif not title:
        event.query = query_of(properties)
        if not event.query:
            return DROPPED
    event.title = title
    if properties.category is not None:
        event.categories = categories_of(properties.category, "properties.category")
    event.value = weight_of(properties.rating)
    if event.value is None:
        event.value = weight_of(properties.price)
    return Reading((event,))


def item_of(properties: Properties, where: str) -> str | None:
    """Returns the id of the item that properties name; raises BadEvent."""
    return _first_id(_ids(properties), where)


def _first_id(values: Iterable[Any], where: str) -> str | None:
    """Returns the first id among what the fields of ITEM_IDS hold; raises BadEvent."""
    for name, value in zip(ITEM_IDS, values, strict=True):
        if value is not None and (found := id_of(value, f"{where}.{name}")):
            return found
    return None


def about(
    event: Event,
    place: int,
    item_id: str | None,
    title: str | None,
    categories: list[str] | None,
    value: float | None,
) -> Event:
    """Returns the event about one of several products; `event` itself is about nothing yet."""
    return structs.replace(
        event,
        item_id=item_id,
        title=title,
        categories=categories,
        event_id=f"{event.event_id}#{place}" if event.event_id else None,
        value=value,
    )


def categories_of(value: Any, where: str) -> list[str] | None:
    """Returns the categories of a product: a name, or a list of names; None where none is given."""
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return [text for each in value if (text := words_of(each, where))] or None
    text = words_of(value, where)
    return [text] if text else None


def query_of(properties: Properties) -> str | None:
    """Returns the words searched for; an object, which the specification allows, says none."""
    for value in (properties.query, properties.search_query, properties.search_term):
        if value is not None and not isinstance(value, dict | list):
            found = words_of(value, "properties.query")
            if found:
                return found
    return None


def _each_product(event: Event, properties: Properties) -> Reading | None:
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
        item_id = _first_id(map(product.get, ITEM_IDS), where)
        title = words_of(product.get("name"), f"{where}.name")
        if not (item_id or title):
            without += 1
            continue
        category = product.get("category")
        if category is None:
            category = properties.category
        categories = categories_of(category, f"{where}.category")
        price = weight_of(product.get("price"))
        events.append(about(event, index, item_id, title, categories, price))
    return Reading(events, {NO_BEHAVIOUR: without} if without else {})
