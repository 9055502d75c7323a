"""Searches the items with the largest products, by a product with all of them.

Glossary: U users, V items (row 0: unknown), D width, N items found, M rows of the block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.serving.retrieval import GROUP, Asked, Found, ItemVectors, Query


class ProductSearch:
    """Multiplies with every item; what it finds is exactly the best."""

    def __init__(self, items: ItemVectors) -> None:
        self._items = items

    def __call__(self, query: Query, asked: Asked, most: int) -> Found:
        """Returns the `most` best items of each user."""
        products = self._products(query, asked)
        products[:, 0] = float("-inf")
        products[:, self._items.count + 1 :] = float("-inf")
        return Found(best_columns(products, most), lambda rows: products.gather(1, rows))

    def _products(self, query: Query, asked: Asked) -> Tensor:
        """Returns the products with all rows of the block, [U, M]."""
        items, priors = self._items, self._items.priors(asked)
        if all(each.shape[0] == 1 for each in priors):
            # what was there is of another snapshot of popularity; a copy of it all would cost more
            items.put_beside(priors)
            return items.whole(query) @ items.block.t()
        found = query.vector @ items.block[:, : items.width].t()
        for weight, prior in zip(query.priors.t(), priors, strict=True):
            found[:, : items.count + 1] += weight[:, None] * prior
        return found


def best_columns(values: Tensor, most: int) -> Tensor:
    """Returns the columns of the `most` largest values, int64 [U, N] of [U, M], in any order."""
    columns = values.shape[1]
    groups = columns // GROUP
    if columns % GROUP or groups < 2 * most:
        return values.topk(most, dim=1, sorted=False).indices
    # group g holds the columns g, g + groups, g + 2 * groups and so on
    best = best_columns(values.view(-1, GROUP, groups).amax(1), most)
    inside = (best.unsqueeze(1) + groups * torch.arange(GROUP)[:, None]).flatten(1)
    found = values.gather(1, inside).topk(most, dim=1, sorted=False).indices
    return inside.gather(1, found)
