"""The programs of docs/start/python.md that need no Kafka do what the page says.

Those that need one are run by tests/kafka/test_api.py, those of the service by test_serving.py.
"""

from __future__ import annotations

from tests.support.pages import blocks
from tests.support.programs import printed

PAGE = "docs/start/python.md"


def test_the_ranking_prints_what_the_page_shows() -> None:
    (ranking,) = (program for program in blocks(PAGE, "python") if "Model" in program)
    (shown,) = blocks(PAGE, "text")
    assert printed(ranking) == shown


def test_the_options_of_a_connection_are_accepted() -> None:
    (options,) = (program for program in blocks(PAGE, "python") if "SASL_SSL" in program)
    assert printed(options) == ""
