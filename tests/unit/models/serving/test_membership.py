"""A byte an item and interest says what a matrix of floats says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models.scorers.scorer import EVERYTHING, Pool
from models.serving.membership import Membership

USERS, ITEMS, INTERESTS = 5, 90, 7


@pytest.fixture
def belongs() -> np.ndarray[Any, Any]:
    found = np.random.default_rng(2).random((ITEMS + 1, INTERESTS)) < 0.3
    found[0] = False
    return found


@pytest.mark.parametrize("whole", [True, False], ids=["all items", "some items"])
def test_who_belongs_is_said_in_every_form(belongs: np.ndarray[Any, Any], whole: bool) -> None:
    membership, wanted = Membership(belongs, whole=whole), torch.from_numpy(belongs).float()
    rows = torch.randint(0, ITEMS + 1, (USERS, 12), generator=torch.Generator().manual_seed(1))
    which = torch.tensor([3, 0, 6, 6, 1])
    assert membership.count == ITEMS
    np.testing.assert_array_equal(membership.belongs, belongs[1:])
    assert torch.equal(membership.of(rows), wanted[rows])
    assert torch.equal(membership.among(rows, which), wanted[rows, which[:, None]])
    assert torch.equal(membership.of_all(which), wanted.t()[which])


@pytest.mark.parametrize("whole", [True, False], ids=["all items", "some items"])
def test_weights_are_added_up_by_interest(belongs: np.ndarray[Any, Any], whole: bool) -> None:
    membership, wanted = Membership(belongs, whole=whole), torch.from_numpy(belongs).float()
    named = torch.arange(1, 41).expand(USERS, -1)
    pool = Pool.of(named, ITEMS)
    assert pool.rows is not None
    weights = torch.rand(pool.rows.shape, generator=torch.Generator().manual_seed(1))
    picked = torch.zeros(USERS, ITEMS + 1).scatter_add_(1, pool.rows, weights)
    torch.testing.assert_close(membership.summed(pool, weights), picked @ wanted)
    torch.testing.assert_close(membership.summed(EVERYTHING, picked), picked @ wanted)
