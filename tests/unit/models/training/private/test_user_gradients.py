"""Checks gradients of users against those that the network's own pass gives, a user at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.compact import ACTIONS
from models.network.interest_network import InterestNetwork, NetworkConfig
from models.network.losses import Negatives, next_item_loss
from models.training.private.user_gradients import (
    Batch,
    Candidates,
    UserGradients,
    trained_parameters,
)
from models.vocabulary import GAP_BUCKETS

ITEMS = 7
LENGTHS = (5, 1, 3)


def network(layers: int) -> InterestNetwork:
    """A network of which every weight is random, and whose items have no vectors of their own."""
    torch.manual_seed(layers)
    made = InterestNetwork(
        NetworkConfig(items=ITEMS, interests=2, tokens=5, width=8, lstm_layers=layers)
    )
    with torch.no_grad():
        for each in made.parameters():
            each.copy_(torch.randn(each.shape) * 0.5)
        made.item.weight.zero_()
        made.text.copy_(torch.randn(made.text.shape))
        made.text[0] = 0
    return made.eval()


def histories(made: InterestNetwork) -> tuple[Tensor, Batch]:
    """Rows [B, T] and the batch of them; the second target of the first user is unknown."""
    size = len(LENGTHS), max(LENGTHS)
    rows, targets = torch.randint(0, ITEMS + 1, size), torch.randint(1, ITEMS + 1, size)
    targets[0, 1] = 0
    for user, length in enumerate(LENGTHS):
        rows[user, length:] = targets[user, length:] = 0
    actions, gaps = torch.randint(len(ACTIONS), size), torch.randint(GAP_BUCKETS, size)
    return rows, Batch(made.text[rows], actions, gaps, targets)


def alone(made: InterestNetwork, rows: Tensor, batch: Batch, user: int) -> dict[str, Tensor]:
    """The gradient of one user as backpropagation through the network gives it."""
    made.zero_grad()
    length = LENGTHS[user]
    mine = slice(user, user + 1), slice(length)
    x = made.event_vectors(rows[mine], batch.actions[mine], batch.gaps[mine])
    features = made.features(x)
    targets = batch.targets[mine]
    everything = Negatives.of_counts(torch.ones(ITEMS + 1), 0)
    loss = next_item_loss(features[targets > 0], targets[targets > 0], made, everything)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: each.grad for name, each in trained_parameters(made).items()}
    assert all(each is not None for each in found.values())
    return {name: each.clone() for name, each in found.items() if each is not None}


@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_of_a_batch_are_those_of_each_user_alone(layers: int) -> None:
    made = network(layers)
    rows, batch = histories(made)
    candidates = Candidates(torch.arange(1, ITEMS + 1), torch.zeros(ITEMS))
    found = UserGradients(made, batch, candidates)
    expected = [alone(made, rows, batch, user) for user in range(len(LENGTHS))]
    norms = [
        torch.cat([each.flatten() for each in user.values()]).norm().item() for user in expected
    ]
    assert found.norms().tolist() == pytest.approx(norms, rel=1e-4)
    scale = torch.tensor([0.5, -2.0, 1.5])
    sums = found.sums(scale)
    assert set(sums) == set(trained_parameters(made))
    for name, mine in sums.items():
        theirs = sum(
            (factor * user[name] for factor, user in zip(scale.tolist(), expected, strict=True)),
            torch.zeros(()),
        )
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_candidates_stand_for_as_many_items_as_their_weight_says() -> None:
    made = network(1)
    _, batch = histories(made)
    twice = torch.tensor([1, 2, 3, 3, 4, 4, 5, 5, 6, 7])
    halved = torch.where((twice > 2) & (twice < 6), torch.tensor(0.5).log(), 0.0)
    once = Candidates(torch.arange(1, ITEMS + 1), torch.zeros(ITEMS))
    losses = UserGradients(made, batch, Candidates(twice, halved)).losses
    torch.testing.assert_close(losses, UserGradients(made, batch, once).losses)


def test_a_user_with_nothing_to_learn_adds_nothing() -> None:
    made = network(1)
    _, batch = histories(made)
    batch.targets[1] = 0
    found = UserGradients(made, batch, Candidates(torch.arange(1, 4), torch.zeros(3)))
    assert found.norms()[1] == 0
    sums = found.sums(torch.tensor([0.0, 1.0, 0.0]))
    assert all(not each.any() for each in sums.values())
