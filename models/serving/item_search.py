"""Searches the items with the largest products, by a product with all of them.

Glossary: U users, V items (row 0: unknown), D width, N items found, M columns of a product.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from models.serving.retrieval import PRIORS, Asked, Found, ItemVectors, Query

GROUP: Final = 16
"""Columns of which only the best is looked at first.

The N best columns are in the N groups with the best ones; these are looked for in the same way,
which takes a tenth of looking through 100,000 columns.
"""


class ProductSearch:
    """Multiplies with every item; what it finds is exactly the best."""

    def __init__(self, items: ItemVectors, most: int) -> None:
        """Takes the items, and about how many of them will be looked for."""
        self._items = items
        self._rows, self._width = items.vectors.shape
        # columns that can be grouped until few are left; those beyond the items are never found
        step = 1
        while self._rows // (step * GROUP) >= 2 * most:
            step *= GROUP
        columns = -(-self._rows // step) * step
        self._matrix = torch.zeros(self._width + PRIORS, columns)
        self._matrix[: self._width, : self._rows] = items.vectors.t()

    def __call__(self, query: Query, asked: Asked, most: int) -> Found:
        """Returns the `most` best items of each user."""
        products = self._products(query, asked)
        products[:, 0] = float("-inf")
        products[:, self._rows :] = float("-inf")
        return Found(best_columns(products, most), lambda rows: products.gather(1, rows))

    def _products(self, query: Query, asked: Asked) -> Tensor:
        """Returns the products with all items, and with the columns beyond, [U, M]."""
        matrix, priors = self._matrix, self._items.priors(asked)
        if all(each.shape[0] == 1 for each in priors):
            # what was there is of another snapshot of popularity; a copy of it all would cost more
            matrix[self._width :, : self._rows] = torch.cat(priors)
            return torch.cat((query.vector, query.priors), 1) @ matrix
        found = query.vector @ matrix[: self._width]
        for weight, prior in zip(query.priors.t(), priors, strict=True):
            found[:, : self._rows] += weight[:, None] * prior
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
