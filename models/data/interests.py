"""Decides which interests there are, and which items of the catalogue belong to each.

They come from the first of these that will do: a taxonomy file given by the user; the catalogue's
categories; clusters of items (clusters.py). An interest is worth predicting when it has some items
and some events, and does not hold nearly everything. Glossary: V catalogue items, C interests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from models.data.clusters import cluster_items
from models.data.prepare import Dataset, Membership, catalogue_rows, owners
from models.errors import ModelDataError

Array = np.ndarray[Any, Any]

SEPARATOR: Final = " > "
"""Stands between the levels of a category path, of which the general one comes first.

Its spaces belong to it: "TV >50 inch" is one name.
"""


EVERYTHING: Final = "everything"
"""Name of the one interest of a log that shows no other without telling of single users."""


@dataclass(frozen=True)
class InterestConfig:
    """Holds how many interests there may be, and when categories are good enough to be them."""

    most: int = 64
    """The most frequent ones are kept; a user's update names a handful."""
    least_items: int = 3
    """A category with fewer items says nothing that the item itself does not."""
    largest_share: float = 0.9
    """A category of a larger share of the events distinguishes nobody."""
    least_users: int = 1
    """Interests of categories and clusters whose items fewer users met are left out."""
    covered: float = 0.5
    """Categories that cover a smaller share of the events are not used as interests."""

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ModelDataError(f"{self.most} interests; at least 2 are needed to tell them apart")


def find_interests(
    dataset: Dataset,
    config: InterestConfig,
    taxonomy: list[str] | None = None,
    seed: int = 0,
    *,
    by_catalogue: bool = False,
) -> Dataset:
    """Returns the data set with its interests and their items.

    `report["interests"]` of the result says how they were found. by_catalogue: whether no event is
    looked at, as if every item had been met once, by nobody.
    """
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    weight = np.bincount(rows, minlength=len(dataset.item_ids) + 1)[1:]  # [V] events of each item
    if by_catalogue:
        rows, weight, config = (
            np.zeros_like(rows),
            np.ones_like(weight),
            replace(config, least_users=1),
        )
    if taxonomy is not None:
        names, groups = from_taxonomy(dataset.categories, taxonomy, weight, config)
        how = "taxonomy file"
    else:
        names, groups = from_categories(dataset.categories, weight, config)
        how = "categories of the catalogue"
        names, groups = _met_by_many(names, groups, dataset, rows, config.least_users)
    share = _covered(groups, weight)
    if taxonomy is None and (len(names) < 2 or share < config.covered):
        names, groups = cluster_items(dataset, rows, config.most, seed)
        names, groups = _met_by_many(names, groups, dataset, rows, config.least_users)
        how = "clusters of items bought or seen together, named by their own words"
        share = _covered(groups, weight)
    if not names:
        names, groups = [EVERYTHING], [list(range(len(dataset.item_ids)))]
        how = f"none whose items {config.least_users} users met, so all items are one"
        share = _covered(groups, weight)
    report = {"source": how, "count": len(names), "events_covered": round(share, 4)}
    return dataset.with_interests(names, _compressed(groups, len(dataset.item_ids)), report)


def from_categories(
    categories: list[tuple[str, ...]], weight: Array, config: InterestConfig
) -> tuple[list[str], list[list[int]]]:
    """Returns interests and their items (catalogue positions) from the catalogue's categories.

    A path such as `A > B > C` counts for each of its levels. One level is taken: the finest at
    which the `most` most frequent categories still cover nine tenths of the events that any
    category covers.
    """
    depth = max((len(_levels(path)) for item in categories for path in item), default=0)
    goal = 0.9 * _covered([[item for item, paths in enumerate(categories) if paths]], weight)
    chosen: tuple[list[str], list[list[int]]] = ([], [])
    for level in range(1, depth + 1):
        names, groups = _at_level(categories, level, weight, config)
        covered = _covered(groups, weight)
        if len(names) >= 2 and (covered >= goal or covered > _covered(chosen[1], weight)):
            chosen = names, groups
    return chosen


