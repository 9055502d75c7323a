"""Computes what the network is trained to make small: losses of next items and of interests.

Glossary: M positions, D width, V items (row 0: unknown), C interests, K rows of a sampled softmax.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.network.interest_network import InterestNetwork


@dataclass(frozen=True)
class Negatives:
    """Holds which items a softmax sums over.

    The most popular ones take part exactly; of the others some stand for all (or all of them take
    part). A few popular items hold most of the probability; drawn by chance now and then they would
    make the estimate noisy. Items without an event take no part: wrong at every step and right at
    none, they would be pushed away from every answer, and a new one never be found by its text.
    """

    head: Tensor  # int64 rows that always take part
    tail: Tensor  # int64 rows that are drawn from
    drawn: int  # 0: the head is all that was met
    place: Tensor  # int64 [V + 1] of a row in the head

    def to(self, device: torch.device) -> Negatives:
        """Returns the same on a device."""
        return Negatives(
            self.head.to(device), self.tail.to(device), self.drawn, self.place.to(device)
        )

    @classmethod
    def of_counts(cls, counts: Tensor, most: int) -> Negatives:
        """Returns negatives of which half of `most` is the head and half is drawn.

        most: 0, or as many as there are items: all take part. counts: of events, [V + 1].
        """
        rows = torch.argsort(counts[1:], descending=True, stable=True) + 1
        rows = rows[counts[rows] > 0]
        all_take_part = not most or most >= len(rows)
        head, tail = (rows, rows[:0]) if all_take_part else (rows[: most // 2], rows[most // 2 :])
        place = torch.zeros(len(counts), dtype=torch.long)
        place[head] = torch.arange(len(head))
        return cls(head, tail, 0 if all_take_part else most - most // 2, place)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Returns rows [K] and the logarithm of how many items each stands for [K]."""
        device = self.tail.device
        chosen = self.tail[torch.randint(len(self.tail), (self.drawn,), device=device)]
        weight = torch.zeros(len(self.head) + self.drawn, device=device)
        weight[len(self.head) :] = math.log(len(self.tail) / self.drawn)
        return torch.cat((self.head, chosen)), weight


def next_item_loss(
    hidden: Tensor,
    targets: Tensor,
    network: InterestNetwork,
    negatives: Negatives,
    candidates: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Returns the mean cross-entropy of the next items, over the items that were met.

    hidden: [M, D]; targets: [M], rows 1..V; candidates: gives the vectors of rows, of the network
    unless others are given. Where negatives are drawn, the sum over the other items
    is estimated from them (sampled softmax, Jean et al. 2015; weighed as in Xu et al. 2024,
    arXiv 2402.06216); its cost does not grow with the catalogue.
    """
    vectors = candidates or network.item_candidates
    # every item that was met takes part
    if not negatives.drawn:
        head = negatives.head
        logits = nn.functional.linear(hidden, vectors(head), network.item_bias[head])
        return nn.functional.cross_entropy(logits, negatives.place[targets])
    # the wanted item exactly, the others by those that were drawn
    rows, weight = negatives.draw()
    wanted = (hidden * vectors(targets)).sum(1) + network.item_bias[targets]
    others = nn.functional.linear(hidden, vectors(rows), network.item_bias[rows] + weight)
    others = others.masked_fill(targets[:, None] == rows, float("-inf"))
    return (torch.logsumexp(torch.cat((wanted[:, None], others), 1), 1) - wanted).mean()


def interest_loss(answers: Tensor, wanted: Tensor, network: InterestNetwork) -> Tensor:
    """Returns the mean binary cross-entropy of the interests of the next event.

    answers: [M, D]; wanted: 0/1 [M, C].
    """
    logits = nn.functional.linear(answers, network.interest_candidates(), network.interest_bias)
    return nn.functional.binary_cross_entropy_with_logits(logits, wanted)
