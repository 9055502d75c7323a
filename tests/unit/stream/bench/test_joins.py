"""When a worker got its partitions is read from its log."""

from __future__ import annotations

import pytest

from stream.bench.joins import assignment_times


def test_moments_of_assignments_come_from_the_log() -> None:
    first, second = assignment_times(
        "2026-01-01 00:00:01,250 INFO interest_stream: partitions assigned: 0, 1\n"
        "2026-01-01 00:00:02,500 INFO interest_stream: states restored: 5 records in 0.10 s\n"
        "2026-01-01 00:00:03,000 INFO interest_stream: partitions assigned: none\n"
    )
    assert second - first == pytest.approx(1.75)
