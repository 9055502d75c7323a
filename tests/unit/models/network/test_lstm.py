"""The cell against torch's own, and serving's steps against training's one pass."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from models.network.lstm import Lstm, cell_step, input_gates

USERS, EVENTS, WIDTH = 5, 12, 24


@pytest.fixture(params=[1, 3], ids=["one layer", "three layers"])
def lstm(request: pytest.FixtureRequest) -> Lstm:
    torch.manual_seed(1)
    return Lstm(WIDTH, request.param, dropout=0.5).eval()


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(2)
    return 2 * torch.randn(USERS, EVENTS, WIDTH)


def stepped(lstm: Lstm, x: Tensor, state: Tensor) -> Tensor:
    """Features [U, T, D] event by event; moves the state."""
    features = []
    for place in range(x.shape[1]):
        gates = input_gates(next(lstm.layer_blocks()).lstm, x[:, place])
        lstm.step(x[:, place], gates, state)
        features.append(lstm.feature(x[:, place], state))
    return torch.stack(features, 1)


def test_the_gates_are_those_of_torch() -> None:
    torch.manual_seed(0)
    cell, x = torch.nn.LSTM(WIDTH, WIDTH, batch_first=True), 3 * torch.randn(USERS, EVENTS, WIDTH)
    h, c = torch.randn(USERS, WIDTH), torch.randn(USERS, WIDTH)
    with torch.no_grad():
        out, (last_h, last_c) = cell(x, (h[None], c[None]))
        for place in range(EVENTS):
            h, c = cell_step(input_gates(cell, x[:, place]), h, c, cast(Tensor, cell.weight_hh_l0))
            torch.testing.assert_close(h, out[:, place], atol=1e-6, rtol=0)
    torch.testing.assert_close(h, last_h[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(c, last_c[0], atol=1e-6, rtol=0)


def test_the_gates_are_the_published_equations() -> None:
    """i, f, g, o by hand for one number: weights 1, biases 0, x = 0.5, h = 0.25, c = 2."""
    one = torch.ones(1, 1)
    h, c = cell_step((0.5 * one).expand(1, 4), 0.25 * one, 2 * one, torch.ones(4, 1))
    sigma = 1 / (1 + 2.718281828459045**-0.75)
    tanh = 2 / (1 + 2.718281828459045**-1.5) - 1
    cell = sigma * 2 + sigma * tanh
    assert c.item() == pytest.approx(cell, abs=1e-6)
    assert h.item() == pytest.approx(
        sigma * (2 / (1 + 2.718281828459045 ** (-2 * cell)) - 1), abs=1e-6
    )


def test_steps_equal_the_full_pass(lstm: Lstm, x: Tensor) -> None:
    with torch.no_grad():
        found = stepped(lstm, x, torch.zeros(USERS, lstm.state_size))
        torch.testing.assert_close(found, lstm(x), atol=1e-5, rtol=0)


def test_a_state_carried_over_chunks_equals_one_pass(lstm: Lstm, x: Tensor) -> None:
    whole, cut = torch.zeros(USERS, lstm.state_size), torch.zeros(USERS, lstm.state_size)
    with torch.no_grad():
        stepped(lstm, x, whole)
        for part in x.split([1, 4, 7], dim=1):  # type: ignore[no-untyped-call]
            kept = cut.clone()  # as it comes back from a changelog
            stepped(lstm, part, kept)
            cut = kept
    assert torch.equal(whole, cut)


def test_padding_behind_a_sequence_changes_nothing_before_it(lstm: Lstm, x: Tensor) -> None:
    padded = torch.cat((x, torch.full((USERS, 4, WIDTH), 9.0)), 1)
    with torch.no_grad():
        torch.testing.assert_close(lstm(padded)[:, :EVENTS], lstm(x), atol=1e-6, rtol=0)


def test_a_later_event_changes_no_earlier_feature(lstm: Lstm, x: Tensor) -> None:
    other = x.clone()
    other[:, 7] += 1
    with torch.no_grad():
        before, after = lstm(x), lstm(other)
    torch.testing.assert_close(before[:, :7], after[:, :7], atol=1e-6, rtol=0)
    assert ((before[:, 7:] - after[:, 7:]).abs().amax(2) > 1e-4).all()
