"""What the lines of event files are is said once, and unknown formats are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.cli.file_options import event_format_of
from stream.errors import SettingsError, UsageError
from stream.formats.segment import SegmentFormat


def test_one_of_the_options_says_what_the_lines_are(tmp_path: Path) -> None:
    assert event_format_of("auto", None, None) == "auto"
    assert event_format_of("auto", None, "user_id=visitor") == "auto"
    assert event_format_of("contract", None, None, sequences=True) == "contract"
    assert event_format_of("ga4", None, None) == "ga4"


@pytest.mark.parametrize(
    ("name", "mapping", "columns", "sequences", "said"),
    [
        ("ga4", None, "user_id=v", False, "--event-format ga4 .* and so does --columns"),
        ("ga4", None, None, True, "--event-format ga4 .* and so does --sequences"),
        ("ga4", Path("m.toml"), None, False, "--event-format ga4 .* and so does --mapping"),
        ("auto", Path("m.toml"), "user_id=v", False, "--mapping .* and so does --columns"),
    ],
)
def test_two_of_them_contradict_each_other(
    name: str, mapping: Path | None, columns: str | None, sequences: bool, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        event_format_of(name, mapping, columns, sequences=sequences)


def test_purposes_go_with_a_format_that_names_some(tmp_path: Path) -> None:
    found = event_format_of("segment", None, None, purposes="Ads, Analytics")
    assert isinstance(found, SegmentFormat)
    for name, purposes, said in (
        ("auto", "Ads", "--event-format"),
        ("ga4", "a,,b", "none of them empty"),
    ):
        with pytest.raises(UsageError, match=said):
            event_format_of(name, None, None, purposes=purposes)
    with pytest.raises(SettingsError, match="name no purposes"):
        event_format_of("debezium", None, None, purposes="Ads")


def test_a_mapping_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        event_format_of("auto", tmp_path / "m.toml", None)
