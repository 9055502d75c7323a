"""Reads enriched events of Snowplow: the TSV of 131 columns, and the JSON of its analytics SDKs.

The user is `user_id`, else `domain_userid`, else `network_userid`: a login joins nothing, and
before it a visitor is another user. The time is `true_tstamp`, else `derived_tstamp`, which
Snowplow has corrected for the clock of the device, else `collector_tstamp`. What is behaviour:

- `snowplow_ecommerce_action` (type): an event of each product entity beside it
- the older `add_to_cart` and `remove_from_cart`, and `ti_sku` of a transaction item
- `site_search`: its terms are the query
- a structured event: `se_action` is the action, `se_label` the item, as the specification has it
- another self-describing event that names an item, a query, or a title of a known action
- page and screen views: the title

All else (page pings, link clicks, forms, consent) is no behaviour. Dropped for consent: an event
beside which a `consent_preferences` entity denies all, or selects scopes without a purpose that is
asked for; and visitors tracked anonymously.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from stream.contracts.event import Event
from stream.contracts.faults import BadEvent, shown
from stream.formats.commerce import (
    DROPPED,
    ActionNames,
    Properties,
    about,
    called,
    item_of,
)
from stream.formats.decoding import (
    child,
    decoded,
    fields_of,
    id_of,
    ids_in_pieces,
    ids_of,
    utc_ms,
    weight_of,
    words_of,
)
from stream.formats.event_format import CONSENT, NO_BEHAVIOUR, Headers, Reading

COLUMNS: Final = 131
"""Of an enriched event, in the order of Snowplow's documentation."""

PLACES: Final = {
    "collector_tstamp": 3,
    "event": 5,
    "event_id": 6,
    "user_id": 12,
    "domain_userid": 15,
    "network_userid": 17,
    "page_title": 30,
    "contexts": 52,
    "se_category": 53,
    "se_action": 54,
    "se_label": 55,
    "se_value": 57,
    "unstruct_event": 58,
    "ti_sku": 68,
    "ti_name": 69,
    "ti_category": 70,
    "ti_price": 71,
    "derived_contexts": 122,
    "domain_sessionid": 123,
    "derived_tstamp": 124,
    "event_name": 126,
    "true_tstamp": 130,
}
"""Columns that are read, from 0."""

USER_IDS: Final = ("user_id", "domain_userid", "network_userid")
"""Columns that name a user; events go by the first that is given."""

ACTIONS: Final = {
    "list_click": "click",
    "list_view": "impression",
    "promo_click": "click",
    "promo_view": "impression",
    "checkout_step": "add_to_cart",
    "screen_view": "view",
}
"""Types of `snowplow_ecommerce_action` that models/compact.py does not list."""

ACTION_OF_NAME: Final = ActionNames(ACTIONS)

PRODUCT: Final = "com.snowplowanalytics.snowplow.ecommerce/product"
CONSENT_ENTITY: Final = "com.snowplowanalytics.snowplow/consent_preferences"
ENTITIES: Final = {
    schema: "contexts_" + re.sub(r"[./]", "_", schema) for schema in (PRODUCT, CONSENT_ENTITY)
}
"""What the analytics SDKs call the entities of a schema, before its version."""

REFUSALS: Final = ("deny_all", "withdrawn", "expired")
"""Values of a consent's eventType after which nothing may be processed."""

SELECTION: Final = "allow_selected"
"""The value after which `consentScopes` lists what may be."""

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""The network_userid of visitors who are tracked anonymously."""

SEPARATOR: Final = "/"
"""Between the levels of a product's category, as the schema of the product recommends."""

