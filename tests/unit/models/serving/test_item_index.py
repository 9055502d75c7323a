"""Cells of like items hold nearly all of the best, and what is found has its exact products."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from models.serving.item_index import CellSearch, faiss_or_none, found_share, products_of_rows
from models.serving.retrieval import Found, ItemVectors, Query

USERS, ITEMS, WIDTH, GROUPS, MOST = 16, 4_000, 13, 40, 20


@pytest.fixture(scope="module")
def items() -> ItemVectors:
    torch.manual_seed(4)
    vectors = torch.randn(GROUPS, WIDTH)[torch.randint(0, GROUPS, (ITEMS + 1,))]
    vectors += 0.3 * torch.randn(ITEMS + 1, WIDTH)
    vectors[0] = 0
    return ItemVectors.of(vectors, torch.randn(ITEMS + 1), shared=True, most=MOST)


@pytest.fixture(scope="module")
def priors(items: ItemVectors) -> tuple[Tensor, ...]:
    popularity = items.log_popularity[None]
    return torch.randn(1, ITEMS + 1), popularity, popularity


@pytest.fixture(scope="module")
def query(items: ItemVectors) -> Query:
    torch.manual_seed(5)
    some = torch.randint(1, ITEMS, (USERS,))
    return Query(items.vectors[some] + 0.1 * torch.randn(USERS, WIDTH), torch.rand(USERS, 3))


@pytest.fixture(scope="module")
def search(items: ItemVectors, priors: tuple[Tensor, ...]) -> CellSearch:
    return CellSearch(faiss_or_none(), items, priors)


def all_products(items: ItemVectors, priors: tuple[Tensor, ...], query: Query) -> Tensor:
    found = query.vector @ items.vectors.t() + query.priors @ torch.cat(priors)
    found[:, 0] = float("-inf")
    return found


def test_products_of_what_is_found_are_exact(
    search: CellSearch, items: ItemVectors, priors: tuple[Tensor, ...], query: Query
) -> None:
    wanted = all_products(items, priors, query)
    rows = torch.randint(0, ITEMS + 1, (USERS, 50))
    rows[:, 7] = 0
    found: Found = search.found(query, rows)
    torch.testing.assert_close(found.products(rows), wanted.gather(1, rows), atol=1e-4, rtol=1e-4)


def test_products_of_rows_are_those_of_a_whole_product() -> None:
    vectors, queries = torch.randn(30, 5), torch.randn(4, 5)
    rows = torch.tensor([[3, 3, 0], [29, 1, 3], [0, 0, 0], [5, 6, 7]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that PyTorch may change its sparse tensors
        found = products_of_rows(rows, queries, vectors)
    torch.testing.assert_close(found, (queries @ vectors.t()).gather(1, rows))


def test_more_cells_find_more_until_all_is_found(
    search: CellSearch, items: ItemVectors, priors: tuple[Tensor, ...], query: Query
) -> None:
    exact = all_products(items, priors, query).topk(10, dim=1).indices
    shares = []
    for cells in (1, 8, 1_000):
        search.looks_at(cells)
        shares.append(found_share(search, query, exact))
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] == 1.0
    rows = search.nearest(query, MOST)
    assert rows.shape == (USERS, MOST)
    assert ((rows > 0) & (rows <= ITEMS)).all()


def test_what_cells_have_too_few_of_is_no_item(search: CellSearch, query: Query) -> None:
    search.looks_at(1)
    rows = search.nearest(query, ITEMS)
    assert (rows == 0).any()
    assert ((rows >= 0) & (rows <= ITEMS)).all()


def test_two_searches_of_one_model_find_the_same(
    search: CellSearch, items: ItemVectors, priors: tuple[Tensor, ...], query: Query
) -> None:
    again = CellSearch(faiss_or_none(), items, priors)
    for each in (search, again):
        each.looks_at(2)
    assert torch.equal(again.nearest(query, MOST), search.nearest(query, MOST))
