"""How much a training may cost: settings for `--effort`, chosen by the size of the data, each with its reason.

Times are for two cores and 200,000 events: quick minutes, normal under an hour, thorough hours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch

from models.errors import ModelDataError
from models.prepare import Dataset
from models.train import TrainConfig

EFFORTS: Final = ("quick", "normal", "thorough")


def settings_for(effort: str, dataset: Dataset, *, seed: int, name: str) -> tuple[TrainConfig, list[str]]:
    """The settings, and why in words."""
    if effort not in EFFORTS:
        raise ModelDataError(f"effort {effort!r} is unknown; use one of {', '.join(EFFORTS)}")
    config = TrainConfig(seed=seed, name=name)
    reasons = [f"effort {effort}"]
    mean = len(dataset.events) / max(len(dataset.users), 1)
    if mean < 15:
        config = replace(config, dropout=0.5)
        reasons.append(f"dropout {config.dropout}: short histories, {mean:.1f} events a user")
    if effort == "normal":
        config = replace(config, width=64, lstm_epochs=40, bridge_epochs=40, patience=5)
    elif effort == "thorough":
        config = replace(
            config, width=128, heads=4, recent=16, soft_tokens=4, lstm_epochs=100, bridge_epochs=100, patience=10
        )
    reasons.append(f"width {config.width}, {config.recent} recent events, {config.soft_tokens} soft tokens")
    return config, reasons


def use_threads(threads: int) -> None:
    """Threads of every training step of this process."""
    torch.set_num_threads(threads)
