"""Checks which events a step reads of whom, and that steps without noise learn what comes next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from models.data.prepare import Dataset, catalogue_rows
from models.network.interest_network import InterestNetwork
from models.progress import ignore_progress
from models.training.config import TrainConfig
from models.training.new_network import new_network
from models.training.private import network as private
from models.training.private.network import UserHistories, start, train_network
from models.training.private.noise import Noise
from models.training.private.user_gradients import Candidates, UserGradients
from models.vocabulary import Tokenizer

SMALL = TrainConfig(width=16)
Histories = Callable[[dict[str, str]], list[tuple[str, str, int]]]


def made(dataset: Dataset) -> tuple[InterestNetwork, Tokenizer]:
    """A network that was never trained, with texts of some numbers."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.learn(dataset.titles)
    network = new_network(SMALL, dataset, tokenizer).eval()
    network.text[1:] = torch.randn(network.text[1:].shape)
    return network, tokenizer


def learned_of(dataset: Dataset, length: int = 50) -> UserHistories:
    """The histories of all users."""
    rows = catalogue_rows(dataset.events["key"], dataset.item_ids).astype(np.int64)
    return UserHistories(dataset, rows, np.arange(len(dataset.users)), length)


def test_a_user_shows_one_piece_a_turn_and_each_in_its_turn(
    prepared: Callable[..., Dataset], histories: Histories
) -> None:
    dataset = prepared(histories({"u": "abcabca", "v": "bc", "w": "cb"}), "abc")
    network, tokenizer = made(dataset)
    learned = learned_of(dataset, length=4)
    drawn = np.array([True, False, True])
    shown = [
        [each.targets.tolist() for each in learned.batches(drawn, turn, network, tokenizer)]
        for turn in range(3)
    ]
    # the six events behind the first one of u: four, then two; w has one
    assert shown == [
        [[[2, 0, 0, 0], [2, 3, 1, 2]]],
        [[[2, 0], [3, 1]]],
        [[[2, 0, 0, 0], [2, 3, 1, 2]]],
    ]
    assert not list(learned.batches(np.zeros(3, bool), 0, network, tokenizer))


def test_batches_keep_to_their_size(
    prepared: Callable[..., Dataset], histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {f"u{number}": "ab" * (number % 5 + 1) for number in range(30)}
    dataset = prepared(histories(users), "ab")
    network, tokenizer = made(dataset)
    monkeypatch.setattr(private, "POSITIONS", 20)
    monkeypatch.setattr(private, "USERS", 4)
    batches = list(learned_of(dataset).batches(np.ones(30, bool), 0, network, tokenizer))
    sizes = [tuple(each.targets.shape) for each in batches]
    assert sum(users for users, _ in sizes) == 30
    assert all(users <= 4 and users * steps <= 20 for users, steps in sizes)
    assert len(batches) < 15


def test_searches_are_read_by_their_words(prepared: Callable[..., Dataset]) -> None:
    events = [("u", each, 1_000 * at) for at, each in enumerate(["a", "?title b", "b", "a"])]
    dataset = prepared(events, "ab")
    network, tokenizer = made(dataset)
    (batch,) = learned_of(dataset).batches(np.ones(1, bool), 0, network, tokenizer)
    with torch.no_grad():
        words = network.text_model.encode_text(torch.from_numpy(tokenizer.encode(["?title b"])))
    torch.testing.assert_close(batch.text[0, 1], words[0])
    torch.testing.assert_close(batch.text[0, 0], network.text[1])
    assert batch.targets.tolist() == [[0, 2, 1]]


def test_steps_without_noise_learn_what_comes_next(
    prepared: Callable[..., Dataset], histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks the loss of users who go round in a circle: first that of chance, then far below."""
    circle = "abcdef" * 3
    users = {f"u{number}": circle[number % 6 :][:9] for number in range(24)}
    dataset = prepared(histories(users), "abcdef")
    network, tokenizer = made(dataset)
    start(network, torch.full((7,), -math.log(6)))

    def loss() -> float:
        everything = Candidates(torch.arange(1, 7), torch.zeros(6))
        everybody = learned_of(dataset).batches(np.ones(24, bool), 0, network, tokenizer)
        return float(
            torch.cat(
                [UserGradients(network, each, everything).losses for each in everybody]
            ).mean()
        )

    assert loss() == pytest.approx(math.log(6), abs=1e-5)
    given: list[float] = []

    def exact(_: Any, _what: str, sums: Any, norm: float, deviation: float, rate: float) -> Any:
        given.append(float(np.linalg.norm(sums)))
        assert (norm, deviation, rate) == (private.NORM, 7.0, private.RATE)
        return sums, 0.0

    monkeypatch.setattr(private, "STEPS", 50)
    monkeypatch.setattr(private, "LEARNING_RATE", 1e-2)
    monkeypatch.setattr(Noise, "dense", exact)
    monkeypatch.setattr(Noise, "drawn", lambda _self, users, _rate: np.ones(users, bool))
    train_network(network, tokenizer, learned_of(dataset), 7.0, Noise(), SMALL, ignore_progress)
    assert len(given) == private.STEPS
    assert max(given) <= 24 * private.NORM * (1 + 1e-5)
    assert loss() < 0.5 * math.log(6)
    assert not network.item.weight.any()
