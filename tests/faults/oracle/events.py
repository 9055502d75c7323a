"""Checks the invariants of events and states: A1-A3, T1, T3-T5, C1, D1, D2.

Each returns its violations as sentences; empty: it holds. Codes as in the plan of the fault
campaign (docs/measured/reliability.md). All but C1 want a history at rest: lag 0, workers stopped.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from aiokafka.partitioner import DefaultPartitioner

from stream.audit.changelog import Held
from tests.faults.oracle.history import History, Place, Record, UserPlace, fingerprint, held


def a1_acknowledged_events_are_reflected(history: History) -> list[str]:
    """Checks that every `ok` of the journal is in the topic where the broker answered.

    And in its user's state or the dead letters.
    """
    source, reference = {_place(each): each for each in history.source}, history.reference
    letters, violations = set(parked(history)), []
    for sent in history.journal:
        if sent.outcome != "ok":
            continue
        record = source.get(sent.place)
        if record is None or fingerprint(record.value) != sent.fingerprint:
            violations.append(f"{sent.event_id} was acknowledged at {sent.place} and is not there")
        elif sent.place in reference.applied:
            state = history.states.get((sent.place[0], reference.applied[sent.place]))
            if state is None or state.offset < sent.place[1]:
                violations.append(
                    f"{sent.event_id} at {sent.place} is not in the state of its user"
                )
        elif sent.place in reference.invalid and sent.place not in letters:
            violations.append(f"{sent.event_id} at {sent.place} is bad and no dead letter")
    return violations


def a2_nothing_from_nowhere(history: History) -> list[str]:
    """Checks that no `fail` event is in the topic.

    Every update, state and dead letter names an offset that is there.
    """
    failed = {sent.fingerprint: sent.event_id for sent in history.journal if sent.outcome == "fail"}
    found = [
        f"{failed[mark]} failed and is in the topic"
        for each in history.source
        if (mark := fingerprint(each.value)) in failed
    ]
    users = {_place(each): each.key for each in history.source}
    for record, update in history.parsed_updates:
        place = update["source"]["partition"], update["source"]["offset"]
        if update["source"]["topic"] != history.topic or users.get(place) != record.key:
            found.append(f"update {update['update_id']} of {record.key!r} has no such source")
    for record in history.changelog:
        state = held(record)
        if state is not None and users.get((state.source_partition, state.offset)) != record.key:
            found.append(
                f"changelog[{record.partition}] {record.offset}: the state of {record.key!r} has "
                "no such source"
            )
    found += [
        f"a dead letter names {place}, which is not in the topic"
        for place in parked(history)
        if place[:2] not in users
    ]
    return found


def a3_unknown_outcomes_follow_the_log(history: History) -> list[str]:
    """Checks that an `info` event is reflected exactly when it is in the topic.

    And a user's sent events keep their order there.
    """
    unknown = {
        sent.fingerprint: sent.event_id for sent in history.journal if sent.outcome == "info"
    }
    violations = []
    for record in history.source:
        event_id = unknown.get(fingerprint(record.value))
        user = history.reference.applied.get(_place(record))
        if event_id is None or user is None:
            continue
        state = history.states.get((record.partition, user))
        if state is None or state.offset < record.offset:
            violations.append(
                f"{event_id}, outcome unknown, is in the topic at {_place(record)} and not in its "
                "state"
            )
    return violations


def t1_each_event_once(history: History) -> list[str]:
    """Count and digest of every user are those of the reference; so are the last offsets."""
    violations = []
    for place, marks in history.reference.marks.items():
        state, want = history.states.get(place), marks[-1]
        if state is None:
            violations.append(f"{place}: {want.count} events and no state")
        elif (state.count, state.offset, state.digest) != (want.count, want.offset, want.digest):
            violations.append(
                f"{place}: state of {state.count} events up to {state.offset}, the topic has "
                f"{want.count} up to {want.offset}"
            )
    return violations


def t3_users_where_they_belong(history: History) -> list[str]:
    """Checks that each user is in one partition, the one its key hashes to.

    In source and changelog alike; and nobody is held without events.
    """
    partitioner, violations = DefaultPartitioner(), []
    everywhere = sorted(history.committed) or sorted({each.partition for each in history.source})
    for partition, user in history.states.keys() | history.reference.marks.keys():
        if partition != partitioner(user, everywhere, everywhere):
            violations.append(
                f"{user!r} is in partition {partition}, where its key does not belong"
            )
    violations += [
        f"{place} has a state and no event"
        for place in history.states.keys() - history.reference.marks.keys()
    ]
    violations += [
        f"{place}: its state came from partition {state.source_partition}"
        for place, state in history.states.items()
        if state.source_partition != place[0]
    ]
    return violations


def t4_states_never_go_back(history: History) -> list[str]:
    """Checks that in log order the source offsets of a user rise.

    A repeat is the same record byte for byte (a retry of the producer).
    """
    highest: dict[UserPlace, int] = {}
    written: dict[UserPlace, set[bytes]] = {}
    violations = []
    for record in history.changelog:
        state = held(record)
        if state is None or record.key is None or record.value is None:
            violations.append(f"changelog[{record.partition}] {record.offset} is no sound state")
            continue
        place = record.partition, record.key
        if state.offset <= highest.get(place, -1) and record.value not in written[place]:
            violations.append(
                f"{place}: source offset {state.offset} after {highest[place]} at changelog offset "
                f"{record.offset}"
            )
        highest[place] = max(state.offset, highest.get(place, -1))
        written.setdefault(place, set()).add(record.value)
    return violations


def t5_views_agree(history: History) -> list[str]:
    """Checks that four views of the states agree.

    Tables of the stopped workers, the changelog read as a log (last wins), the changelog by offset,
    and the reference.
    """
    last: dict[UserPlace, Held] = {}
    for record in history.changelog:
        state = held(record)
        if state is not None and record.key is not None:
            last[record.partition, record.key] = state
    violations = [
        f"{place}: the last record in the changelog is not the one with the highest offset"
        for place, state in last.items()
        if state != history.states[place]
    ]
    for worker, table in history.tables.items():
        for place, value in table.items():
            state = held(Record(place[0], -1, place[1], value))
            if state != history.states.get(place):
                violations.append(f"{place}: the table of {worker} differs from the changelog")
    if history.tables:
        owned = {place for table in history.tables.values() for place in table}
        violations += [
            f"{place}: in the changelog and in no table" for place in history.states.keys() - owned
        ]
    return violations


def c1_commit_is_covered(history: History) -> list[str]:
    """Checks at any moment that each offset below the committed one is accounted for.

    It is in its user's digest chain, or filtered, or a dead letter.
    """
    reference, violations = history.reference, []
    letters = set(parked(history))
    for place, marks in reference.marks.items():
        due = [mark for mark in marks if mark.offset < history.committed.get(place[0], 0)]
        state = history.states.get(place)
        if due and (state is None or state.offset < due[-1].offset):
            holds = "none" if state is None else f"one up to {state.offset}"
            violations.append(
                f"{place}: committed past offset {due[-1].offset}, the changelog has {holds}"
            )
        elif state is not None:
            mark = reference.at.get((*place, state.offset))
            if mark is None or (mark.count, mark.digest) != (state.count, state.digest):
                violations.append(
                    f"{place}: the state at offset {state.offset} is not that of the topic"
                )
    violations += [
        f"{place} is bad, committed past, and no dead letter"
        for place in sorted({*reference.invalid, *reference.documents})
        if place[1] < history.committed.get(place[0], 0) and place not in letters
    ]
    return violations


def d1_each_offset_in_one_place(history: History) -> list[str]:
    """Checks that every input offset is applied, filtered or a dead letter.

    And in one of them only; filtered is a repeated event id.
    """
    reference, letters = history.reference, set(parked(history))
    counted: Counter[int] = Counter()
    violations = []
    for record in history.source:
        place = _place(record)
        if place in reference.controls:
            continue
        user = reference.applied.get(place)
        state = history.states.get((record.partition, user)) if user is not None else None
        homes = (
            (state is not None and state.offset >= record.offset)
            + (place in reference.filtered)
            + (place in letters)
            + (place in reference.left_out)
        )
        if homes != 1:
            violations.append(f"{place} is in {homes} of applied, filtered, dead letters")
        erased = record.offset <= reference.blanked.get((record.partition, user or b""), -1)
        if homes == 1 and place in reference.applied and not erased:
            counted[record.partition] += reference.counts.get(place, 1)
    for partition, count in counted.items():
        applied = sum(
            state.count for place, state in history.states.items() if place[0] == partition
        )
        if applied != count:
            violations.append(
                f"partition {partition}: states count {applied} events, the topic has {count} to "
                "apply"
            )
    return violations


def d2_dead_letters_are_whole(history: History) -> list[str]:
    """Checks that a dead letter has the key, value and headers of its original.

    Or, if too large, sizes and SHA-256 of what was cut.
    """
    source: dict[tuple[int, ...], Record] = {_place(each): each for each in history.source}
    violations = []
    for letter in history.letters:
        headers = dict(letter.headers)
        place = _named(letter)
        original = source.get(place[:2])
        if original is None:
            violations.append(
                f"dead letter {letter.offset} of partition {letter.partition} names no record"
            )
            continue
        value = original.value if len(place) == 2 else history.reference.documents.get(place)
        for name, kept, whole in (
            ("key", letter.key, original.key),
            ("value", letter.value, value),
        ):
            digest = headers.get(f"is.dlq.{name}-sha256")
            sound = (
                kept == whole
                if digest is None
                else digest.decode() == sha256(whole or b"").hexdigest()
            )
            if not sound:
                violations.append(f"the dead letter of {_place(original)} has another {name}")
        own = [header for header in letter.headers if not header[0].startswith("is.dlq.")]
        theirs = [header for header in original.headers if not header[0].startswith("is.dlq.")]
        if own != theirs and "is.dlq.headers-sha256" not in headers:
            violations.append(f"the dead letter of {_place(original)} has other headers")
    return violations


def parked(history: History) -> dict[tuple[int, ...], Record]:
    """Dead letters by the place of their original, and of a document; of repeats the last."""
    return {_named(letter): letter for letter in history.letters}


def _named(letter: Record) -> tuple[int, ...]:
    headers = dict(letter.headers)
    names = ("partition", "offset", "document")
    found = [headers.get(f"is.dlq.{name}") for name in names]
    if not (found[0] and found[1]):
        return (-1, -1)
    return tuple(int(each) for each in found if each)


def _place(record: Record) -> Place:
    return record.partition, record.offset
