"""Loads a language model or sentence encoder of the user from local files.

They are a Hugging Face directory (safetensors) or a GGUF file. Nothing is fetched, no code of a
model is run, nothing is unpickled. From a GGUF file transformers dequantises the weights and
rebuilds the tokenizer (vocabulary, merges, chat template); docs/operate/large-language-models.md
says what is mended afterwards.

Glossary: H width of the model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest, sha256
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.errors import ModelDirectoryError

PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
INSTALL: Final = "pip install 'interest-stream[llm]'"


@dataclass(frozen=True)
class Files:
    """Says where a model is: a folder, and inside it a GGUF file or else safetensors."""

    folder: Path
    gguf: str | None = None

    @property
    def path(self) -> Path:
        """Returns what a user names on the command line."""
        return self.folder / self.gguf if self.gguf else self.folder

    def meaningful(self) -> list[Path]:
        """Returns the files that decide what the model says."""
        if self.gguf:
            return [self.path]
        names = ("config.json", *TOKENIZERS, "merges.txt")
        weights = sorted(self.folder.glob("*.safetensors"))
        return [place for name in names if (place := self.folder / name).is_file()] + weights

    def sha256(self) -> str:
        """Returns the hash of all meaningful files, names included."""
        whole = sha256()
        for place in self.meaningful():
            with place.open("rb") as file:
                whole.update(f"{place.name} {file_digest(file, 'sha256').hexdigest()}\n".encode())
        return whole.hexdigest()


@dataclass(frozen=True)
class BaseModel:
    """Holds a loaded and frozen model with its tokenizer."""

    files: Files
    whole: Any  # transformers' model; with a language-model head if it is causal
    tokenizer: Any
    causal: bool  # False: a sentence encoder
    layers: int = 0  # the first that many are used; 0: all

    @property
    def backbone(self) -> Any:
        """Returns the part from input embeddings to hidden states, without the head."""
        return self.whole.base_model

    @property
    def width(self) -> int:
        """Returns the width of the model, H."""
        return int(self.whole.get_input_embeddings().weight.shape[1])

    @property
    def device(self) -> torch.device:
        """Returns the device that the weights are on."""
        return torch.device(self.whole.device)


def find(path: Path) -> Files:
    """Returns which model is at a path.

    Raises ModelDirectoryError saying what is wrong with the files and what to do.
    """
    # A GGUF file, named itself or alone in a folder.
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) == b"GGUF":
                return Files(path.parent, path.name)
        raise ModelDirectoryError(
            f"{path} is not a language model: name a GGUF file, or a directory with config.json "
            "and safetensors"
        )
    if not path.is_dir():
        raise ModelDirectoryError(
            f"{path} does not exist; models are read from local files only, nothing is fetched"
        )
    if not (path / "config.json").is_file():
        files = sorted(path.glob("*.gguf"))
        if len(files) == 1:
            return Files(path, files[0].name)
        found = (
            f"{len(files)} GGUF files: name one of them"
            if files
            else "neither config.json nor a GGUF file"
        )
        raise ModelDirectoryError(f"{path} is not a language model: it holds {found}")

    # Or safetensors with a configuration and a tokenizer.
    if not any(path.glob("*.safetensors")):
        pickled = next(
            (each.name for each in sorted(path.iterdir()) if each.suffix in PICKLES), None
        )
        found = (
            f"only pickled weights ({pickled}), which are never loaded" if pickled else "no weights"
        )
        raise ModelDirectoryError(
            f"{path} holds {found}; convert them once with "
            "save_pretrained(..., safe_serialization=True) of transformers"
        )
    if not any((path / name).is_file() for name in TOKENIZERS):
        raise ModelDirectoryError(
            f"{path} holds no tokenizer; copy tokenizer.json of the model beside its weights"
        )
    return Files(path)


def load(path: Path, *, device: str = "cpu", precision: str = "", layers: int = 0) -> BaseModel:
    """Returns the model at a path, frozen and in evaluation mode.

    precision: "" for bfloat16, and for float32 if it is a sentence encoder: these are small, and a
    CPU without instructions for bfloat16 takes five times as long with it. layers: only the first
    so many are kept, 0: all. Raises ModelDirectoryError for files that cannot be loaded, saying
    what to do.
    """
    # What is there, before transformers says it in its own words.
    files, transformers = find(path), library()
    if not files.gguf:
        _refuse_remote_code(path, transformers.CONFIG_MAPPING)
    where = {"gguf_file": files.gguf} if files.gguf else {}
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelDirectoryError("device is cuda, and torch sees no GPU; set it to cpu")

    # Configuration, weights and tokenizer. Were trust_remote_code left out, a terminal would be
    # asked whether to run the code of a model.
    # The bar of the GGUF reader of transformers has no switch, and would run through our own.
    try:
        with redirect_stderr(StringIO()), _read_once(files):
            config = transformers.AutoConfig.from_pretrained(
                files.folder, local_files_only=True, trust_remote_code=False, **where
            )
            causal = type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and not _is_encoder(
                config
            )
            kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
            options = {
                "local_files_only": True,
                "trust_remote_code": False,
                "dtype": getattr(torch, precision or ("bfloat16" if causal else "float32")),
            }
            if not files.gguf:
                options["use_safetensors"] = True
            whole = kind.from_pretrained(files.folder, config=config, **where, **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                files.folder, local_files_only=True, trust_remote_code=False, **where
            )
    except Exception as error:
        # A damaged file or an unknown model makes transformers raise nearly anything.
        first = str(error).strip().splitlines()[0][:300] if str(error).strip() else ""
        raise ModelDirectoryError(
            f"{path} cannot be loaded by transformers {transformers.__version__} "
            f"({type(error).__name__}: {first}); an unknown architecture needs a newer "
            "transformers, a damaged file a new copy"
        ) from error

    # What was rebuilt wrong is mended, what is not needed goes, and nothing of it is trained.
    _mend_tokenizer(tokenizer, whole)
    if layers:
        _keep_first(whole, layers)
    whole = whole.eval().requires_grad_(False).to(device)
    return BaseModel(files, whole, tokenizer, causal, layers)


def library() -> Any:
    """Returns transformers, quiet and offline.

    Raises ModelDirectoryError when the optional extra is not installed.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import transformers
    except ImportError as error:
        raise ModelDirectoryError(
            f"a language model of your own needs transformers; install it: {INSTALL}"
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


@contextmanager
def _read_once(files: Files) -> Iterator[None]:
    """Has transformers read a GGUF file, and make the table of its tensors' names, once.

    It would read the file anew for configuration, weights and tokenizer, and make the table, which
    has the names of all layers, anew for each module of the model; both take seconds. And it looks
    at each byte of each token in an np.memmap, where that costs ten times what it does in an array.
    """
    if not files.gguf:
        yield
        return
    import gguf

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        """Reads a file that is mapped into memory as a plain array."""

        @property
        def data(self) -> Any:
            return self._data

        @data.setter
        def data(self, mapped: Any) -> None:
            self._data = np.asarray(mapped)

    before = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, function in (before | {"GGUFReader": Reader}).items():
        setattr(gguf, name, cache(function))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(gguf, name, function)


def _keep_first(whole: Any, layers: int) -> None:
    """Drops the later layers: a scoring step needs fewer than a conversation.

    Source: SLMRec, arXiv 2405.17890. Raises ModelDirectoryError for a model that has not so many.
    """
    backbone, had = whole.base_model, int(whole.config.num_hidden_layers)
    stacks = [
        (name, part)
        for name, part in backbone.named_children()
        if isinstance(part, torch.nn.ModuleList) and len(part) == had
    ]
    if len(stacks) != 1 or layers > had:
        raise ModelDirectoryError(
            f"{type(whole).__name__} has {had} layers, of which {layers} cannot be taken; use all"
        )
    name, stack = stacks[0]
    setattr(backbone, name, stack[:layers])
    whole.config.num_hidden_layers = layers


def _is_encoder(config: Any) -> bool:
    """Returns whether a model is a sentence encoder.

    BERT and its like have a causal class too, so the architecture that the files were saved with
    decides.
    """
    named = " ".join(getattr(config, "architectures", None) or [])
    return bool(named) and not any(
        word in named for word in ("CausalLM", "LMHead", "ConditionalGeneration")
    )


def _refuse_remote_code(folder: Path, known: Any) -> None:
    """Raises ModelDirectoryError for a model that needs code of its own.

    known: architectures of transformers itself, by model type.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelDirectoryError(f"{folder / 'config.json'} is not JSON: {error}") from error
    if isinstance(config, dict) and "auto_map" in config and config.get("model_type") not in known:
        raise ModelDirectoryError(
            f"{folder} needs code of its own (auto_map in config.json), which is never run"
        )


def _mend_tokenizer(tokenizer: Any, whole: Any) -> None:
    """Sets the special tokens that a rebuilt tokenizer lacks or has wrong.

    They are taken from the model's own configuration.
    """
    end = whole.config.eos_token_id
    end = end[0] if isinstance(end, list) else end
    if end is not None and tokenizer.convert_ids_to_tokens(end) is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    tokenizer.clean_up_tokenization_spaces = False
