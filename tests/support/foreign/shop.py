"""Draws what users of a shop did; the formats write it down."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

START_MS = 1_761_955_200_000
"""2025-11-01."""

WORDS = ("tent", "stove", "lamp", "boots", "rope", "mug", "bag", "axe", "map", "kettle")
COLOURS = ("red", "blue", "grün", "红色", "black")
DEPARTMENTS = (("Outdoor", "Tents"), ("Outdoor", "Cooking"), ("Shoes",), ("Home", "Kitchen", "Tea"))


@dataclass(frozen=True)
class Product:
    """One thing that is sold."""

    id: str
    name: str
    levels: tuple[str, ...]
    price: float


@dataclass(frozen=True)
class Case:
    """One record as a tracker writes it, and what it means."""

    value: bytes
    events: list[dict[str, Any]]
    dropped: Mapping[str, int] = field(default_factory=dict)
    headers: tuple[tuple[str, bytes], ...] = ()
    received_ms: int | None = None
    kind: str = ""
    users: frozenset[str] = frozenset()  # all ids of users that are in it, whatever it means


class Shop:
    """A shop whose users come again, with and without a login."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.products = [
            Product(
                f"sku-{number:04}" if number % 3 else str(90_000 + number),
                f"{self.pick(COLOURS)} {self.pick(WORDS)} {number}",
                self.pick(DEPARTMENTS),
                round(self.random.uniform(1, 300), 2),
            )
            for number in range(200)
        ]
        self.clock_ms = START_MS

    def pick(self, of: Any) -> Any:
        return of[self.random.randrange(len(of))]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def product(self) -> Product:
        return self.pick(self.products)  # type: ignore[no-any-return]

    def some(self, most: int = 5) -> list[Product]:
        return self.random.sample(self.products, self.random.randint(1, most))

    def moment(self) -> int:
        """A later moment than the one before, in milliseconds."""
        self.clock_ms += self.random.randint(1, 5_000)
        return self.clock_ms

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def login(self) -> str:
        return f"user-{self.random.randrange(60)}"

    def visitor(self) -> str:
        return f"{self.random.randrange(90):08x}-anon"


class Writer:
    """Writes what a tracker sends; each format says how."""

    def __init__(self, seed: int) -> None:
        self.shop = Shop(seed)

    def kinds(self) -> tuple[Callable[[], Case], ...]:
        """What is drawn, each as often as it stands there."""
        raise NotImplementedError

    def cases(self, count: int) -> Iterator[Case]:
        """Yields records, drawn anew for each seed."""
        kinds = self.kinds()
        for _ in range(count):
            yield self.shop.pick(kinds)()


def iso(time_ms: int, *, zone: str = "Z", separator: str = "T", digits: int = 3) -> str:
    """A moment in ISO 8601, in UTC."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    fraction = f"{time_ms % 1000:03}".ljust(digits, "0")
    return moment.strftime(f"%Y-%m-%d{separator}%H:%M:%S") + f".{fraction}{zone}"


def event(user_id: str, action: str, time_ms: int, **given: Any) -> dict[str, Any]:
    """What a record means, without what it does not say."""
    fields = {"user_id": user_id, "action": action, "time": time_ms, **given}
    return {name: value for name, value in fields.items() if value is not None}
