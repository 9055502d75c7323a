"""Interests for a catalogue without categories: clusters of items, named by their own words.

Items are near when the same users touch them close together and when their titles share words. Vectors are a low-rank
sketch of both [1, 2], clusters are spherical k-means [3]. Everything is drawn from one seed, so a catalogue and its
events always give the same interests.

[1] Levy, Goldberg: Neural Word Embedding as Implicit Matrix Factorization (2014): positive PMI of neighbours.
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

from models.prepare import Dataset, owners

Array = np.ndarray[Any, Any]

WIDTH: Final = 64
WINDOW: Final = 5  # neighbours within so many events of a user
MOST_EVENTS: Final = 2_000_000  # of the log are read for neighbours; bounds memory, and more says nothing new
MOST_WORDS: Final = 20_000
COMMON: Final = 0.1  # a word in more titles than this tells clusters apart no more than "the",
FEW: Final = 20  # unless the titles are few
STARTS: Final = 4  # of k-means; the best is kept
ROUNDS: Final = 30
NAME_WORDS: Final = 3
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


def cluster_items(dataset: Dataset, rows: Array, most: int, seed: int) -> tuple[list[str], list[list[int]]]:
    """At most `most` clusters: names, and items of each (catalogue positions), those with most events first.

    rows: int32 [N] catalogue position + 1 of each event of the data set, 0 unknown. The last event of each user is not
    read: it is what evaluation asks for.
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
    groups = sorted((group for group in groups if len(group)), key=lambda group: -int(weight[group].sum()))
    return _names(groups, words, weight), [group.tolist() for group in groups]


def _neighbours(dataset: Dataset, rows: Array, items: int) -> Sparse:
    """Positive pointwise mutual information of items within WINDOW events of a user."""
    owner = owners(dataset)
    last = np.zeros(len(owner), bool)
    last[dataset.user_start[1:] - 1] = True
    kept = np.flatnonzero((rows > 0) & ~last)[:MOST_EVENTS]
    item, owner = rows[kept].astype(np.int64) - 1, owner[kept]
    pairs, weights = [], []
    for distance in range(1, WINDOW + 1):
        a, b = item[:-distance], item[distance:]
        together = (owner[:-distance] == owner[distance:]) & (a != b)
        pairs.append(np.concatenate((a[together] * items + b[together], b[together] * items + a[together])))
        weights.append(np.full(len(pairs[-1]), 1.0 / distance))
    cells, place = np.unique(np.concatenate(pairs), return_inverse=True)
    count = np.bincount(place, np.concatenate(weights), minlength=len(cells))
    row, column = cells // items, cells % items
    total = np.bincount(row, count, minlength=items)
    smooth = total**0.75  # context smoothing as in [1]: rare neighbours are not overrated
    value = np.log(np.maximum(count * smooth.sum() / np.maximum(total[row] * smooth[column], 1e-9), 1e-9))
    kept = value > 0
    return _unit(row[kept], column[kept], value[kept], items)


def _text(words: list[list[str]]) -> Sparse:
    """tf-idf of title words, rows of length 1."""
    frequency = Counter(word for title in words for word in dict.fromkeys(title))
    most = max(COMMON * len(words), min(len(words) / 2, FEW))
    usual = [word for word, count in frequency.most_common() if 2 <= count <= most][:MOST_WORDS]
    index = {word: place for place, word in enumerate(usual)}
    cells = [(item, index[word]) for item, title in enumerate(words) for word in dict.fromkeys(title) if word in index]
    row, column = np.array(cells, np.int64).reshape(-1, 2).T
    idf = np.log(len(words) / np.array([frequency[word] for word in usual] or [1]))
    return _unit(row, column, idf[column], len(usual), len(words))


def _unit(row: Array, column: Array, value: Array, columns: int, rows: int | None = None) -> Sparse:
    norm = np.sqrt(np.bincount(row, value**2, minlength=rows or columns))
    return row, column, value / np.maximum(norm[row], 1e-9), columns


def _sketch(parts: list[Sparse], items: int, seed: int) -> Array:
    """float32 [V, D]: left singular vectors of the parts side by side, times their singular values, rows of length 1."""
    if not parts:
        return np.ones((items, 1), np.float32)
    offset, rows, columns, values = 0, [], [], []
    for row, column, value, width in parts:
        rows.append(row)
        columns.append(column + offset)
        values.append(value)
        offset += width
    places = torch.from_numpy(np.stack((np.concatenate(rows), np.concatenate(columns))))
    matrix = torch.sparse_coo_tensor(
        places, torch.from_numpy(np.concatenate(values)).double(), (items, offset), check_invariants=True
    ).coalesce()
    generator = torch.Generator().manual_seed(seed)
    width = min(WIDTH + 8, items, offset)
    basis = torch.sparse.mm(matrix, torch.randn(offset, width, generator=generator, dtype=torch.float64))
    transposed = matrix.t().coalesce()
    for _ in range(4):
        basis = torch.linalg.qr(basis).Q
        basis = torch.sparse.mm(matrix, torch.linalg.qr(torch.sparse.mm(transposed, basis)).Q)
    basis = torch.linalg.qr(basis).Q
    left, singular, _ = torch.linalg.svd(torch.sparse.mm(transposed, basis).t(), full_matrices=False)
    vectors = (basis @ left * singular.sqrt())[:, :WIDTH]
    return torch.nn.functional.normalize(vectors, dim=1).float().numpy()


def _spherical_k_means(vectors: Array, clusters: int, seed: int) -> tuple[Array, float]:
    """int64 [V] labels and how well they fit: the sum of cosines of items and their centres.

    k-means++ start; an empty cluster takes the item furthest from its own centre.
    """
    random = np.random.default_rng(seed)
    centres = vectors[random.integers(len(vectors))][None]
    nearest = 1 - vectors @ centres[0]
    for _ in range(1, clusters):
        chance = np.maximum(nearest, 0).astype(np.float64) + 1e-12
        chosen = vectors[random.choice(len(vectors), p=chance / chance.sum())]
        centres = np.concatenate((centres, chosen[None]))
        nearest = np.minimum(nearest, 1 - vectors @ chosen)
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
    return [word for word in _WORD.findall(title.lower()) if word not in _STOP]


def _names(groups: list[Array], words: list[list[str]], weight: Array) -> list[str]:
    """A name for each cluster: the words that most of its items share and most others lack; no two alike."""
    overall: Counter[str] = Counter()
    within: list[Counter[str]] = []
    for group in groups:
        count: Counter[str] = Counter()
        for item in group.tolist():
            for word in dict.fromkeys(words[item]):
                count[word] += int(weight[item])
        overall.update(count)
        within.append(count)
    total = float(weight.sum())
    taken: set[str] = set()
    names: list[str] = []
    for place, (group, count) in enumerate(zip(groups, within, strict=True)):
        size = float(weight[group].sum())
        scored = {
            word: share * np.log(share * total / overall[word]) for word, n in count.items() if (share := n / size) > 0
        }
        ranked = sorted(scored, key=lambda word: (-scored[word], word))
        name = _name(ranked, taken) or f"Group {place + 1}"
        taken.add(name)
        names.append(name)
    return names


def _name(ranked: list[str], taken: set[str]) -> str:
    for length in range(min(NAME_WORDS, len(ranked)), min(NAME_WORDS + 6, len(ranked) + 1)):
        name = ", ".join(ranked[:length]).capitalize()
        if name and name not in taken:
            return name
    return ""
