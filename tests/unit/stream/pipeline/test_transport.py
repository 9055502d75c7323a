"""Checks which partitions are fetched, which batches pass, and what may be committed."""

from __future__ import annotations

import pytest

from stream.errors import LostBatchError
from stream.pipeline.transport import MOST_UNDER_WAY, BatchFlow


def flow(most: int = 10) -> BatchFlow[str]:
    found: BatchFlow[str] = BatchFlow(most)
    found.start({"p": 0, "q": 100})
    return found


def test_a_partition_with_enough_under_way_waits_and_no_other_does() -> None:
    found = flow()
    found.deliver("p", 10 * MOST_UNDER_WAY - 1)
    assert found.fetchable({"p", "q"}) == {"q"}
    found.apply("p", 10 * MOST_UNDER_WAY - 1)
    assert found.fetchable({"p", "q"}) == {"p", "q"}


def test_a_batch_that_leaves_records_out_is_read_again_once() -> None:
    found = flow()
    found.deliver("p", 4)
    assert found.gap("p", 5) is None
    assert found.gap("p", 8) == 5
    assert found.gap("p", 8) is None  # the log itself has the gap
    assert found.missing("p", 8) == 3


def test_only_what_is_durable_and_in_order_may_be_committed() -> None:
    found = flow()
    assert found.to_commit() == {}
    found.deliver("p", 4)
    found.deliver("p", 9)
    with pytest.raises(LostBatchError):
        found.apply("p", 9)
    assert found.to_commit() == {}
    assert found.apply("p", 4)
    assert found.to_commit() == {"p": 5}


def test_a_topic_that_ends_in_a_marker_or_in_aborted_data_has_no_lag() -> None:
    found = flow()
    found.deliver("p", 4)
    assert (found.under_way("p"), found.skip("p", 6)) == (5, 0)
    found.apply("p", 4)
    assert (found.under_way("p"), found.skip("p", 6)) == (0, 1)
    assert found.to_commit() == {"p": 6}
    found.deliver("p", 9, 12)
    found.apply("p", 9)
    assert found.to_commit() == {"p": 12}


def test_what_was_read_before_reading_began_anew_moves_nothing() -> None:
    found = flow()
    found.deliver("p", 4)
    found.start({"p": 0})
    assert not found.apply("p", 4)
    assert found.to_commit() == {}


def test_a_revoked_partition_is_not_committed() -> None:
    found = flow()
    found.deliver("p", 4)
    found.apply("p", 4)
    found.revoke("p")
    assert found.to_commit() == {}
