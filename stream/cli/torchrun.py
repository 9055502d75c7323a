"""Reads from the environment which of the processes of a training this is, as torchrun set it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from stream.errors import UsageError

VARIABLES: Final = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Those that torchrun sets for each process that it starts."""


class Place(NamedTuple):
    """Says where a process stands among those of its training."""

    rank: int = 0
    local_rank: int = 0
    size: int = 1


def place_of(environment: Mapping[str, str]) -> Place:
    """Returns the place of this process, the only one where nothing says otherwise.

    WORLD_SIZE decides whether there are others. Raises UsageError if the rest does not fit it.
    """
    if not environment.get("WORLD_SIZE"):
        return Place()
    missing = [name for name in VARIABLES if not environment.get(name)]
    if missing:
        raise UsageError(
            f"WORLD_SIZE is set, and {', '.join(missing)} not: start several processes with "
            "torchrun, which sets them all, or unset WORLD_SIZE"
        )
    rank, local_rank, size, _ = (
        _number(environment, name) for name in VARIABLES if name != "MASTER_ADDR"
    )
    if not (0 <= local_rank <= rank < size):
        raise UsageError(
            f"RANK is {rank} and LOCAL_RANK {local_rank} with WORLD_SIZE {size}; they count from 0 "
            "up to it: start with torchrun, which sets them, or unset WORLD_SIZE"
        )
    return Place(rank, local_rank, size)


def check_shared(given: Mapping[str, Any]) -> None:
    """Raises UsageError where an option asks for a training that several processes cannot share."""
    if given["language_model"] is not None:
        raise UsageError(
            "torchrun shares out the small model alone: train it so without --language-model, then "
            "the bridge without torchrun, with --language-model and --start-from"
        )
    if given["dp_epsilon"] is not None:
        raise UsageError("--dp-epsilon has no account of several processes; train without torchrun")


def _number(environment: Mapping[str, str], name: str) -> int:
    """Returns a whole number of the environment. Raises UsageError if it is none."""
    try:
        return int(environment[name])
    except ValueError:
        raise UsageError(
            f"{name} is {environment[name]!r} and no whole number; torchrun sets it, or unset "
            "WORLD_SIZE"
        ) from None
