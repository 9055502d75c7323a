"""A pool is a small catalogue of each user: places for its items, and place 0 for all others."""

from __future__ import annotations

import torch

from models.scorers.scorer import EVERYTHING, MOST_SLOTS, NOBODY, Pool


def test_the_places_of_all_items_are_their_rows() -> None:
    rows = torch.tensor([[3, 0, 7]])
    assert EVERYTHING.places(rows) is rows
    assert EVERYTHING.rows_of(rows) is rows
    table, weights = torch.rand(8, 2), torch.rand(1, 8)
    assert torch.equal(EVERYTHING.summed(weights, table), weights @ table)


def test_an_item_has_one_place_however_often_it_is_named() -> None:
    pool = Pool.of(torch.tensor([[5, 9, 5, 0, 2], [0, 0, 0, 0, 0]]), items=9)
    assert pool.rows is not None
    assert sorted(pool.rows[0].tolist()) == [0, 0, 0, 0, 2, 5, 9]
    assert (pool.rows[:, : NOBODY + 1] == 0).all()
    places = pool.places(torch.tensor([[9, 5, 2, 0, 1], [9, 5, 2, 0, 1]]))
    assert pool.rows_of(places).tolist() == [[9, 5, 2, 0, 0], [0, 0, 0, 0, 0]]
    assert (places[:, 3:] == 0).all()  # of no item, and of an item that is not in the pool
    assert (places[1] == 0).all()


def test_of_two_items_of_one_slot_the_more_wanted_stays() -> None:
    near, far = 7, 7 + MOST_SLOTS
    for named in ([near, far], [far, near]):
        pool = Pool.of(torch.tensor([named]), items=2 * MOST_SLOTS)
        assert pool.rows is not None
        assert pool.rows[0, 2:].tolist() == [0, named[1]]
        found = pool.rows_of(pool.places(torch.tensor([[near, far]])))
        assert found[0].tolist() == [row * (row == named[1]) for row in (near, far)]


def test_in_a_small_catalogue_no_two_items_share_a_slot() -> None:
    everything = torch.arange(1, 1_000).expand(3, -1)
    pool = Pool.of(everything, items=999)
    assert torch.equal(pool.rows_of(pool.places(everything)), everything)


def test_a_table_is_summed_with_the_weights_of_the_items() -> None:
    pool = Pool.of(torch.tensor([[4, 2, 4], [0, 1, 3]]), items=4)
    assert pool.rows is not None
    table = torch.rand(5, 3)
    weights = torch.rand(pool.rows.shape) * (pool.rows > 0)
    wanted = torch.stack(
        [mine @ table[rows] for mine, rows in zip(weights, pool.rows, strict=True)]
    )
    torch.testing.assert_close(pool.summed(weights, table), wanted)
