"""Walks through a segment page by page while profiles change, and checks what it was shown.

Nobody may come twice. Who was not touched is there exactly if they are a member. And the number of
those who were shown is the count of the first page, but for users who joined or left meanwhile.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import orjson

from tests.benchmarks.serving.open_loop import Client
from tests.benchmarks.serving.population import Array, Population
from tests.benchmarks.serving.updates import Updates

PAGE: Final = 1_000
ON_THEIR_WAY_S: Final = 10.0
"""Updates that were sent so long before a walk may be applied in it."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Holds what a walk has shown."""

    first_page_s: float
    all_pages_s: float
    slowest_page_s: float
    pages: int
    count: int  # said by the first page
    shown: int
    twice: int
    touched: int  # users whose profiles changed meanwhile
    wrong: int  # users who were not touched, and were shown or left out wrongly

    @property
    def holds(self) -> bool:
        """Returns whether check 5 holds."""
        return not (self.twice or self.wrong) and abs(self.shown - self.count) <= self.touched


async def walk(client: Client, population: Population, before: Array, updates: Updates) -> Walk:
    """Reads all pages. `before`: bool [U], who was in the segment before `updates` began."""
    begun, took, seen = time.perf_counter(), list[float](), list[int]()
    page: dict[str, Any] = {"cursor": "", "count": 0}
    count = None
    while page["cursor"] is not None:
        asked = time.perf_counter()
        name = quote(population.segment_name)
        path = f"/v1/segments?interest={name}&limit={PAGE}&cursor={page['cursor']}"
        status, body = await client.get(path)
        if status != 200:
            raise RuntimeError(f"a page of a segment was answered with {status}: {body[:300]!r}")
        took.append(time.perf_counter() - asked)
        page = orjson.loads(body)
        count = page["count"] if count is None else count
        seen += [int(each["user_id"].removeprefix("user-")) for each in page["users"]]
    return _judged(population, before, updates, seen, begun, took, count or 0)


def _judged(
    population: Population,
    before: Array,
    updates: Updates,
    seen: list[int],
    begun: float,
    took: list[float],
    count: int,
) -> Walk:
    member, touched = before.copy(), np.zeros(population.users, bool)
    for moment, batch in updates.sent:
        if moment < begun - ON_THEIR_WAY_S:
            member[batch.users] = batch.members
        else:
            touched[batch.users] = True
    shown = np.bincount(seen, minlength=population.users)
    return Walk(
        first_page_s=took[0],
        all_pages_s=sum(took),
        slowest_page_s=max(took),
        pages=len(took),
        count=count,
        shown=len(seen),
        twice=int((shown > 1).sum()),
        touched=int(touched.sum()),
        wrong=int((((shown > 0) != member) & ~touched).sum()),
    )
