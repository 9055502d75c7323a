"""Finds interests for a catalogue without categories: clusters of items, named by their own words.

Items are near when the same users touch them close together and when their titles share words.
Vectors are a low-rank sketch of both [1, 2], clusters are spherical k-means [3]. Everything is
drawn from one seed, so a catalogue and its events always give the same interests.

[1] Levy, Goldberg: Neural Word Embedding as Implicit Matrix Factorization (2014): positive
    pointwise mutual information (PMI) of neighbours.
[2] Halko, Martinsson, Tropp: Finding Structure with Randomness (2011), algorithm 4.4.
[3] Dhillon, Modha: Concept Decompositions for Large Sparse Text Data (2001).

Glossary: V items, W words, D width of the sketch, K clusters.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import numpy as np
import torch

from models.data.prepare import Dataset, owners

Array = np.ndarray[Any, Any]

WIDTH: Final = 64
"""D: the numbers of an item's vector."""
WINDOW: Final = 5
"""Neighbours are items within so many events of a user."""
MOST_EVENTS: Final = 2_000_000
"""So many events of the log are read for neighbours: it bounds memory, and more add nothing new."""
MOST_WORDS: Final = 20_000
"""Words of titles that are read, the most frequent ones."""
COMMON: Final = 0.1
"""A word in a larger share of the titles tells clusters apart no better than "the" does."""
FEW: Final = 20
"""A word in no more titles than this is read even where COMMON would leave it out."""
STARTS: Final = 4
"""K-means starts so often, and the best result is kept."""
ROUNDS: Final = 30
"""K-means ends after so many rounds, should it not have settled before."""
NAME_WORDS: Final = 3
"""Words of a cluster's name; more only where two clusters would be called the same."""
_WORD: Final = re.compile(r"[^\W\d_]{3,}|[\u3040-\u30ff\u4e00-\u9fff]{2}")
_STOP: Final = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "from",
        "your",
        "you",
        "are",
        "our",
        "out",
        "off",
        "this",
        "that",
        "its",
        "not",
        "set",
        "new",
        "的",
    ]
)

Sparse = tuple[Array, Array, Array, int]
"""Rows, columns, values and number of columns of a matrix with V rows."""


def cluster_items(
    dataset: Dataset, rows: Array, most: int, seed: int
) -> tuple[list[str], list[list[int]]]:
    """Returns the names of at most `most` clusters, and the items of each (catalogue positions).

    Clusters with most events come first. rows: int32 [N] catalogue position + 1 of each event of
    the data set, 0 unknown. The last event of each user is not read: it is what evaluation tests.
    """
    items = len(dataset.item_ids)
    words = [_words(title) for title in dataset.titles]
    parts = [_neighbours(dataset, rows, items), _text(words)]
    vectors = _sketch([part for part in parts if len(part[0])], items, seed)
    count = int(np.clip(round(1.5 * np.sqrt(items) / 2), 2, most))
    starts = [_spherical_k_means(vectors, count, seed + start) for start in range(STARTS)]
    labels = max(starts, key=lambda found: found[1])[0]
    weight = np.bincount(rows, minlength=items + 1)[1:] + 1
    groups = [np.flatnonzero(labels == cluster) for cluster in range(count)]
    groups = sorted(
        (group for group in groups if len(group)), key=lambda group: -int(weight[group].sum())
    )
    return _names(groups, words, weight), [group.tolist() for group in groups]


def _neighbours(dataset: Dataset, rows: Array, items: int) -> Sparse:
    """Returns the positive pointwise mutual information of items within WINDOW events [1]."""
    owner = owners(dataset)
    last = np.zeros(len(owner), bool)
    last[dataset.user_start[1:] - 1] = True
    kept = np.flatnonzero((rows > 0) & ~last)[:MOST_EVENTS]
    item, owner = rows[kept].astype(np.int64) - 1, owner[kept]

    # Pairs of items by the distance between them, a nearer pair counting more.
    pairs, weights = [], []
    for distance in range(1, WINDOW + 1):
        a, b = item[:-distance], item[distance:]
        together = (owner[:-distance] == owner[distance:]) & (a != b)
        pairs.append(
            np.concatenate((a[together] * items + b[together], b[together] * items + a[together]))
        )
        weights.append(np.full(len(pairs[-1]), 1.0 / distance))
    cells, place = np.unique(np.concatenate(pairs), return_inverse=True)
    count = np.bincount(place, np.concatenate(weights), minlength=len(cells))
    row, column = cells // items, cells % items

    # How much more often a pair occurs than two items that have nothing to do with each other.
    total = np.bincount(row, count, minlength=items)
    smooth = total**0.75  # context smoothing as in [1]: rare neighbours are not overrated
    value = np.log(
        np.maximum(count * smooth.sum() / np.maximum(total[row] * smooth[column], 1e-9), 1e-9)
    )
    kept = value > 0
    return _unit(row[kept], column[kept], value[kept], items)


def _text(words: list[list[str]]) -> Sparse:
    """Returns the tf-idf of title words, rows of length 1."""
    frequency = Counter(word for title in words for word in dict.fromkeys(title))
    most = max(COMMON * len(words), min(len(words) / 2, FEW))
    usual = [word for word, count in frequency.most_common() if 2 <= count <= most][:MOST_WORDS]
    index = {word: place for place, word in enumerate(usual)}
    cells = [
        (item, index[word])
        for item, title in enumerate(words)
        for word in dict.fromkeys(title)
        if word in index
    ]
    row, column = np.array(cells, np.int64).reshape(-1, 2).T
    idf = np.log(len(words) / np.array([frequency[word] for word in usual] or [1]))
    return _unit(row, column, idf[column], len(usual), len(words))


