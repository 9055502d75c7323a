"""Refuses mappings that cannot be used, with the line and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import SettingsError
from stream.formats.mappings.mapping_file import parse_mapping, read_mapping
from stream.formats.mappings.mapping_format import MappingFormat

SOUND = '[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = "i"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[event", "m.toml: is no TOML"),
        ("", "has no table [event]"),
        (SOUND.replace("user_id", "usr_id"), "m.toml:2: usr_id is no field; did you mean user_id?"),
        (SOUND.replace('time = "t"\n', ""), "[event] has no time"),
        (SOUND.replace("item_id", "value"), "none of item_id, title, query"),
        (SOUND.replace('"i"', '"i..x"'), "m.toml:5: 'i..x' is no path"),
        (SOUND.replace('"i"', '"a[].b[].c"'), "m.toml:5: 'a[].b[].c' has [] twice"),
        (SOUND.replace('"i"', "7"), "m.toml:5: name a path in quotes"),
        (SOUND.replace('"i"', '{ path = "i", unit = "s" }'), "m.toml:5: unit is unknown here"),
        (SOUND.replace('"t"', '{ path = "t", unit = "sec" }'), "m.toml:4: unit must be one of"),
        (SOUND.replace('"t"', '{ path = "t", unit = "local" }'), "m.toml:4: unit = \"local\" and"),
        (
            SOUND.replace('"t"', '{ path = "t", unit = "local", zone = "Mars" }'),
            "m.toml:4: zone 'Mars' is not known here",
        ),
        (SOUND.replace('"t"', '{ constant = "t" }'), "m.toml:4: time differs from event to event"),
        (SOUND.replace('"a"', "{ constant = 5 }"), "m.toml:3: the constant of action must be"),
        (SOUND.replace('"a"', "[]"), "m.toml:3: the list is empty"),
        ('mode = "x"\n' + SOUND, "m.toml:1: mode is unknown"),
        ('unlisted_actions = "x"\n' + SOUND, "m.toml:1: unlisted_actions must be"),
        (SOUND + '[actions]\npageview = "vue"\n', "m.toml:7: pageview = 'vue' is no action"),
        (SOUND + '[[drop]]\npath = "x"\n', "m.toml:7: [[drop]] needs a path, and one of in"),
        (SOUND + '[[drop]]\npath = "x"\nin = "y"\n', "m.toml:8: in is a list of values"),
        (SOUND + '[[drop]]\npath = "x"\ngiven = 1\n', "m.toml:8: given is true or false"),
        (SOUND + '[[drop]]\npath = "x"\nis = [1]\n', "m.toml:8: is is unknown here"),
        (
            SOUND + 2 * '[[drop]]\npath = "y"\nin = [1]\n' + 'reason = "z"\n',
            "m.toml:12: reason must be one of consent",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_mapping(text, "m.toml")
    assert said in str(caught.value)


def test_one_array_can_be_taken_apart() -> None:
    spec = parse_mapping(SOUND.replace('"i"', '["a[].b", "c[].d"]'), "m.toml")
    with pytest.raises(SettingsError, match=r"m.toml: a\[\], c\[\] are two arrays"):
        MappingFormat(spec)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for content, said in (
        (None, "cannot be read"),
        (b"\xff", "not UTF-8"),
        (b"x" * 2**21, "bytes"),
    ):
        file = tmp_path / "m.toml"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SettingsError, match=said):
            read_mapping(str(file))
