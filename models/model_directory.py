"""Writes, checks and reads a model directory: readable files, hashed, never unpickled.

    manifest.json        sha256 of every other file, fingerprint, version; written last
    config.json          sizes of the network
    vocabulary.json      words of the tokenizer
    catalogue.jsonl      item_id, title, interests of each item, in row order
    weights.safetensors  network, what the scorers learned, blend
    cells.safetensors    where the items of a large catalogue lie (models/serving/item_index.py);
                         found when the directory is written, since one that serves is never
                         written to: processes share it, often where nobody may write
    report.json          what training measured
    language_model.*     which language model of the user's own scores, and the bridge to it
                         (models/llm/directory.py); most have none

    known-events.safetensors
                         which events it learned from, as numbers (models/data/known_events.py)

The fingerprint is of config without the name, vocabulary, catalogue, weights and language model:
any change of them changes what a state or a score means. It stands in the manifest; directories
that were written when the name was part of it keep theirs.

Glossary: V items (row 0: unknown), C interests.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from models.contract import Hosting, ModelInfo
from models.data.prepare import Dataset
from models.errors import ModelDataError, ModelDirectoryError
from models.llm import HOSTED
from models.model_files import CELLS, FORMAT, MEANING, checked_files, read_catalogue
from models.network.interest_network import InterestNetwork, NetworkConfig
from models.scorers import calibration
from models.scorers.blend import Blend
from models.scorers.registry import SCORERS, ScorerSet
from models.serving.allocator import keep_freed_memory
from models.serving.item_index import Cells
from models.serving.mapped import let_go
from models.serving.predictor import Predictor
from models.serving.search_choice import cells_to_store
from models.serving.trained_model import TrainedModel
from models.vocabulary import Tokenizer

Array = np.ndarray[Any, Any]
Content = bytes | Callable[[Path], Any]
"""What a file is to hold: its bytes, or what writes them to a place. Weights may be gigabytes."""

OPTIONAL: Final = (*HOSTED, CELLS)
"""Files that only some models have."""
CHECKED: Final = 1 << 20
"""Numbers of a tensor that are looked at together: they stay in the cache of the processor."""
HELD: Final = 1 << 24
"""Bytes of weights that are checked before they are let go; to do that takes a millisecond."""

log = logging.getLogger("interest_stream")


def write_model(
    path: Path,
    trained: TrainedModel,
    *,
    catalogue: Iterable[Mapping[str, Any]],
    report: dict[str, Any],
) -> None:
    """Writes a model directory where `path` says; one that is there is replaced.

    catalogue: the lines of catalogue.jsonl.
    """
    weights = trained.network.state_dict()
    tensors = {f"network.{key}": value.contiguous() for key, value in weights.items()}
    tensors |= trained.scorers.tensors() | _of_blend(trained.blend)
    config = {
        "format": FORMAT,
        "name": trained.info.name,
        "network": asdict(trained.network.config),
        "interests": list(trained.info.interests),
    }
    if trained.candidates:
        config["candidates"] = True
    tokenizer = trained.tokenizer
    lines = bytearray()
    for item in catalogue:
        lines += json.dumps(item, ensure_ascii=False).encode() + b"\n"
    files: dict[str, Content] = {
        "config.json": _json(config),
        "vocabulary.json": _json({"words": tokenizer.known, "length": tokenizer.length}),
        "catalogue.jsonl": bytes(lines),
        "weights.safetensors": partial(save_tensors, tensors),
        "report.json": _json(report),
    }
    cells = cells_to_store(Predictor(trained)) if trained.candidates else None
    if cells is not None:
        files[CELLS] = partial(save_tensors, vars(cells))
    _put(path, files)


def attach(path: Path, hosted: dict[str, bytes], blend: Blend) -> None:
    """Adds a language model to a model directory: its two files, and the blend fitted with it."""
    files = {file: (path / file).read_bytes() for file in (*MEANING[:-1], "report.json")}
    tensors = _tensors(path)
    tensors |= _of_blend(blend)
    _put(path, {**files, "weights.safetensors": partial(save_tensors, tensors), **hosted})


def copy_small(path: Path, out: Path) -> dict[str, Any]:
    """Copies a model directory and returns its report.

    Raises ModelDirectoryError if it has a language model.
    """
    files = checked_files(path)
    if HOSTED[0] in files:
        raise ModelDirectoryError(
            f"{path} has a language model already; start from one that was trained without"
        )
    report: dict[str, Any] = json.loads((path / "report.json").read_bytes())
    _put(out, {file: files[file] for file in MEANING} | {"report.json": _json(report)})
    return report


def _put(path: Path, files: Mapping[str, Content]) -> None:
    """Writes the files with their manifest near `path`, and puts them in place.

    In one rename, or one by one where the directory itself cannot be replaced: a mount point, a
    link, or a directory in a parent that may not be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (_may_be_replaced(path) and _put_in_one(path, files)):
        _put_one_by_one(path, files)


