"""Does the job that every form does, and measures it.

The job: decode, one LSTM step an event in each user's order, a language-model score of each touched
user, an update. What differs between the forms is the pipeline around it.

JOB_SCORER=plain  as a user of PyTorch would write it, batched by hand: eager float32, state as
                  bytes, updates by orjson. It does less than ours: no co-occurrence, no
                  calibration, no reasons, no digest, no replay rules, no dead letters.
JOB_SCORER=ours   stream.pipeline.scoring.Scoring, given the states of the touched users.
JOB_MODEL=null    the same without a model, so that the pipeline alone is measured.

Each form reads JOB_SOURCE from the start, publishes to JOB_UPDATES, and prints one line RATE {json}
after JOB_EVENTS events or JOB_SECONDS seconds; it counts from the end of its first batch until
everything published is flushed.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

BROKER = os.environ["JOB_BROKER"]
SOURCE, UPDATES, CHANGELOG = (
    os.environ["JOB_SOURCE"],
    os.environ["JOB_UPDATES"],
    os.environ["JOB_CHANGELOG"],
)
GROUP, FOLDER = os.environ["JOB_GROUP"], os.environ["JOB_FOLDER"]
BATCH = int(os.environ.get("JOB_BATCH", "4096"))
EVENTS, SECONDS = int(os.environ["JOB_EVENTS"]), float(os.environ["JOB_SECONDS"])
REAL, OURS = os.environ["JOB_MODEL"] == "real", os.environ["JOB_SCORER"] == "ours"
PARTITIONS, SESSION_S, RECENT, BEST = 4, 6, 8, 5

STATE = np.dtype(
    [
        ("count", "<i8"),
        ("time", "<i8"),
        ("memory", "<f4", (128,)),
        ("rows", "<i8", (RECENT,)),
        ("actions", "<i8", (RECENT,)),
        ("gaps", "<i8", (RECENT,)),
    ]
)
ZERO = np.zeros(1, STATE).tobytes()
Load = Callable[[list[bytes]], list[bytes | None]]
Result = tuple[list[bytes], list[bytes], list[bytes]]


class Record(NamedTuple):
    """Holds a record as our decoder wants it."""

    key: bytes
    value: bytes
    offset: int
    timestamp: int
    headers: Sequence[Any] = ()


class Event(msgspec.Struct):
    """Holds the fields that the job uses."""

    user_id: str
    action: str
    time: int
    item_id: str


decode = msgspec.json.Decoder(Event).decode


class Plain:
    """Does the job as a user of PyTorch would write it."""

    def __init__(self) -> None:
        if not REAL:
            return
        import torch

        from models.compact import ACTION_CODES
        from models.predict import load_predictor

        self.torch = torch
        predictor = load_predictor(None)
        self.network, self.info, self.actions = predictor.network, predictor.info, ACTION_CODES
        self.row_of = {item: row for row, item in enumerate(self.info.items, 1)}
        with torch.inference_mode():
            self.items, self.interests = (
                self.network.item_candidates(),
                self.network.interest_candidates(),
            )

    def batch(self, records: Sequence[Record], partition: int, load: Load) -> Result:
        """Returns users, their new states and their updates."""
        events = [decode(record.value) for record in records]
        seen: dict[bytes, int] = {}
        group = np.array([seen.setdefault(record.key, len(seen)) for record in records])
        users = list(seen)
        states = np.frombuffer(b"".join(state or ZERO for state in load(users)), STATE).copy()
        states["count"] += np.bincount(group, minlength=len(users))
        scores = (
            self._score(events, group, states) if REAL else self._constant(events, group, states)
        )
        updates = [
            orjson.dumps(
                {
                    "user_id": user.decode(),
                    "time": time_ms,
                    "events_seen": count,
                    "interests": named,
                    "items": items,
                }
            )
            for user, time_ms, count, (named, items) in zip(
                users, states["time"].tolist(), states["count"].tolist(), scores, strict=True
            )
        ]
        raw, size = states.tobytes(), STATE.itemsize
        return users, [raw[at : at + size] for at in range(0, len(raw), size)], updates

    def _constant(self, events: list[Event], group: Any, states: Any) -> list[tuple[Any, Any]]:
        """Notes the times of the events, and returns the same interests and items for everybody."""
        states["time"][group] = [event.time for event in events]
        interests = [
            {"interest": f"interest-{number}", "probability": 0.5} for number in range(BEST)
        ]
        items = [{"item_id": f"item-{number}", "score": 0.0} for number in range(BEST)]
        return [(interests, items)] * len(states)

    def _score(self, events: list[Event], group: Any, states: Any) -> list[tuple[Any, Any]]:
        """Moves the states of the touched users on, and returns their interests and items."""
        from models.network.lstm import input_gates
        from models.vocabulary import gap_buckets

        # Events as numbers; round r holds the r-th event of each user that has so many.
        torch, network = self.torch, self.network
        rows = np.array([self.row_of.get(event.item_id, 0) for event in events])
        actions = np.array([self.actions.get(event.action, 0) for event in events])
        times = np.array([event.time for event in events])
        order = np.argsort(group, kind="stable")
        sorted_group = group[order]
        first = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])
        rank = np.arange(len(group)) - first[sorted_group]
        by_rank = np.argsort(rank, kind="stable")
        with torch.inference_mode():
            # One LSTM step an event, round by round; the last events move by one place.
            memory = torch.from_numpy(states["memory"].copy())
            for part in np.split(by_rank, np.flatnonzero(np.diff(rank[by_rank])) + 1):
                who, which = sorted_group[part], order[part]
                before = states["time"][who]
                gaps = gap_buckets(np.where(before == 0, -1, np.maximum(times[which] - before, 0)))
                x = network.event_vectors(
                    *(torch.from_numpy(each) for each in (rows[which], actions[which], gaps))
                )
                stepped = memory[torch.from_numpy(who)]
                network.lstm.step(x, input_gates(network.lstm.blocks[0].lstm, x), stepped)
                memory[torch.from_numpy(who)] = stepped
                states["time"][who] = times[which]
                for name, values in (
                    ("rows", rows[which]),
                    ("actions", actions[which]),
                    ("gaps", gaps),
                ):
                    states[name][who] = np.concatenate(
                        (states[name][who][:, 1:], values[:, None]), 1
                    )
            states["memory"] = memory.numpy()

            # The language model reads the recent events; items and interests are a product each.
            x = network.event_vectors(
                *(torch.from_numpy(states[name].copy()) for name in ("rows", "actions", "gaps"))
            )
            there = (
                torch.arange(RECENT) >= RECENT - torch.from_numpy(states["count"].copy())[:, None]
            )
            feature = network.lstm.feature(x[:, -1], memory)
            answer = network.language_model.last_hidden(*network.serving_tokens(x, there, feature))
            items = torch.nn.functional.linear(answer, self.items, network.item_bias)[:, 1:].topk(
                BEST
            )
            interests = (
                torch.nn.functional.linear(answer, self.interests, network.interest_bias)
                .sigmoid()
                .topk(BEST)
            )
        return [
            (
                [
                    {"interest": self.info.interests[at], "probability": value}
                    for at, value in zip(*interest, strict=True)
                ],
                [
                    {"item_id": self.info.items[at], "score": value}
                    for at, value in zip(*item, strict=True)
                ],
            )
            for interest, item in zip(
                zip(interests.indices.tolist(), interests.values.tolist(), strict=True),
                zip(items.indices.tolist(), items.values.tolist(), strict=True),
                strict=True,
            )
        ]


class Ours:
    """Does the job by this project's decoder, rules, model and updates."""

    def __init__(self) -> None:
        from models.contract import Hosting
        from models.predict import load_predictor, null_predictor
        from stream.contracts.update import UpdateSize
        from stream.pipeline.decode import Decoder
        from stream.pipeline.scoring import Scoring
        from stream.worker.restore import RestorableArena

        predictor = load_predictor(None, hosting=Hosting()) if REAL else null_predictor()
        self.decoder, self.scoring = Decoder(), Scoring(predictor, UpdateSize())
        self.arena = lambda: RestorableArena(
            predictor.info.state_size, predictor.info.fingerprint, PARTITIONS
        )

    def batch(self, records: Sequence[Record], partition: int, load: Load) -> Result:
        """Returns users, their new states and their updates."""
        arena, users = self.arena(), list(dict.fromkeys(record.key for record in records))
        held = [(user, state) for user, state in zip(users, load(users), strict=True) if state]
        arena.restore([user for user, _ in held], [state for _, state in held])
        batch = self.decoder.decode(SOURCE, partition, records)
        outcome = self.scoring.process(batch, arena, int(time.time() * 1000))
        return outcome.users, outcome.states, outcome.updates


