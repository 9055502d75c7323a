"""What a batch does to histories: an entry where the first three interests have changed."""

from __future__ import annotations

from typing import Any

from stream.serving.store import DAY_MS, HISTORY_ENTRIES, HISTORY_MS, PRUNED_PARTS, Store
from tests.support.serving import NOW_MS, Record, null, record
from tests.support.stored import PLACE, offset, tops


def test_a_history_has_the_changes_of_the_first_three(store: Store) -> None:
    names = ["camping", "books", "tea", "music", "garden"]

    def at(number: int, order: str, **more: Any) -> Record:
        chances = {names[int(each)]: 0.9 - 0.1 * rank for rank, each in enumerate(order)}
        return record("anna", number, chances, **more)

    orders = ["0123", "0124", "1024", "1024", "0324"]
    updates = [at(number, order) for number, order in enumerate(orders)]
    store.apply([record("anna", 9)], [*updates, updates[0]], {PLACE: 1})
    assert tops(store, "anna") == [
        names[:3],
        ["books", "camping", "tea"],
        [
            "camping",
            "music",
            "tea",
        ],
    ]
    # one whose count of events fell was erased in between, though no null was seen
    store.apply([], [at(9, "4", events_seen=1)], {PLACE: 1})
    assert tops(store, "anna") == [["garden"]]


def test_a_history_has_an_end(store: Store) -> None:
    changes = [
        record("anna", number, {f"interest-{number}": 0.5}) for number in range(HISTORY_ENTRIES + 9)
    ]
    store.apply([record("anna", 99)], changes, {PLACE: 1})
    assert len(tops(store, "anna")) == HISTORY_ENTRIES
    assert tops(store, "anna")[-1] == [f"interest-{HISTORY_ENTRIES + 8}"]
    # old entries go, and those of users without a profile
    old = record("anna", 200, {"tea": 0.5}, published_at=NOW_MS - HISTORY_MS - 1)
    store.apply([], [old, record("nobody", 1)], {PLACE: 1})
    assert len(tops(store, "nobody")) == 1
    for part in range(PRUNED_PARTS):
        store.prune(NOW_MS, part)
    assert tops(store, "nobody") == []
    assert ["tea"] not in tops(store, "anna")
    # and so does the hash of an erased user, when nothing older can come any more
    store.apply([null("anna")], [], {PLACE: 2})
    store.prune(NOW_MS + 16 * DAY_MS, 0)
    store.apply([record("anna", 1)], [], {PLACE: 3})
    assert offset(store, "anna") == 1
