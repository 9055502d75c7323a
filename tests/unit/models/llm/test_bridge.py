"""Checks the bridge: training sees what serving sees, and padding changes nothing.

An untrained bridge ranks as the LSTM does.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.errors import ModelDirectoryError
from models.llm.base_model import BaseModel, load
from models.llm.bridge import Bridge, BridgeConfig, ensure_masks_count
from models.llm.directory import fill_tokens
from tests.support.tiny_language_model import write_tiny_model

EVENTS, WIDTH = 4, 8


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """Returns models with rotary and with absolute positions."""
    folder = write_tiny_model(tmp_path_factory.mktemp(request.param) / "model", kind=request.param)
    return load(folder, precision="float32")


@pytest.fixture
def bridge(base: BaseModel) -> Bridge:
    torch.manual_seed(1)
    made = Bridge(BridgeConfig(WIDTH, base.width, items=3, interests=2, recent=EVENTS))
    fill_tokens(made, base, ["One", "Two", "Three"])
    return made.eval()


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def test_a_training_window_answers_as_serving_does(base: BaseModel, bridge: Bridge) -> None:
    events, features = random(1, EVENTS, base.width), random(1, 2, WIDTH)
    soft = bridge.soft_tokens(features)
    after = torch.tensor([[1, 3]])  # after the second event, and after the fourth
    trained = bridge.train_windows(base.backbone, events, soft, after)[0]
    for place, answer in zip(after[0].tolist(), trained, strict=True):
        served = torch.zeros(1, EVENTS, base.width)
        served[:, EVENTS - place - 1 :] = events[:, : place + 1]
        which = after[0].tolist().index(place)
        alone = bridge.serve(base.backbone, served, torch.tensor([place + 1]), soft[:, which])
        torch.testing.assert_close(alone[0], answer, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_user_alone_is_answered_as_among_others(base: BaseModel, bridge: Bridge) -> None:
    events, soft = random(3, EVENTS, base.width), bridge.soft_tokens(random(3, WIDTH))
    count = torch.tensor([1, 4, 2])
    together = bridge.serve(base.backbone, events, count, soft)
    events[0, :3] = 7.0  # what is not there does not count
    for user in range(3):
        one = slice(user, user + 1)
        alone = bridge.serve(base.backbone, events[one], count[one], soft[one])
        torch.testing.assert_close(alone[0], together[user], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_each_soft_token_and_each_event_reaches_the_answer(base: BaseModel, bridge: Bridge) -> None:
    events, soft, count = (
        random(1, EVENTS, base.width),
        bridge.soft_tokens(random(1, WIDTH)),
        torch.tensor([EVENTS]),
    )
    before = bridge.serve(base.backbone, events, count, soft)
    for place in range(EVENTS):
        changed = events.clone()
        changed[:, place] = changed[:, place].flip(-1)
        assert (bridge.serve(base.backbone, changed, count, soft) - before).abs().max() > 1e-3
    for place in range(2):
        other = soft.clone()
        other[:, place] = other[:, place].flip(-1)
        assert (bridge.serve(base.backbone, events, count, other) - before).abs().max() > 1e-3


def test_an_untrained_bridge_leaves_the_feature_as_it_is(bridge: Bridge) -> None:
    feature = random(2, WIDTH)
    torch.testing.assert_close(bridge.answer(feature, random(2, bridge.config.host_width)), feature)


def test_an_architecture_that_ignores_the_mask_is_refused(base: BaseModel) -> None:
    ensure_masks_count(base.backbone, base.width)

    class Deaf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = base.backbone

        def forward(self, inputs_embeds: Tensor, **_: object) -> object:
            return self.inner(inputs_embeds=inputs_embeds)

    with pytest.raises(ModelDirectoryError, match="does not keep to a given attention mask"):
        ensure_masks_count(Deaf(), base.width)
