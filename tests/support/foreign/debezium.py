"""Writes change events of Debezium's connectors for a table of behaviour."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.foreign.shop import Case, event, iso
from tests.support.foreign.shop import Writer as ShopWriter


class Writer(ShopWriter):
    """Writes rows that were inserted, read by a snapshot, and changed."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.number = 0

    def kinds(self) -> tuple[Callable[[], Case], ...]:
        return (*(self.inserted,) * 12, *(self.changed,) * 2, self.document, self.flat)

    def row(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A row of the table, and what it means."""
        shop = self.shop
        self.number += 1
        truth, product, user = shop.moment(), shop.product(), shop.random.randrange(1_000)
        timed = shop.pick(("Timestamp", "MicroTimestamp", "NanoTimestamp", "ZonedTimestamp"))
        created = {
            "Timestamp": truth,
            "MicroTimestamp": truth * 1_000,
            "NanoTimestamp": truth * 1_000_000,
            "ZonedTimestamp": iso(truth),
        }[timed]
        row = {
            "id": self.number,
            "user_id": user,
            "product_id": product.id,
            "event_type": "Product Viewed",
            "created_at": created,
            "amount": "AMk=",
        }
        meant = event(
            str(user), "view", truth, item_id=product.id, event_id=f"behaviour:{self.number}"
        )
        return row, meant

    def envelope(self, op: str, committed: int, **change: Any) -> bytes:
        source = {"connector": "postgresql", "table": "behaviour", "ts_ms": committed, "lsn": 1}
        body = {"before": None, "after": None, **change, "op": op, "source": source, "ts_ms": 1}
        if self.shop.chance(0.5):
            body = {"schema": {"type": "struct", "fields": []}, "payload": body}
        return json.dumps(body).encode()

    def case(self, value: bytes, meant: dict[str, Any], kind: str) -> Case:
        return Case(value, [meant], kind=kind, users=frozenset([meant["user_id"]]))

    def inserted(self) -> Case:
        row, meant = self.row()
        op = self.shop.pick("ccr")
        if op == "c" and self.shop.chance(0.2):
            del row["created_at"]
        return self.case(self.envelope(op, meant["time"], after=row), meant, kind="inserted")

    def changed(self) -> Case:
        row, meant = self.row()
        op = self.shop.pick("udt")
        rows = {"u": {"before": row, "after": row}, "d": {"before": row}, "t": {}}[op]
        users = frozenset([meant["user_id"]] if rows else [])
        value = self.envelope(op, meant["time"], **rows)
        return Case(value, [], {"no-behaviour": 1}, kind="changed", users=users)

    def document(self) -> Case:
        """A document of MongoDB, whose `after` is a text of extended JSON."""
        row, meant = self.row()
        key = f"{self.number:024x}"
        document = {
            "_id": {"$oid": key},
            "user_id": {"$numberLong": str(row["user_id"])},
            "product_id": row["product_id"],
            "event_type": "view",
            "created_at": {"$date": meant["time"]},
        }
        meant["event_id"] = f"clicks:{key}"
        source = {"connector": "mongodb", "collection": "clicks", "ts_ms": 1}
        change = {"op": "c", "after": json.dumps(document), "source": source}
        return self.case(json.dumps(change).encode(), meant, kind="document")

    def flat(self) -> Case:
        row, meant = self.row()
        row |= {"__op": "c", "__table": "behaviour", "__deleted": "false", "__source_ts_ms": 5}
        return self.case(json.dumps(row).encode(), meant, kind="flat")