def _unit(row: Array, column: Array, value: Array, columns: int, rows: int | None = None) -> Sparse:
    """Returns a matrix with its rows scaled to length 1."""
    norm = np.sqrt(np.bincount(row, value**2, minlength=rows or columns))
    return row, column, value / np.maximum(norm[row], 1e-9), columns


def _sketch(parts: list[Sparse], items: int, seed: int) -> Array:
    """Returns a vector for each item, float32 [V, D], each of length 1.

    It is the left singular vectors of the parts put side by side, times the roots of their singular
    values; found by the randomised subspace iteration of [2].
    """
    if not parts:
        return np.ones((items, 1), np.float32)

    # All parts as one sparse matrix, their columns side by side.
    offset, rows, columns, values = 0, [], [], []
    for row, column, value, width in parts:
        rows.append(row)
        columns.append(column + offset)
        values.append(value)
        offset += width
    places = torch.from_numpy(np.stack((np.concatenate(rows), np.concatenate(columns))))
    matrix = torch.sparse_coo_tensor(
        places,
        torch.from_numpy(np.concatenate(values)).double(),
        (items, offset),
        check_invariants=True,
    ).coalesce()

    # A random basis is turned towards the directions in which the matrix is large.
    generator = torch.Generator().manual_seed(seed)
    width = min(WIDTH + 8, items, offset)
    basis = torch.sparse.mm(
        matrix, torch.randn(offset, width, generator=generator, dtype=torch.float64)
    )
    transposed = matrix.t().coalesce()
    for _ in range(4):
        basis = torch.linalg.qr(basis).Q
        basis = torch.sparse.mm(matrix, torch.linalg.qr(torch.sparse.mm(transposed, basis)).Q)
    basis = torch.linalg.qr(basis).Q

    # Within that basis the matrix is small, so its exact decomposition is cheap.
    left, singular, _ = torch.linalg.svd(
        torch.sparse.mm(transposed, basis).t(), full_matrices=False
    )
    vectors = (basis @ left * singular.sqrt())[:, :WIDTH]
    return torch.nn.functional.normalize(vectors, dim=1).float().numpy()


def _spherical_k_means(vectors: Array, clusters: int, seed: int) -> tuple[Array, float]:
    """Returns the cluster of each item, int64 [V], and how well they fit [3].

    The fit is the sum of the cosines of items and their centres. Centres start as in k-means++; an
    empty cluster takes the item that is furthest from its own centre.
    """
    random = np.random.default_rng(seed)
    centres = vectors[random.integers(len(vectors))][None]
    nearest = 1 - vectors @ centres[0]
    for _ in range(1, clusters):
        chance = np.maximum(nearest, 0).astype(np.float64) + 1e-12
        chosen = vectors[random.choice(len(vectors), p=chance / chance.sum())]
        centres = np.concatenate((centres, chosen[None]))
        nearest = np.minimum(nearest, 1 - vectors @ chosen)

    # Items go to their nearest centre, and centres to the middle of their items.
    labels = np.full(len(vectors), -1)
    for _ in range(ROUNDS):
        similar = vectors @ centres.T
        before, labels = labels, similar.argmax(1)
        if (before == labels).all():
            break
        for cluster in range(clusters):
            mine = vectors[labels == cluster]
            centre = mine.sum(0) if len(mine) else vectors[similar.max(1).argmin()]
            centres[cluster] = centre / max(float(np.linalg.norm(centre)), 1e-9)
    return labels, float((vectors @ centres.T).max(1).sum())


def _words(title: str) -> list[str]:
    """Returns the words of a title that may tell clusters apart; two signs make a Chinese word."""
    return [word for word in _WORD.findall(title.lower()) if word not in _STOP]


def _names(groups: list[Array], words: list[list[str]], weight: Array) -> list[str]:
    """Returns a name for each cluster: words that most of its items share and most others lack.

    No two names are alike. A word scores its share within the cluster times the logarithm of how
    much larger that is than its share of all items.
    """
    # How often each word occurs, within each cluster and overall, weighted by the items' events.
    overall: Counter[str] = Counter()
    within: list[Counter[str]] = []
    for group in groups:
        count: Counter[str] = Counter()
        for item in group.tolist():
            for word in dict.fromkeys(words[item]):
                count[word] += int(weight[item])
        overall.update(count)
        within.append(count)

    # The best words of each cluster, and one more where a name is taken already.
    total = float(weight.sum())
    taken: set[str] = set()
    names: list[str] = []
    for place, (group, count) in enumerate(zip(groups, within, strict=True)):
        size = float(weight[group].sum())
        scored = {
            word: share * np.log(share * total / overall[word])
            for word, n in count.items()
            if (share := n / size) > 0
        }
        ranked = sorted(scored, key=lambda word: (-scored[word], word))
        name = _name(ranked, taken) or f"Group {place + 1}"
        taken.add(name)
        names.append(name)
    return names


def _name(ranked: list[str], taken: set[str]) -> str:
    """Returns the first few words joined, as many as make the name a new one; empty if none do."""
    for length in range(min(NAME_WORDS, len(ranked)), min(NAME_WORDS + 6, len(ranked) + 1)):
        name = ", ".join(ranked[:length]).capitalize()
        if name and name not in taken:
            return name
    return ""
