"""Reads the TOML file that says how records of some shape are read as events.

    [event]                                  # fields of the contract, each from a path
    user_id = ["user.id", "anonymous_id"]    # or the first of several that is given
    action = ["event", { constant = "view" }]
    time = { path = "ts", unit = "s" }       # rfc3339, s, ms, us, ns, utc, or local and a zone
    item_id = "products[].sku"               # an event for each element of the array
    categories = { path = "category", split = " > " }

    [actions]                                # names of the shape, and the contract's
    pageview = "view"

    [[drop]]                                 # what is left out, and counted
    path = "consent.personalization"
    not_in = [true]
    reason = "consent"

A mistake is a SettingsError that names file, line and fix; a mapping that was read can be used.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as File
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from models.compact import ACTION_CODES, ACTIONS
from stream.contracts.event import Event
from stream.errors import SettingsError
from stream.formats.event_format import DROPS, FILTER
from stream.formats.mappings.paths import Path, parse_path
from stream.formats.values import LOCAL, TIMES, UNITS

FIELDS: Final = Event.__struct_fields__
NEEDED: Final = ("user_id", "action", "time")
SUBJECTS: Final = ("item_id", "title", "query")
NUMBERS: Final = ("value", "dwell_ms")

KEEP, DROP = "keep", "drop"
SECTIONS: Final = ("event", "actions", "unlisted_actions", "drop")
MOST_BYTES: Final = 1_048_576

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([\w\"'.-]+)\s*\]")
_KEY: Final = re.compile(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([\w-]+))\s*[.=]")


@dataclass(frozen=True, slots=True)
class Source:
    """Says where a field comes from: a path, a constant, or the moment the broker took the record.

    where: file, line and what stands there, for messages.
    """

    where: str
    path: Path | None = None
    constant: Any = None
    received: bool = False
    unit: str = ""  # of a time, one of TIMES; of dwell_ms, of UNITS; empty: as the contract has it
    zone: ZoneInfo | None = None
    split: str = ""  # what is between the categories in one text


@dataclass(frozen=True, slots=True)
class Drop:
    """Says which events are left out: those whose value is listed, or is not, or is (not) given."""

    path: Path
    kind: Literal["in", "not_in", "given"]
    values: tuple[Any, ...]  # texts, numbers and truth values; of `given`: one truth value
    reason: str


@dataclass(frozen=True, slots=True)
class MappingSpec:
    """Holds what a mapping file says; the sources of a field in the order in which they count."""

    name: str  # of the file
    fields: Mapping[str, Sequence[Source]]
    actions: Mapping[str, str]
    unlisted_actions: str  # KEEP or DROP
    drops: Sequence[Drop]

    @property
    def paths(self) -> list[Path]:
        """Returns all paths that are read."""
        sources = [each for sources in self.fields.values() for each in sources]
        found = [each.path for each in sources if each.path is not None]
        return [*found, *(each.path for each in self.drops)]


def read_mapping(path: str) -> MappingSpec:
    """Returns what a mapping file says; raises SettingsError naming file, line and fix."""
    file = File(path)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"mapping (INTEREST_STREAM_MAPPING) is {path!r}; it cannot be read "
            f"({error.strerror}): name a file such as 'interest-stream mapping suggest' writes"
        ) from None
    if len(raw) > MOST_BYTES:
        raise SettingsError(f"{path}: has more than {MOST_BYTES} bytes, it is no mapping")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: is not UTF-8; save it as UTF-8") from None
    return parse_mapping(text, file.name)


def parse_mapping(text: str, name: str) -> MappingSpec:
    """Returns what the text of a mapping file says; raises SettingsError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{name}: is no TOML: {error}") from None
    return _Reader(name, _lines(text)).spec(document)


