"""The sampled softmax estimates the full one, and leads to the same gradients in the mean."""

from __future__ import annotations

import pytest
import torch

from models.network.interest_network import InterestNetwork, NetworkConfig
from models.network.losses import Negatives, next_item_loss


def network(items: int) -> InterestNetwork:
    torch.manual_seed(0)
    made = InterestNetwork(NetworkConfig(items=items, interests=2, tokens=20, width=8))
    with torch.no_grad():
        made.item.weight.normal_(std=0.3)
        made.item_bias.normal_(std=0.5)
        made.text.normal_(std=0.3)
    return made


def everything(items: int) -> Negatives:
    """All of them take part."""
    return Negatives.of_counts(torch.ones(items + 1), 0)


def test_a_sampled_loss_is_the_full_one_within_its_noise() -> None:
    made = network(items=400)
    hidden, targets = torch.randn(64, 8), torch.randint(1, 401, (64,))
    full = next_item_loss(hidden, targets, made, everything(400))
    some = Negatives.of_counts(torch.rand(401), 200)
    sampled = torch.stack([next_item_loss(hidden, targets, made, some) for _ in range(100)])
    assert (
        abs((sampled.mean() - full).item()) < 0.05 * full.item()
    )  # the logarithm of an estimate is a little low


def test_the_most_popular_always_take_part_and_the_weights_stand_for_all_items() -> None:
    some = Negatives.of_counts(torch.tensor([9.0, 1, 5, 2, 5, 1, 1, 1, 1]), 4)
    rows, weight = some.draw()
    assert rows[:2].tolist() == [2, 4]
    assert not {2, 4} & set(rows[2:].tolist())
    assert weight.exp().sum().item() == 8
    for most in (0, 8):
        assert sorted(Negatives.of_counts(torch.ones(9), most).head.tolist()) == list(range(1, 9))


@pytest.mark.parametrize("most", [0, 2])
def test_an_item_without_an_event_takes_no_part(most: int) -> None:
    made = network(items=5)
    hidden, counts = torch.randn(40, 8), torch.tensor([7, 3, 0, 2, 1, 0])
    targets = torch.tensor([1, 3, 4, 1] * 10)
    some = Negatives.of_counts(counts, most)
    next_item_loss(hidden, targets, made, some).backward()  # type: ignore[no-untyped-call]
    moved = [each.grad for each in (made.item.weight, made.item_bias) if each.grad is not None]
    assert [bool(each[[2, 5]].any()) for each in moved] == [False, False]
    assert [bool(each[[1, 3]].any()) for each in moved] == [True, True]
    if not most:  # the same as if the catalogue had only what was met
        logits = (hidden @ made.item_candidates().t() + made.item_bias)[:, [1, 3, 4]]
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0] * 10))
        torch.testing.assert_close(next_item_loss(hidden, targets, made, some), wanted)


def test_an_item_without_an_event_starts_as_an_average_one_with_nothing_of_its_own() -> None:
    made = network(items=4)
    met = torch.tensor([False, True, True, False, True])
    made.start_items(torch.tensor([0.0, -1.0, -2.0, -9.0, -3.0]), met)
    assert made.item_bias.tolist() == [0, 1, 0, 0, -1]
    assert made.item.weight.any(1).tolist() == met.tolist()


def test_an_item_drawn_against_itself_does_not_count() -> None:
    made = network(items=3)
    hidden, targets = torch.randn(40, 8), torch.ones(40, dtype=torch.long)
    with torch.no_grad():
        made.item_bias[1:] = torch.tensor([0.0, -1e4, -1e4])
    assert (
        next_item_loss(hidden, targets, made, Negatives.of_counts(torch.ones(4), 2)).item() < 1e-6
    )


def test_the_gradient_of_the_candidates_points_the_same_way() -> None:
    made = network(items=300)
    hidden, targets = torch.randn(64, 8), torch.randint(1, 301, (64,))

    some = Negatives.of_counts(torch.rand(301), 100)

    def gradient(negatives: Negatives, times: int) -> torch.Tensor:
        made.zero_grad()
        for _ in range(times):
            next_item_loss(hidden, targets, made, negatives).backward()  # type: ignore[no-untyped-call]
        assert made.item.weight.grad is not None
        return made.item.weight.grad.flatten()

    assert (
        float(
            torch.nn.functional.cosine_similarity(
                gradient(everything(300), 1), gradient(some, 100), dim=0
            )
        )
        > 0.99
    )
