"""Writes rows of GA4's BigQuery export as JSON, and bodies of its Measurement Protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.foreign.shop import Case, Product, event
from tests.support.foreign.shop import Writer as ShopWriter

LISTS = {
    "view_item": "view",
    "view_item_list": "impression",
    "select_item": "click",
    "add_to_cart": "add_to_cart",
    "add_to_wishlist": "save",
    "remove_from_cart": "remove_from_cart",
    "view_cart": "view",
    "begin_checkout": "add_to_cart",
    "purchase": "purchase",
    "refund": "cancel",
}
NO_BEHAVIOUR = ("session_start", "first_visit", "user_engagement", "scroll", "form_start")
NOT_SET = "(not set)"


class Writer(ShopWriter):
    """Writes what a site and a server send."""

    def kinds(self) -> tuple[Callable[[], Case], ...]:
        return (
            *(self.items,) * 8,
            *(self.page,) * 3,
            *(self.search,) * 2,
            self.share,
            self.automatic,
            self.automatic,
            self.denied,
            *(self.body,) * 3,
            self.denied_body,
        )

    def row(self, name: str, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A row as BigQuery exports it, and what all its events share."""
        shop = self.shop
        time_ms, session = shop.moment(), shop.random.randrange(10**9)
        micros = time_ms * 1_000 + shop.random.randrange(1_000)
        row: dict[str, Any] = {
            "event_date": "20251101",
            "event_timestamp": shop.pick((micros, str(micros))),
            "event_name": name,
            "user_pseudo_id": f"{shop.visitor()}.1",
            "privacy_info": {"analytics_storage": "Yes", "ads_storage": "No"},
            "stream_id": "1",
            "platform": "WEB",
            "items": [],
        }
        user = row["user_pseudo_id"]
        if shop.chance(0.5):
            user = row["user_id"] = shop.login()
        elif shop.chance(0.5):
            row["user_id"] = None
        event_id = None
        if shop.chance(0.7):
            row |= {"batch_page_id": "17", "batch_ordering_id": "3", "batch_event_index": 2}
            event_id = f"{row['user_pseudo_id']}.{micros}.{name}.17.3.2"
        parameters = {
            "ga_session_id": session,
            "page_title": "Shop",
            "page_location": "https://s.example/",
            "engagement_time_msec": 12,
            **parameters,
        }
        row["event_params"] = [self.parameter(*each) for each in parameters.items()]
        shared = {"user": user, "time_ms": time_ms, "event_id": event_id, "session": str(session)}
        return row, shared

    def parameter(self, key: str, value: Any) -> dict[str, Any]:
        empty = dict.fromkeys(("string_value", "int_value", "float_value", "double_value"))
        if isinstance(value, str):
            return {"key": key, "value": empty | {"string_value": value}}
        return {"key": key, "value": empty | {"int_value": self.shop.pick((value, str(value)))}}

    def item(self, product: Product) -> dict[str, Any]:
        item: dict[str, Any] = {
            "item_id": product.id,
            "item_name": product.name,
            "item_brand": NOT_SET,
            "item_list_name": NOT_SET,
            "price": product.price,
            "quantity": 1,
        }
        for place, level in enumerate(product.levels):
            item[f"item_category{place + 1 if place else ''}"] = level
        return item | ({"item_category5": NOT_SET} if self.shop.chance(0.5) else {})

    def meant(self, product: Product) -> dict[str, Any]:
        return {
            "item_id": product.id,
            "title": product.name,
            "categories": [" > ".join(product.levels)],
            "value": product.price,
        }

    def said(self, shared: dict[str, Any], action: str, **given: Any) -> dict[str, Any]:
        return event(
            shared["user"],
            action,
            shared["time_ms"],
            **{"event_id": shared["event_id"], "session_id": shared["session"]} | given,
        )

    def written(
        self,
        document: dict[str, Any],
        meant: list[dict[str, Any]],
        dropped: dict[str, int] | None = None,
        **more: Any,
    ) -> Case:
        ids = (document.get(name) for name in ("user_id", "user_pseudo_id", "client_id"))
        more["users"] = frozenset(each for each in ids if each is not None)
        return Case(json.dumps(document).encode(), meant, dropped or {}, **more)

    def items(self) -> Case:
        name = self.shop.pick(list(LISTS))
        row, shared = self.row(name)
        products, dropped = self.shop.some(), {}
        row["items"] = [self.item(each) for each in products]
        if self.shop.chance(0.1):
            row["items"].append({"item_id": NOT_SET, "item_name": NOT_SET})
            dropped = {"no-behaviour": 1}
        meant = []
        for place, product in enumerate(products):
            event_id = shared["event_id"] and f"{shared['event_id']}#{place}"
            meant.append(
                self.said(shared, LISTS[name], **self.meant(product) | {"event_id": event_id})
            )
        return self.written(row, meant, dropped, kind="items")

    def page(self) -> Case:
        row, shared = self.row("page_view", page_title="Tents for two")
        meant = self.said(shared, "view", title="Tents for two")
        return self.written(row, [meant], kind="page")

    def search(self) -> Case:
        name = self.shop.pick(("search", "view_search_results"))
        row, shared = self.row(name, search_term="blue tent")
        meant = self.said(shared, "search", query="blue tent")
        return self.written(row, [meant], kind="search")

    def share(self) -> Case:
        product = self.shop.product()
        row, shared = self.row("share", item_id=product.id, content_type="image")
        meant = self.said(shared, "share", item_id=product.id)
        return self.written(row, [meant], kind="share")

    def automatic(self) -> Case:
        row, _ = self.row(self.shop.pick(NO_BEHAVIOUR))
        return self.written(row, [], {"no-behaviour": 1}, kind="automatic")

    def denied(self) -> Case:
        row, _ = self.row("view_item")
        row |= {"items": [self.item(self.shop.product())], "user_pseudo_id": None}
        row["privacy_info"]["analytics_storage"] = "No"
        return self.written(row, [], {"consent": 1}, kind="denied")

    def body(self) -> Case:
        """A body with one event that says its time, one that does not, and one of no behaviour."""
        shop = self.shop
        first, second, product = shop.moment(), shop.moment(), shop.product()
        user, session = shop.login(), "88"
        body = {
            "client_id": "1.2",
            "user_id": user,
            "timestamp_micros": second * 1_000,
            "consent": {"ad_user_data": "GRANTED", "ad_personalization": "GRANTED"},
            "events": [
                {
                    "name": "add_to_cart",
                    "timestamp_micros": first * 1_000,
                    "params": {"session_id": session, "items": [self.item(product)]},
                },
                {"name": "search", "params": {"search_term": "mug", "session_id": session}},
                {"name": "tutorial_begin"},
            ],
        }
        meant = [
            event(user, "add_to_cart", first, session_id=session, **self.meant(product)),
            event(user, "search", second, session_id=session, query="mug"),
        ]
        received = None
        if shop.chance(0.3):
            del body["timestamp_micros"]
            received = meant[1]["time"] = shop.moment()
        return self.written(
            body,
            meant,
            {"no-behaviour": 1},
            received_ms=received,
            kind="body",
        )

    def denied_body(self) -> Case:
        case = self.body()
        body = json.loads(case.value)
        body["consent"]["ad_personalization"] = "DENIED"
        return self.written(body, [], {"consent": 3}, kind="denied-body")
