"""Which interests there are and which items belong to them: from the catalogue, a taxonomy file, or the items' own words.

In this order, unless told otherwise: a taxonomy given by the user; the catalogue's categories; clusters (clusters.py).
V catalogue items, C interests. An interest is worth predicting when it has some items and some events, and does not
hold nearly everything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.clusters import cluster_items
from models.errors import ModelDataError
from models.prepare import Dataset, Membership, catalogue_rows

Array = np.ndarray[Any, Any]

SEPARATOR: Final = " > "
"""Between the levels of a category path, the general one first."""


@dataclass(frozen=True)
class InterestConfig:
    """How many interests, and when categories are good enough to be them."""

    most: int = 64  # the most frequent ones are kept; a user's update names a handful
    least_items: int = 3  # a category with fewer items says nothing that the item does not
    largest_share: float = 0.9  # a category of nearly all events distinguishes nobody
    covered: float = 0.5  # categories that cover fewer events than this are not the interests of this catalogue

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ModelDataError(f"{self.most} interests; at least 2 are needed to tell them apart")


def find_interests(
    dataset: Dataset, config: InterestConfig, taxonomy: list[str] | None = None, seed: int = 0
) -> Dataset:
    """The data set with its interests and their items; `report["interests"]` says how they were found."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids)
    weight = np.bincount(rows, minlength=len(dataset.item_ids) + 1)[1:]  # [V] events of each item
    if taxonomy is not None:
        names, groups = from_taxonomy(dataset.categories, taxonomy, weight, config)
        how = "taxonomy file"
    else:
        names, groups = from_categories(dataset.categories, weight, config)
        how = "categories of the catalogue"
    share = _covered(groups, weight)
    if taxonomy is None and (len(names) < 2 or share < config.covered):
        names, groups = cluster_items(dataset, rows, config.most, seed)
        how = "clusters of items bought or seen together, named by their own words"
        share = _covered(groups, weight)
    report = {"source": how, "count": len(names), "events_covered": round(share, 4)}
    return dataset.with_interests(names, _compressed(groups, len(dataset.item_ids)), report)


def from_categories(
    categories: list[tuple[str, ...]], weight: Array, config: InterestConfig
) -> tuple[list[str], list[list[int]]]:
    """Interests and their items (catalogue positions) from the catalogue's categories.

    A path such as `A > B > C` counts for each of its levels; the level that says most is taken: the finest at which the
    `most` most frequent categories still cover nine tenths of the events that any category covers.
    """
    depth = max((path.count(SEPARATOR) + 1 for item in categories for path in item), default=0)
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
    """Interests named by a file: a category counts for the deepest taxonomy entry that it is or lies under."""
    known = {_folded(name): place for place, name in enumerate(names)}
    groups: list[list[int]] = [[] for _ in names]
    for item, paths in enumerate(categories):
        for place in sorted({_deepest(path, known) for path in paths} - {-1}):
            groups[place].append(item)
    kept = [place for place in _by_events(groups, weight) if groups[place]][: config.most]
    if len(kept) < 2:
        some = ", ".join(repr(path) for paths in categories[:20] for path in paths[:1])[:200] or "none at all"
        raise ModelDataError(
            f"fewer than 2 of the {len(names)} interests in the taxonomy match a category of the catalogue; it has {some}. "
            "Write interests as the catalogue writes its categories, levels joined by ' > '"
        )
    return [names[place] for place in kept], [groups[place] for place in kept]


def _at_level(
    categories: list[tuple[str, ...]], level: int, weight: Array, config: InterestConfig
) -> tuple[list[str], list[list[int]]]:
    """Categories cut to a level, most frequent first; too small and too large ones left out."""
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
        if len(groups[place]) >= config.least_items and 0 < weight[groups[place]].sum() <= config.largest_share * total
    ][: config.most]
    short = _short_names([names[place] for place in kept])
    return short, [groups[place] for place in kept]


def _short_names(paths: list[str]) -> list[str]:
    """The last level of each path, the whole path where two would be called the same."""
    last = [_levels(path)[-1] for path in paths]
    count = Counter(last)
    return [name if count[name] == 1 else path for name, path in zip(last, paths, strict=True)]


def _levels(path: str) -> list[str]:
    return [level.strip() for level in path.split(SEPARATOR.strip()) if level.strip()] or [""]


def _folded(path: str) -> tuple[str, ...]:
    return tuple(level.casefold() for level in _levels(path))


def _deepest(path: str, known: dict[tuple[str, ...], int]) -> int:
    """Place of the taxonomy entry that a category is, lies under, or ends with; -1: none."""
    levels = _folded(path)
    for depth in range(len(levels), 0, -1):
        place = known.get(levels[:depth], known.get((levels[depth - 1],), -1))
        if place >= 0:
            return place
    return -1


def _by_events(groups: list[list[int]], weight: Array) -> list[int]:
    """Places of groups, those with most events first, ties in the order of the catalogue."""
    events = np.array([weight[group].sum() for group in groups], np.float64)
    places: list[int] = np.argsort(-events, kind="stable").tolist()
    return places


def _covered(groups: Iterable[list[int]], weight: Array) -> float:
    """Share of the events that touch at least one group."""
    touched = np.zeros(len(weight), bool)
    for group in groups:
        touched[group] = True
    return float(weight[touched].sum() / max(weight.sum(), 1))


def _compressed(groups: list[list[int]], items: int) -> Membership:
    interest = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    item = np.concatenate([np.array(group, np.int64) for group in groups]) if groups else np.zeros(0, np.int64)
    order = np.lexsort((interest, item))
    indptr = np.concatenate(([0], np.cumsum(np.bincount(item, minlength=items)))).astype(np.int64)
    return Membership(indptr, interest[order].astype(np.int32))