_IGLU: Final = re.compile(r"iglu:([^/]+/[^/]+)/")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_VERSION: Final = re.compile(r"_\d+$")
_WHAT: Final = "an enriched event of Snowplow, as TSV or as the JSON of an analytics SDK"
_json: Final = msgspec.json.Decoder().decode
_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class SnowplowFormat:
    """Reads one enriched event."""

    name = "snowplow"
    constant_bytes = 0

    def __init__(self, purposes: Collection[str] = ()) -> None:
        """Keeps the purposes that must not be denied."""
        self._purposes = purposes

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of a document; raises BadEvent."""
        if value.lstrip().startswith(b"{"):
            return self._read(_OfJson(decoded(_object, value, _WHAT)))
        return self._read(_of_columns(value))

    def users_named(self, value: bytes, headers: Headers) -> Collection[str]:
        """Returns all three ids that a document may have of its user; events go by the first."""
        columns = value.decode(errors="replace").split("\t")
        fields = fields_of(value)
        if fields is None and len(columns) > PLACES["user_id"]:  # one that was cut has its first
            fields = dict(
                zip(PLACES, map(dict(enumerate(columns)).get, PLACES.values()), strict=True)
            )
        if fields is None:
            return ids_in_pieces(value, USER_IDS.__contains__) - {NOBODY}
        return ids_of(fields, USER_IDS) - {NOBODY}

    def _read(self, event: _Enriched) -> Reading:
        """Returns the events of an enriched event, none if its user denied a purpose."""
        for consent in event.entities(CONSENT_ENTITY):
            if _denies(consent, self._purposes):
                return Reading(dropped={CONSENT: 1})
        return _read(event)


class _OfJson:
    """Holds an event as the analytics SDKs write it."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """Keeps the fields."""
        self.get = fields.get
        self._fields = fields
        self._contexts = [name for name in fields if name.startswith("contexts_")]

    def described(self) -> tuple[str, Mapping[str, Any]]:
        """Returns the schema and the data of a self-describing event, empty where it is none."""
        for name, data in self._fields.items():
            if name.startswith("unstruct_event_") and isinstance(data, dict):
                return _VERSION.sub("", name.removeprefix("unstruct_event_")), data
        return "", {}

    def entities(self, schema: str) -> list[Mapping[str, Any]]:
        """Returns the data of the entities of a schema."""
        found: list[Mapping[str, Any]] = []
        plain = ENTITIES[schema]
        for name in self._contexts:
            if name.startswith(plain) and _VERSION.sub("", name) == plain:
                data = _listed(self._fields[name], name)
                found += (each for each in data if isinstance(each, dict))
        return found


class _OfColumns:
    """Holds an event as the enriched stream writes it."""

    def __init__(self, columns: list[str]) -> None:
        """Keeps the columns."""
        self._columns = columns

    def get(self, name: str) -> str | None:
        """Returns the text of a column, None where it is empty."""
        return self._columns[PLACES[name]] or None

    def described(self) -> tuple[str, Mapping[str, Any]]:
        """Returns the schema and the data of a self-describing event, empty where it is none."""
        text = self.get("unstruct_event")
        if text is None:
            return "", {}
        outer = _parsed(text, "unstruct_event")
        inner = child(outer, "data")
        data = child(inner, "data")
        return _schema(child(inner, "schema")), data if isinstance(data, dict) else {}

    def entities(self, schema: str) -> list[Mapping[str, Any]]:
        """Returns the data of the entities of a schema."""
        found: list[Mapping[str, Any]] = []
        for name in ("contexts", "derived_contexts"):
            text = self.get(name)
            if text is None or (schema not in text and "\\/" not in text):
                continue
            for each in _listed(child(_parsed(text, name), "data"), name):
                data = child(each, "data")
                if _schema(child(each, "schema")) == schema and isinstance(data, dict):
                    found.append(data)
        return found


_Enriched = _OfJson | _OfColumns


def _of_columns(value: bytes) -> _OfColumns:
    line = value.rstrip(b"\r\n").decode()
    if "\n" in line:
        raise BadEvent("not-object", f"the value has several lines; send {_WHAT} each")
    columns = line.split("\t")
    if len(columns) < COLUMNS:
        raise BadEvent(
            "not-object",
            f"the value has {len(columns)} columns parted by tabs, an enriched event of Snowplow "
            f"has {COLUMNS}; read the enriched stream, not the raw one, uncompressed",
        )
    return _OfColumns(columns)


def _read(event: _Enriched) -> Reading:
    """Returns the events of an enriched event that may be used."""
    kind = words_of(event.get("event"), "event")
    name = words_of(event.get("event_name"), "event_name") or kind
    if name is None:
        raise BadEvent("missing-field", f"event and event_name are missing; send {_WHAT}")
    if name == "page_view":
        return _one(event, "view", title=words_of(event.get("page_title"), "page_title"))
    if kind == "struct":
        return _structured(event)
    if kind == "transaction_item":
        return _one(
            event,
            "purchase",
            item_id=id_of(event.get("ti_sku"), "ti_sku"),
            title=words_of(event.get("ti_name"), "ti_name"),
            categories=_path(event.get("ti_category"), "ti_category"),
            value=weight_of(event.get("ti_price")),
        )
    if kind == "unstruct":
        return _described(event, name)
    return DROPPED  # page pings, transactions (their items come alone), ad impressions


def _denies(consent: Mapping[str, Any], purposes: Collection[str]) -> bool:
    """Returns whether a user denied all, or left one of the purposes out of a selection."""
    given = consent.get("eventType")
    if given in REFUSALS:
        return True
    if given != SELECTION or not purposes:
        return False
    scopes = consent.get("consentScopes")
    return not isinstance(scopes, list) or any(each not in scopes for each in purposes)


def _structured(event: _Enriched) -> Reading:
    """Returns the event of `trackStructEvent`."""
    action = words_of(event.get("se_action"), "se_action")
    label = id_of(event.get("se_label"), "se_label")
    if action is None or label is None:
        return DROPPED
    value = weight_of(event.get("se_value"))
    return _one(event, ACTION_OF_NAME[action], item_id=label, value=value)


def _described(event: _Enriched, name: str) -> Reading:
    """Returns the events of a self-describing event."""
    _, data = event.described()
    if name == "snowplow_ecommerce_action":
        return _of_products(event, words_of(data.get("type"), "type"))
    if name in ("add_to_cart", "remove_from_cart") and data.get("sku") is not None:
        return _one(
            event,
            name,
            item_id=id_of(data.get("sku"), "sku"),
            title=words_of(data.get("name"), "name"),
            categories=_path(data.get("category"), "category"),
            value=weight_of(data.get("unitPrice")),
        )
    if name == "site_search":
        terms = [words_of(each, "terms") or "" for each in _listed(data.get("terms"), "terms")]
        return _one(event, "search", query=" ".join(filter(None, terms)) or None)
    if name == "screen_view":
        return _one(event, "view", title=words_of(data.get("name"), "name"))

    # an event of the customer's own schema: what its fields are called says what they are
    named = {_HUMP.sub("_", key).lower(): value for key, value in data.items()}
    properties = msgspec.convert(named, Properties)
    action = ACTION_OF_NAME[name]
    if not item_of(properties, name) and not any(
        (properties.query, properties.title, properties.search_term, properties.search_query)
    ):
        return DROPPED
    return _with_occurrence(event, action, properties, name)


def _with_occurrence(event: _Enriched, action: str, properties: Properties, name: str) -> Reading:
    if (found := _occurrence(event, action)) is None:
        return Reading(dropped={CONSENT: 1})
    return called(found, properties, name=name)


def _of_products(event: _Enriched, kind: str | None) -> Reading:
    """Returns an event a product of an e-commerce action; without any it is no behaviour."""
    products = event.entities(PRODUCT)
    if kind is None:
        raise BadEvent(
            "missing-field", "type of snowplow_ecommerce_action is missing; send the action"
        )
    if not products:
        return DROPPED
    occurrence = _occurrence(event, ACTION_OF_NAME[kind])
    if occurrence is None:
        return Reading(dropped={CONSENT: len(products)})
    events, without = [], 0
    for place, product in enumerate(products):
        where = f"product.{place}"
        item_id = id_of(product.get("id"), f"{where}.id")
        title = words_of(product.get("name"), f"{where}.name")
        if not (item_id or title):
            without += 1
            continue
        categories = _path(product.get("category"), f"{where}.category")
        price = weight_of(product.get("price"))
        events.append(about(occurrence, place, item_id, title, categories, price))
    return Reading(events, {NO_BEHAVIOUR: without} if without else {})


def _one(
    event: _Enriched,
    action: str,
    item_id: str | None = None,
    title: str | None = None,
    query: str | None = None,
    categories: list[str] | None = None,
    value: float | None = None,
) -> Reading:
    """Returns one event, or that there is none where no item, title or query is given."""
    if not (item_id or title or query):
        return DROPPED
    found = _occurrence(event, action)
    if found is None:
        return Reading(dropped={CONSENT: 1})
    found.item_id, found.title, found.query = item_id, title, query
    found.categories, found.value = categories, value
    return Reading((found,))


def _occurrence(event: _Enriched, action: str) -> Event | None:
    """Returns who did it and when, None of a visitor who is tracked anonymously."""
    for name in USER_IDS:
        user_id = id_of(event.get(name), name)
        if user_id == NOBODY:
            return None
        if user_id is not None:
            break
    else:
        raise BadEvent(
            "missing-field",
            "user_id, domain_userid and network_userid are all missing; every event needs one",
        )
    for name in ("true_tstamp", "derived_tstamp", "collector_tstamp"):
        time_ms = utc_ms(event.get(name), name)
        if time_ms is not None:
            break
    else:
        raise BadEvent("missing-field", f"collector_tstamp is missing; send {_WHAT}")
    found = Event(user_id, action, time_ms)
    found.event_id = id_of(event.get("event_id"), "event_id")
    found.session_id = id_of(event.get("domain_sessionid"), "domain_sessionid")
    return found


def _path(value: Any, where: str) -> list[str] | None:
    """Returns the category of a product, whose levels a slash parts."""
    text = words_of(value, where)
    if text is None:
        return None
    if SEPARATOR not in text:
        return [text]
    return [" > ".join(filter(None, map(str.strip, text.split(SEPARATOR))))]


def _schema(text: Any) -> str:
    """Returns vendor and name of a schema such as iglu:vendor/name/jsonschema/1-0-0."""
    found = _IGLU.match(text) if isinstance(text, str) else None
    return found[1] if found else ""


def _listed(value: Any, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadEvent("wrong-type", f"{where} is {shown(value)}; send a list")
    return value


def _parsed(text: str, where: str) -> Any:
    try:
        return _json(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadEvent(
            "not-json", f"{where} is not JSON: {error}; send {_WHAT}", type(error).__name__
        ) from None
