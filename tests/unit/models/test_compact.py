"""The layout and the hashes of a stored event are in users' clusters and must not move."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pytest

from models.compact import (
    ACTION_CODES,
    ACTIONS,
    ALIASES,
    COMPACT,
    RECENT,
    SPELLINGS_KEPT,
    TEXT_BYTES,
    ItemIndex,
    hash64,
    of_last_session,
    text_of,
)


def test_the_layout_is_the_one_in_stored_states() -> None:
    assert COMPACT.itemsize == 56
    offsets = {name: COMPACT.fields[name][1] for name in COMPACT.names}  # type: ignore[index, union-attr]
    assert offsets == {"key": 0, "event_id": 8, "time_ms": 16, "action": 24, "kind": 25, "text": 26}
    assert (RECENT, TEXT_BYTES) == (32, 30)


def test_the_order_of_actions_is_the_one_in_stored_states_and_weights() -> None:
    assert ACTIONS[:10] == (
        "other",
        "view",
        "click",
        "search",
        "like",
        "share",
        "follow",
        "save",
        "add_to_cart",
        "purchase",
    )
    assert ACTIONS[10:] == (
        "rate",
        "play",
        "dislike",
        "comment",
        "remove_from_cart",
        "cancel",
        "unfollow",
        "impression",
        "skip",
        "edit",
    )
    assert ACTION_CODES["buy"] == ACTIONS.index("purchase")


@pytest.mark.parametrize(
    ("action", "spellings"),
    [
        ("view", ["View", "VIEW", "page_view", "pageview", "$pageview", "Page View", "view_item"]),
        ("view", ["Product Viewed", "productViewed", "ViewContent", "detail-page-view", "pv"]),
        ("click", ["select_item", "Product Clicked", "click", "clickout item"]),
        ("search", ["Products Searched", "view_search_results", "search"]),
        ("add_to_cart", ["addtocart", "AddToCart", "add-to-cart", "Product Added", "cart"]),
        ("add_to_cart", ["begin_checkout", "Checkout Started"]),
        ("purchase", ["Order Completed", "transaction", "purchase", "Purchase", "buy"]),
        ("remove_from_cart", ["Product Removed", "remove_from_cart", "removefromcart"]),
        ("impression", ["view_item_list", "Product List Viewed"]),
        ("save", ["add_to_wishlist", "Product Added to Wishlist", "fav"]),
        ("share", ["Product Shared"]),
        ("other", ["other", "teleport", "", "_", "浏览", "view_item_2"]),
    ],
)
def test_usual_names_of_actions_are_known_in_any_spelling(
    action: str, spellings: list[str]
) -> None:
    assert {ACTIONS[ACTION_CODES[each]] for each in spellings} == {action}


def test_no_name_stands_for_two_actions() -> None:
    names = [name for aliases in ALIASES.values() for name in aliases.split()]
    assert len(names) == len(set(names))
    assert ALIASES.keys() < set(ACTIONS)
    assert not set(names) & set(ACTIONS)
    folded = [name.replace("_", "") for name in (*names, *ACTIONS)]
    assert len(folded) == len(set(folded))


def test_spellings_that_nobody_knows_do_not_fill_the_memory() -> None:
    for number in range(SPELLINGS_KEPT + 100):
        assert ACTION_CODES[f"strange-{number}"] == 0
    assert len(ACTION_CODES) <= len(ACTIONS) + SPELLINGS_KEPT
    assert ACTION_CODES["purchase"] == ACTIONS.index("purchase")


@pytest.mark.parametrize("text", ["", "item-1", "普洱茶", "\ud800"])
def test_keys_are_the_first_eight_bytes_of_blake2b(text: str) -> None:
    """BLAKE2b with 8 bytes of output (RFC 7693), little-endian; a zero would mark an empty slot."""
    expected = int.from_bytes(
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )
    assert hash64(text) == expected != 0


def test_a_character_cut_in_two_is_dropped() -> None:
    raw = ("普" * 11).encode()[:TEXT_BYTES]
    assert text_of(raw) == "普" * 10
    assert text_of(raw[:-1]) == "普" * 9


def test_a_session_is_what_no_silence_of_half_an_hour_parts_from_the_newest_event() -> None:
    minute = 60_000
    recent = np.zeros((4, RECENT), COMPACT)
    histories = {
        0: [100, 71, 70, 40],  # 29, 1 and 30 minutes
        1: [100, 69, 68],  # 31 minutes
        2: [0, 0, 0, 0],  # no times
        3: [],
    }
    for user, minutes in histories.items():
        recent["key"][user, : len(minutes)] = 7
        recent["time_ms"][user, : len(minutes)] = np.array(minutes, np.int64) * minute
    found = of_last_session(recent)
    assert found.sum(1).tolist() == [4, 1, 4, 0]
    assert all(found[user, :many].all() for user, many in enumerate((4, 1, 4, 0)))


def test_rows_of_known_and_unknown_items() -> None:
    ids = [f"item-{number}" for number in range(500)]
    index = ItemIndex(ids)
    keys = np.array([[hash64("item-3"), hash64("nobody")], [0, hash64("item-499")]], np.uint64)
    assert index.rows(keys).tolist() == [[4, 0], [0, 500]]
    every = index.rows(np.array([hash64(each) for each in ids], np.uint64))
    assert every.tolist() == list(range(1, 501))


def test_an_empty_catalogue_knows_nothing() -> None:
    assert ItemIndex([]).rows(np.array([1, 2**64 - 1], np.uint64)).tolist() == [0, 0]
