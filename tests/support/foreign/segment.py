"""Writes calls as Segment's libraries do: Spec v2 with its e-commerce and video events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.foreign.shop import Case, Product, event, iso
from tests.support.foreign.shop import Writer as ShopWriter

SINGLE = {
    "Product Clicked": "click",
    "Product Viewed": "view",
    "Product Added": "add_to_cart",
    "Product Removed": "remove_from_cart",
    "Product Added to Wishlist": "save",
    "Product Shared": "share",
}
LISTS = {
    "Product List Viewed": "impression",
    "Product List Filtered": "impression",
    "Cart Viewed": "view",
    "Checkout Started": "add_to_cart",
    "Order Completed": "purchase",
    "Order Refunded": "cancel",
}
ELSEWHERE = (
    "Signed Up",
    "Application Opened",
    "Coupon Entered",
    "Checkout Step Viewed",
    "Subscribed",
)
NO_IDS = ("undefined", "", "null")


class Writer(ShopWriter):
    """Writes calls; RudderStack's are these with other fields around them."""

    def kinds(self) -> tuple[Callable[[], Case], ...]:
        return (
            *(self.single,) * 8,
            *(self.listed,) * 4,
            *(self.search,) * 2,
            *(self.page,) * 3,
            self.review,
            self.video,
            self.traits,
            self.elsewhere,
            self.denied,
            self.batch,
        )

    def envelope(self, kind: str) -> tuple[dict[str, Any], str, int, str]:
        """The fields of every call; who it was, when, and the id of the message."""
        shop = self.shop
        call: dict[str, Any] = {"type": kind, "messageId": shop.uuid(), "version": 2}
        visitor = call["anonymousId"] = shop.visitor()
        user = visitor
        if shop.chance(0.6):
            user = call["userId"] = shop.login()
        elif shop.chance(0.1):
            call["userId"] = shop.pick((*NO_IDS, None))
        elif shop.chance(0.1):
            call["userId"], user = 4711, "4711"
        call["context"] = {"ip": "8.8.8.8", "page": {"title": "Shop", "url": "https://s.example"}}
        return call, user, self.clocks(call), call["messageId"]

    def clocks(self, call: dict[str, Any]) -> int:
        """Writes the times of a device whose clock is wrong; when it happened in truth."""
        shop = self.shop
        truth, skew, late = shop.moment(), shop.random.randint(-(10**7), 10**7), 1_500
        call["originalTimestamp"] = iso(truth + skew)
        call["sentAt"] = iso(truth + skew + late)
        call["receivedAt"] = iso(truth + late)
        if shop.chance(0.7):
            call["timestamp"] = iso(truth, zone=shop.pick(("Z", "+00:00", "", "+0000")))
        return truth

    def product(self, product: Product) -> dict[str, Any]:
        written: dict[str, Any] = {
            "name": product.name,
            "category": product.levels[-1],
            "price": self.shop.pick((product.price, str(product.price))),
            "quantity": 1,
            "url": "https://s.example/p",
        }
        named = self.shop.random.random()
        if named < 0.5:
            written |= {"product_id": product.id, "sku": "other"}
        elif named < 0.8:
            written["sku"] = product.id
        else:
            written["product_id"] = int(product.id) if product.id.isdecimal() else product.id
        return written

    def meant(self, product: Product) -> dict[str, Any]:
        return {
            "item_id": product.id,
            "title": product.name,
            "categories": [product.levels[-1]],
            "value": product.price,
        }

    def said(self, call: dict[str, Any]) -> dict[str, Any]:
        """What a call says besides who, when and what."""
        return {}

    def written(
        self, call: dict[str, Any], kind: str, *events: dict[str, Any], **more: Any
    ) -> Case:
        events_ = [each | self.said(call) for each in events]
        ids = (call.get(name) for name in ("userId", "anonymousId", "previousId"))
        users = frozenset(str(each) for each in ids if each not in (None, *NO_IDS))
        return Case(json.dumps(call).encode(), events_, kind=kind, users=users, **more)

    def single(self) -> Case:
        call, user, time_ms, message = self.envelope("track")
        product, name = self.shop.product(), self.shop.pick(list(SINGLE))
        call |= {"event": name, "properties": self.product(product)}
        meant = event(user, SINGLE[name], time_ms, event_id=message, **self.meant(product))
        return self.written(call, "single", meant)

    def listed(self) -> Case:
        call, user, time_ms, message = self.envelope("track")
        products, name = self.shop.some(), self.shop.pick(list(LISTS))
        written = [self.product(each) for each in products]
        dropped = {}
        if self.shop.chance(0.1):
            written.append({"quantity": 2})
            dropped = {"no-behaviour": 1}
        call |= {"event": name, "properties": {"order_id": "o-1", "products": written}}
        meant = [
            event(user, LISTS[name], time_ms, event_id=f"{message}#{place}", **self.meant(each))
            for place, each in enumerate(products)
        ]
        return self.written(call, "listed", *meant, dropped=dropped)

    def search(self) -> Case:
        call, user, time_ms, message = self.envelope("track")
        query = f"{self.shop.product().name} cheap"
        call |= {"event": "Products Searched", "properties": {"query": query}}
        meant = event(user, "search", time_ms, event_id=message, query=query)
        return self.written(call, "search", meant)

    def page(self) -> Case:
        kind = self.shop.pick(("page", "screen"))
        call, user, time_ms, message = self.envelope(kind)
        call |= {"name": "Home", "properties": {"path": "/", "url": "https://s.example/"}}
        title = "Shop"
        if self.shop.chance(0.5):
            title = call["properties"]["title"] = "Tents for two"
        meant = event(user, "view", time_ms, event_id=message, title=title)
        return self.written(call, "page", meant)

    def review(self) -> Case:
        call, user, time_ms, message = self.envelope("track")
        product = self.shop.product()
        call |= {
            "event": "Product Reviewed",
            "properties": {"product_id": product.id, "review_body": "good", "rating": 4},
        }
        meant = event(user, "rate", time_ms, event_id=message, item_id=product.id, value=4.0)
        return self.written(call, "review", meant)

    def video(self) -> Case:
        call, user, time_ms, message = self.envelope("track")
        if self.shop.chance(0.5):
            call |= {"event": "Video Content Playing", "properties": {"asset_id": "v-1"}}
            return self.written(call, "heartbeat", dropped={"no-behaviour": 1})
        call |= {
            "event": "Video Content Started",
            "properties": {"asset_id": "v-1", "title": "How to pitch", "position": 0},
        }
        meant = event(user, "play", time_ms, event_id=message, item_id="v-1", title="How to pitch")
        return self.written(call, "video", meant)

    def traits(self) -> Case:
        call, *_ = self.envelope(self.shop.pick(("identify", "group", "alias")))
        call |= {"traits": {"name": "Ada", "title": "Dr"}, "previousId": "x", "groupId": "g"}
        return self.written(call, "traits", dropped={"no-behaviour": 1})

    def elsewhere(self) -> Case:
        call, *_ = self.envelope("track")
        call |= {"event": self.shop.pick(ELSEWHERE), "properties": {"name": "Ada", "step": 1}}
        return self.written(call, "elsewhere", dropped={"no-behaviour": 1})

    def denied(self) -> Case:
        call, *_ = self.envelope("track")
        call |= {"event": "Product Viewed", "properties": self.product(self.shop.product())}
        self.deny(call)
        return self.written(call, "denied", dropped={"consent": 1})

    def deny(self, call: dict[str, Any]) -> None:
        call["context"]["consent"] = {"categoryPreferences": {"Analytics": False, "Ads": True}}

    def batch(self) -> Case:
        cases = [self.single(), self.listed(), self.traits()]
        body = {"batch": [json.loads(each.value) for each in cases], "sentAt": iso(0)}
        dropped: dict[str, int] = {}
        for each in cases:
            for reason, count in each.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        meant = [found for each in cases for found in each.events]
        users = frozenset[str]().union(*(each.users for each in cases))
        return Case(json.dumps(body).encode(), meant, dropped, kind="batch", users=users)
