"""Checks that nothing falls out between broker and commit.

A gap is read again once, and a batch that vanished stops the worker.
"""

from __future__ import annotations

import pytest

from stream.errors import LostBatchError
from stream.kafka.batch_sequence import BatchSequence


@pytest.fixture
def sequence() -> BatchSequence[int]:
    sequence: BatchSequence[int] = BatchSequence()
    sequence.start({0: 100})
    return sequence


def test_batches_in_order_move_the_commit(sequence: BatchSequence[int]) -> None:
    for first, last in ((100, 149), (150, 150), (151, 300)):
        assert sequence.gap(0, first) is None
        sequence.deliver(0, last)
    assert all(sequence.apply(0, last) for last in (149, 150, 300))


def test_records_left_out_are_read_again(sequence: BatchSequence[int]) -> None:
    """The first batch was dropped, and the second applied and committed.

    This was seen after a restart on a loaded machine.
    """
    assert sequence.gap(0, 155) == 100
    assert sequence.gap(0, 100) is None


def test_a_gap_of_the_log_itself_is_accepted(sequence: BatchSequence[int]) -> None:
    assert sequence.gap(0, 155) == 100
    assert sequence.gap(0, 155) is None
    assert sequence.missing(0, 155) == 55
    sequence.deliver(0, 160)
    assert sequence.missing(0, 161) == 0
    assert sequence.gap(0, 170) == 161


def test_what_markers_and_aborted_data_follow_is_done_when_it_is_applied(
    sequence: BatchSequence[int],
) -> None:
    sequence.deliver(0, 149, after=151)
    assert sequence.gap(0, 151) is None
    sequence.deliver(0, 199, after=230)
    assert sequence.apply(0, 149)
    assert sequence.done(0) == 150
    assert sequence.apply(0, 199)
    assert (sequence.done(0), sequence.under_way(0)) == (230, 0)


def test_offsets_without_records_are_skipped_unless_something_is_under_way(
    sequence: BatchSequence[int],
) -> None:
    assert sequence.skip(0, 100) == 0
    assert sequence.skip(0, 130) == 30
    sequence.deliver(0, 149)
    assert sequence.skip(0, 160) == 0
    sequence.apply(0, 149)
    assert sequence.skip(0, 160) == 10
    assert sequence.skip(1, 10) == 0  # reading has not begun
    assert (sequence.done(0), sequence.gap(0, 160)) == (160, None)


def test_a_batch_that_vanished_stops_the_worker(sequence: BatchSequence[int]) -> None:
    sequence.deliver(0, 149)
    sequence.deliver(0, 199)
    with pytest.raises(LostBatchError, match="149"):
        sequence.apply(0, 199)


def test_a_batch_from_before_a_new_start_commits_nothing(sequence: BatchSequence[int]) -> None:
    sequence.deliver(0, 149)
    sequence.start({0: 100})
    assert not sequence.apply(0, 149)
    sequence.deliver(0, 149)
    assert sequence.apply(0, 149)


def test_a_replayed_batch_may_begin_earlier(sequence: BatchSequence[int]) -> None:
    assert sequence.gap(0, 90) is None


def test_what_is_under_way_is_counted_in_offsets_by_partition(sequence: BatchSequence[int]) -> None:
    sequence.deliver(0, 149)
    sequence.deliver(0, 199)
    assert (sequence.under_way(0), sequence.under_way(1)) == (100, 0)
    sequence.apply(0, 149)
    assert sequence.under_way(0) == 50
    sequence.start({0: 120})
    assert sequence.under_way(0) == 0
