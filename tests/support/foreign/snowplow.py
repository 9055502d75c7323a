"""Writes enriched events of Snowplow: TSV as in the enriched stream, JSON as its SDKs write it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.foreign.shop import Case, Product, iso
from tests.support.foreign.shop import Writer as ShopWriter

COLUMNS = (
    "app_id platform etl_tstamp collector_tstamp dvce_created_tstamp event event_id txn_id "
    "name_tracker v_tracker v_collector v_etl user_id user_ipaddress user_fingerprint "
    "domain_userid domain_sessionidx network_userid geo_country geo_region geo_city geo_zipcode "
    "geo_latitude geo_longitude geo_region_name ip_isp ip_organization ip_domain ip_netspeed "
    "page_url page_title page_referrer page_urlscheme page_urlhost page_urlport page_urlpath "
    "page_urlquery page_urlfragment refr_urlscheme refr_urlhost refr_urlport refr_urlpath "
    "refr_urlquery refr_urlfragment refr_medium refr_source refr_term mkt_medium mkt_source "
    "mkt_term mkt_content mkt_campaign contexts se_category se_action se_label se_property "
    "se_value unstruct_event tr_orderid tr_affiliation tr_total tr_tax tr_shipping tr_city "
    "tr_state tr_country ti_orderid ti_sku ti_name ti_category ti_price ti_quantity "
    "pp_xoffset_min pp_xoffset_max pp_yoffset_min pp_yoffset_max useragent br_name br_family "
    "br_version br_type br_renderengine br_lang br_features_pdf br_features_flash "
    "br_features_java br_features_director br_features_quicktime br_features_realplayer "
    "br_features_windowsmedia br_features_gears br_features_silverlight br_cookies br_colordepth "
    "br_viewwidth br_viewheight os_name os_family os_manufacturer os_timezone dvce_type "
    "dvce_ismobile dvce_screenwidth dvce_screenheight doc_charset doc_width doc_height "
    "tr_currency tr_total_base tr_tax_base tr_shipping_base ti_currency ti_price_base "
    "base_currency geo_timezone mkt_clickid mkt_network etl_tags dvce_sent_tstamp "
    "refr_domain_userid refr_device_tstamp derived_contexts domain_sessionid derived_tstamp "
    "event_vendor event_name event_format event_version event_fingerprint true_tstamp"
)
"""The columns of the enriched stream, as Snowplow's documentation lists them."""

HEADER = COLUMNS.split(" ")

PRODUCTS = {
    "product_view": "view",
    "add_to_cart": "add_to_cart",
    "remove_from_cart": "remove_from_cart",
    "list_click": "click",
    "list_view": "impression",
    "transaction": "purchase",
    "refund": "cancel",
}
VENDOR = "com.snowplowanalytics.snowplow"
NOBODY = "00000000-0000-0000-0000-000000000000"


