"""What training sees at a position is what serving computes there, and nothing of the future."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.errors import ModelDataError
from models.network.interest_network import InterestNetwork, NetworkConfig
from models.network.losses import Negatives, interest_loss, next_item_loss

USERS, EVENTS, WIDTH, READ = 3, 9, 16, 4


@pytest.fixture(
    params=[(1, 2), (3, 1), (2, 3)], ids=lambda sizes: "soft tokens {}, blocks {}".format(*sizes)
)
def network(request: pytest.FixtureRequest) -> InterestNetwork:
    torch.manual_seed(4)
    soft_tokens, blocks = request.param
    sizes = NetworkConfig(
        items=20,
        interests=5,
        tokens=30,
        width=WIDTH,
        lm_layers=blocks,
        heads=2,
        soft_tokens=soft_tokens,
        recent=READ,
        dropout=0.4,
    )
    network = InterestNetwork(sizes).eval()
    torch.nn.init.normal_(network.language_model.distance)
    return network


@pytest.fixture
def x(network: InterestNetwork) -> Tensor:
    torch.manual_seed(6)
    rows = torch.randint(0, 21, (USERS, EVENTS))
    with torch.no_grad():
        return (
            network.event_vectors(
                rows, torch.randint(0, 10, rows.shape), torch.randint(0, 16, rows.shape)
            )
            + 0
        )


def test_of_a_hidden_id_the_text_alone_is_read(network: InterestNetwork) -> None:
    torch.manual_seed(8)
    torch.nn.init.normal_(network.text)
    rows = torch.randint(1, 21, (400, 5))
    same = torch.zeros_like(rows)
    with torch.no_grad():
        whole, nameless = (
            network.event_vectors(rows, same, same),
            network.event_vectors(rows, same, same, hide_ids=1.0),
        )
        network.item.weight.zero_()
        assert torch.equal(nameless, network.event_vectors(rows, same, same))
    assert not torch.isclose(whole, nameless).all(2).any()


def test_ids_are_hidden_in_the_share_that_was_asked(network: InterestNetwork) -> None:
    torch.manual_seed(9)
    rows = torch.randint(1, 21, (400, 5))
    same = torch.zeros_like(rows)
    with torch.no_grad():
        whole, some = (
            network.event_vectors(rows, same, same),
            network.event_vectors(rows, same, same, hide_ids=0.1),
        )
    assert (whole != some).any(2).float().mean().item() == pytest.approx(0.1, abs=0.03)


def served(network: InterestNetwork, x: Tensor, features: Tensor, at: int) -> Tensor:
    """The answer [U, D] after event `at`, as a worker gets it.

    It reads the last READ events, missing ones in front.
    """
    seen = x[:, max(0, at + 1 - READ) : at + 1]
    missing = READ - seen.shape[1]
    padded = torch.cat((torch.randn(USERS, missing, WIDTH), seen), 1)
    there = torch.arange(READ)[None, :].expand(USERS, -1) >= missing
    tokens, bias = network.serving_tokens(padded, there, features[:, at])
    return network.language_model.last_hidden(tokens, bias)


@pytest.mark.parametrize("at", range(EVENTS))
def test_serving_gives_the_numbers_of_training_at_every_position(
    network: InterestNetwork, x: Tensor, at: int
) -> None:
    """From the first event to the last of a history that is longer than what is read.

    It holds at any depth, also where fewer events exist.
    """
    with torch.no_grad():
        features = network.features(x)
        answers = network.answers(x, features)
        torch.testing.assert_close(
            served(network, x, features, at), answers[:, at], atol=1e-5, rtol=0
        )


def test_a_model_whose_events_see_events_is_served_as_it_was(network: InterestNetwork) -> None:
    """Each token sees itself and what is before it: so the demo model of 0.1.0 was trained."""
    old = InterestNetwork(replace(network.config, events_see_events=True)).eval()
    there = torch.tensor([[False, True, True, True]])
    _, bias = old.serving_tokens(torch.zeros(1, READ, WIDTH), there, torch.zeros(1, WIDTH))
    size = READ + network.config.soft_tokens
    expected = torch.ones(size, size, dtype=torch.bool).tril()
    expected[1:, 0] = False  # the missing event sees itself only
    assert torch.equal(bias[0, 0] > float("-inf"), expected)


def test_soft_tokens_of_a_position_see_no_later_event(network: InterestNetwork, x: Tensor) -> None:
    other = x.clone()
    other[:, 5] = torch.randn(USERS, WIDTH)
    with torch.no_grad():
        features = network.features(x)
        before = network.answers(x, features)
        after = network.answers(
            other, features
        )  # the features stay: only what attention sees differs
    torch.testing.assert_close(before[:, :5], after[:, :5], atol=1e-6, rtol=0)
    assert ((before[:, 5 : 5 + READ] - after[:, 5 : 5 + READ]).abs().amax(2) > 1e-5).all()


def test_soft_tokens_of_a_position_see_no_soft_token_of_another(
    network: InterestNetwork, x: Tensor
) -> None:
    with torch.no_grad():
        features = network.features(x)
        other = features.clone()
        other[:, 5] += 1
        change = (network.answers(x, features) - network.answers(x, other)).abs().amax(2)
    assert (change[:, 5] > 1e-4).all()
    change[:, 5] = 0
    assert change.max() < 1e-6


def test_only_the_last_events_are_read(network: InterestNetwork, x: Tensor) -> None:
    """Whatever the depth, no answer in training changes with events that serving does not have."""
    other = x.clone()
    other[:, : EVENTS - READ] = torch.randn(USERS, EVENTS - READ, WIDTH)
    with torch.no_grad():
        features = network.features(x)
        before, after = network.answers(x, features), network.answers(other, features)
    assert torch.equal(before[:, -1], after[:, -1])
    assert ((before[:, -2] - after[:, -2]).abs().amax(1) > 1e-5).all()


def test_a_missing_event_gives_no_nan_even_where_none_exists(network: InterestNetwork) -> None:
    there = torch.zeros(2, READ, dtype=torch.bool)
    with torch.no_grad():
        tokens, bias = network.serving_tokens(
            torch.randn(2, READ, WIDTH), there, torch.zeros(2, WIDTH)
        )
        answer = network.language_model.last_hidden(tokens, bias)
    assert torch.isfinite(answer).all()
    torch.testing.assert_close(
        answer[0], answer[1], atol=1e-6, rtol=0
    )  # what stands in the empty places does not matter


def test_the_losses_are_their_equations(network: InterestNetwork) -> None:
    hidden, candidates, bias = (
        torch.randn(6, WIDTH),
        network.item_candidates().detach(),
        network.item_bias.detach(),
    )
    targets = torch.tensor([1, 20, 3, 3, 7, 11])
    expected = 0.0
    for row, target in zip(hidden, targets.tolist(), strict=True):
        scores = [float(row @ candidates[item] + bias[item]) for item in range(1, 21)]
        expected += float(torch.logsumexp(torch.tensor(scores), 0)) - scores[target - 1]
    everything = Negatives.of_counts(torch.ones(21), 0)
    assert next_item_loss(hidden, targets, network, everything).item() == pytest.approx(
        expected / 6, abs=1e-4
    )
    wanted = torch.tensor([[1.0, 0, 0, 1, 0]] * 6)
    chance = torch.sigmoid(hidden @ network.interest_candidates().t() + network.interest_bias)
    plain = -(wanted * chance.log() + (1 - wanted) * (1 - chance).log()).mean()
    assert interest_loss(hidden, wanted, network).item() == pytest.approx(plain.item(), abs=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"width": 15}, {"recent": 0}, {"recent": 33}, {"soft_tokens": 0}]
)
def test_sizes_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelDataError, match=next(iter(wrong))):
        NetworkConfig(**{"items": 5, "interests": 2, "tokens": 9, "heads": 2, **wrong})
