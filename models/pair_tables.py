"""The best pairs of each item, as a table with a row an item: what co-occurrence and followers both keep.

Glossary: P pairs of items, V items (row 0: unknown), K pairs an item.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def strongest(first: Array, second: Array, strength: Array, items: int, most: int) -> tuple[Array, Array]:
    """int32 and float32 [V + 1, K]: the `most` strongest `second` of each `first`, best first, and their strengths; 0 where there is none.

    first, second, strength: [P], a pair once. Among equals the lower row comes first.
    """
    order = np.lexsort((second, -strength, first))
    first, second, strength = first[order], second[order], strength[order]
    rank = np.arange(len(first)) - np.searchsorted(first, np.arange(items + 1))[first]
    kept = rank < most
    width = int(min(most, rank.max(initial=0) + 1))
    rows, values = np.zeros((items + 1, width), np.int32), np.zeros((items + 1, width), np.float32)
    rows[first[kept], rank[kept]] = second[kept]
    values[first[kept], rank[kept]] = strength[kept]
    return rows, values
