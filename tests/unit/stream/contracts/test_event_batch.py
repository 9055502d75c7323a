"""A stretch of a batch has the events asked for, and none of the other records."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contracts.event_batch import joined, pieces, stretch
from stream.pipeline.decode import Decoder
from tests.unit.stream.policies.test_erasure import control, event


@pytest.mark.parametrize("places", [slice(1, 3), np.array([1, 2])])
def test_a_stretch_is_cut_by_places_or_from_to(places: slice | np.ndarray) -> None:
    records = [event(f"u{each}", each, each) for each in range(4)]
    batch = Decoder().decode("t", 0, [*records, control("erase", "u0", 4, 4)])
    found = stretch(batch, places)
    assert found.users == [b"u1", b"u2"]
    assert found.offsets.tolist() == [1, 2]
    assert (found.controls, found.rejects) == ([], [])
    assert len(batch.controls) == 1


def test_controls_of_batches_that_are_joined_stay_in_their_order() -> None:
    batches = [
        Decoder().decode(
            "t", 0, [event("u", 2 * each, each), control("erase", "u", 2 * each + 1, 9)]
        )
        for each in range(3)
    ]
    whole = joined(batches)
    assert [each.offset for each in whole.controls] == [1, 3, 5]
    assert (whole.first_offset, whole.last_offset, len(whole.users)) == (0, 5, 3)


@given(st.lists(st.integers(1, 6), max_size=12), st.integers(1, 10))
def test_pieces_are_cut_between_records_and_leave_nothing_out(sizes: list[int], most: int) -> None:
    offsets = [place for place, size in enumerate(sizes) for _ in range(size)]
    batch = Decoder().decode("t", 0, [event(f"u{each}", each, 0) for each in offsets])
    found = [piece.offsets.tolist() for piece in pieces(batch, most)]
    assert [each for piece in found for each in piece] == offsets
    assert all(piece for piece in found)
    for before, after in pairwise(found):
        assert before[-1] < after[0]
    for piece in found:
        assert len(piece) <= most or piece[0] == piece[-1]
