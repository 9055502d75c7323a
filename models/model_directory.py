"""A model directory: readable files, hashed, never unpickled.

    manifest.json        sha256 of every other file, fingerprint, version; written last
    config.json          sizes of the network
    vocabulary.json      words of the tokenizer
    catalogue.jsonl      item_id, title, interests of each item, in row order
    weights.safetensors  network, tables of pairs, blend
    report.json          what training measured
    language_model.*     which language model of the user scores, and the bridge to it (models/llm/directory.py); most have none

The fingerprint is of config, vocabulary, catalogue and weights: any change of them changes what a state or a score means.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from models import cooccurrence, ease
from models.blend import INTEREST_FEATURES, ITEM_SCORERS, Blend
from models.bridge import InterestNetwork, NetworkConfig
from models.errors import ModelDataError, ModelDirectoryError
from models.followers import Followers
from models.pair_tables import PairTable
from models.pairs import Pairs
from models.predict import DEMO_MODEL, Hosting, ModelInfo
from models.predictor import Predictor
from models.prepare import Dataset
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]

FORMAT: Final = 2
MEANING: Final = ("config.json", "vocabulary.json", "catalogue.jsonl", "weights.safetensors")
HOSTED: Final = ("language_model.json", "language_model.safetensors")
MAX_BYTES: Final = 4 << 30


def write_model(
    path: Path,
    *,
    name: str,
    network: InterestNetwork,
    tokenizer: Tokenizer,
    pairs: Pairs,
    blend: Blend,
    catalogue: list[dict[str, Any]],
    interests: list[str],
    report: dict[str, Any],
) -> None:
    """Write everything beside `path` and put it in place in one rename; a directory that is there is replaced."""
    tensors = {f"network.{key}": value.contiguous() for key, value in network.state_dict().items()}
    tensors |= _of_pairs(pairs) | _of_blend(blend)
    config = {"format": FORMAT, "name": name, "network": asdict(network.config), "interests": interests}
    files = {
        "config.json": _json(config),
        "vocabulary.json": _json({"words": tokenizer.known, "length": tokenizer.length}),
        "catalogue.jsonl": "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in catalogue).encode(),
        "weights.safetensors": save_tensors(tensors),
        "report.json": _json(report),
    }
    _put(path, files)


def attach(path: Path, hosted: dict[str, bytes], blend: Blend) -> None:
    """Give a model directory a language model: its two files, and the blend fitted with it."""
    files = {file: (path / file).read_bytes() for file in (*MEANING, "report.json")}
    tensors = _tensors(path, files["weights.safetensors"])
    tensors |= _of_blend(blend)
    _put(path, {**files, "weights.safetensors": save_tensors(tensors), **hosted})


def copy_small(path: Path, out: Path) -> dict[str, Any]:
    """Copy a model directory without a language model it may have; its report."""
    files = _checked_files(path)
    if HOSTED[0] in files:
        raise ModelDirectoryError(f"{path} has a language model already; start from one that was trained without")
    report: dict[str, Any] = json.loads((path / "report.json").read_bytes())
    _put(out, {file: files[file] for file in MEANING} | {"report.json": _json(report)})
    return report


def _put(path: Path, files: dict[str, bytes]) -> None:
    """Write the files with their manifest beside `path`, and put them in place in one rename."""
    hashes = {file: sha256(data).hexdigest() for file, data in files.items()}
    meaning = [file for file in (*MEANING, *HOSTED) if file in files]
    fingerprint = sha256("".join(hashes[file] for file in meaning).encode()).hexdigest()[:16]
    files["manifest.json"] = _json(
        {"format": FORMAT, "fingerprint": fingerprint, "version": fingerprint[:8], "sha256": hashes}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    fresh.chmod(0o755)
    for file, data in files.items():
        (fresh / file).write_bytes(data)
    if path.exists():
        for kept in path.iterdir():
            if kept.name not in files and kept.name not in (*HOSTED, "__pycache__"):
                shutil.move(str(kept), fresh / kept.name)  # training checkpoints, reports of other commands
        shutil.rmtree(path)
    fresh.rename(path)


def read_model(path: Path, hosting: Hosting) -> Predictor:
    """Check hashes, sizes and numbers, then build. Raises ModelDirectoryError naming the file and what to do."""
    files = _checked_files(path)
    try:
        config = json.loads(files["config.json"])
        words = json.loads(files["vocabulary.json"])
        catalogue = [json.loads(line) for line in files["catalogue.jsonl"].splitlines() if line.strip()]
        network = InterestNetwork(NetworkConfig(**config["network"]))
    except (ValueError, KeyError, TypeError, ModelDataError) as error:
        raise ModelDirectoryError(
            f"{path}: config.json, vocabulary.json or catalogue.jsonl cannot be used: {error}"
        ) from error
    tensors = _tensors(path, files["weights.safetensors"])
    try:
        network.load_state_dict(
            {key.removeprefix("network."): value for key, value in tensors.items() if key.startswith("network.")}
        )
    except RuntimeError as error:
        raise ModelDirectoryError(f"{path / 'weights.safetensors'} does not fit config.json: {error}") from error
    interests = list(config["interests"])
    manifest = json.loads(files["manifest.json"])
    info = ModelInfo(
        name=config["name"],
        version=manifest["version"],
        fingerprint=int(manifest["fingerprint"], 16),
        interests=tuple(interests),
        items=tuple(item["item_id"] for item in catalogue),
        titles=tuple(item["title"] for item in catalogue),
        state_size=network.lstm.state_size,
    )
    parts = (
        network,
        Tokenizer(words["words"], words["length"]),
        _pairs(tensors),
        _blend(tensors),
        membership_of(catalogue, len(interests)),
        info,
    )
    if HOSTED[0] not in files:
        return Predictor(*parts)
    from models.llm.directory import host

    return host(path, files, parts, hosting)


def _of_pairs(pairs: Pairs) -> dict[str, torch.Tensor]:
    tensors = _of_table("cooccurrence", pairs.cooccurrence)
    if pairs.ease is not None:
        tensors |= _of_table("ease", pairs.ease)
    if pairs.followers is not None:
        tensors["followers.rows"] = torch.from_numpy(pairs.followers.rows)
        tensors["followers.scores"] = torch.from_numpy(pairs.followers.scores)
    return tensors


def _of_table(name: str, table: PairTable) -> dict[str, torch.Tensor]:
    return {
        f"{name}.neighbours": torch.from_numpy(table.neighbours),
        f"{name}.weights": torch.from_numpy(table.weights),
    }


def _pairs(tensors: dict[str, torch.Tensor]) -> Pairs:
    """Tables that are missing: see Pairs."""

    def columns(table: str, *names: str) -> list[Array]:
        return [tensors[f"{table}.{name}"].numpy() for name in names]

    return Pairs(
        cooccurrence.table(*columns("cooccurrence", "neighbours", "weights")),
        ease.table(*columns("ease", "neighbours", "weights")) if "ease.weights" in tensors else None,
        Followers(*columns("followers", "rows", "scores")) if "followers.rows" in tensors else None,
    )


def _of_blend(blend: Blend) -> dict[str, torch.Tensor]:
    tensors = {f"blend.{part.name}": getattr(blend, part.name) for part in fields(Blend)}
    return {name: each for name, each in tensors.items() if each is not None}


def _blend(tensors: dict[str, torch.Tensor]) -> Blend:
    blend = Blend(
        **{part.name: tensors[f"blend.{part.name}"] for part in fields(Blend) if f"blend.{part.name}" in tensors}
    )
    sizes = {name: len(ITEM_SCORERS) for name in ("item", "session", "strangers")}
    sizes |= {"interest": len(INTEREST_FEATURES)}
    sizes |= {f"live_{name}": size for name, size in sizes.items()}
    weights = {name: each for name in sizes if (each := getattr(blend, name)) is not None}
    padded = {name: _padded(each, sizes[name]) for name, each in weights.items()}
    return replace(blend, **padded)


def _padded(weights: torch.Tensor, size: int) -> torch.Tensor:
    """With 0 for what the model was trained without, which is always the last."""
    return torch.nn.functional.pad(weights, (0, size - weights.shape[-1]))


def read_titles(path: Path | None) -> tuple[dict[str, str], Path | None]:
    """Titles by item_id, and where the language model was in training, if there is one; None: of the demo model."""
    files = _checked_files(path or DEMO_MODEL)
    catalogue = [json.loads(line) for line in files["catalogue.jsonl"].splitlines() if line.strip()]
    place = Path(json.loads(files[HOSTED[0]])["path"]) if HOSTED[0] in files else None
    return {item["item_id"]: item["title"] for item in catalogue}, place


def catalogue_of(dataset: Dataset) -> list[dict[str, Any]]:
    """The lines of catalogue.jsonl."""
    indptr, indices = dataset.membership
    return [
        {"item_id": item_id, "title": title, "interests": indices[indptr[place] : indptr[place + 1]].tolist()}
        for place, (item_id, title) in enumerate(zip(dataset.item_ids, dataset.titles, strict=True))
    ]


def membership_of(catalogue: list[dict[str, Any]], interests: int) -> Array:
    """float32 [V + 1, C]: 1 where a catalogue row belongs to an interest."""
    membership = np.zeros((len(catalogue) + 1, interests), np.float32)
    for row, item in enumerate(catalogue, start=1):
        membership[row, item["interests"]] = 1
    return membership


def _checked_files(path: Path) -> dict[str, bytes]:
    if not (path / "manifest.json").is_file():
        raise ModelDirectoryError(
            f"{path} is not a model directory: it has no manifest.json; make one with 'interest-stream train'"
        )
    files = {"manifest.json": (path / "manifest.json").read_bytes()}
    try:
        manifest = json.loads(files["manifest.json"])
        if manifest["format"] != FORMAT:
            raise ModelDirectoryError(
                f"{path} has format {manifest['format']}, this version reads {FORMAT}; train again"
            )
        hashes = dict(manifest["sha256"])
        int(manifest["fingerprint"], 16)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelDirectoryError(
            f"{path / 'manifest.json'} is damaged: {error}; copy the directory again, or train again"
        ) from error
    for file in (*MEANING, *(file for file in HOSTED if file in hashes)):
        place = path / file
        if not place.is_file() or place.is_symlink() or place.stat().st_size > MAX_BYTES:
            raise ModelDirectoryError(
                f"{place} is missing, a link, or too large; copy the directory again, or train again"
            )
        files[file] = place.read_bytes()
        if sha256(files[file]).hexdigest() != hashes.get(file):
            raise ModelDirectoryError(
                f"{place} is not what manifest.json says (sha256); copy the directory again, or train again"
            )
    return files


def _tensors(path: Path, data: bytes) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(data)
    except SafetensorError as error:
        raise ModelDirectoryError(f"{path / 'weights.safetensors'} is damaged: {error}") from error
    for key, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelDirectoryError(
                f"{path / 'weights.safetensors'}: {key} has numbers that are not finite; train again"
            )
    return tensors


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
