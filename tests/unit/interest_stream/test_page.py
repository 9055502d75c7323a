"""The programs of docs/start/python.md that need no Kafka do what the page says.

Those that need one are run by tests/kafka/test_api.py.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout

from tests.support.pages import blocks

PAGE = "docs/start/python.md"


def run(program: str) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        exec(program, {"__name__": "__main__"})
    return printed.getvalue()


def test_the_ranking_prints_what_the_page_shows() -> None:
    (ranking,) = (program for program in blocks(PAGE, "python") if "Model" in program)
    (shown,) = blocks(PAGE, "text")
    assert run(ranking) == shown


def test_the_options_of_a_connection_are_accepted() -> None:
    (options,) = (program for program in blocks(PAGE, "python") if "SASL_SSL" in program)
    assert run(options) == ""
