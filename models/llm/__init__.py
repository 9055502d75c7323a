"""A user's own causal language model, in the place of the small one in the scoring step.

It needs the optional extra [llm] (transformers, peft). `base_model` loads the model from local
files, `bridge` maps the LSTM's features into it and its hidden states back, `predictor` serves with
both, `directory` stores what was trained, and `explain` puts published updates into sentences.
`training` and `model_directory` import this package; nothing in it is imported for a model without
such a language model. Begin with `bridge`.
"""

from __future__ import annotations

from typing import Final

HOSTED: Final = ("language_model.json", "language_model.safetensors")
"""The files of a model directory that hold the bridge; `directory` reads and writes them."""
