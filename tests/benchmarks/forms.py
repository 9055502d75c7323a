"""The forms that the comparison runs, and how each is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Form:
    """One way to do the job."""

    name: str
    script: str  # of tests/benchmarks/peers; empty: our own worker
    form: str = ""  # JOB_FORM
    scorer: str = "plain"
    slow: bool = False  # measured over a window, without repeats at a million users
    keeps: bool = True  # its state survives a kill -9 by design
    limit: bool = False  # not a pipeline: what none can beat
    batch: int = 4_096


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
    Form("limit: the model alone", "limits.py", form="model", scorer="ours", limit=True),
    Form("limit: consume, decode, publish", "limits.py", form="transport", scorer="ours", limit=True),
)


def command(form: Form, python: str) -> str:
    """A shell line; `exec`, so that a signal reaches the form itself."""
    if form.script == "bytewax_flow.py":
        ready = f'test -e "$JOB_FOLDER"/part-0.sqlite3 || {python} -m bytewax.recovery "$JOB_FOLDER" 1'
        return f'{ready}; exec {python} -m bytewax.run bytewax_flow -r "$JOB_FOLDER" -s 5 -b 0'
    faust = " worker --without-web -l warn" if form.script.startswith("faust") else ""
    return f"exec {python} {form.script}{faust}"
