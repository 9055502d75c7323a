"""The sampled softmax estimates the full one, and leads to the same gradients in the mean."""

from __future__ import annotations

import torch

from models.bridge import InterestNetwork, Negatives, NetworkConfig, next_item_loss


def network(items: int) -> InterestNetwork:
    torch.manual_seed(0)
    made = InterestNetwork(NetworkConfig(items=items, interests=2, tokens=20, width=8))
    with torch.no_grad():
        made.item.weight.normal_(std=0.3)
        made.item_bias.normal_(std=0.5)
        made.text.normal_(std=0.3)
    return made


def test_a_sampled_loss_is_the_full_one_within_its_noise() -> None:
    made = network(items=400)
    hidden, targets = torch.randn(64, 8), torch.randint(1, 401, (64,))
    full = next_item_loss(hidden, targets, made)
    some = Negatives.by_popularity(torch.rand(401), 200)
    sampled = torch.stack([next_item_loss(hidden, targets, made, some) for _ in range(100)])
    assert abs((sampled.mean() - full).item()) < 0.05 * full.item()  # the logarithm of an estimate is a little low


def test_the_most_popular_always_take_part_and_the_weights_stand_for_all_items() -> None:
    some = Negatives.by_popularity(torch.tensor([9.0, 1, 5, 2, 5, 0, 0, 0, 0]), 4)
    assert some is not None
    rows, weight = some.draw()
    assert rows[:2].tolist() == [2, 4]
    assert not {2, 4} & set(rows[2:].tolist())
    assert weight.exp().sum().item() == 8
    assert Negatives.by_popularity(torch.ones(9), 8) is None
    assert Negatives.by_popularity(torch.ones(9), 0) is None


def test_an_item_drawn_against_itself_does_not_count() -> None:
    made = network(items=3)
    hidden, targets = torch.randn(40, 8), torch.ones(40, dtype=torch.long)
    with torch.no_grad():
        made.item_bias[1:] = torch.tensor([0.0, -1e4, -1e4])
    assert next_item_loss(hidden, targets, made, Negatives.by_popularity(torch.ones(4), 2)).item() < 1e-6


def test_the_gradient_of_the_candidates_points_the_same_way() -> None:
    made = network(items=300)
    hidden, targets = torch.randn(64, 8), torch.randint(1, 301, (64,))

    some = Negatives.by_popularity(torch.rand(301), 100)

    def gradient(negatives: Negatives | None, times: int) -> torch.Tensor:
        made.zero_grad()
        for _ in range(times):
            next_item_loss(hidden, targets, made, negatives).backward()  # type: ignore[no-untyped-call]
        assert made.item.weight.grad is not None
        return made.item.weight.grad.flatten()

    assert float(torch.nn.functional.cosine_similarity(gradient(None, 1), gradient(some, 100), dim=0)) > 0.99
