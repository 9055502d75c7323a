"""A stretch of a batch has the events asked for, and none of the other records."""

from __future__ import annotations

import numpy as np
import pytest

from stream.contracts.event_batch import joined, stretch
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
    pieces = [
        Decoder().decode(
            "t", 0, [event("u", 2 * each, each), control("erase", "u", 2 * each + 1, 9)]
        )
        for each in range(3)
    ]
    whole = joined(pieces)
    assert [each.offset for each in whole.controls] == [1, 3, 5]
    assert (whole.first_offset, whole.last_offset, len(whole.users)) == (0, 5, 3)
