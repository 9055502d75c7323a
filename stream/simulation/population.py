"""Simulates users whose true interests are known: they hold for a while, switch, and return.

Pure and seeded. Each user has a few interests and one that is true now. Most events are about that
one, through series of items; some are about the user's other interests, some are noise. The demo
compares what the pipeline tracks with the truth; the demo model learns from another seed.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final

import orjson

from stream.simulation.catalogue_words import CATEGORIES

OWN_INTERESTS: Final = 4
SWITCH: Final = 1 / 25
"""Chance that an event is the first of another interest, which lasts 25 events on average."""
RETURN: Final = 0.6
"""Share of switches that go back to one of the user's own interests; others find a new one."""
SIDE: Final = 0.15
"""Share of events about the user's other interests."""
MOST_NOISE: Final = 0.3
"""A user's share of events about anything is drawn from nought to this."""
CONTINUE: Final = 0.6
"""Chance that the next item of a series comes next."""

ACTIONS: Final = (
    ("view", 50),
    ("click", 18),
    ("search", 9),
    ("like", 6),
    ("save", 4),
    ("add_to_cart", 5),
    ("purchase", 3),
    ("share", 3),
    ("follow", 2),
)


@dataclass(frozen=True, slots=True)
class Item:
    """Holds one catalogue entry; entries stand in the order of their series."""

    item_id: str
    title: str
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimulatedEvent:
    """Holds an event as it goes to Kafka, and what was true when it happened."""

    event: dict[str, Any]
    interest: str


def catalogue(seed: int = 0) -> list[Item]:
    """Returns four hundred items, twenty a category, in the order of their series.

    Some belong to a second category.
    """
    chance = random.Random(f"catalogue-{seed}")
    items: list[Item] = []
    for category, words in CATEGORIES.items():
        for noun in words.nouns:
            for kind in words.kinds:
                other = chance.choice([name for name in CATEGORIES if name != category])
                categories = (category, other) if chance.random() < 0.12 else (category,)
                joined = kind + noun if ord(noun[0]) > 0x2E80 else f"{kind} {noun}"
                items.append(Item(f"item-{len(items):04d}", joined, categories))
    return items


class _User:
    """Holds what one user is like, and what is true of them now."""

    __slots__ = ("at", "interest", "name", "noise", "own")

    def __init__(self, name: str, chance: random.Random, noise: float | None) -> None:
        self.name = name
        self.own = chance.sample(list(CATEGORIES), OWN_INTERESTS)
        self.interest = self.own[0]
        # drawn in any case: with a noise that is given all else stays as it is
        drawn = chance.uniform(0.0, MOST_NOISE)
        self.noise = drawn if noise is None else noise
        self.at: dict[str, int] = {}  # place in the series of each category

    def switch(self, chance: random.Random) -> None:
        pool = [
            each
            for each in (self.own if chance.random() < RETURN else CATEGORIES)
            if each != self.interest
        ]
        self.interest = chance.choice(pool)
        if self.interest not in self.own:
            self.own = [*self.own[1:], self.interest]

    def topic_of_event(self, chance: random.Random) -> str:
        draw = chance.random()
        if draw < self.noise:
            return chance.choice(list(CATEGORIES))
        return chance.choice(self.own) if draw < self.noise + SIDE else self.interest


class Population:
    """Holds users who take turns; some are ten times as active as others.

    noise: that of all users, instead of one for each.
    """

    def __init__(self, users: int, seed: int = 0, noise: float | None = None) -> None:
        self._chance = random.Random(f"population-{seed}")
        self._run = f"{seed}-{users}"
        self.users = [_User(f"user-{number:05d}", self._chance, noise) for number in range(users)]
        self._weights = list(accumulate(self._chance.paretovariate(1.5) for _ in self.users))
        self._items: dict[str, list[Item]] = {name: [] for name in CATEGORIES}
        for item in catalogue():
            self._items[item.categories[0]].append(item)
        self._actions, weights = zip(*ACTIONS, strict=True)
        self._action_weights = list(accumulate(weights))
        self._count = 0

    def truth(self) -> dict[str, str]:
        """Returns the interest of each user that is true now."""
        return {user.name: user.interest for user in self.users}

    def shares(self) -> dict[str, float]:
        """Returns the share of all events that is each user's."""
        weights = [after - before for before, after in pairwise([0.0, *self._weights])]
        return {
            user.name: weight / self._weights[-1]
            for user, weight in zip(self.users, weights, strict=True)
        }

    def next_event(self, time_ms: int, who: int | None = None) -> SimulatedEvent:
        """Returns the next event, of a random user unless `who` says which."""
        chance = self._chance
        user = (
            chance.choices(self.users, cum_weights=self._weights)[0]
            if who is None
            else self.users[who]
        )
        if chance.random() < SWITCH:
            user.switch(chance)
        topic = user.topic_of_event(chance)
        action = chance.choices(self._actions, cum_weights=self._action_weights)[0]
        self._count += 1
        event = {
            "user_id": user.name,
            "action": action,
            "time": time_ms,
            "event_id": f"{self._run}-{self._count}",
        }
        if action == "search":
            event["query"] = chance.choice(CATEGORIES[topic].queries)
        else:
            event["item_id"] = self._next_item(user, topic).item_id
            if action == "view":
                event["dwell_ms"] = chance.randrange(500, 60_000)
        return SimulatedEvent(event, user.interest)

    def _next_item(self, user: _User, topic: str) -> Item:
        chance, items = self._chance, self._items[topic]
        before = user.at.get(topic)
        if before is not None and chance.random() < CONTINUE:
            place = (before + 1) % len(items)
        else:
            # the first of a category are the popular ones
            place = min(int(chance.expovariate(0.15)), len(items) - 1)
        user.at[topic] = place
        return items[place]


def events(
    users: int, count: int, seed: int, start_ms: int, step_ms: int
) -> Iterator[SimulatedEvent]:
    """Yields `count` events, one each step_ms."""
    population = Population(users, seed)
    for number in range(count):
        yield population.next_event(start_ms + number * step_ms)


def write_simulation(folder: Path, users: int, count: int, seed: int) -> tuple[Path, Path]:
    """Writes events.jsonl.gz and items.jsonl for `train` into a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    places = folder / "events.jsonl.gz", folder / "items.jsonl"
    with gzip.open(places[0], "wb", compresslevel=1) as out:
        for each in events(users, count, seed, 1_760_000_000_000, 10_000):
            out.write(orjson.dumps(each.event) + b"\n")
    rows = (
        {"item_id": item.item_id, "title": item.title, "categories": item.categories}
        for item in catalogue()
    )
    places[1].write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return places
