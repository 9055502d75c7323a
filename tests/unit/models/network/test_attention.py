"""The attention reads a window as a whole, and only what stands in it."""

from __future__ import annotations

import pytest
import torch

from models.network.attention import (
    FILTERED,
    FRAME,
    LOW,
    Attention,
    AttentionBlock,
    low_pass,
    newest_items,
)

ITEMS, WIDTH, WINDOW = 20, 16, 6


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    found = Attention(ITEMS, WIDTH, WINDOW, dropout=0.5).eval()
    with torch.no_grad():  # weights that matter, unlike those it begins with
        for weight in found.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        found.item.weight[0] = 0
    return found


def answers(attention: Attention, rows: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = attention(rows, attention.item(rows))
    return found


def test_empty_places_before_the_items_change_nothing(attention: Attention) -> None:
    rows = torch.randint(1, ITEMS + 1, (3, 4))
    padded = torch.nn.functional.pad(rows, (WINDOW - 4, 0))
    torch.testing.assert_close(answers(attention, padded), answers(attention, rows))


def test_every_item_of_the_window_counts_and_so_does_their_order(attention: Attention) -> None:
    rows = torch.arange(1, WINDOW + 1)[None]
    whole = answers(attention, rows)
    for place in range(WINDOW):
        other = rows.clone()
        other[0, place] = ITEMS
        assert not torch.allclose(answers(attention, other), whole, atol=1e-3)
    assert not torch.allclose(answers(attention, rows.flip(1)), whole, atol=1e-3)


def test_who_has_no_item_gets_an_answer_that_says_nothing(attention: Attention) -> None:
    assert not answers(attention, torch.zeros(2, WINDOW, dtype=torch.long)).any()


def test_the_filter_keeps_slow_waves_and_takes_fast_ones() -> None:
    kernel, place = low_pass(FRAME), torch.arange(FRAME)
    for frequency in range(FRAME // 2):
        wave = torch.cos(2 * torch.pi * frequency * place / FRAME)
        kept = wave if frequency < LOW else torch.zeros(FRAME)
        torch.testing.assert_close(kernel @ wave, kept, atol=1e-4, rtol=0)
    torch.testing.assert_close(low_pass(WINDOW), kernel[-WINDOW:, -WINDOW:])


def test_the_newest_items_are_those_that_the_catalogue_knows_oldest_first() -> None:
    rows = torch.tensor([[0, 7, 0, 5, 3, 9], [4, 0, 0, 0, 0, 0]])
    windows, places = newest_items(rows, 3)
    assert windows.tolist() == [[3, 5, 7], [0, 0, 4]]
    assert torch.equal(rows.gather(1, places), windows)
    assert places[0].tolist() == [4, 3, 1]


def test_what_an_item_gives_to_the_filter_is_its_share_of_the_answer(attention: Attention) -> None:
    """Without the attention's half and the feed-forward, it is the derivative by the share."""
    block = attention.blocks[-1]
    assert isinstance(block, AttentionBlock)
    with torch.no_grad():
        block.out.weight.zero_()
        block.down.weight.zero_()
        block.down.bias.zero_()
    rows = torch.randint(1, ITEMS + 1, (2, WINDOW))
    read, towards = attention.read(rows, attention.item(rows)).detach(), torch.randn(2, WIDTH)

    share = torch.ones(2, WINDOW, requires_grad=True)
    newest, passes = read[:, -1], block.high.square()
    low = (block.low[-1] * share) @ read
    given = newest * (1 + passes) + (1 - passes) * low[torch.arange(2), torch.arange(2)]
    attended = block.after_attention(newest + block.out.bias)
    answer = block.after(FILTERED * block.after_filter(given) + (1 - FILTERED) * attended)
    (wanted,) = torch.autograd.grad((answer * towards).sum(), share)

    with torch.no_grad():
        lost = attention.unread(rows, read, towards)
    torch.testing.assert_close(lost[:, :-1], wanted[:, :-1], atol=1e-5, rtol=1e-4)


def test_what_is_served_is_the_newest_place_of_what_is_trained(attention: Attention) -> None:
    rows = torch.tensor([[0, 0, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [0] * WINDOW])
    with torch.no_grad():
        served = attention.answer(rows, attention.read(rows, attention.item(rows)))
    torch.testing.assert_close(served, answers(attention, rows))


def test_an_empty_place_gives_nothing(attention: Attention) -> None:
    rows = torch.tensor([[0, 0, 3, 4, 5, 6]])
    with torch.no_grad():
        read = attention.read(rows, attention.item(rows))
        lost = attention.unread(rows, read, torch.randn(1, WIDTH))
    assert not lost[0, :2].any()
    assert lost[0, 2:].all()
