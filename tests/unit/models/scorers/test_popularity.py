"""Popularity over a whole training is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.scorers.popularity import log_shares

ITEMS = 4
ROWS = np.array([1, 1, 1, 2, 0, 3])


def test_shares_are_counts_and_half_an_event_of_each() -> None:
    shares = log_shares(ROWS, ITEMS).exp()
    assert shares[1:].tolist() == pytest.approx([3.5 / 7.5, 1.5 / 7.5, 1.5 / 7.5, 0.5 / 7.5])
    assert shares[0] == 1  # a row that is never recommended
