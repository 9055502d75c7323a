"""Holds everything that training makes of a model and that a model directory stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.contract import ModelInfo
from models.network.interest_network import InterestNetwork
from models.scorers.blend import Blend
from models.scorers.pair_table import DENSE_ITEMS
from models.scorers.registry import ScorerSet
from models.serving.item_index import Cells
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]

MOST_WHOLE: Final = DENSE_ITEMS - 1
"""Items of a catalogue of which each user's are all scored.

A model of a larger one scores candidates. Below, tables of pairs are matrices, and cost no more.
"""


@dataclass(frozen=True)
class TrainedModel:
    """Holds what training made: a predictor serves it, a model directory stores it."""

    network: InterestNetwork
    tokenizer: Tokenizer
    scorers: ScorerSet
    blend: Blend
    membership: Array  # bool [V + 1, C], row 0 empty: whether an item belongs to an interest
    info: ModelInfo
    candidates: bool = False
    """Whether only candidates are scored; the weights of the interests are fitted to them then."""
    cells: Cells | None = None
    """Where the items of a large catalogue lie, as they were found when the model was written."""