class Writer(ShopWriter):
    """Writes one event as TSV or as JSON."""

    def kinds(self) -> tuple[Callable[[], Case], ...]:
        return (
            *(self.ecommerce,) * 8,
            *(self.page,) * 3,
            self.search,
            self.structured,
            self.structured,
            self.older,
            self.item,
            self.custom,
            *(self.nothing,) * 2,
            self.denied,
            self.anonymous,
        )

    def fields(self, kind: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The columns of every event, and what it means but for action and subject."""
        shop = self.shop
        truth, visitor, session = shop.moment(), shop.uuid(), shop.uuid()
        fields: dict[str, Any] = {
            "app_id": "shop",
            "platform": "web",
            "event": kind,
            "event_name": name,
            "event_id": shop.uuid(),
            "event_vendor": VENDOR,
            "v_collector": "ssc",
            "v_etl": "enrich",
            "domain_userid": visitor,
            "network_userid": shop.uuid(),
            "domain_sessionid": session,
            "dvce_created_tstamp": truth + 10**7,
            "collector_tstamp": truth + 300,
            "derived_tstamp": truth,
            "page_url": "https://s.example/",
        }
        if shop.chance(0.2):
            fields["true_tstamp"], fields["derived_tstamp"] = truth, truth + 77
        if shop.chance(0.5):
            visitor = fields["user_id"] = shop.login()
        elif shop.chance(0.2):
            del fields["domain_userid"]
            visitor = fields["network_userid"]
        shared = {
            "user_id": visitor,
            "time": truth,
            "event_id": fields["event_id"],
            "session_id": session,
        }
        return fields, shared

    def written(
        self,
        fields: dict[str, Any],
        meant: list[dict[str, Any]],
        *,
        described: tuple[str, Any] | None = None,
        entities: tuple[tuple[str, Any], ...] = (),
        **more: Any,
    ) -> Case:
        ids = {fields.get(name) for name in ("user_id", "domain_userid", "network_userid")}
        more["users"] = frozenset(ids - {None, NOBODY})
        as_tsv = self.shop.chance(0.6)
        for name in [each for each in fields if each.endswith("_tstamp")]:
            fields[name] = (
                iso(fields[name], zone="", separator=" ") if as_tsv else iso(fields[name])
            )
        if not as_tsv:
            for schema, data in entities:
                key = "contexts_" + schema.replace(".", "_").replace("/", "_") + "_1"
                fields.setdefault(key, []).append(data)
            if described is not None:
                schema, data = described
                key = "unstruct_event_" + schema.replace(".", "_").replace("/", "_") + "_1"
                fields[key] = data
            return Case(json.dumps(fields).encode(), meant, **more)
        if entities:
            fields["contexts"] = self.listed(
                "contexts", [self.self_described(*e) for e in entities]
            )
        if described is not None:
            fields["unstruct_event"] = self.listed(
                "unstruct_event", self.self_described(*described)
            )
        fields["derived_contexts"] = self.listed("contexts", [])
        text = "\t".join(str(fields.get(name, "")) for name in HEADER)
        return Case(text.encode(), meant, **more)

    def self_described(self, schema: str, data: Any) -> dict[str, Any]:
        return {"schema": f"iglu:{schema}/jsonschema/1-0-0", "data": data}

    def listed(self, outer: str, data: Any) -> str:
        return json.dumps({"schema": f"iglu:{VENDOR}/{outer}/jsonschema/1-0-0", "data": data})

    def product(self, product: Product) -> dict[str, Any]:
        return {
            "id": product.id,
            "name": product.name,
            "category": "/".join(product.levels),
            "price": product.price,
            "currency": "EUR",
        }

    def meant(self, product: Product) -> dict[str, Any]:
        return {
            "item_id": product.id,
            "title": product.name,
            "categories": [" > ".join(product.levels)],
            "value": product.price,
        }

    def ecommerce(self, *consent: tuple[str, Any]) -> Case:
        kind = self.shop.pick(list(PRODUCTS))
        fields, shared = self.fields("unstruct", "snowplow_ecommerce_action")
        products = self.shop.some()
        schema = f"{VENDOR}.ecommerce/product"
        meant = [
            {
                "action": PRODUCTS[kind],
                **shared,
                **self.meant(each),
                "event_id": f"{shared['event_id']}#{place}",
            }
            for place, each in enumerate(products)
        ]
        return self.written(
            fields,
            [] if consent else meant,
            described=(f"{VENDOR}.ecommerce/snowplow_ecommerce_action", {"type": kind}),
            entities=(
                (f"{VENDOR}/web_page", {"id": "1"}),
                *((schema, self.product(each)) for each in products),
                *consent,
            ),
            dropped={"consent": 1} if consent else {},
            kind="denied" if consent else "ecommerce",
        )

    def denied(self) -> Case:
        refusal = self.shop.pick(("deny_all", "withdrawn"))
        return self.ecommerce((f"{VENDOR}/consent_preferences", {"eventType": refusal}))

    def page(self) -> Case:
        fields, shared = self.fields("page_view", "page_view")
        fields["page_title"] = "Tents for two"
        meant = {"action": "view", **shared, "title": "Tents for two"}
        return self.written(fields, [meant], kind="page")

    def search(self) -> Case:
        fields, shared = self.fields("unstruct", "site_search")
        meant = {"action": "search", **shared, "query": "blue mug"}
        described = (f"{VENDOR}/site_search", {"terms": ["blue", "mug"]})
        return self.written(fields, [meant], described=described, kind="search")

    def structured(self) -> Case:
        fields, shared = self.fields("struct", "event")
        fields |= {"se_category": "shop", "se_action": "add-to-basket", "se_property": "pcs"}
        if self.shop.chance(0.3):
            return self.written(fields, [], dropped={"no-behaviour": 1}, kind="struct-no-label")
        fields |= {"se_label": "sku-1", "se_value": 3.5}
        meant = {"action": "add_to_cart", **shared, "item_id": "sku-1", "value": 3.5}
        return self.written(fields, [meant], kind="struct")

    def older(self) -> Case:
        fields, shared = self.fields("unstruct", "add_to_cart")
        data = {"sku": "s-9", "name": "Mug", "quantity": 1, "unitPrice": 4.5}
        meant = {"action": "add_to_cart", **shared, "item_id": "s-9", "title": "Mug", "value": 4.5}
        return self.written(
            fields, [meant], described=(f"{VENDOR}/add_to_cart", data), kind="older"
        )

    def item(self) -> Case:
        fields, shared = self.fields("transaction_item", "transaction_item")
        fields |= {"ti_sku": "s-8", "ti_name": "Lamp", "ti_category": "Home", "ti_price": 9.5}
        meant = {
            "action": "purchase",
            **shared,
            "item_id": "s-8",
            "title": "Lamp",
            "categories": ["Home"],
            "value": 9.5,
        }
        return self.written(fields, [meant], kind="item")

    def custom(self) -> Case:
        fields, shared = self.fields("unstruct", "product_shared")
        described = ("com.acme/product_shared", {"productId": 17, "network": "x"})
        meant = {"action": "share", **shared, "item_id": "17"}
        return self.written(fields, [meant], described=described, kind="custom")

    def nothing(self) -> Case:
        kind, name = self.shop.pick(
            (("page_ping", "page_ping"), ("unstruct", "link_click"), ("transaction", "transaction"))
        )
        fields, _ = self.fields(kind, name)
        fields["page_title"] = "Shop"
        described = (f"{VENDOR}/{name}", {"targetUrl": "https://x.example"})
        return self.written(
            fields,
            [],
            described=described if kind == "unstruct" else None,
            dropped={"no-behaviour": 1},
            kind="nothing",
        )

    def anonymous(self) -> Case:
        fields, _ = self.fields("page_view", "page_view")
        fields |= {"page_title": "Shop", "network_userid": NOBODY}
        fields.pop("user_id", None)
        fields.pop("domain_userid", None)
        return self.written(fields, [], dropped={"consent": 1}, kind="anonymous")
