"""Holds the settings of a training, a line each; they are stored in its report and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """Holds everything that decides a training; two runs of the same are equal."""

    seed: int = 0
    width: int = 64
    lstm_layers: int = 1
    lm_layers: int = 2
    heads: int = 2
    soft_tokens: int = 2
    recent: int = 8
    dropout: float = 0.3
    more_dropout: float = 0.0
    """Dropout that is tried too if networks learn by heart with the other one; 0: none."""
    length: int = 50  # most events of a training sequence; longer histories are cut into pieces
    batch: int = 64  # sequences
    windows: int = 512  # of a batch of the attention; fewer of little data
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    text_epochs: int = 2
    lstm_epochs: int = 20
    bridge_epochs: int = 20
    attention_epochs: int = 0  # of the attention over the newest items; 0: there is none
    window: int = 8  # items that the attention reads
    attention_dropout: float = 0.5
    attention_negatives: int = 3_072  # of its softmax, as `negatives`
    patience: int = 3  # epochs without a better validation before a stage ends
    negatives: int = (
        1_024  # of the sampled softmax; 0, or as many as there are items: the exact one
    )
    hide_ids: float = 0.0
    """Share of events read by their text alone: for streams with items that the catalogue lacks."""
    interest_weight: float = 0.3  # of the interests' loss against the items'
    validation_users: int = 5_000
    seen: str = "keep"  # or remove: whether items of a validation user's history stay candidates
    threads: int = 1  # of PyTorch; another number adds up in another order
    learn_validation: bool = True
    """Whether to learn the validation events at the end; published tables do not."""
    all_events: bool = True
    """Whether the data set lacks nothing between its first event and its last one.

    Where the last event of each user is held out it does, and nothing calibrates.
    """
    min_users: int = 5
    """Users who must have written a word, or met a pair of items, before the model stores it."""
    name: str = "model"
