"""Checks the invariants of interest updates: U1-U4, in the form of offsets and counts.

The numbers of the states are T2 (numbers.py).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from tests.faults.oracle.history import History, Record, held

TOLERANCE: Final = 1e-4
"""Between two computations of one update.

Probabilities and scores are rounded to 1e-5; batches differ in size.
"""


def u1_updates_never_go_back(history: History) -> list[str]:
    """Checks that source offsets of a user's updates rise, after dropping repeats.

    A repeat has the id and the content of an earlier one; an update below the highest whose id is
    new is a replay cut elsewhere: allowed after a fault only, and right at its offset (U3).
    """
    highest: dict[tuple[int, bytes | None], int] = {}
    seen: dict[tuple[bytes | None, str], Record] = {}
    violations = []
    for record, update in history.parsed_updates:
        place, offset = (record.partition, record.key), update["source"]["offset"]
        earlier = seen.setdefault((record.key, update["update_id"]), record)
        if earlier is not record and not same(orjson.loads(earlier.value or b""), update):
            violations.append(
                f"{update['update_id']} of {record.key!r} came twice with other content"
            )
        if earlier is record and offset <= highest.get(place, -1) and not history.disturbed:
            violations.append(
                f"{update['update_id']} of {record.key!r} is older than one before it, and no "
                "fault explains it"
            )
        highest[place] = max(offset, highest.get(place, -1))
    return violations


def u2_last_update_is_the_state(history: History) -> list[str]:
    """Once at rest, the newest update of each user is at its last applied event."""
    newest: dict[tuple[int, bytes | None], tuple[int, int]] = {}
    for record, update in history.parsed_updates:
        place = record.partition, record.key
        newest[place] = max(
            (update["source"]["offset"], update["events_seen"]), newest.get(place, (-1, 0))
        )
    return [
        f"{place}: newest update {newest.get(place)}, the topic says "
        f"{(marks[-1].offset, marks[-1].count)}"
        for place, marks in history.reference.marks.items()
        if newest.get(place) != (marks[-1].offset, marks[-1].count) and not marks[-1].gone
    ]


def u3_every_update_is_right(history: History) -> list[str]:
    """Checks that each update counts the events that the topic has up to its source.

    A repeated or replayed one too.
    """
    violations = []
    for record, update in history.parsed_updates:
        mark = history.reference.at.get(
            (record.partition, record.key or b"", update["source"]["offset"])
        )
        if mark is None or mark.count != update["events_seen"]:
            violations.append(
                f"{update['update_id']} of {record.key!r} says {update['events_seen']} events"
            )
    return violations


def u4_no_state_without_update(history: History) -> list[str]:
    """Checks that each state in the changelog has an update.

    A state is written once its update is acknowledged.
    """
    published = {
        (record.partition, record.key, update["source"]["offset"])
        for record, update in history.parsed_updates
    }
    violations = []
    for record in history.changelog:
        state = held(record)
        gone = (record.partition, state and state.offset) in history.reference.controls
        if gone and state is not None and not state.count:
            continue
        if state is not None and (record.partition, record.key, state.offset) not in published:
            violations.append(f"state of {record.key!r} at offset {state.offset} has no update")
    return violations


def u5_profiles_are_of_who_is_left(history: History) -> list[str]:
    """Checks that at rest nobody who was erased has a profile, and all others the newest one."""
    last = {(each.partition, each.key): each.value for each in history.profiles}
    violations = []
    for place, marks in history.reference.marks.items():
        value = last.get(place)
        if marks[-1].gone and value is not None:
            violations.append(f"{place}: erased at offset {marks[-1].offset}, and has a profile")
        elif not marks[-1].gone and history.profiles:
            offset = orjson.loads(value)["source"]["offset"] if value else None
            if offset != marks[-1].offset:
                violations.append(f"{place}: profile of {offset}, last at {marks[-1].offset}")
    return violations


def figures(history: History) -> dict[str, int]:
    """Permitted observations, counted: updates repeated, and replay cuts."""
    seen: set[tuple[bytes | None, str]] = set()
    highest: dict[tuple[int, bytes | None], int] = {}
    repeated = cuts = 0
    for record, update in history.parsed_updates:
        place, offset, name = (
            (record.partition, record.key),
            update["source"]["offset"],
            (record.key, update["update_id"]),
        )
        repeated += name in seen
        cuts += name not in seen and offset <= highest.get(place, -1)
        seen.add(name)
        highest[place] = max(offset, highest.get(place, -1))
    return {"updates": len(history.updates), "updates_repeated": repeated, "replay_cuts": cuts}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Equal within the noise of another batch size; when it was published does not count."""
    exact = ("schema", "user_id", "time", "source", "model", "events_seen")
    if any(one[name] != other[name] for name in exact):
        return False
    return all(
        _near(
            {each[key]: each[number] for each in one[part]},
            {each[key]: each[number] for each in other[part]},
        )
        for part, key, number in (
            ("interests", "interest", "probability"),
            ("items", "item_id", "score"),
        )
    )


def _near(one: dict[str, float], other: dict[str, float]) -> bool:
    """Returns whether all numbers that both lists have agree.

    Names at the edge of a list may change places with equals.
    """
    common = one.keys() & other.keys()
    scale = max((abs(number) for number in one.values()), default=1.0)
    return len(common) >= len(one) - 1 and all(
        abs(one[name] - other[name]) <= TOLERANCE * max(1.0, scale) for name in common
    )
