"""Event and catalogue files to a prepared data set: what `train` and `evaluate` both start from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from models.errors import ModelDataError
from models.interests import InterestConfig, find_interests
from models.prepare import Catalogue, Dataset, EventChunk, Membership, PrepareConfig, prepare
from stream.catalogue_files import CatalogueFile, read_catalogue, read_taxonomy
from stream.errors import DataError
from stream.event_files import EventFiles
from stream.events import Event, compact_events
from stream.simulate import write_simulation

Array = np.ndarray[Any, Any]

EVENTS_A_USER: Final = 60
"""Of a simulated population, on average."""


@dataclass(frozen=True)
class Inputs:
    """What the command line names."""

    events: Sequence[Path]
    items: Sequence[Path] = ()
    columns: dict[str, str] | None = None
    sequences: bool = False


def load_dataset(inputs: Inputs, prepare_config: PrepareConfig, catalogue: Catalogue | None = None) -> Dataset:
    """Read and prepare; interests are still to be found. `catalogue` replaces the one of the files.

    The report of the data set says what was dropped, bad lines included. Raises DataError.
    """
    file = read_catalogue(inputs.items) if inputs.items and catalogue is None else None
    if file is not None:
        catalogue = Catalogue(file.item_ids, file.titles, file.categories)
    events = EventFiles(inputs.events, inputs.columns, sequences=inputs.sequences)
    try:
        dataset = prepare(chunks(events), catalogue, prepare_config)
    except ModelDataError as error:
        raise DataError(f"{error}{_bad_lines(events)}") from None
    dataset.report.update(_of_files(inputs, events, file))
    return dataset


def simulated_dataset(users: int, seed: int, prepare_config: PrepareConfig) -> Dataset:
    """A simulated population with the catalogue it uses, through the same files and readers as real events."""
    with TemporaryDirectory() as folder:
        events, items = write_simulation(Path(folder), users, users * EVENTS_A_USER, seed)
        dataset = load_dataset(Inputs([events], [items]), prepare_config)
    dataset.report["notes"].append(f"simulated: {users} users, seed {seed}")
    return dataset


def with_found_interests(dataset: Dataset, config: InterestConfig, taxonomy: Path | None, seed: int) -> Dataset:
    """The data set with interests from a taxonomy file, the catalogue, or clusters. Raises DataError."""
    try:
        return find_interests(dataset, config, None if taxonomy is None else read_taxonomy(taxonomy), seed)
    except ModelDataError as error:
        raise DataError(str(error)) from None


def with_known_interests(dataset: Dataset, interests: Sequence[str], belongs: Array) -> Dataset:
    """The data set with the interests of a model that was trained before; belongs: bool [V, C]."""
    item, interest = np.nonzero(belongs)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(item, minlength=len(belongs))))).astype(np.int64)
    membership = Membership(indptr, interest.astype(np.int32))
    return dataset.with_interests(list(interests), membership, {"source": "the model", "count": len(interests)})


def chunks(events: EventFiles) -> Iterator[EventChunk]:
    """The pieces of an event stream as columns."""
    untimed = 0
    for some in events:
        yield _columns(some, events.untimed - untimed)
        untimed = events.untimed


def _columns(events: list[Event], untimed: int) -> EventChunk:
    return EventChunk(
        users=[event.user_id for event in events],
        events=compact_events(events),
        item_ids=[event.item_id for event in events],
        titles=[event.title for event in events],
        categories=[tuple(event.categories or ()) for event in events],
        untimed=untimed,
    )


def _of_files(inputs: Inputs, events: EventFiles, file: CatalogueFile | None) -> dict[str, Any]:
    return {
        "event_files": [path.name for path in inputs.events],
        "bad_lines": dict(events.bad),
        "bad_line_samples": [str(each) for each in events.samples[:5]],
        "notes": events.notes,
        "catalogue_files": [path.name for path in inputs.items],
        "catalogue_problems": dict(file.problems) if file else {},
        "catalogue_problem_samples": file.samples[:5] if file else [],
    }


def _bad_lines(events: EventFiles) -> str:
    if not events.bad:
        return ""
    return f"; {sum(events.bad.values())} lines gave no event, the first: {events.samples[0]}"
