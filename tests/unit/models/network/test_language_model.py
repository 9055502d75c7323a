"""Nobody sees what comes later."""

from __future__ import annotations

import pytest
import torch

from models.network.language_model import LanguageModel
from models.vocabulary import PAD, START


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(5)
    model = LanguageModel(40, 16, layers=2, heads=2, dropout=0.3, reach=6).eval()
    torch.nn.init.normal_(model.distance)  # else distances would not matter
    return model


def test_a_position_never_sees_later_words(model: LanguageModel) -> None:
    words = torch.tensor([[START, 5, 6, 7, 8, 9]])
    other = words.clone()
    other[0, 3] = 30
    with torch.no_grad():
        before, after = model.read_text(words), model.read_text(other)
    torch.testing.assert_close(before[:, :3], after[:, :3], atol=1e-6, rtol=0)
    assert ((before[:, 3:] - after[:, 3:]).abs().amax(2) > 1e-4).all()


def test_padding_changes_no_encoding(model: LanguageModel) -> None:
    short = torch.tensor([[START, 5, 6]])
    padded = torch.tensor([[START, 5, 6, PAD, PAD, PAD]])
    with torch.no_grad():
        torch.testing.assert_close(
            model.encode_text(padded), model.encode_text(short), atol=1e-6, rtol=0
        )


def test_the_last_hidden_state_alone_equals_that_of_the_full_pass(model: LanguageModel) -> None:
    x = torch.randn(3, 7, 16)
    places = torch.arange(7)
    bias = model.distance_bias(places, places).masked_fill(
        places[None, :] > places[:, None], float("-inf")
    )[None]
    with torch.no_grad():
        torch.testing.assert_close(
            model.last_hidden(x, bias), model(x, bias)[:, -1], atol=1e-6, rtol=0
        )


def test_only_distance_counts_up_to_the_reach(model: LanguageModel) -> None:
    early, late = torch.arange(4), torch.arange(100, 104)
    assert torch.equal(model.distance_bias(early, early), model.distance_bias(late, late))
    far = model.distance_bias(torch.tensor([50]), torch.tensor([50 - 6, 50 - 7, 0]))
    assert torch.equal(far[:, 0, 0], far[:, 0, 1])
    assert torch.equal(far[:, 0, 0], far[:, 0, 2])


def test_the_text_loss_ignores_padding_and_falls_when_learned(model: LanguageModel) -> None:
    texts = torch.tensor([[START, 5, 6, 7], [START, 8, 9, PAD]])
    wider = torch.nn.functional.pad(texts, (0, 3), value=PAD)
    with torch.no_grad():
        torch.testing.assert_close(
            model.text_loss(texts), model.text_loss(wider), atol=1e-5, rtol=0
        )
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    first = model.text_loss(texts).item()
    for _ in range(30):
        optimiser.zero_grad()
        loss = model.text_loss(texts)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert loss.item() < first / 3
