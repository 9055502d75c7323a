"""Turns texts into vectors by a user's model: encodings, and single tokens that stand for a title.

Encodings of titles and phrases are mean-pooled hidden states, computed once and cached in the model
directory. A title inside a user's history is one token: the mean of the input embeddings of its
words, at the length that the model's own embeddings have.

Glossary: N texts, L tokens, H width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from models.llm.base_model import BaseModel
from models.progress import Progress, ignore_progress

TOKENS: Final = 32
"""Tokens of a text that are read; titles and interests are shorter, and the rest rarely decides."""

BATCH_TOKENS: Final = 2_048
"""Texts of similar length share a batch of about this many tokens."""


def encode(
    model: BaseModel,
    texts: Sequence[str],
    progress: Progress = ignore_progress,
    stage: str = "texts",
) -> Tensor:
    """Returns the mean of the last hidden states of each text's tokens, float32 [N, H].

    stage: its name in reports of progress.
    """
    numbers = token_numbers(model, texts)
    order = sorted(range(len(texts)), key=lambda place: len(numbers[place]))
    found = torch.empty(len(texts), model.width)
    done = 0
    while done < len(order):
        size = max(1, BATCH_TOKENS // max(len(numbers[order[min(done + 64, len(order) - 1)]]), 1))
        chosen = order[done : done + size]
        found[chosen] = _pooled(model, [numbers[place] for place in chosen])
        done += len(chosen)
        progress(stage, done, len(order), {})
    return found


def title_tokens(model: BaseModel, texts: Sequence[str]) -> Tensor:
    """Returns one input vector a text, float32 [N, H], as long as the model's own usually are."""
    embeddings = model.whole.get_input_embeddings().weight.detach()
    length = usual_length(model)
    found = torch.zeros(len(texts), model.width)
    for place, numbers in enumerate(token_numbers(model, texts)):
        mean = embeddings[torch.tensor(numbers, device=embeddings.device)].float().mean(0)
        found[place] = (mean * (length / mean.norm().clamp(min=1e-6))).cpu()
    return found


def usual_length(model: BaseModel) -> float:
    """Returns the mean norm of the input embeddings, of a sample that is always the same."""
    embeddings = model.whole.get_input_embeddings().weight.detach()
    return float(embeddings[:: max(1, len(embeddings) // 1_000)].float().norm(dim=1).mean())


def token_numbers(model: BaseModel, texts: Sequence[str]) -> list[list[int]]:
    """Returns the token numbers of each text, at least one, at most TOKENS."""
    if not texts:
        return []
    special = not model.causal  # a sentence encoder was trained with its [CLS] and [SEP]
    encoded = model.tokenizer(
        list(texts), add_special_tokens=special, truncation=True, max_length=TOKENS
    )["input_ids"]
    nothing = model.tokenizer.eos_token_id or model.tokenizer.unk_token_id or 0
    return [list(numbers) or [nothing] for numbers in encoded]


@torch.inference_mode()
def _pooled(model: BaseModel, numbers: list[list[int]]) -> Tensor:
    """Returns the mean hidden state of each text of one batch, float32 [N, H]."""
    longest = max(map(len, numbers))
    tokens: Any = torch.zeros(len(numbers), longest, dtype=torch.long)
    there = torch.zeros(len(numbers), longest, dtype=torch.long)
    for place, each in enumerate(numbers):
        tokens[place, : len(each)], there[place, : len(each)] = torch.tensor(each), 1
    tokens, there = tokens.to(model.device), there.to(model.device)
    options = {"use_cache": False} if model.causal else {}
    hidden = model.backbone(
        input_ids=tokens, attention_mask=there, **options
    ).last_hidden_state.float()
    weight = there.unsqueeze(-1)
    pooled: Tensor = (hidden * weight).sum(1) / weight.sum(1)
    return pooled.cpu()