def _may_be_replaced(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and not path.is_symlink()


def _put_in_one(path: Path, files: Mapping[str, Content]) -> bool:
    """Puts the files in place in one rename; False, and nothing done, if that cannot be."""
    # everything is written before anything is replaced
    fresh = _written(files, path.parent, path.name)
    old = None
    if path.exists():
        old = fresh.with_name(f"{fresh.name}-old")
        try:
            path.rename(old)
        except OSError:  # it is where another file system is mounted
            shutil.rmtree(fresh)
            return False
        # training checkpoints and reports of other commands move along
        for kept in old.iterdir():
            if not (fresh / kept.name).exists() and kept.name not in (*OPTIONAL, "__pycache__"):
                shutil.move(str(kept), fresh / kept.name)
    fresh.rename(path)
    if old is not None:
        shutil.rmtree(old)
    return True


def _put_one_by_one(path: Path, files: Mapping[str, Content]) -> None:
    """Puts the files into a directory that stays, the manifest last.

    Until then the manifest that is there does not fit the files, so nobody loads a mixture.
    """
    path.mkdir(parents=True, exist_ok=True)
    fresh = _written(files, path, path.name)
    for file in files:
        (fresh / file).replace(path / file)
    (fresh / "manifest.json").replace(path / "manifest.json")
    fresh.rmdir()
    for file in OPTIONAL:
        if file not in files:
            (path / file).unlink(missing_ok=True)


def _written(files: Mapping[str, Content], parent: Path, name: str) -> Path:
    """Returns a new folder with the files and their manifest."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    fresh.chmod(0o755)
    hashes = {}
    for file, content in files.items():
        if isinstance(content, bytes):
            (fresh / file).write_bytes(content)
        else:
            content(fresh / file)
        with (fresh / file).open("rb") as written:
            hashes[file] = file_digest(written, "sha256").hexdigest()
    fingerprint = _fingerprint((fresh / "config.json").read_bytes(), hashes)
    (fresh / "manifest.json").write_bytes(
        _json(
            {
                "format": FORMAT,
                "fingerprint": fingerprint,
                "version": fingerprint[:8],
                "sha256": hashes,
            }
        )
    )
    return fresh


def _fingerprint(config: bytes, hashes: Mapping[str, str]) -> str:
    """Returns the fingerprint of the files that change what a state or a score means.

    The name in config.json changes neither: who renames a model keeps the states. hashes: of each
    file that there is.
    """
    meaning = json.loads(config)
    del meaning["name"]
    of = {**hashes, "config.json": sha256(_json(meaning)).hexdigest()}
    names = [file for file in (*MEANING, *HOSTED) if file in hashes]
    return sha256("".join(of[file] for file in names).encode()).hexdigest()[:16]


def fingerprint_of(path: Path) -> int:
    """Returns the fingerprint of a model directory, as its manifest has it."""
    return int(json.loads((path / "manifest.json").read_bytes())["fingerprint"], 16)


def load(path: Path, threads: int = 1, hosting: Hosting | None = None) -> Predictor:
    """Returns the model of a directory, read and checked.

    With `hosting` it is made to serve; without, it computes as in training. Raises
    ModelDirectoryError, which names the file and what to do.
    """
    torch.set_num_threads(threads)
    if hosting is not None:
        keep_freed_memory()
    predictor = _read(path, hosting or Hosting())
    if hosting is not None:
        log.info("precision %s", predictor.serve(hosting.precision))
    return predictor


def _read(path: Path, hosting: Hosting) -> Predictor:
    """Returns the predictor of a directory after checking hashes, sizes and numbers."""
    files = checked_files(path, (*MEANING, *OPTIONAL), unread=("weights.safetensors",))

    # the readable files
    try:
        config = json.loads(files["config.json"])
        words = json.loads(files["vocabulary.json"])
        interests = list(config["interests"])
        catalogue = read_catalogue(files.pop("catalogue.jsonl"), len(interests))
        mapped = bool(config.get("candidates", False))
        sizes = NetworkConfig(**config["network"])
        network = InterestNetwork.without_weights(sizes) if mapped else InterestNetwork(sizes)
    except (ValueError, KeyError, TypeError, ModelDataError) as error:
        raise ModelDirectoryError(
            f"{path}: config.json, vocabulary.json or catalogue.jsonl cannot be used: {error}"
        ) from error

    # the weights
    tensors = _tensors(path)
    _ensure_scorers_are_known(path, tensors)
    _ensure_calibration_fits(path, tensors)
    try:
        # vectors of a large catalogue stay where the file is mapped; others are copied, since a
        # product may round differently where numbers begin at another address
        network.load_state_dict(_under(tensors, "network."), assign=mapped)
    except RuntimeError as error:
        raise ModelDirectoryError(
            f"{path / 'weights.safetensors'} does not fit config.json: {error}"
        ) from error

    # all of it together
    manifest = json.loads(files["manifest.json"])
    info = ModelInfo(
        name=config["name"],
        version=manifest["version"],
        fingerprint=int(manifest["fingerprint"], 16),
        interests=tuple(interests),
        items=catalogue.items,
        titles=catalogue.titles,
        state_size=network.lstm.state_size,
    )
    scorers = ScorerSet.load(tensors)
    let_go(tensors["blend.log_popularity"], path / "weights.safetensors")
    trained = TrainedModel(
        network=network,
        tokenizer=Tokenizer(words["words"], words["length"]),
        scorers=scorers,
        blend=_blend(tensors),
        membership=catalogue.membership,
        info=info,
        candidates=mapped,
        cells=_cells(files),
    )
    if HOSTED[0] not in files:
        predictor = Predictor(trained)
        let_go(tensors["blend.log_popularity"], path / "weights.safetensors")
        return predictor
    from models.llm.directory import host  # most models have no language model of the user's own

    return host(path, files, trained, hosting)


def _cells(files: dict[str, bytes]) -> Cells | None:
    """Returns the cells that a directory has; None: it has none, or of another form."""
    try:
        return Cells(**read_tensors(files[CELLS])) if CELLS in files else None
    except (SafetensorError, TypeError):
        return None


def _of_blend(blend: Blend) -> dict[str, torch.Tensor]:
    """Returns the blend as tensors; weights that were not fitted are left out."""
    tensors = {f"blend.{field.name}": getattr(blend, field.name) for field in fields(Blend)}
    return {name: each for name, each in tensors.items() if each is not None}


def _blend(tensors: dict[str, torch.Tensor]) -> Blend:
    """Returns the blend of tensors, with 0 for scorers that came after its training."""
    stored = _under(tensors, "blend.")
    names = [field.name for field in fields(Blend) if field.name in stored]
    return Blend(**{name: stored[name] for name in names}).padded()


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Returns the tensors whose keys begin with a prefix, without it."""
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def _ensure_scorers_are_known(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Raises ModelDirectoryError for the table of a scorer that this version does not have."""
    known = (
        "network.",
        "blend.",
        *(each.tensors_prefix for each in SCORERS if each.tensors_prefix),
    )
    for key in tensors:
        if not key.startswith(known):
            raise ModelDirectoryError(
                f"{path / 'weights.safetensors'} has {key} of a scorer that this version lacks; "
                "train again, or use the version that trained it"
            )


def _ensure_calibration_fits(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Raises ModelDirectoryError for a calibration that this version cannot read."""
    for key in ("blend.calibration", "blend.live_calibration"):
        if key in tensors and tuple(tensors[key].shape) != (calibration.SIZE,):
            raise ModelDirectoryError(
                f"{path / 'weights.safetensors'}: {key} has {tensors[key].numel()} numbers, this "
                f"version reads {calibration.SIZE}; train again, or use the version that trained it"
            )


def catalogue_of(dataset: Dataset) -> list[dict[str, Any]]:
    """Returns the lines of catalogue.jsonl of a data set."""
    indptr, indices = dataset.membership
    return [
        {
            "item_id": item_id,
            "title": title,
            "interests": indices[indptr[place] : indptr[place + 1]].tolist(),
        }
        for place, (item_id, title) in enumerate(zip(dataset.item_ids, dataset.titles, strict=True))
    ]


def membership_of(catalogue: list[dict[str, Any]], interests: int) -> Array:
    """Returns whether a catalogue row belongs to an interest, bool [V + 1, C]."""
    membership = np.zeros((len(catalogue) + 1, interests), bool)
    for row, item in enumerate(catalogue, start=1):
        membership[row, item["interests"]] = True
    return membership


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of weights.safetensors, all of whose numbers are finite.

    They are the file itself, mapped into memory: processes of one machine share it, and what is
    written into a tensor stays in this process. Who replaces a model directory renames files, as
    `write_model` does; a file that is written over changes under the processes that have it.
    """
    try:
        tensors: dict[str, torch.Tensor] = load_tensors(path / "weights.safetensors")
    except SafetensorError as error:
        raise ModelDirectoryError(f"{path / 'weights.safetensors'} is damaged: {error}") from error
    touched = 0
    for key, value in tensors.items():
        if value.is_floating_point() and not _finite(value):
            raise ModelDirectoryError(
                f"{path / 'weights.safetensors'}: {key} has numbers that are not finite; "
                "train again"
            )
        touched += value.nbytes
        if touched >= HELD:
            let_go(value, path / "weights.safetensors")
            touched = 0
    return tensors


def _finite(tensor: torch.Tensor) -> bool:
    """Returns whether all numbers are finite; a few at a time, so that it takes no memory."""
    return all(bool(torch.isfinite(part).all()) for part in torch.split(tensor.flatten(), CHECKED))


def _json(value: Any) -> bytes:
    """Returns JSON that a person can read."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode()
