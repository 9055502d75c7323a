"""Decides what a training may cost: what `--effort` starts from, what it tries, how long it takes.

For 200,000 events quick takes minutes, normal under an hour, thorough hours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from models.data.prepare import Dataset
from models.errors import ModelDataError
from models.training.config import TrainConfig

FULL_SOFTMAX_ITEMS: Final = 2_048
"""Items up to which the exact softmax costs no more than the rest of a step."""
EXACT_A_MINUTE: Final = 60e6
"""Events times items for each minute of a budget, up to which the exact softmax fits into it.

17 + 12 epochs of Beauty take 20 minutes.
"""


ATTENTION_ITEMS: Final = 50_000
"""Items up to which the attention is tried. Larger catalogues are searched in cells of one vector
an item, and it has vectors of its own."""

MORE_DROPOUT: Final = 0.5
"""Dropout that every effort tries too where networks learn by heart with what it began with."""


@dataclass(frozen=True)
class Effort:
    """Holds a budget and what it is spent on, in minutes of processor time."""

    minutes: float
    """Of the whole training, trials included."""
    trial_minutes: float = 0.0
    """Of the trials before it."""
    trial_epochs: int = 0
    """Epochs of a trial, at most."""
    trial_patience: int = 0
    """Epochs without a better validation before a trial ends."""
    alternatives: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """Settings and the values to try, in this order."""
    epochs: int = 20
    """Epochs of each neural stage, at most; before, validation or the minutes end it."""
    patience: int = 3
    """Epochs without a better validation before a stage ends."""


EFFORTS: Final = {
    "quick": Effort(minutes=28, epochs=60),
    "normal": Effort(
        minutes=55,
        trial_minutes=15,
        trial_epochs=30,
        trial_patience=2,
        alternatives=(("dropout", (0.2, 0.5)), ("width", (128,)), ("learning_rate", (2e-3,))),
        epochs=40,
        patience=5,
    ),
    "thorough": Effort(
        minutes=300,
        trial_minutes=120,
        trial_epochs=60,
        trial_patience=3,
        alternatives=(
            ("dropout", (0.1, 0.3, 0.5, 0.6)),
            ("width", (128,)),
            ("lstm_layers", (2,)),
            ("learning_rate", (5e-4, 2e-3)),
            ("weight_decay", (1e-2,)),
        ),
        epochs=100,
        patience=10,
    ),
}


def effort_of(name: str) -> Effort:
    """Returns the effort of a name. Raises ModelDataError if there is none."""
    if name not in EFFORTS:
        raise ModelDataError(f"effort {name!r} is unknown; use one of {', '.join(EFFORTS)}")
    return EFFORTS[name]


def settings_for(
    name: str, dataset: Dataset, *, seed: int, model: str
) -> tuple[TrainConfig, list[str]]:
    """Returns the settings that the size of the data suggests, and why in words.

    Trials start from them.
    """
    effort = effort_of(name)
    small = len(dataset.item_ids) <= FULL_SOFTMAX_ITEMS
    config = TrainConfig(
        seed=seed,
        name=model,
        recent=16 if name == "thorough" else 8,
        lstm_epochs=effort.epochs,
        bridge_epochs=effort.epochs,
        attention_epochs=effort.epochs if len(dataset.item_ids) <= ATTENTION_ITEMS else 0,
        patience=effort.patience,
        more_dropout=MORE_DROPOUT,
    )
    if small:
        config = replace(config, negatives=0)
    reasons = [
        f"effort {name}",
        f"dropout {config.dropout}",
        f"{'full' if small else 'sampled'} softmax: {len(dataset.item_ids):,} items",
        f"width {config.width}, {config.recent} recent events, {config.soft_tokens} soft tokens",
    ]
    return config, reasons


def exact_softmax(effort: Effort, dataset: Dataset, config: TrainConfig) -> TrainConfig:
    """Returns the settings with the exact softmax, if there are trials and the budget has room.

    Trials are done with the sampled one. The exact one costs 3.5 times as much on Beauty, where it
    is worth 5 % of NDCG@10 (docs/measured/logs/losses.md).
    """
    cells = len(dataset.events) * len(dataset.item_ids)
    room = EXACT_A_MINUTE * (effort.minutes - effort.trial_minutes)
    return replace(config, negatives=0) if effort.trial_minutes and cells <= room else config


def alternatives(effort: Effort, setting: str, config: TrainConfig) -> Iterator[TrainConfig]:
    """Yields the settings with each other value of one setting that the effort tries."""
    for value in dict(effort.alternatives)[setting]:
        if value != getattr(config, setting):
            yield (
                with_width(config, value)
                if setting == "width"
                else replace(config, **{setting: value})
            )


def with_width(config: TrainConfig, width: int) -> TrainConfig:
    """Returns the settings with another width, a multiple of 32, and a head for each 32."""
    return replace(config, width=width, heads=width // 32)


@dataclass
class Times:
    """Holds what a training takes, in seconds of processor time, and what its networks may take."""

    end: float
    """When it is to end."""
    anew: int
    """How often what was learned is learned again at the end."""
    networks: float = 0.0
    """What LSTM and bridge took."""
    attention: float = 0.0
    """What the attention took."""

    def for_attention(self) -> float:
        """Returns what the attention may take: to learn all of it again takes as long."""
        return (self._left - self.anew * self.networks) / (1 + self.anew)

    def for_more_dropout(self) -> float:
        """Returns what another LSTM and bridge may take, which may be learned again likewise."""
        return (self._left - self.anew * self.attention) / (1 + self.anew)

    @property
    def _left(self) -> float:
        return self.end - time.process_time()
