"""Writes a causal language model of a few thousand weights with a tokenizer of bytes.

Everything is real but what it learned.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch

CHAT = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\n' }}{% "
    "endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def write_tiny_model(folder: Path, *, seed: int = 0, kind: str = "llama") -> Path:
    """Writes a Hugging Face directory with safetensors.

    kind: llama (rotary positions) or gpt2 (absolute ones).
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0} | {letter: place for place, letter in enumerate(letters, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(seed)
    if kind == "llama":
        config = LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            bos_token_id=0,
            eos_token_id=0,
        )
    else:
        config = GPT2Config(
            vocab_size=len(vocabulary),
            n_embd=32,
            n_layer=2,
            n_head=2,
            n_positions=512,
            bos_token_id=0,
            eos_token_id=0,
        )
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for value in model.parameters():
            if value.dim() > 1:
                value.mul_(5)  # else a random model says nearly nothing
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", chat_template=CHAT
    ).save_pretrained(folder)
    return folder


def packaged(package: str, name: str) -> Path:
    """A file or folder inside an installed package, which is not imported."""
    found = find_spec(package)
    assert found is not None
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / name
