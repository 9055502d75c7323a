"""How much a training may cost: what `--effort` starts from, what it tries, and how long it may take, each with its reason.

For 200,000 events: quick takes minutes, normal under an hour, thorough hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from models.errors import ModelDataError
from models.prepare import Dataset
from models.train import TrainConfig

FULL_SOFTMAX_ITEMS: Final = 2_048
"""Up to that many items the exact softmax costs no more than the rest of a step."""
EXACT_A_MINUTE: Final = 60e6
"""Events times items for each minute of a budget, up to which the exact softmax fits into it: 17 + 12 epochs of Beauty take 20 minutes."""


@dataclass(frozen=True)
class Effort:
    """A budget and what it is spent on. Minutes of processor time, of the whole training and of the trials before it."""

    minutes: float
    trial_minutes: float = 0.0
    trial_epochs: int = 0  # at most
    trial_patience: int = 0
    alternatives: tuple[tuple[str, tuple[Any, ...]], ...] = ()  # (setting, values to try), in this order
    epochs: int = 20
    patience: int = 3


EFFORTS: Final = {
    "quick": Effort(minutes=20),
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
    """Raises ModelDataError if there is none of that name."""
    if name not in EFFORTS:
        raise ModelDataError(f"effort {name!r} is unknown; use one of {', '.join(EFFORTS)}")
    return EFFORTS[name]


def settings_for(name: str, dataset: Dataset, *, seed: int, model: str) -> tuple[TrainConfig, list[str]]:
    """The settings that the size of the data suggests, and why in words; the start of the trials."""
    effort = effort_of(name)
    small = len(dataset.item_ids) <= FULL_SOFTMAX_ITEMS
    config = TrainConfig(
        seed=seed,
        name=model,
        recent=16 if name == "thorough" else 8,
        lstm_epochs=effort.epochs,
        bridge_epochs=effort.epochs,
        patience=effort.patience,
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
    """The settings with the exact softmax, if trials are paid for and the budget has room for it; trials are done with the sampled one.

    It costs 3.5 times as much on Beauty, where it is worth 5 % of NDCG@10 (docs/model-log.md).
    """
    cells = len(dataset.events) * len(dataset.item_ids)
    room = EXACT_A_MINUTE * (effort.minutes - effort.trial_minutes)
    return replace(config, negatives=0) if effort.trial_minutes and cells <= room else config


def alternatives(effort: Effort, setting: str, config: TrainConfig) -> Iterator[TrainConfig]:
    """The settings with other values of one, those that change something."""
    for value in dict(effort.alternatives)[setting]:
        if value != getattr(config, setting):
            yield with_width(config, value) if setting == "width" else replace(config, **{setting: value})


def with_width(config: TrainConfig, width: int) -> TrainConfig:
    """Another width, a multiple of 32, with a head for each 32."""
    return replace(config, width=width, heads=width // 32)
