"""Texts through a user's model: encodings of titles and phrases, and single tokens that stand for a title.

Encodings are mean-pooled hidden states, computed once and cached in the model directory. A title inside a user's history is
one token: the mean of the input embeddings of its words, at the length that the model's own embeddings have.

Glossary: N texts, L tokens, H width of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from models.llm.base_model import BaseModel

TOKENS: Final = 32
"""Of a text; a title or an interest is shorter, and what is cut off rarely decides."""

BATCH_TOKENS: Final = 2_048
"""Texts of similar length share a batch of about this many tokens."""


def encode(model: BaseModel, texts: Sequence[str], progress: Callable[[int, int], None] | None = None) -> Tensor:
    """float32 [N, H]: the mean of the last hidden states of each text's tokens."""
    numbers = token_numbers(model, texts)
    order = sorted(range(len(texts)), key=lambda place: len(numbers[place]))
    found = torch.empty(len(texts), model.width)
    done = 0
    while done < len(order):
        size = max(1, BATCH_TOKENS // max(len(numbers[order[min(done + 64, len(order) - 1)]]), 1))
        chosen = order[done : done + size]
        found[chosen] = _pooled(model, [numbers[place] for place in chosen])
        done += len(chosen)
        if progress is not None:
            progress(done, len(order))
    return found


def title_tokens(model: BaseModel, texts: Sequence[str]) -> Tensor:
    """float32 [N, H]: one input vector a text, as long as the model's embeddings are on average."""
    embeddings = model.whole.get_input_embeddings().weight.detach()
    length = usual_length(model)
    found = torch.zeros(len(texts), model.width)
    for place, numbers in enumerate(token_numbers(model, texts)):
        mean = embeddings[torch.tensor(numbers, device=embeddings.device)].float().mean(0)
        found[place] = (mean * (length / mean.norm().clamp(min=1e-6))).cpu()
    return found


def usual_length(model: BaseModel) -> float:
    """Mean norm of the input embeddings, of a sample that is the same every time."""
    embeddings = model.whole.get_input_embeddings().weight.detach()
    return float(embeddings[:: max(1, len(embeddings) // 1_000)].float().norm(dim=1).mean())


def token_numbers(model: BaseModel, texts: Sequence[str]) -> list[list[int]]:
    """Token numbers of each text, at least one, at most TOKENS."""
    if not texts:
        return []
    special = not model.causal  # a sentence encoder was trained with its [CLS] and [SEP]
    encoded = model.tokenizer(list(texts), add_special_tokens=special, truncation=True, max_length=TOKENS)["input_ids"]
    nothing = model.tokenizer.eos_token_id or model.tokenizer.unk_token_id or 0
    return [list(numbers) or [nothing] for numbers in encoded]


@torch.inference_mode()
def _pooled(model: BaseModel, numbers: list[list[int]]) -> Tensor:
    longest = max(map(len, numbers))
    tokens: Any = torch.zeros(len(numbers), longest, dtype=torch.long)
    there = torch.zeros(len(numbers), longest, dtype=torch.long)
    for place, each in enumerate(numbers):
        tokens[place, : len(each)], there[place, : len(each)] = torch.tensor(each), 1
    tokens, there = tokens.to(model.device), there.to(model.device)
    options = {"use_cache": False} if model.causal else {}
    hidden = model.backbone(input_ids=tokens, attention_mask=there, **options).last_hidden_state.float()
    weight = there.unsqueeze(-1)
    pooled: Tensor = (hidden * weight).sum(1) / weight.sum(1)
    return pooled.cpu()