def make_job() -> Plain | Ours:
    """Returns the job that the environment names."""
    if REAL:
        import torch

        torch.set_num_threads(1)
    return Ours() if OURS else Plain()


def peak_memory_mb() -> int:
    """Returns the peak memory of this process alone.

    What getrusage returns is inherited from the process that started this one.
    """
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) // 1024 if found else 0


class Meter:
    """Counts from the end of the first batch, and ends the run."""

    def __init__(self, on_done: Callable[[], None] | None = None) -> None:
        self._on_done = on_done
        self._started: float | None = None
        self._total = self._counted = self._updates = self._batches = 0
        self._done = False

    def __call__(self, events: int, updates: int) -> None:
        """Counts a batch."""
        if self._done:
            return
        now = time.perf_counter()
        self._total += events
        if self._started is None:
            self._started = now
            return
        self._counted += events
        self._updates += updates
        self._batches += 1
        if self._total >= EVENTS or now - self._started >= SECONDS:
            self._done = True
            (self._on_done or self.report)()

    def report(self) -> None:
        """Prints the rate and ends the process; call it when everything published is flushed."""
        seconds = time.perf_counter() - (self._started or 0.0)
        rate = {
            "events_per_s": self._counted / seconds,
            "updates_per_s": self._updates / seconds,
            "events_per_batch": self._counted / max(1, self._batches),
            "seconds": seconds,
            "memory_mb": peak_memory_mb(),
        }
        os.write(1, b"RATE %s\n" % json.dumps(rate).encode())
        os._exit(0)