def from_taxonomy(
    categories: list[tuple[str, ...]], names: list[str], weight: Array, config: InterestConfig
) -> tuple[list[str], list[list[int]]]:
    """Returns the interests that a file names and their items (catalogue positions).

    A category counts for the deepest taxonomy entry that it is or lies under. Raises ModelDataError
    if fewer than two entries match a category of the catalogue.
    """
    known = {_caseless(name): place for place, name in enumerate(names)}
    groups: list[list[int]] = [[] for _ in names]
    for item, paths in enumerate(categories):
        for place in sorted({_deepest(path, known) for path in paths} - {-1}):
            groups[place].append(item)
    kept = [place for place in _by_events(groups, weight) if groups[place]][: config.most]
    if len(kept) < 2:
        some = (
            ", ".join(repr(path) for paths in categories[:20] for path in paths[:1])[:200]
            or "none at all"
        )
        raise ModelDataError(
            f"fewer than 2 of the {len(names)} interests in the taxonomy match a category of the "
            f"catalogue; it has {some}. Write interests as the catalogue writes its "
            "categories, levels joined by ' > '"
        )
    return [names[place] for place in kept], [groups[place] for place in kept]


def _met_by_many(
    names: list[str], groups: list[list[int]], dataset: Dataset, rows: Array, least_users: int
) -> tuple[list[str], list[list[int]]]:
    """Returns the interests whose items at least that many users met; rows: int [N] of events."""
    if least_users <= 1:
        return names, groups
    owner, kept = owners(dataset), []
    for place, group in enumerate(groups):
        mine = np.zeros(len(dataset.item_ids) + 1, bool)
        mine[np.array(group, np.int64) + 1] = True
        if len(np.unique(owner[mine[rows]])) >= least_users:
            kept.append(place)
    return [names[place] for place in kept], [groups[place] for place in kept]


def _at_level(
    categories: list[tuple[str, ...]], level: int, weight: Array, config: InterestConfig
) -> tuple[list[str], list[list[int]]]:
    """Returns the categories cut to a level and their items, the most frequent first.

    Categories that are too small or too large are left out.
    """
    members: dict[str, list[int]] = {}
    for item, paths in enumerate(categories):
        for name in dict.fromkeys(SEPARATOR.join(_levels(path)[:level]) for path in paths):
            if name:
                members.setdefault(name, []).append(item)
    names, groups = list(members), list(members.values())
    total = max(int(weight.sum()), 1)
    kept = [
        place
        for place in _by_events(groups, weight)
        if len(groups[place]) >= config.least_items
        and 0 < weight[groups[place]].sum() <= config.largest_share * total
    ][: config.most]
    short = _short_names([names[place] for place in kept])
    return short, [groups[place] for place in kept]


def _short_names(paths: list[str]) -> list[str]:
    """Returns the last level of each path, or the whole path where two would share a name."""
    last = [_levels(path)[-1] for path in paths]
    count = Counter(last)
    return [name if count[name] == 1 else path for name, path in zip(last, paths, strict=True)]


def _levels(path: str) -> list[str]:
    """Returns the levels of a category path, the general one first."""
    return [level.strip() for level in path.split(SEPARATOR) if level.strip()] or [""]


def _caseless(path: str) -> tuple[str, ...]:
    """Returns the levels of a path in a form that does not tell large letters from small ones."""
    return tuple(level.casefold() for level in _levels(path))


def _deepest(path: str, known: dict[tuple[str, ...], int]) -> int:
    """Returns the place of the taxonomy entry that a category is, lies under or ends with.

    -1 where there is none; known: the places of the entries by their levels.
    """
    levels = _caseless(path)
    for depth in range(len(levels), 0, -1):
        place = known.get(levels[:depth], known.get((levels[depth - 1],), -1))
        if place >= 0:
            return place
    return -1


def _by_events(groups: list[list[int]], weight: Array) -> list[int]:
    """Returns the places of groups, those with most events first, ties in their present order."""
    events = np.array([weight[group].sum() for group in groups], np.float64)
    places: list[int] = np.argsort(-events, kind="stable").tolist()
    return places


def _covered(groups: Iterable[list[int]], weight: Array) -> float:
    """Returns the share of the events that touch a group; weight: events of each item."""
    touched = np.zeros(len(weight), bool)
    for group in groups:
        touched[group] = True
    return float(weight[touched].sum() / max(weight.sum(), 1))


def _compressed(groups: list[list[int]], items: int) -> Membership:
    """Returns which groups each item belongs to, from the items of each group."""
    interest = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    item = (
        np.concatenate([np.array(group, np.int64) for group in groups])
        if groups
        else np.zeros(0, np.int64)
    )
    order = np.lexsort((interest, item))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(item, minlength=items)))).astype(np.int64)
    return Membership(indptr, interest[order].astype(np.int32))
