"""Makes a model of any number of items without training, to measure what a catalogue costs.

Its sizes are those of a trained model, and what it says is alike: items lie in groups of like ones,
a few items are met by many users, tables of pairs hold items of the same group, and the networks
name items near those of the last events. What such a model is worth says nothing of real ones; what
it costs, and how many of its first items a search finds, does.

Glossary: V items (row 0: unknown), C interests, D width, K others an item, U users, R events.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from models.compact import COMPACT, RECENT, hash64
from models.contract import ModelInfo
from models.network.interest_network import InterestNetwork, NetworkConfig
from models.scorers.blend import INTEREST_FEATURES, Blend
from models.scorers.cooccurrence import Cooccurrence
from models.scorers.ease import MOST_ITEMS, Ease
from models.scorers.markov import FEW, MANY, MANY_ITEMS, Markov, Successors
from models.scorers.networks import LanguageModel, Lstm
from models.scorers.pair_table import FEW as FEW_OTHERS
from models.scorers.pair_table import most_kept
from models.scorers.popularity import Popularity
from models.scorers.recent_popularity import RecentPopularity
from models.scorers.registry import NAMES, ScorerSet
from models.scorers.seen import Seen
from models.scorers.seen_lately import SeenLately
from models.scorers.seen_this_session import SeenThisSession
from models.scorers.titles import Titles
from models.serving.trained_model import MOST_WHOLE, TrainedModel
from models.text_block import TextBlock
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]

INTERESTS: Final = 64
GROUP: Final = 512
"""Items that are like one another; a power of two."""
WORDS: Final = ("item", "of", "group")
GOES_ON: Final = 0.7
"""Share of a made-up user's events that are about something that goes with the event before."""
NOW_MS: Final = 1_770_000_000_000
GAP_MS: Final = 240_000
"""Between two events: all are of one session."""
WEIGHTS: Final = {
    "language_model": 0.45,
    "lstm": 0.2,
    "cooccurrence": 0.4,
    "popularity": 0.1,
    "recent_popularity": 0.15,
    "seen": -0.5,
    "seen_lately": -0.3,
    "following": 0.15,
    "ease": 0.3,
    "seen_this_session": -0.2,
    "titles": 0.1,
}
"""As trainings on sets of the documentation found them, rounded."""
OPINION: Final = {"items": 0.7, "language_model": 0.1, "own_16": 0.3, "base": 0.1, "current": 0.4}
"""Weights of the interest features, as found likewise."""


