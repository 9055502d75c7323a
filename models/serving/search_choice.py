"""Chooses how the items of a large catalogue are searched, once, when a model is written.

A directory without the choice has it made when the model is loaded, each time.

Cells of like items are looked at only if enough of the best is found so, for users made up from
the model's own items: half of them met items that are like one another, half met popular ones.

Glossary: U users, V items (row 0: unknown), N items found, R = 32 recent events.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from models.compact import COMPACT, RECENT, hash64
from models.serving.item_index import (
    FIRST,
    LEAST_FOUND,
    LEAST_ITEMS,
    LOOKED_AT,
    Cells,
    CellSearch,
    faiss_or_none,
    found_share,
)
from models.serving.reading import Known, Networks
from models.serving.retrieval import Asked, ItemVectors, Query
from models.serving.trained_model import TrainedModel

Array = np.ndarray[Any, Any]

USERS: Final = 256
AT_ONCE: Final = 32
"""Users whose products with all items are in memory together, at most."""
PRODUCTS: Final = 1 << 24
"""Products that are in memory together: 64 MB."""
GAP_MS: Final = 240_000
NOW_MS: Final = 1_770_000_000_000

log = logging.getLogger("interest_stream")


class Answering(Protocol):
    """Says what a choice needs of a predictor (models.serving.predictor)."""

    trained: TrainedModel

    @property
    def item_vectors(self) -> ItemVectors | None:
        """Returns what the networks multiply items by; None where all items are scored."""
        ...

    def rebuild(self, recent: Array) -> Array:
        """Returns the memory of users by their recent events."""
        ...

    def known(self, state: Array, recent: Array) -> Known:
        """Returns what a pass has to know of users."""
        ...

    def networks(self, known: Known) -> Networks:
        """Returns what the networks make of users."""
        ...

    def asked(self, known: Known, networks: Networks) -> Asked:
        """Returns what is known of users when their candidates are looked for."""
        ...


def cells_of(predictor: Answering) -> CellSearch | None:
    """Returns the cells that find enough of a model's items; None: multiply with all of them."""
    items, faiss = _searched(predictor), faiss_or_none()
    if items is None:
        return None
    if faiss is None:
        log.info(
            "items are searched by a product with all %d; extra 'index' is faster", items.count
        )
        return None
    stored = _stored(predictor.trained, items)
    if stored is None:
        search, stored = _found(predictor, items, faiss)
    elif int(stored.looked_at):
        search = CellSearch(faiss, items, _priors(predictor, items), stored)
    cells, share = int(stored.looked_at), float(stored.share)
    if not cells:
        log.info("items are searched by a product with all: cells find %.4f of the best", share)
        return None
    search.looks_at(cells)
    log.info("items are searched in %d cells a user: %.4f found", cells, share)
    return search


def cells_to_store(predictor: Answering) -> Cells | None:
    """Returns the cells that a directory should hold, so that no start has to find them.

    None where a start would look at none, and where the library of cells is not installed.
    """
    items, faiss = _searched(predictor), faiss_or_none()
    if items is None or faiss is None:
        return None
    with torch.inference_mode():
        return _found(predictor, items, faiss)[1]


def _searched(predictor: Answering) -> ItemVectors | None:
    """Returns the items of a model that are worth cells; None: they are too few, or differ."""
    items = predictor.item_vectors
    if items is None or items.count < LEAST_ITEMS or not items.shared or items.attends:
        return None
    return items


def _priors(predictor: Answering, items: ItemVectors) -> tuple[Tensor, ...]:
    """Returns the numbers beside the vectors, as a user without events has them: as anybody."""
    recent = np.zeros((1, RECENT), COMPACT)
    known = predictor.known(predictor.rebuild(recent), recent)
    return items.priors(predictor.asked(known, predictor.networks(known)))


def _found(predictor: Answering, items: ItemVectors, faiss: Any) -> tuple[CellSearch, Cells]:
    """Returns cells that are found now, and as they are stored: with how many are looked at."""
    recent = made_up_users(predictor.trained, items)
    known = predictor.known(predictor.rebuild(recent), recent)
    asked = predictor.asked(known, predictor.networks(known))
    query = Query.of(asked, shared=True)
    search = CellSearch(faiss, items, items.priors(asked))
    exact = _first_of_all(query, items)
    for cells in LOOKED_AT:
        search.looks_at(cells)
        share = found_share(search, query, exact)
        if share >= LEAST_FOUND:
            break
    else:
        cells = 0
    looked_at = torch.tensor([cells], dtype=torch.int32)
    return search, Cells(search.middles, search.cell, looked_at, torch.tensor([share]))


def _stored(trained: TrainedModel, items: ItemVectors) -> Cells | None:
    """Returns the cells that a model was stored with; None if there are none that fit."""
    if trained.cells is None:
        why = "the model directory has none"
    elif not trained.cells.fit(items):
        why = "those of the model directory are of another shape"
    else:
        return trained.cells
    log.info(
        "cells of %d items are found now, as at each start: %s; a new training stores them",
        items.count,
        why,
    )
    return None


def made_up_users(trained: TrainedModel, items: ItemVectors) -> Array:
    """Returns recent events of users, COMPACT [U, R]."""
    random = torch.Generator().manual_seed(0)
    shares = items.log_popularity[1:].double().exp().numpy()
    drawn = np.random.default_rng(0).choice(items.count, (USERS, RECENT), p=shares / shares.sum())
    rows = torch.from_numpy(1 + drawn)
    half = USERS // 2
    at_once = _at_once(items)
    for start in range(0, half, at_once):
        some = rows[start : min(start + at_once, half)]
        like = items.vectors[some[:, 0]] @ items.vectors.t()
        like[:, 0] = float("-inf")
        order = torch.randperm(RECENT, generator=random)
        some.copy_(like.topk(RECENT, dim=1).indices[:, order])
    recent = np.zeros(rows.shape, COMPACT)
    met, which = np.unique(rows.numpy(), return_inverse=True)
    keys = np.array([hash64(trained.info.items[row - 1]) for row in met.tolist()], np.uint64)
    recent["key"] = keys[which].reshape(rows.shape)
    recent["time_ms"] = NOW_MS - GAP_MS * np.arange(RECENT)
    recent["action"] = 1
    return recent


def _first_of_all(query: Query, items: ItemVectors) -> Tensor:
    """Returns the rows of the first ten of all items, int64 [U, 10].

    The numbers beside their vectors are in the block.
    """
    found = []
    every, at_once = items.block[: items.count + 1].t(), _at_once(items)
    for some in torch.split(items.whole(query), at_once):
        products = some @ every
        products[:, 0] = float("-inf")
        found.append(products.topk(FIRST, dim=1).indices)
    return torch.cat(found)


def _at_once(items: ItemVectors) -> int:
    """Returns how many users' products with all items are made together."""
    return max(1, min(AT_ONCE, PRODUCTS // (items.count + 1)))
