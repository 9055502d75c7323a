"""Measures how good a network is while it trains, by the next item of validation users.

All items are candidates, and ties count against the network. Glossary: B sequences, T events.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch

from models.network.interest_network import InterestNetwork
from models.training.sequences import Sequences

USERS: Final = 512
"""Users that are validated at once: their scores of all items are held."""
Curve = list[dict[str, Any]]
"""Holds the figures of each epoch of a stage, `ndcg@10` of the validation among them."""


def validate(network: InterestNetwork, sequences: Sequences, *, by: str, seen: str) -> float:
    """Returns the mean NDCG@10, by the network that a stage trains: lstm, bridge or attention.

    seen: whether items of the history stay candidates, keep or remove.
    """
    network.eval()
    gains = []
    with torch.inference_mode():
        attention = by == "attention"
        candidates = network.attention_candidates() if attention else network.item_candidates()
        for start in range(0, len(sequences.rows), USERS):
            columns = (sequences.rows, sequences.actions, sequences.gaps, sequences.targets)
            part = [column[start : start + USERS].to(candidates.device) for column in columns]
            longest = int((part[3] > 0).any(0).nonzero().max()) + 1
            rows, actions, gaps, targets = (column[:, :longest] for column in part)

            # The rank of each target among all items, without those of the history if so wanted.
            if attention:
                items = rows.masked_fill(rows > network.config.items, 0)
                hidden = network.attended_newest(items.flip(1))
            else:
                x = network.event_vectors(rows, actions, gaps)
                features = network.features(x)
                hidden = (network.answers(x, features) if by == "bridge" else features)[targets > 0]
            logits = torch.nn.functional.linear(hidden, candidates, network.item_bias)
            target = targets[targets > 0][:, None]
            wanted = logits.gather(1, target)
            if seen == "remove":
                seen_rows = rows.masked_fill(rows > network.config.items, 0)
                logits.scatter_(1, seen_rows, float("-inf")).scatter_(1, target, wanted)
            rank = (logits[:, 1:] >= wanted).sum(1)
            gains.append(torch.where(rank <= 10, 1 / torch.log2(rank + 1.0), 0.0))
    return float(torch.cat(gains).mean())


def best_epoch(curve: Curve) -> int:
    """Returns the place of the epoch with the best validation; of equal ones the first."""
    return int(np.argmax([each["ndcg@10"] for each in curve]))


def newest_is_best(curve: Curve) -> bool:
    """Returns whether no epoch was better than the last one."""
    return bool(curve[-1]["ndcg@10"] >= curve[best_epoch(curve)]["ndcg@10"])


def stopped_improving(curve: Curve, patience: int) -> bool:
    """Returns whether `patience` epochs have gone by since the best one."""
    return bool(curve) and len(curve) - 1 - best_epoch(curve) >= patience
