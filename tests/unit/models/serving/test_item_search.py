"""A search finds the items with the largest products, as looking at every one of them would."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.scorers.registry import NAMES
from models.scorers.scorer import RecentItems
from models.serving.item_search import ProductSearch, best_columns
from models.serving.retrieval import GROUP, Asked, ItemVectors, Query

USERS, ITEMS, WIDTH, MOST = 5, 700, 8, 12


@pytest.mark.parametrize("columns", [16, 100, 2 * MOST * GROUP, MOST * GROUP**2 * 2])
def test_the_best_columns_are_the_best_of_all(columns: int) -> None:
    values = torch.randn(USERS, columns, generator=torch.Generator().manual_seed(columns))
    wanted = values.topk(MOST, dim=1).indices
    assert torch.equal(best_columns(values, MOST).sort(1).values, wanted.sort(1).values)


@pytest.fixture
def asked() -> Asked:
    torch.manual_seed(1)
    rows = torch.randint(0, ITEMS + 1, (USERS, 32))
    return Asked(
        RecentItems(rows, rows > 0, rows > 0),
        answer=torch.randn(USERS, WIDTH),
        feature=torch.randn(USERS, WIDTH),
        attended=torch.randn(USERS, WIDTH),
        weights=torch.randn(USERS, len(NAMES)),
        biases=torch.randn(1, ITEMS + 1),
        log_recent=torch.randn(1, ITEMS + 1),
    )


def blended(asked: Asked, tables: dict[str, Tensor], popularity: Tensor) -> Tensor:
    """What the scorers that are products say together, one after the other."""
    weight = dict(zip(NAMES, asked.weights.t().unsqueeze(2), strict=True))
    found: Tensor = (
        weight["language_model"] * (asked.answer @ tables["answer"].t() + asked.biases)
        + weight["lstm"] * (asked.feature @ tables["feature"].t() + asked.biases)
        + weight["popularity"] * popularity
        + weight["recent_popularity"] * asked.log_recent
    )
    if "attended" in tables:
        found += weight["attention"] * (asked.attended @ tables["attended"].t() + asked.biases)
    return found


@pytest.mark.parametrize("shared", [True, False], ids=["shared vectors", "vectors of their own"])
@pytest.mark.parametrize("live", [False, True], ids=["one moment", "many moments"])
@pytest.mark.parametrize("attends", [False, True], ids=["two networks", "and the attention"])
def test_products_are_the_blend_of_the_scorers_that_are_products(
    asked: Asked, shared: bool, live: bool, attends: bool
) -> None:
    if live:
        recent = torch.randn(USERS, ITEMS + 1)
        asked = Asked(**{**vars(asked), "log_recent": recent})
    items, popularity = torch.randn(ITEMS + 1, WIDTH), torch.randn(ITEMS + 1)
    tables = {"answer": items if shared else torch.randn(ITEMS + 1, WIDTH), "feature": items}
    if attends:
        tables["attended"] = torch.randn(ITEMS + 1, WIDTH)
    else:
        asked = Asked(**{**vars(asked), "attended": torch.zeros(USERS, 0)})
    different = [each for name, each in tables.items() if not (shared and name == "answer")]
    vectors = torch.cat(different, 1)
    search = ProductSearch(
        ItemVectors.of(vectors, popularity, shared=shared, attends=attends, most=MOST)
    )
    found = search(Query.of(asked, shared=shared), asked, MOST)
    wanted = blended(asked, tables, popularity)
    wanted[:, 0] = float("-inf")
    everything = torch.arange(ITEMS + 1).expand(USERS, -1)
    torch.testing.assert_close(found.products(everything), wanted, atol=1e-4, rtol=1e-4)
    best = wanted.topk(MOST, dim=1).indices
    assert torch.equal(found.rows.sort(1).values, best.sort(1).values)


def test_another_snapshot_of_popularity_is_searched_by_its_own_numbers(asked: Asked) -> None:
    asked = Asked(**{**vars(asked), "attended": torch.zeros(USERS, 0)})
    items, popularity = torch.randn(ITEMS + 1, WIDTH), torch.randn(ITEMS + 1)
    search = ProductSearch(ItemVectors.of(items, popularity, shared=True, most=MOST))
    query = Query.of(asked, shared=True)
    first = search(query, asked, MOST).rows
    other = Asked(**{**vars(asked), "log_recent": -20 * asked.log_recent})
    assert not torch.equal(search(query, other, MOST).rows, first)
    assert torch.equal(search(query, asked, MOST).rows, first)
