"""Says what enriched events of Snowplow mean, for the audit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from stream.audit.documents import Headers, Meant, NotReadableError
from stream.audit.owners.calls import of_properties
from stream.audit.owners.casts import (
    first_of,
    id_of,
    item_of,
    listed,
    needed,
    object_of,
    utc_ms,
    words_of,
)

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
SNOWPLOW: Final = {
    3: "collector_tstamp",
    5: "event",
    6: "event_id",
    12: "user_id",
    15: "domain_userid",
    17: "network_userid",
    30: "page_title",
    54: "se_action",
    55: "se_label",
    68: "ti_sku",
    69: "ti_name",
    123: "domain_sessionid",
    124: "derived_tstamp",
    126: "event_name",
    130: "true_tstamp",
}
"""Columns of an enriched event that are read; 52 and 122 hold entities, 58 the event itself."""


def snowplow(
    document: bytes,
    headers: Headers,
    received_ms: int | None,
    purposes: Collection[str] = (),
) -> Meant:
    """Returns what an enriched event of Snowplow means."""
    if document.lstrip().startswith(b"{"):
        fields: Mapping[str, Any] = object_of(document)
        own: Any = next(
            (
                value
                for name, value in fields.items()
                if name.startswith("unstruct_event_") and isinstance(value, dict)
            ),
            {},
        )
        products = _entities(fields, "contexts_com_snowplowanalytics_snowplow_ecommerce_product")
        consents = _entities(fields, "contexts_com_snowplowanalytics_snowplow_consent_preferences")
    else:
        cells = document.decode().rstrip("\r\n").split("\t")
        if len(cells) < 131 or any("\n" in cell for cell in cells):
            raise NotReadableError
        fields = {name: cells[place] or None for place, name in SNOWPLOW.items()}
        inner = _described(cells[58]).get("data") if cells[5] == "unstruct" else None
        own = inner.get("data") if isinstance(inner, dict) else None
        own = own if isinstance(own, dict) else {}
        entities = [each for place in (52, 122) for each in _attached(cells[place])]
        base = "iglu:com.snowplowanalytics.snowplow"
        products = [
            data for schema, data in entities if schema.startswith(f"{base}.ecommerce/product/")
        ]
        consents = [
            data for schema, data in entities if schema.startswith(f"{base}/consent_preferences/")
        ]
    if any(_denied(each, purposes) for each in consents):
        return Meant(dropped=1)
    kind = words_of(fields.get("event"))
    name = needed(words_of(fields.get("event_name")) or kind)
    rows, several, action = _snowplow_rows(fields, own, products, kind, name)
    if rows is None:
        return Meant(dropped=1)

    # who it was, where somebody may be named
    for identity in ("user_id", "domain_userid", "network_userid"):
        user = id_of(fields.get(identity))
        if user is not None:
            break
    if needed(user) == NOBODY:
        return Meant(dropped=max(1, len(products)) if several else 1)
    times = ("true_tstamp", "derived_tstamp", "collector_tstamp")
    moment = next((m for each in times if (m := utc_ms(fields.get(each))) is not None), None)
    shared = {
        "user_id": user,
        "time": first_of(moment),
        "event_id": id_of(fields.get("event_id")),
        "session_id": id_of(fields.get("domain_sessionid")),
        "action": action,
    }
    if isinstance(rows, dict):
        return of_properties(shared, rows, name, None)
    return listed(shared, rows) if several else Meant([{**shared, **rows[0]}])


def _snowplow_rows(
    fields: Mapping[str, Any], own: Mapping[str, Any], products: list[Any], kind: Any, name: str
) -> tuple[Any, bool, str]:
    """Returns what an event is about, whether it is a list of products, and the action.

    None: it is about nothing. An object holds the properties of a schema of the customer's own.
    """
    row: dict[str, Any] = {}
    action = name
    if name == "page_view":
        row, action = {"title": words_of(fields.get("page_title"))}, "view"
    elif kind == "struct":
        said, label = words_of(fields.get("se_action")), id_of(fields.get("se_label"))
        row, action = {"item_id": label if said else None}, said or name
    elif kind == "transaction_item":
        row = {"item_id": id_of(fields.get("ti_sku")), "title": words_of(fields.get("ti_name"))}
    elif kind != "unstruct":
        return None, False, name
    elif name == "snowplow_ecommerce_action":
        action = needed(words_of(own.get("type")))
        rows = [{"item_id": id_of(p.get("id")), "title": words_of(p.get("name"))} for p in products]
        return rows or None, True, action
    elif name in ("add_to_cart", "remove_from_cart") and own.get("sku") is not None:
        row = {"item_id": id_of(own.get("sku")), "title": words_of(own.get("name"))}
        words_of(own.get("category"))
    elif name == "site_search":
        terms = own.get("terms")
        if terms is not None and not isinstance(terms, list):
            raise NotReadableError
        row = {"query": " ".join(filter(None, map(words_of, terms or ())))}
    elif name == "screen_view":
        row = {"title": words_of(own.get("name"))}
    else:
        plain = {re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", key).lower(): v for key, v in own.items()}
        texts = ("query", "title", "search_term", "search_query")
        named = item_of(plain) or any(plain.get(each) for each in texts)
        return plain if named else None, False, name
    return [row] if any(row.values()) else None, False, action


def _entities(fields: Mapping[str, Any], name: str) -> list[Any]:
    found = []
    for key, data in fields.items():
        if re.fullmatch(name + "_[0-9]+", key) or key == name:
            if data is not None and not isinstance(data, list):
                raise NotReadableError
            found += [each for each in data or () if isinstance(each, dict)]
    return found


def _attached(cell: str) -> list[tuple[str, dict[str, Any]]]:
    """Returns schema and data of the entities of a column."""
    if not cell:
        return []
    if not ("ecommerce/product" in cell or "consent_preferences" in cell or "\\/" in cell):
        return []
    listed = _described(cell).get("data")
    if listed is not None and not isinstance(listed, list):
        raise NotReadableError
    return [
        (str(each.get("schema")), each["data"])
        for each in listed or ()
        if isinstance(each, dict) and isinstance(each.get("data"), dict)
    ]


def _denied(consent: Mapping[str, Any], purposes: Collection[str]) -> bool:
    """Returns whether all is denied, or one of the purposes is not among those selected."""
    given, scopes = consent.get("eventType"), consent.get("consentScopes")
    if given == "allow_selected" and purposes:
        selected = [each for each in scopes if each in purposes] if isinstance(scopes, list) else []
        return set(selected) != set(purposes)
    return given in ("deny_all", "withdrawn", "expired")


def _described(cell: str) -> Mapping[str, Any]:
    return object_of(cell.encode()) if cell else {}