class SyntheticCatalogue:
    """Holds which items are alike, and how popular each is."""

    def __init__(self, items: int, seed: int = 0) -> None:
        self.items = items
        self.random = np.random.default_rng(seed)
        order = self.random.permutation(items)
        self.size = min(GROUP, 1 << max(items // 2, 1).bit_length() - 1)
        self.group = np.zeros(items + 1, np.int64)  # of each row
        self.group[1 + order] = np.arange(items) // self.size
        self.groups = items // self.size  # whole ones; items of a last, broken one join no table
        self.members = 1 + order[: self.groups * self.size].reshape(self.groups, self.size)
        share = 1.0 / (1 + self.random.permutation(items)) ** 0.8
        self.shares = np.concatenate(([0.0], share / share.sum()))
        # the popular ones of a group come first
        by_share = np.argsort(-self.shares[self.members], axis=1)
        self.members = np.take_along_axis(self.members, by_share, 1)

    def others(self, most: int, rows: Array) -> tuple[Array, Array]:
        """Returns for some rows others of their groups with weights, best first, [V + 1, most]."""
        neighbours = np.zeros((self.items + 1, most), np.int32)
        weights = np.zeros((self.items + 1, most), np.float32)
        rows = rows[self.group[rows] < self.groups]
        count = min(most, self.size)
        for some in np.array_split(rows, max(1, len(rows) // 65_536)):
            # a walk with odd steps meets each member of a group once; it begins at popular ones
            start = self.random.integers(0, max(self.size // 8, 1), (len(some), 1))
            step = 1 + 2 * self.random.integers(0, max(self.size // 16, 1), (len(some), 1))
            place = (start + step * np.arange(count)) & (self.size - 1)
            neighbours[some, :count] = self.members[self.group[some, None], place]
            weights[some, :count] = self.random.uniform(0.5, 1.0, (len(some), 1)) / (
                1 + np.arange(count)
            )
        return neighbours, weights


def synthetic_model(items: int, seed: int = 0) -> TrainedModel:
    """Returns a model of a catalogue of `items` items."""
    catalogue = SyntheticCatalogue(items, seed)
    torch.manual_seed(seed)
    network = _network(catalogue)
    popularity = torch.from_numpy(np.log(catalogue.shares.clip(1e-12)).astype(np.float32))
    popularity[0] = 0
    lately = popularity + 0.5 * torch.randn(items + 1)
    with torch.no_grad():
        network.item_bias.copy_(popularity - popularity[1:].mean())
    membership = np.zeros((items + 1, INTERESTS), bool)
    rows = np.arange(1, items + 1)
    membership[rows, catalogue.group[1:] % INTERESTS] = True
    membership[rows, catalogue.random.integers(0, INTERESTS, items)] = True
    base = (catalogue.shares @ membership).clip(1e-4, 0.5).astype(np.float32)
    info = ModelInfo(
        "synthetic",
        "",
        0,
        tuple(f"interest-{number}" for number in range(INTERESTS)),
        TextBlock(f"item-{row}" for row in range(1, items + 1)),
        TextBlock(f"Item {row} of group {catalogue.group[row]}" for row in range(1, items + 1)),
        network.lstm.state_size,
    )
    return TrainedModel(
        network,
        Tokenizer(list(WORDS)),
        _scorers(catalogue),
        _blend(torch.from_numpy(base), popularity, lately),
        membership,
        info,
        candidates=items > MOST_WHOLE,
    )


def wandering_users(model: TrainedModel, users: int, seed: int = 0) -> Array:
    """Returns recent events of made-up users of any model, COMPACT [U, 32], newest first.

    An event is mostly about an item that goes with the one before it, by the model's own table of
    pairs, else about a popular one.
    """
    random = np.random.default_rng(seed)
    items, table = len(model.info.items), model.scorers["cooccurrence"]
    assert isinstance(table, Cooccurrence)
    neighbours = table.table.neighbours
    share = model.blend.log_popularity[1:].double().exp().numpy()
    popular = 1 + random.choice(items, (RECENT, users), p=share / share.sum())
    rows = popular.T.copy()
    for place in range(RECENT - 2, -1, -1):
        rank = np.minimum(random.geometric(0.1, users) - 1, neighbours.shape[1] - 1)
        near = neighbours[rows[:, place + 1], rank]
        goes_on = (random.random(users) < GOES_ON) & (near > 0)
        rows[:, place] = np.where(goes_on, near, rows[:, place])
    recent = np.zeros(rows.shape, COMPACT)
    met, which = np.unique(rows, return_inverse=True)
    keys = np.array([hash64(model.info.items[row - 1]) for row in met.tolist()], np.uint64)
    recent["key"] = keys[which].reshape(rows.shape)
    recent["time_ms"] = NOW_MS - GAP_MS * np.arange(RECENT)
    recent["action"] = 1
    return recent


def _network(catalogue: SyntheticCatalogue) -> InterestNetwork:
    """Returns a network whose answers are near the vectors of the last events' items."""
    items, size = catalogue.items, catalogue.groups + 1
    tokenizer = Tokenizer(list(WORDS))
    network = InterestNetwork(NetworkConfig(items, INTERESTS, tokenizer.size))
    width = network.config.width
    with torch.no_grad():
        middles = torch.randn(size, width) * 0.12
        network.item.weight.copy_(middles[torch.from_numpy(catalogue.group).clamp(max=size - 1)])
        network.item.weight += torch.randn(items + 1, width) * 0.12
        network.item.weight[0] = 0
        # each soft token is the feature itself
        network.soft.weight.copy_(torch.eye(width).repeat(network.config.soft_tokens, 1))
        network.soft.bias.zero_()
    return network.eval()


def _scorers(catalogue: SyntheticCatalogue) -> ScorerSet:
    """Returns the scorers, with tables as large as training makes them."""
    items = catalogue.items
    rows = np.arange(1, items + 1)
    most_met = 1 + np.sort(np.argsort(-catalogue.shares[1:])[:MOST_ITEMS])
    by_kind: dict[str, Any] = {
        each.name: each()
        for each in (
            LanguageModel,
            Lstm,
            Popularity,
            RecentPopularity,
            Seen,
            SeenLately,
            SeenThisSession,
        )
    }
    most = most_kept(items)
    by_kind["cooccurrence"] = Cooccurrence.of(*catalogue.others(most, rows))
    by_kind["ease"] = Ease.of(*catalogue.others(most, most_met))
    by_kind["titles"] = Titles.of(*catalogue.others(FEW_OTHERS, rows))
    after, shares = catalogue.others(MANY if items <= MANY_ITEMS else FEW, rows)
    by_kind["following"] = Markov(Successors(after, np.log1p(0.1 * shares / 1e-4)))
    return ScorerSet(tuple(by_kind.get(name) for name in NAMES))


def _blend(base: torch.Tensor, popularity: torch.Tensor, lately: torch.Tensor) -> Blend:
    """Returns a blend with usual weights."""
    blend = Blend.start(base, popularity)
    blend.item[:] = torch.tensor([WEIGHTS.get(name, 0.0) for name in NAMES])
    blend.interest[:] = torch.tensor([OPINION.get(name, 0.0) for name in INTEREST_FEATURES])
    rates = torch.tensor([0.04, 0.7])
    return Blend(blend.item, blend.interest, base, popularity, lately, rates=rates)
