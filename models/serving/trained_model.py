"""Holds everything that training makes of a model and that a model directory stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.contract import ModelInfo
from models.network.interest_network import InterestNetwork
from models.scorers.blend import Blend
from models.scorers.registry import ScorerSet
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TrainedModel:
    """Holds what training made: a predictor serves it, a model directory stores it."""

    network: InterestNetwork
    tokenizer: Tokenizer
    scorers: ScorerSet
    blend: Blend
    membership: Array  # float32 [V + 1, C], row 0 empty: 1 where an item belongs to an interest
    info: ModelInfo
