"""Checks interests from categories, from a taxonomy, and from items' own words."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace

import numpy as np
import pytest

from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Dataset
from models.errors import ModelDataError

Make = Callable[..., Dataset]
SMALL = InterestConfig(least_items=1)


def members(dataset: Dataset) -> dict[str, set[str]]:
    """Returns the items of each interest, by name."""
    indptr, indices = dataset.membership
    item = np.repeat(np.arange(len(dataset.item_ids)), np.diff(indptr))
    return {
        name: {dataset.item_ids[each] for each in item[indices == place].tolist()}
        for place, name in enumerate(dataset.interests)
    }


def test_categories_most_frequent_first_and_an_item_may_have_several(prepared: Make) -> None:
    items = {
        "a": ("Books", "Sale"),
        "b": ("Books",),
        "c": ("Maps",),
        "d": ("Everything", "Maps"),
        "e": (),
    }
    events = [("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("v", "a", 1), ("v", "b", 2)]
    dataset = find_interests(prepared(events, items), SMALL)
    assert members(dataset) == {
        "Books": {"a", "b"},
        "Sale": {"a"},
        "Maps": {"c", "d"},
    }  # nobody touched Everything
    assert dataset.report["interests"]["source"] == "categories of the catalogue"
    assert dataset.report["interests"]["events_covered"] == 1.0


def test_only_a_sign_with_spaces_separates_levels(prepared: Make) -> None:
    items = {"a": ("TV >50 inch",), "b": ("TV >32 inch",), "c": ("A>B",), "d": ("A > B",)}
    events = [("u", item, time) for time, item in enumerate("abcdabcd")]
    found = members(find_interests(prepared(events, items), SMALL))
    assert found == {"TV >50 inch": {"a"}, "TV >32 inch": {"b"}, "A>B": {"c"}, "A": {"d"}} or (
        found == {"TV >50 inch": {"a"}, "TV >32 inch": {"b"}, "A>B": {"c"}, "B": {"d"}}
    )


def test_the_finest_level_that_still_covers_the_events(prepared: Make) -> None:
    items = {
        "a": ("Sport > Ball > Tennis",),
        "b": ("Sport > Ball > Football",),
        "c": ("Sport > Water > Rowing",),
        "d": ("Sport > Water",),
    }
    events = [("u", item, time) for time, item in enumerate("abcdabcd")]
    assert members(find_interests(prepared(events, items), SMALL)) == {
        "Tennis": {"a"},
        "Football": {"b"},
        "Rowing": {"c"},
        "Water": {"d"},
    }
    fewer = find_interests(prepared(events, items), InterestConfig(most=2, least_items=1))
    assert members(fewer) == {"Ball": {"a", "b"}, "Water": {"c", "d"}}


def test_equal_names_are_told_apart_by_their_path(prepared: Make) -> None:
    items = {"a": ("Men > Shoes",), "b": ("Women > Shoes",), "c": ("Women > Hats",)}
    events = [("u", item, time) for time, item in enumerate("abcabc")]
    assert set(find_interests(prepared(events, items), SMALL).interests) == {
        "Men > Shoes",
        "Women > Shoes",
        "Hats",
    }


def test_a_taxonomy_gathers_what_lies_under_its_entries(prepared: Make) -> None:
    items = {
        "a": ("Sport > Ball > Tennis",),
        "b": ("sport > water",),
        "c": ("Maps",),
        "d": ("Shop > Maps",),
    }
    events = [("u", item, time) for time, item in enumerate("abcd")]
    dataset = find_interests(prepared(events, items), SMALL, ["Sport", "Maps", "Chess"])
    assert members(dataset) == {"Sport": {"a", "b"}, "Maps": {"c", "d"}}
    with pytest.raises(
        ModelDataError, match=r"fewer than 2 of the 2 interests .* it has 'Sport > Ball > Tennis'"
    ):
        find_interests(prepared(events, items), SMALL, ["Chess", "Go"])


def shop() -> tuple[dict[str, str], list[tuple[str, str, int]]]:
    """Returns a data set of three kinds of things, of which a user buys only one kind."""
    kinds = {"tent": "green tent camping", "lamp": "desk lamp brass", "tea": "black tea leaves"}
    titles = {
        f"{kind}{number}": f"{words} {number}"
        for kind, words in kinds.items()
        for number in range(6)
    }
    random = np.random.default_rng(1)
    events = [
        (f"{kind}-{user}", f"{kind}{random.integers(6)}", time)
        for kind in kinds
        for user in range(8)
        for time in range(9)
    ]
    return titles, events


def test_clusters_find_the_kinds_of_things_and_name_them_by_their_words(prepared: Make) -> None:
    titles, events = shop()
    dataset = prepared(events, dict.fromkeys(titles, ("All",)))
    dataset.titles[:] = titles.values()
    first = find_interests(dataset, InterestConfig(), seed=3)
    again = find_interests(dataset, InterestConfig(), seed=3)
    assert first.report["interests"]["source"].startswith(
        "clusters"
    )  # one category for everything is no interest
    assert members(first) == members(again)
    for name, items in members(first).items():
        kinds = {item.rstrip("0123456789") for item in items}
        assert len(kinds) == 1, f"{name} mixes {kinds}"
        assert kinds.pop() in name.lower()
    assert len(set(first.interests)) == len(first.interests)


def test_every_item_has_a_cluster_even_without_events_or_words(prepared: Make) -> None:
    titles, events = shop()
    dataset = prepared(events, {**dict.fromkeys(titles, ()), "never": ()})
    dataset.titles[:] = [*titles.values(), "!!"]
    indptr, _ = find_interests(dataset, InterestConfig()).membership
    assert (np.diff(indptr) == 1).all()


IN_A_PROCESS = """
import numpy as np
from models.compact import COMPACT, hash64
from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Catalogue, EventChunk, PrepareConfig, prepare
draw = np.random.default_rng(4)
middle = ("ra", "mo", "ti", "ku")
words = np.array([a + b + c for a in "bdfgkm" for b in middle for c in "lnsvp"])
items = [f"i{place}" for place in range(400)]
titles = [" ".join(draw.choice(words, 3, replace=False)) for _ in items]
picked = draw.integers(0, len(items), 3000).tolist()
rows = np.zeros(3000, COMPACT)
rows["key"], rows["time_ms"] = [hash64(items[each]) for each in picked], np.arange(3000)
users = [f"u{place // 10}" for place in range(3000)]
events = EventChunk(users, rows, [items[each] for each in picked], [None] * 3000, [()] * 3000)
dataset = prepare([events], Catalogue(items, titles, [()] * 400), PrepareConfig())
found = find_interests(dataset, InterestConfig())
print(found.interests, found.membership.indices.tolist())
"""


def test_clusters_are_the_same_in_another_process() -> None:
    """Checks that names depend on no set of words, whose order differs from process to process.

    A training goes on only with the interests that it began with.
    """

    with redirect_stdout(io.StringIO()) as here:
        exec(IN_A_PROCESS, {})
    another_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    there = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS],
        env=os.environ | {"PYTHONHASHSEED": another_seed},
        check=True,
        capture_output=True,
        text=True,
    )
    assert there.stdout.count("'") > 4
    assert here.getvalue() == there.stdout


def test_an_interest_that_few_users_touched_is_left_out(prepared: Callable[..., Dataset]) -> None:
    """Checks a category of which one user met every item; a taxonomy names what it likes."""
    events = [(f"u{user}", item, place) for user in range(3) for place, item in enumerate("abab")]
    events += [("u0", item, 10 + place) for place, item in enumerate("ccc")]
    items = {"a": ("A",), "b": ("B",), "c": ("C",)}
    dataset = prepared(events, items)
    config = InterestConfig(least_items=1, least_users=2)
    assert find_interests(dataset, config).interests == ["A", "B"]
    assert find_interests(dataset, config, ["A", "C"]).interests == ["A", "C"]
    few = find_interests(dataset, InterestConfig(least_items=1, least_users=4))
    assert few.interests == ["everything"]
    assert few.report["interests"]["source"].startswith("none whose items 4 users met")


def test_by_the_catalogue_alone_no_event_has_a_say(prepared: Callable[..., Dataset]) -> None:
    """Checks clusters, which are of items that go together otherwise."""
    names = [f"{kind} {number}" for kind in ("tent", "lamp", "rope") for number in range(6)]
    found = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        events = [
            (f"u{user}", names[random.integers(18)], place)
            for user in range(5 * seed)
            for place in range(9)
        ]
        dataset = replace(prepared(events, dict.fromkeys(names, ())), titles=names)
        found.append(find_interests(dataset, InterestConfig(least_users=99), by_catalogue=True))
    assert len(found[0].interests) > 1
    assert found[0].interests == found[1].interests
    for mine, others in zip(found[0].membership, found[1].membership, strict=True):
        assert np.array_equal(mine, others)
