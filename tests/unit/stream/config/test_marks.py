"""Marks of a reading: another one is told apart, and what changes nothing is not."""

from __future__ import annotations

from pathlib import Path

from stream.config import Settings
from stream.config.marks import MOST_SAID, mark_of

SHOP = '[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = "i"\n'


def mapped(path: Path, text: str) -> Settings:
    path.write_text(text)
    return Settings(mapping=str(path))


def test_formats_and_purposes_are_told_apart() -> None:
    assert mark_of(Settings()).said == "contract"
    both = mark_of(Settings(event_format="segment", consent_purposes="Ads,Analytics"))
    assert both.said == "segment with consent_purposes Ads,Analytics"
    others = [
        Settings(),
        Settings(event_format="segment"),
        Settings(event_format="rudderstack"),
        Settings(event_format="segment", consent_purposes="Ads"),
    ]
    assert len({both.digest, *(mark_of(each).digest for each in others)}) == 5
    turned = mark_of(Settings(event_format="segment", consent_purposes="Analytics,Ads"))
    assert turned.digest == both.digest
    long = Settings(event_format="segment", consent_purposes="x" * 5_000)
    assert len(mark_of(long).said) == MOST_SAID


def test_a_mapping_is_what_it_holds(tmp_path: Path) -> None:
    first = mark_of(mapped(tmp_path / "shop.toml", SHOP))
    assert first.said.startswith("mapping shop.toml (")
    same = mark_of(mapped(tmp_path / "moved.toml", f"# a remark\n\n{SHOP}"))
    assert same.digest == first.digest
    other = mark_of(mapped(tmp_path / "shop.toml", SHOP.replace('"i"', '"j"')))
    assert other.digest != first.digest
    assert other.said != first.said
