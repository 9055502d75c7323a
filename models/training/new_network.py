"""Makes what every training begins with: the network that its settings ask for, and its name."""

from __future__ import annotations

from models.contract import ModelInfo
from models.data.prepare import Dataset
from models.network.interest_network import InterestNetwork, NetworkConfig
from models.training.config import TrainConfig
from models.vocabulary import Tokenizer


def new_network(config: TrainConfig, dataset: Dataset, tokenizer: Tokenizer) -> InterestNetwork:
    """Returns a network for the items and interests of a data set; torch's generator draws it."""
    return InterestNetwork(
        NetworkConfig(
            items=len(dataset.item_ids),
            interests=len(dataset.interests),
            tokens=tokenizer.size,
            width=config.width,
            lstm_layers=config.lstm_layers,
            lm_layers=config.lm_layers,
            heads=config.heads,
            soft_tokens=config.soft_tokens,
            recent=config.recent,
            dropout=config.dropout,
            window=config.window if config.attention_epochs else 0,
            attention_dropout=config.attention_dropout,
        )
    )


def new_info(config: TrainConfig, dataset: Dataset, network: InterestNetwork) -> ModelInfo:
    """Returns what a model says of itself; its version is known once it is written."""
    names = tuple(dataset.interests), tuple(dataset.item_ids), tuple(dataset.titles)
    return ModelInfo(config.name, "", 0, *names, network.lstm.state_size)
