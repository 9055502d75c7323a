"""The pages of docs/reference say what the code says."""

from __future__ import annotations

from docs import generate
from docs.generators import contracts
from tests.support.pages import DOCS, name_of


def test_the_committed_pages_are_fresh() -> None:
    stale = [name_of(path) for path in generate.stale_pages()]
    assert not stale, f"run: python -m docs.generate ({', '.join(stale)})"


def test_no_page_is_left_of_a_command_that_is_gone() -> None:
    assert not generate.leftovers()


def test_a_page_that_was_edited_by_hand_would_be_found() -> None:
    path = DOCS / "reference/metrics.md"
    kept = path.read_text(encoding="utf-8")
    assert generate.pages()[path] == kept
    assert generate.pages()[path] != kept + "By hand.\n"


def test_a_reason_says_when_it_is_given() -> None:
    rows = {row[0]: row[1] for row in contracts.reason_rows()}
    assert rows["`null-key`"]
    assert len(rows) > 10
