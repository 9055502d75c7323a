"""Lists the forms that the comparison runs, how each is started, and which runs it makes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MANY_USERS: Final = 100_000
"""From here on only the forms that keep their state are run, and those that need a batch."""

EVENTS: Final = {
    ("null", False): 400_000,
    ("real", False): 200_000,
    ("null", True): 400_000,
    ("real", True): 200_000,
}
"""Events of a topic by model and whether it has many users.

They are enough for a few seconds, and for a snapshot of each form.
"""


@dataclass(frozen=True, slots=True)
class Form:
    """Describes one way to do the job."""

    name: str
    script: str  # of tests/benchmarks/peers; empty: our own worker
    form: str = ""  # JOB_FORM
    scorer: str = "plain"
    slow: bool = False  # an event at a time, or nearly: not run with many users
    keeps: bool = True  # its state survives a kill -9 by design
    limit: bool = False  # not a pipeline: what none can beat
    batch: int = 4_096
    models: tuple[str, ...] = ("null", "real")


FORMS: Final = (
    Form("interest-stream", "", scorer="ours"),
    Form("interest-stream, 16,384 a batch", "", scorer="ours", batch=16_384),
    Form("Faust, an event at a time", "faust_event.py", slow=True),
    Form("Faust, take", "faust_take.py", slow=True),
    Form("Quix Streams, an event at a time", "quix_event.py", slow=True),
    Form("Quix Streams, sink", "quix_sink.py"),
    Form("Quix Streams, sink, our scorer", "quix_sink.py", scorer="ours"),
    Form("Bytewax, an event at a time", "bytewax_flow.py", form="event", slow=True, batch=256),
    Form("Bytewax, shard", "bytewax_flow.py", form="shard"),
    Form("Bytewax, shard, our scorer", "bytewax_flow.py", form="shard", scorer="ours"),
    Form("aiokafka loop", "aiokafka_loop.py", keeps=False),
    Form("aiokafka loop, our scorer", "aiokafka_loop.py", scorer="ours", keeps=False),
    Form(
        "limit: the model alone",
        "limits.py",
        form="model",
        scorer="ours",
        limit=True,
        models=("real",),
    ),
    Form(
        "limit: consume, decode, publish",
        "limits.py",
        form="transport",
        scorer="ours",
        limit=True,
        models=("null",),
    ),
)


@dataclass(frozen=True, slots=True)
class Task:
    """Describes one run of a comparison."""

    form: Form
    model: str
    users: int
    events: int
    repeat: int

    @property
    def kind(self) -> tuple[str, str, int]:
        """Returns what runs of one figure have in common."""
        return self.form.name, self.model, self.users

    @property
    def many(self) -> bool:
        """Returns whether the run has many users."""
        return self.users > MANY_USERS


def plan(
    forms: Sequence[Form],
    models: Sequence[str],
    users: int,
    events: int | None,
    repeats: int,
    many_repeats: int,
) -> Iterator[Task]:
    """Returns the runs for a number of users, with the repeats of a form far apart."""
    many = users > MANY_USERS
    for repeat in range(min(repeats, many_repeats) if many else repeats):
        for model in models:
            for form in forms:
                if model in form.models and not (
                    many and (form.slow or not form.keeps or form.limit)
                ):
                    yield Task(form, model, users, events or EVENTS[model, many], repeat)


def command(form: Form, python: str) -> str:
    """Returns a shell line; it has `exec`, so that a signal reaches the form itself."""
    if form.script == "bytewax_flow.py":
        ready = (
            f'test -e "$JOB_FOLDER"/part-0.sqlite3 || {python} -m bytewax.recovery "$JOB_FOLDER" 1'
        )
        return f'{ready}; exec {python} -m bytewax.run bytewax_flow -r "$JOB_FOLDER" -s 5 -b 0'
    faust = " worker --without-web -l warn" if form.script.startswith("faust") else ""
    return f"exec {python} {form.script}{faust}"
