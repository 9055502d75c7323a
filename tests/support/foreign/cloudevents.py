"""Writes CloudEvents 1.0, structured and binary, whose data are events of a shop."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from tests.support.foreign.shop import Case, event, iso
from tests.support.foreign.shop import Writer as ShopWriter

TYPES = {
    "com.example.shop.product_viewed.v1": "view",
    "com.example.shop.product.viewed": "view",
    "com.example.shop.ProductClicked": "click",
    "com.example.cart.item.purchased": "purchase",
    "com.example.content/like": "like",
}


class Writer(ShopWriter):
    """Writes one event in one of the modes."""

    def kinds(self) -> tuple[Callable[[], Case], ...]:
        return (*(self.behaviour,) * 9, self.nothing)

    def attributes(self, kind: str) -> dict[str, str]:
        return {
            "specversion": "1.0",
            "id": self.shop.uuid(),
            "source": "/shop/web",
            "type": kind,
            "subject": "1",
        }

    def behaviour(self) -> Case:
        shop = self.shop
        kind = shop.pick(list(TYPES))
        attributes, product, truth = self.attributes(kind), shop.product(), shop.moment()
        user, action = shop.login(), TYPES[kind]
        names = shop.pick(
            (
                ("user_id", "item_id", "title", "session_id"),
                ("userId", "productId", "productName", "sessionId"),
                ("customer_id", "sku", "name", "session"),
            )
        )
        data: dict[str, Any] = dict(zip(names, (user, product.id, product.name, "s1"), strict=True))
        if shop.chance(0.3):
            data["action"], action = "add_to_cart", "add_to_cart"
        when = shop.random.random()
        received = None
        if when < 0.5:
            attributes["time"] = iso(truth)
        elif when < 0.8:
            data["timestamp"] = shop.pick((truth, truth // 1_000 * 1_000, iso(truth)))
            truth = truth // 1_000 * 1_000 if data["timestamp"] == truth // 1_000 * 1_000 else truth
            attributes["time"] = iso(truth + 5_000)
        else:
            received = truth
        meant = event(
            user,
            action,
            truth,
            item_id=product.id,
            title=product.name,
            session_id="s1",
            event_id=f"/shop/web#{attributes['id']}",
        )
        return self.written(attributes, data, [meant], received_ms=received, kind="behaviour")

    def nothing(self) -> Case:
        attributes = self.attributes("com.example.user.created")
        attributes["time"] = iso(self.shop.moment())
        data = {"userId": self.shop.login(), "name": "Ada"}
        return self.written(attributes, data, [], dropped={"no-behaviour": 1}, kind="nothing")

    def written(
        self, attributes: dict[str, str], data: Any, meant: list[dict[str, Any]], **more: Any
    ) -> Case:
        names = ("user_id", "userId", "customer_id")
        more["users"] = frozenset(data[name] for name in names if name in data)
        mode = self.shop.pick(("structured", "structured", "base64", "binary", "array"))
        raw = json.dumps(data).encode()
        if mode == "binary":
            headers = tuple((f"ce_{name}", each.encode()) for name, each in attributes.items())
            content = ("content-type", b"application/json; charset=utf-8")
            return Case(raw, meant, headers=(*headers, content), **more)
        body: dict[str, Any] = {**attributes, "datacontenttype": "application/json"}
        if mode == "base64":
            body["data_base64"] = base64.b64encode(raw).decode()
        else:
            body["data"] = data
        headers = (("content-type", b"application/cloudevents+json"),)
        written = json.dumps([body] if mode == "array" else body).encode()
        return Case(written, meant, headers=headers, **more)
