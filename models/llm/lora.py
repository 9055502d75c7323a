"""Puts LoRA on a hosted model: small trained matrices added to its weights (Hu et al. 2021).

The library peft does it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from models.errors import ModelDirectoryError
from models.llm.base_model import INSTALL


def add(whole: Any, rank: int) -> list[Any]:
    """Puts adapters into a model, in place; returns their parameters, all that is trained of it.

    Raises ModelDirectoryError for a model that LoRA does not fit.
    """
    peft = _library()
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.05
    )
    try:
        peft.inject_adapter_in_model(config, whole)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ModelDirectoryError(
            f"LoRA does not fit {type(whole).__name__}: {error}; train without --lora"
        ) from error
    trained = [value for name, value in whole.named_parameters() if "lora_" in name]
    for value in trained:
        value.data = value.data.float()
        value.requires_grad_(True)
    return trained


def weights(whole: Any) -> dict[str, Tensor]:
    """Returns the weights of the adapters by name."""
    return {name: value.detach() for name, value in whole.named_parameters() if "lora_" in name}


def put(whole: Any, rank: int, tensors: dict[str, Tensor]) -> None:
    """Puts adapters with trained weights into a model, merged into its layers.

    So scoring costs no more than without them.
    """
    add(whole, rank)
    fill(whole, tensors)
    for module in whole.modules():
        if hasattr(module, "lora_A") and hasattr(module, "merge"):
            module.merge()
    whole.requires_grad_(False)
    whole.eval()


def fill(whole: Any, tensors: dict[str, Tensor]) -> None:
    """Copies weights into adapters that are there.

    Raises ModelDirectoryError if the adapters are others.
    """
    own = dict(whole.named_parameters())
    names = {name for name in own if "lora_" in name}
    if names != set(tensors):
        raise ModelDirectoryError(
            "the LoRA weights of the model directory do not fit its language model; train again"
        )
    for name, value in tensors.items():
        own[name].data.copy_(value)


def _library() -> Any:
    """Returns peft. Raises ModelDirectoryError when it is not installed."""
    try:
        import peft
    except ImportError as error:
        raise ModelDirectoryError(f"LoRA needs peft; install it: {INSTALL}") from error
    return peft