class _Reader:
    """Reads one file; it knows on which line things stand."""

    def __init__(self, name: str, lines: Mapping[tuple[str, str], int]) -> None:
        self._name, self._lines = name, lines

    def spec(self, document: dict[str, Any]) -> MappingSpec:
        """Returns what the file says; raises SettingsError."""
        for key in document:
            if key not in SECTIONS:
                raise self._wrong("", key, f"{key} is unknown; {_near(key, SECTIONS)}")
        event = document.get("event")
        if not isinstance(event, dict) or not event:
            raise SettingsError(
                f"{self._name}: has no table [event]; it says which path each field comes from, "
                'such as user_id = "user.id"'
            )
        unlisted = document.get("unlisted_actions", KEEP)
        if unlisted not in (KEEP, DROP):
            fix = f'unlisted_actions must be "{KEEP}" or "{DROP}"'
            raise self._wrong("", "unlisted_actions", fix)
        drops = document.get("drop", [])
        if not isinstance(drops, list) or not all(isinstance(each, dict) for each in drops):
            raise self._wrong("", "drop", "write [[drop]] and its keys on the lines below")
        fields = {field: self._sources(field, value) for field, value in event.items()}
        for field in NEEDED:
            if field not in fields:
                raise SettingsError(
                    f"{self._name}: [event] has no {field}; say where it comes from, such as "
                    f'{field} = "some.path"'
                )
        if not any(field in fields for field in SUBJECTS):
            raise SettingsError(
                f"{self._name}: [event] has none of {', '.join(SUBJECTS)}; an event is about one"
            )
        return MappingSpec(
            self._name,
            fields,
            self._actions(document.get("actions", {})),
            unlisted,
            [self._drop(number, each) for number, each in enumerate(drops)],
        )

    def _sources(self, field: str, value: Any) -> tuple[Source, ...]:
        if field not in FIELDS:
            raise self._wrong("event", field, f"{field} is no field; {_near(field, FIELDS)}")
        several = value if isinstance(value, list) else [value]
        if not several:
            raise self._wrong("event", field, "the list is empty; name a path")
        return tuple(self._source(field, each) for each in several)

    def _source(self, field: str, value: Any) -> Source:
        if isinstance(value, str):
            value = {"path": value}
        if not isinstance(value, dict):
            fix = "name a path in quotes, or write { constant = ... } for the same value always"
            raise self._wrong("event", field, fix)
        options = {"time": ("unit", "zone"), "dwell_ms": ("unit",), "categories": ("split",)}
        known = ("path", "constant", "received", *options.get(field, ()))
        for key in value:
            if key not in known:
                raise self._wrong("event", field, f"{key} is unknown here; {_near(key, known)}")
        origins = [key for key in ("path", "constant", "received") if key in value]
        if len(origins) != 1:
            raise self._wrong("event", field, "give one of path and constant")
        text = value.get("path", origins[0])
        where = f"{self._place('event', field)} {field} = {text}"
        if "constant" in value:
            return Source(where, constant=self._constant(field, value["constant"]))
        if "received" in value:
            if field != "time" or value["received"] is not True:
                raise self._wrong("event", field, "only time = { received = true } can be said")
            return Source(where, received=True)
        return Source(
            where,
            self._path("event", field, value["path"]),
            unit=self._unit(field, value),
            zone=self._zone(field, value),
            split=self._split(field, value),
        )

    def _path(self, section: str, key: str, text: Any) -> Path:
        try:
            if not isinstance(text, str):
                raise ValueError("a path is a text in quotes")
            return parse_path(text)
        except ValueError as error:
            raise self._wrong(section, key, str(error)) from None

    def _constant(self, field: str, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if field in ("user_id", "time", "event_id"):
            raise self._wrong("event", field, f"{field} differs from event to event; name a path")
        if field in NUMBERS and not number:
            raise self._wrong("event", field, f"the constant of {field} must be a number")
        if field == "categories" and isinstance(value, str):
            value = [value]
        texts = value if field == "categories" and isinstance(value, list) else [value]
        if field not in NUMBERS and not all(isinstance(each, str) and each for each in texts):
            raise self._wrong("event", field, f"the constant of {field} must be a text")
        return float(value) if field in NUMBERS else value

    def _unit(self, field: str, value: dict[str, Any]) -> str:
        unit = value.get("unit", "")
        units = TIMES if field == "time" else tuple(UNITS)
        if "unit" in value and unit not in units:
            raise self._wrong("event", field, f"unit must be one of {', '.join(units)}")
        if field == "time" and (unit == LOCAL) != ("zone" in value):
            fix = f'unit = "{LOCAL}" and a zone go together, such as zone = "Europe/Berlin"'
            raise self._wrong("event", field, fix)
        return str(unit)

    def _zone(self, field: str, value: dict[str, Any]) -> ZoneInfo | None:
        if "zone" not in value:
            return None
        try:
            return ZoneInfo(value["zone"])
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
            fix = (
                f"zone {value['zone']!r} is not known here; use a name such as Europe/Berlin, and "
                "where the system has no time zones install the package tzdata"
            )
            raise self._wrong("event", field, fix) from None

    def _split(self, field: str, value: dict[str, Any]) -> str:
        split = value.get("split", "")
        if "split" in value and not (isinstance(split, str) and split):
            raise self._wrong("event", field, 'split is what separates the names, such as "|"')
        return str(split)

    def _actions(self, actions: Any) -> dict[str, str]:
        if not isinstance(actions, dict):
            raise self._wrong("", "actions", 'write [actions] and lines such as pageview = "view"')
        for name, action in actions.items():
            if not isinstance(action, str) or (action != "other" and not ACTION_CODES[action]):
                fix = f"{name} = {action!r} is no action of the contract; {_near(action, ACTIONS)}"
                raise self._wrong("actions", name, fix)
        return dict(actions)

    def _drop(self, number: int, drop: dict[str, Any]) -> Drop:
        section = f"drop {number}"
        known = ("path", "in", "not_in", "given", "reason")
        for key in drop:
            if key not in known:
                raise self._wrong(section, key, f"{key} is unknown here; {_near(key, known)}")
        kinds: list[Literal["in", "not_in", "given"]] = [
            kind for kind in ("in", "not_in", "given") if kind in drop
        ]
        if "path" not in drop or len(kinds) != 1:
            raise self._wrong(
                section, "path", "[[drop]] needs a path, and one of in, not_in, given"
            )
        (kind,) = kinds
        values = [drop[kind]] if kind == "given" else drop[kind]
        allowed: Any = bool if kind == "given" else str | int | float
        if not isinstance(values, list) or not all(isinstance(each, allowed) for each in values):
            fix = "given is true or false" if kind == "given" else f"{kind} is a list of values"
            raise self._wrong(section, kind, fix)
        reason = drop.get("reason", FILTER)
        if reason not in DROPS:
            raise self._wrong(section, "reason", f"reason must be one of {', '.join(DROPS)}")
        return Drop(self._path(section, "path", drop["path"]), kind, tuple(values), reason)

    def _place(self, section: str, key: str) -> str:
        line = self._lines.get((section, key)) or self._lines.get((section, ""))
        return f"{self._name}:{line}" if line else self._name

    def _wrong(self, section: str, key: str, fix: str) -> SettingsError:
        return SettingsError(f"{self._place(section, key)}: {fix}")


def _near(word: Any, words: Sequence[str]) -> str:
    """Returns the fix for a word that is none of the words there are."""
    near = get_close_matches(word, words, n=1) if isinstance(word, str) else []
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(words)}"


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Returns on which line each key of a table stands, and "" for the table itself.

    The n-th [[drop]] is the table `drop n`, from 0. It looks at the beginnings of lines alone,
    which is enough to find a line, and decides nothing.
    """
    found: dict[tuple[str, str], int] = {}
    section, drops = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = header[2].strip("\"'")
            if header[1] == "[[":
                section, drops = f"{section} {drops}", drops + 1
            found.setdefault((section, ""), number)
        elif key := _KEY.match(line):
            found.setdefault((section, key[1] or key[2] or key[3]), number)
    return found
