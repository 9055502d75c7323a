"""The list of invariants by code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.faults.oracle import events, groups, liveness, updates
from tests.faults.oracle.history import History

CHECKS: Final[dict[str, Callable[[History], list[str]]]] = {
    "A1": events.a1_acknowledged_events_are_reflected,
    "A2": events.a2_nothing_from_nowhere,
    "A3": events.a3_unknown_outcomes_follow_the_log,
    "T1": events.t1_each_event_once,
    "T3": events.t3_users_where_they_belong,
    "T4": events.t4_states_never_go_back,
    "T5": events.t5_views_agree,
    "U1": updates.u1_updates_never_go_back,
    "U2": updates.u2_last_update_is_the_state,
    "U3": updates.u3_every_update_is_right,
    "U4": updates.u4_no_state_without_update,
    "U5": updates.u5_profiles_are_of_who_is_left,
    "O1": groups.o1_one_writer_a_partition,
    "C1": events.c1_commit_is_covered,
    "C2": groups.c2_commits_stay_in_bounds,
    "D1": events.d1_each_offset_in_one_place,
    "D2": events.d2_dead_letters_are_whole,
    "L1": liveness.l1_lag_recovers,
    "L2": liveness.l2_lag_makes_progress,
    "L3": liveness.l3_no_partition_starves,
    "H1": groups.h1_nothing_unexpected,
}


def violations(history: History, without: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """Of each invariant that does not hold, what was found."""
    return {
        code: found
        for code, check in CHECKS.items()
        if code not in without and (found := check(history))
    }


def figures(history: History) -> dict[str, float]:
    """Returns permitted observations, counted.

    Updates repeated, replay cuts, and how long an event waited for an update of its partition.
    """
    return {
        **updates.figures(history),
        "longest_wait_s": round(liveness.longest_wait_s(history), 2),
    }
