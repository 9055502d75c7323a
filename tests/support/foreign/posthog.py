"""Writes events as PostHog's libraries send them and as its two topics hold them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.foreign.shop import Case, Product, event, iso
from tests.support.foreign.shop import Writer as ShopWriter

SINGLE = {
    "Product Viewed": "view",
    "Product Added": "add_to_cart",
    "product removed": "remove_from_cart",
    "product_clicked": "click",
}
OWN = ("$identify", "$autocapture", "$pageleave", "$set", "$feature_flag_called", "$web_vitals")
COOKIELESS = "$posthog_cookieless"


class Writer(ShopWriter):
    """Writes one event in one of the shapes."""

    def kinds(self) -> tuple[Callable[[], Case], ...]:
        return (
            *(self.single,) * 6,
            *(self.order,) * 3,
            *(self.search,) * 2,
            *(self.page,) * 3,
            self.screen,
            self.own,
            self.own,
            self.signup,
            self.cookieless,
            self.batch,
        )

    def event(self, name: str, /, **properties: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """An event, and what it means but for the subject."""
        shop = self.shop
        session = shop.uuid()
        user = shop.pick((shop.login(), shop.visitor()))
        written: dict[str, Any] = {
            "event": name,
            "uuid": shop.uuid(),
            "properties": {
                "$session_id": session,
                "$current_url": "https://s.example/",
                "$lib": "web",
                **properties,
            },
        }
        if shop.chance(0.5):
            written["distinct_id"] = user
        else:
            written["properties"]["distinct_id"] = user
        shared = {"user_id": user, "event_id": written["uuid"], "session_id": session}
        return written, shared

    def shaped(self, written: dict[str, Any], meant: list[dict[str, Any]], **more: Any) -> Case:
        """The event in one of PostHog's shapes, with its time."""
        shop = self.shop
        truth, skew, late = shop.moment(), shop.random.randint(-(10**7), 10**7), 2_000
        for each in meant:
            each["time"] = truth
        shape = shop.pick(("capture", "ingestion", "clickhouse", "offset"))
        user = written.get("distinct_id", written["properties"].get("distinct_id"))
        users = self.named(written)
        if shape == "capture":
            record = written | {"api_key": "phc_1", "timestamp": iso(truth)}
        elif shape == "clickhouse":
            record = written | {
                "distinct_id": user,
                "properties": json.dumps(written["properties"]),
                "timestamp": iso(truth, zone="", separator=" ", digits=6),
                "created_at": iso(truth, zone="", separator=" "),
                "team_id": 2,
                "person_id": shop.uuid(),
                "person_properties": "{}",
                "elements_chain": "",
            }
        else:
            if shape == "offset":
                inner = written | {"offset": late}
                sent = None
            else:
                inner, sent = written | {"timestamp": iso(truth + skew)}, iso(truth + skew + late)
            record = {
                "uuid": written["uuid"],
                "distinct_id": user,
                "ip": "8.8.8.8",
                "data": json.dumps(inner),
                "now": iso(truth + late, zone="+00:00"),
                "sent_at": sent,
                "token": "phc_1",
            }
        return Case(json.dumps(record).encode(), meant, users=users, **more)

    def named(self, written: dict[str, Any]) -> frozenset[str]:
        properties = written["properties"]
        ids = {
            written.get("distinct_id"),
            properties.get("distinct_id"),
            properties.get("$anon_distinct_id"),
        }
        return frozenset(ids - {None, COOKIELESS})

    def product(self, product: Product) -> dict[str, Any]:
        return {"product_id": product.id, "name": product.name, "price": product.price}

    def meant(self, product: Product) -> dict[str, Any]:
        return {"item_id": product.id, "title": product.name, "value": product.price}

    def single(self) -> Case:
        name, product = self.shop.pick(list(SINGLE)), self.shop.product()
        written, shared = self.event(name, **self.product(product))
        meant = {"action": SINGLE[name], **shared, **self.meant(product)}
        return self.shaped(written, [meant], kind="single")

    def order(self) -> Case:
        products = self.shop.some()
        written, shared = self.event("Order Completed", products=[*map(self.product, products)])
        meant = [
            {
                "action": "purchase",
                **shared,
                **self.meant(each),
                "event_id": f"{shared['event_id']}#{place}",
            }
            for place, each in enumerate(products)
        ]
        return self.shaped(written, meant, kind="order")

    def search(self) -> Case:
        written, shared = self.event("Products Searched", query="mug")
        return self.shaped(written, [{"action": "search", **shared, "query": "mug"}], kind="search")

    def page(self) -> Case:
        written, shared = self.event("$pageview", title="Tents for two")
        meant = {"action": "view", **shared, "title": "Tents for two"}
        return self.shaped(written, [meant], kind="page")

    def screen(self) -> Case:
        written, shared = self.event("$screen", **{"$screen_name": "Cart"})
        return self.shaped(written, [{"action": "view", **shared, "title": "Cart"}], kind="screen")

    def own(self) -> Case:
        name = self.shop.pick(OWN)
        written, _ = self.event(name)
        if name == "$identify":
            written["properties"]["$anon_distinct_id"] = "who-it-was-before"
        return self.shaped(written, [], dropped={"no-behaviour": 1}, kind="own")

    def signup(self) -> Case:
        written, _ = self.event("user_signed_up", name="Ada", title="Dr")
        return self.shaped(written, [], dropped={"no-behaviour": 1}, kind="signup")

    def cookieless(self) -> Case:
        written, _ = self.event("Product Viewed", **self.product(self.shop.product()))
        written["distinct_id"] = COOKIELESS
        written["properties"]["$cookieless_mode"] = True
        return self.shaped(written, [], dropped={"consent": 1}, kind="cookieless")

    def batch(self) -> Case:
        first, shared = self.event("Product Viewed", product_id="a")
        second, _ = self.event("$identify")
        time_ms = self.shop.moment()
        batch = [each | {"timestamp": iso(time_ms)} for each in (first, second)]
        body = {"api_key": "phc_1", "batch": batch, "sent_at": iso(time_ms)}
        meant = event(shared.pop("user_id"), "view", time_ms, item_id="a", **shared)
        return Case(
            json.dumps(body).encode(),
            [meant],
            {"no-behaviour": 1},
            kind="batch",
            users=self.named(first) | self.named(second),
        )
