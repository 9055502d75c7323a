"""Turns event and catalogue files into a prepared data set, which `train` and `evaluate` need."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from models.compact import ACTION_CODES
from models.data.interests import InterestConfig, find_interests
from models.data.prepare import Catalogue, Dataset, EventChunk, Membership, PrepareConfig, prepare
from models.data.splits import held_out
from models.errors import ModelDataError
from models.progress import Progress, ignore_progress
from stream.contracts.event import Event, compact_events
from stream.contracts.faults import shown
from stream.errors import DataError
from stream.files.catalogue import CatalogueFile, read_catalogue, read_taxonomy
from stream.files.events import AUTO, EventFiles, limits_of_files
from stream.files.places import File
from stream.formats.event_format import EventFormat
from stream.simulation.population import write_simulation

Array = np.ndarray[Any, Any]

EVENTS_A_USER: Final = 60
"""Events of a simulated user, on average."""
LONG_READ: Final = 32 << 20
"""Bytes of files, as they are stored, from which on progress is reported, in STEPS."""
STEPS: Final = 20
ACTIONS_SHOWN: Final = 10
"""Actions that are not listed and are named in the report, the most frequent ones."""


@dataclass(frozen=True)
class Inputs:
    """Names the files of a data set, as the command line does."""

    events: Sequence[File]
    items: Sequence[File] = ()
    columns: dict[str, str] | None = None
    sequences: bool = False
    excluded: Collection[str] = ()  # users whose events are not read
    held_out: tuple[float, int] = (0.0, 0)  # share of users whose events are not read, and seed
    least_users: int = 1  # who must have used an unknown action before the report names it
    tests: Sequence[File] = ()  # more event files: what is asked for and not learned
    event_format: str | EventFormat = AUTO


@dataclass
class _Heard:
    """Holds what is noted of events while they are read."""

    inputs: Inputs
    others: Counter[str] = field(default_factory=Counter)  # events of each unlisted action
    users: dict[str, set[str]] = field(default_factory=dict)  # some users of each of them
    excluded: Counter[str] = field(default_factory=Counter)  # events of each excluded user

    def kept(self, events: list[Event]) -> list[Event]:
        """Returns the events of those who are not excluded, noted."""
        gone = self.inputs.excluded
        if gone:
            self.excluded.update(event.user_id for event in events if event.user_id in gone)
            events = [event for event in events if event.user_id not in gone]
        share, seed = self.inputs.held_out
        if share:
            left = ~held_out([event.user_id for event in events], share, seed)
            events = [event for event, here in zip(events, left.tolist(), strict=True) if here]
        for event in events:
            if not ACTION_CODES[event.action]:
                self.others[event.action] += 1
                users = self.users.setdefault(event.action, set())
                if len(users) < self.inputs.least_users:
                    users.add(event.user_id)
        return events

    @property
    def actions(self) -> Counter[str]:
        """Returns the unlisted actions that enough users did, with their events."""
        least = self.inputs.least_users
        return Counter(
            {name: n for name, n in self.others.items() if len(self.users[name]) >= least}
        )

    def of_excluded(self) -> dict[str, int]:
        """Returns how many users were to be left out, how many were met, and their events."""
        return {
            "listed": len(self.inputs.excluded),
            "met": len(self.excluded),
            "events": self.excluded.total(),
        }


def load_dataset(
    inputs: Inputs,
    prepare_config: PrepareConfig,
    catalogue: Catalogue | None = None,
    progress: Progress = ignore_progress,
) -> Dataset:
    """Returns the prepared data set of some files, whose interests are still to be found.

    `catalogue` replaces the one of the files; `progress` is told how much of long files is read.

    The report of the data set says what was dropped, bad lines included. Raises DataError.
    """
    file = read_catalogue(inputs.items) if inputs.items and catalogue is None else None
    if file is not None:
        catalogue = Catalogue(file.item_ids, file.titles, file.categories)
    events = EventFiles(
        [*inputs.events, *inputs.tests],
        inputs.columns,
        limits=limits_of_files(int(time.time() * 1000), recorded=True),
        sequences=inputs.sequences,
        event_format=inputs.event_format,
    )
    heard = _Heard(inputs)
    try:
        dataset = prepare(_chunks(events, heard, progress), catalogue, prepare_config)
    except ModelDataError as error:
        raise DataError(f"{error}{_bad_lines(events)}") from None
    dataset.report.update(_of_files(inputs, events, file))
    dataset.report["unknown_actions"] = dict(heard.actions.most_common(ACTIONS_SHOWN))
    if heard.others:
        dataset.report["notes"].append(_of_actions(heard))
    if inputs.excluded:
        found = dataset.report["excluded_users"] = heard.of_excluded()
        dataset.report["notes"].append(_of_excluded(found))
    return dataset


def simulated_dataset(users: int, seed: int, prepare_config: PrepareConfig) -> Dataset:
    """Returns the data set of a simulated population, with the catalogue that it uses.

    It goes through the same files and readers as real events.
    """
    with TemporaryDirectory() as folder:
        events, items = write_simulation(Path(folder), users, users * EVENTS_A_USER, seed)
        dataset = load_dataset(Inputs([events], [items]), prepare_config)
    dataset.report["notes"].append(f"simulated: {users} users, seed {seed}")
    return dataset


def with_found_interests(
    dataset: Dataset,
    config: InterestConfig,
    taxonomy: Path | None,
    seed: int,
    *,
    by_catalogue: bool = False,
) -> Dataset:
    """Returns the data set with interests from a taxonomy file, the catalogue, or clusters.

    Raises DataError.
    """
    try:
        names = None if taxonomy is None else read_taxonomy(taxonomy)
        return find_interests(dataset, config, names, seed, by_catalogue=by_catalogue)
    except ModelDataError as error:
        raise DataError(str(error)) from None


def with_known_interests(dataset: Dataset, interests: Sequence[str], belongs: Array) -> Dataset:
    """Returns the data set with the interests of a model that was trained before.

    `belongs` is bool [V, C]: which interests each item has.
    """
    item, interest = np.nonzero(belongs)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(item, minlength=len(belongs))))).astype(
        np.int64
    )
    membership = Membership(indptr, interest.astype(np.int32))
    return dataset.with_interests(
        list(interests), membership, {"source": "the model", "count": len(interests)}
    )


def fingerprint(dataset: Dataset) -> str:
    """Returns a name of the prepared events, by which `evaluate` knows whether a model saw them."""
    return sha256(dataset.events.tobytes()).hexdigest()[:16]


def _chunks(events: EventFiles, heard: _Heard, progress: Progress) -> Iterator[EventChunk]:
    """Yields the events of files as columns, a chunk at a time, without excluded users."""
    untimed = shown = 0
    for some in events:
        if events.bytes_to_read >= LONG_READ:
            part = STEPS * events.bytes_read // events.bytes_to_read
            if part > shown:
                shown = part
                progress("reading", part, STEPS, {"rows": f"{events.rows:,}"})
        asked = events.place >= len(heard.inputs.events)
        yield replace(_columns(heard.kept(some), events.untimed - untimed), asked=asked)
        untimed = events.untimed
    if shown:
        progress("reading", STEPS, STEPS, {"rows": f"{events.rows:,}"})


def _columns(events: list[Event], untimed: int) -> EventChunk:
    return EventChunk(
        users=[event.user_id for event in events],
        events=compact_events(events),
        item_ids=[event.item_id for event in events],
        titles=[event.title for event in events],
        categories=[tuple(event.categories or ()) for event in events],
        actions=[event.action for event in events],
        sessions=[event.session_id for event in events],
        untimed=untimed,
    )


def _of_files(inputs: Inputs, events: EventFiles, file: CatalogueFile | None) -> dict[str, Any]:
    return {
        "event_files": [path.name for path in inputs.events],
        "test_files": [path.name for path in inputs.tests],
        "rows_read": events.rows,
        "left_out": dict(events.dropped),
        "bad_lines": dict(events.bad),
        "bad_line_samples": [str(each) for each in events.samples[:5]],
        "notes": [*events.told, *(file.notes if file else [])],
        "catalogue_files": [path.name for path in inputs.items],
        "catalogue_problems": dict(file.problems) if file else {},
        "catalogue_problem_samples": file.samples[:5] if file else [],
    }


def _of_actions(heard: _Heard) -> str:
    """Returns in words which actions count as `other`; those of few users are not named."""
    named = [f"{shown(name)} ({count})" for name, count in heard.actions.most_common(ACTIONS_SHOWN)]
    rest = len(heard.others) - len(named)
    names = ", ".join(named)
    if rest:
        names = f"{names} and {rest} more" if named else f"{rest} that few users did"
    return (
        f"{heard.others.total()} events have an action that is not listed and count as other: "
        f"{names}"
    )


def _of_excluded(found: dict[str, int]) -> str:
    """Returns in words what --exclude-users left out."""
    unknown = found["listed"] - found["met"]
    return (
        f"--exclude-users: {found['met']} of {found['listed']} users were met and left out with "
        f"{found['events']} events; {unknown} have no event here"
    )


def _bad_lines(events: EventFiles) -> str:
    """Returns in words why files gave no event, for an error's message."""
    if not events.bad:
        return "".join(f"; {count} rows are {what}" for what, count in events.dropped.items())
    return f"; {events.told[0]}; the first: {events.samples[0]}"
