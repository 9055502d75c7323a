"""Searches the items with the largest products in cells of like items, not in all of them.

Items whose vectors lie together share a cell [1]. A user's products with the middles of the cells
say which few cells are worth a look, and their items alone are multiplied. The numbers of an item
beside its vector (how popular it is) are coordinates as well, so that popular items lie together
too; with the vectors alone a third of the best items was in cells that nobody looks at. What is
found is nearly always the best, so a model is served this way only where enough was found for
users made up from its own items (`found_share`); else the product with all items is there.

Finding the cells takes most of the start of a large model, so whoever writes a model finds them
once, by one thread and one seed, and the directory holds them (`Cells`), with how many are worth a
look. Where it has none they are found at the start; two processes find the same.

[1] Sivic, Zisserman: Video Google (ICCV 2003); Jegou, Douze, Schmid: Product Quantization for
    Nearest Neighbor Search (PAMI 2011), section IV. faiss has both.

Glossary: U users, V items (row 0: unknown), D width, P numbers beside a vector and zeros behind
them, N items found, C cells.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.serving.retrieval import Asked, Found, ItemVectors, Query

Array = np.ndarray[Any, Any]

LEAST_ITEMS: Final = 50_000
"""Below, a product with all items costs no more than the cells."""
CELLS_OF_ROOT: Final = 1.6
"""Cells, of the square root of the items: as long is spent on their middles as on their items."""
LOOKED_AT: Final = (8, 16, 32, 64)
"""Cells of a user that are looked at; the first that finds enough is taken."""
LEAST_FOUND: Final = 0.995
"""Share of the exact first ten that has to be found."""
FIRST: Final = 10
ROUNDS: Final = 4
SAMPLE: Final = 32
"""Rounds of k-means, and items of a cell that take part in it."""
SEED: Final = 1


def faiss_or_none() -> Any:
    """Returns the library of cells; None where it is not installed (extra `index`)."""
    if importlib.util.find_spec("faiss") is None:
        return None
    return importlib.import_module("faiss")


@dataclass(frozen=True)
class Cells:
    """Says where the items of a model lie; nothing of it depends on the library of cells."""

    middles: Tensor  # float32 [C, D + P]
    cell: Tensor  # int32 [V] of each item
    looked_at: Tensor  # int32 [1], cells of a user that hold enough of the best; 0: none do
    share: Tensor  # float32 [1], of the exact first ten of made-up users that they hold

    def fit(self, items: ItemVectors) -> bool:
        """Returns whether they are cells of so many items and numbers, as many as are made here."""
        middles, cell = self.middles, self.cell
        return (
            middles.dtype == torch.float32
            and middles.shape == (cells_for(items.count), items.block.shape[1])
            and cell.dtype == self.looked_at.dtype == torch.int32
            and cell.shape == (items.count,)
            and self.looked_at.shape == self.share.shape == (1,)
            and int(self.looked_at) in (0, *LOOKED_AT)
            and bool(((cell >= 0) & (cell < len(middles))).all())
            and bool(torch.isfinite(middles).all())
        )


class CellSearch:
    """Multiplies with the items of some cells of each user."""

    def __init__(
        self,
        faiss: Any,
        items: ItemVectors,
        priors: tuple[Tensor, ...],
        stored: Cells | None = None,
    ) -> None:
        """Takes the numbers beside the vectors too, [1, V + 1] each.

        They stay as they are: with another snapshot of popularity the search is another one.
        stored: cells that were found before; None: they are found now.
        """
        items.put_beside(priors)
        self._items = items
        self._faiss = faiss
        faiss.omp_set_num_threads(1)
        vectors = items.block[1 : items.count + 1].numpy()
        if stored is None:
            self.middles, self.cell = _found(faiss, vectors)
        else:
            self.middles, self.cell = stored.middles, stored.cell
        self._index = _index(faiss, vectors, self.middles, self.cell)
        self.looks_at(LOOKED_AT[0])
        self._products = _products_of_rows()

    def looks_at(self, cells: int) -> None:
        """Looks at that many cells of a user from now on."""
        self._index.nprobe = cells

    def __call__(self, query: Query, asked: Asked, most: int) -> Found:
        """Returns `most` items of each user, nearly always the best."""
        return self.found(query, self.nearest(query, most))

    def nearest(self, query: Query, most: int) -> Tensor:
        """Returns the rows of `most` items of each user, int64 [U, N]; 0 where cells have fewer."""
        self._faiss.omp_set_num_threads(torch.get_num_threads())
        _, places = self._index.search(self._items.whole(query).numpy(), most)
        return torch.from_numpy(places + 1)

    def found(self, query: Query, rows: Tensor) -> Found:
        """Returns what was found, with the exact products."""
        whole = self._items.whole(query)

        def products(wanted: Tensor) -> Tensor:
            """Returns the products of rows [U, K]."""
            exact: Tensor = self._products(wanted, whole, self._items.block)
            return exact.masked_fill(wanted == 0, float("-inf"))

        return Found(rows, products)


def cells_for(items: int) -> int:
    """Returns how many cells there are of so many items (C)."""
    return 1 << round(math.log2(CELLS_OF_ROOT * math.sqrt(items)))


def _found(faiss: Any, vectors: Array) -> tuple[Tensor, Tensor]:
    """Returns the middles of cells and the cell of each item, of vectors float32 [V, D + P]."""
    items, width = vectors.shape
    cells = cells_for(items)
    drawn = np.random.default_rng(SEED).choice(items, min(items, SAMPLE * cells), replace=False)
    means = faiss.Kmeans(
        width,
        cells,
        niter=ROUNDS,
        seed=SEED,
        min_points_per_centroid=1,
        max_points_per_centroid=SAMPLE,
    )
    means.train(vectors[np.sort(drawn)])
    _, nearest = means.index.search(vectors, 1)
    return torch.from_numpy(means.centroids), torch.from_numpy(nearest[:, 0].astype(np.int32))


def _index(faiss: Any, vectors: Array, middles: Tensor, cell: Tensor) -> Any:
    """Returns the items of vectors float32 [V, D + P] in their cells."""
    # an item lies where it is near; cells are looked at where the product is large
    cells, width = middles.shape
    coarse = faiss.IndexFlatIP(width)
    coarse.add(middles.numpy())
    index = faiss.IndexIVFScalarQuantizer(
        coarse, width, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    index.train(vectors[:1])
    _fill(faiss, index, vectors, cell.numpy())
    return index


def _fill(faiss: Any, index: Any, vectors: Array, cell: Array) -> None:
    """Puts vectors float32 [V, D + P] into cells int32 [V].

    Each cell is made as large as it has to be; one that grows takes up to twice as much.
    """
    order = np.argsort(cell, kind="stable")
    ends = np.cumsum(np.bincount(cell, minlength=index.nlist))
    for number, places in enumerate(np.split(order, ends[:-1])):
        if len(places):
            codes = vectors[places].astype(np.float16)
            index.invlists.resize(number, len(places))
            index.invlists.update_entries(
                number, 0, len(places), faiss.swig_ptr(places), _bytes_of(faiss, codes)
            )
    index.ntotal = len(vectors)


def _bytes_of(faiss: Any, codes: Array) -> Any:
    """Returns a pointer to the bytes of an array."""
    return faiss.swig_ptr(codes.view(np.uint8))


def products_of_rows(rows: Tensor, queries: Tensor, vectors: Tensor) -> Tensor:
    """Returns the products of rows [U, K] with the query of each user [U, D], [U, K].

    They are those of a sparse matrix of U rows. To copy the vectors of all rows before they are
    multiplied takes five times as long.
    """
    users, places = rows.shape[0], rows.shape[1]
    pattern = torch.sparse_csr_tensor(
        torch.arange(users + 1) * places,
        rows.flatten(),
        torch.zeros(users * places),
        [users, vectors.shape[0]],
    )
    products: Tensor = torch.sparse.sampled_addmm(pattern, queries, vectors.t(), beta=0.0)
    return products.values().view(users, places)


def _products_of_rows() -> Callable[[Tensor, Tensor, Tensor], Any]:
    """Returns the function compiled, so that a traced pass has it for any number of users."""
    with warnings.catch_warnings():
        # that compiling is deprecated, and that PyTorch may change its sparse tensors
        warnings.simplefilter("ignore")
        compiled: Callable[[Tensor, Tensor, Tensor], Any] = torch.jit.script(products_of_rows)
        compiled(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1), torch.zeros(1, 1))
    return compiled


def found_share(search: CellSearch, query: Query, exact: Tensor) -> float:
    """Returns the share of the exact first ten, rows int64 [U, 10], that a search finds."""
    rows = search.nearest(query, exact.shape[1])
    return float((exact.unsqueeze(2) == rows.unsqueeze(1)).any(2).float().mean())
