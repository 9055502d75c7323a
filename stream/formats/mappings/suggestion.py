"""Proposes a mapping for documents of an unknown shape, by what their fields are called and hold.

A proposal is a beginning: each line says in how many documents of the sample it finds something,
and `mapping try` shows what comes of it. No value of the sample is written into it but the names of
actions, so it holds nobody's data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from models.compact import ACTION_CODES, ACTIONS
from stream.contracts.faults import BadEvent
from stream.contracts.times import FIRST_TIME_MS, MAX_TIME_MS, parse_time, read_number
from stream.formats.usual_names import SYNONYMS
from stream.formats.values import RFC_3339, UTC_TEXT, moment_of

MOST_DEPTH: Final = 6
"""Names on the way to a value that is proposed."""

MOST_KEPT: Final = 200
"""Different values of a path that are kept to look at."""

MOST_ACTIONS: Final = 40
"""Names of actions that are listed."""

ORDER: Final = (
    "user_id", "action", "time", "item_id", "title", "query", "categories", "event_id",
    "session_id", "value", "dwell_ms",
)  # fmt: skip
NEEDED: Final = ("user_id", "action", "time", "item_id")
MOST_SOURCES: Final = {"user_id": 3, "item_id": 3}
"""Paths of which the first that is given counts; of other fields one is proposed."""

_MORE: Final[Mapping[str, tuple[str, ...]]] = {
    "user_id": (
        "profile_id", "account_id", "member_id", "person_id", "anonymous_id", "anonymousid",
        "device_id", "cookie_id",
    ),
    "action": ("verb", "activity", "action_type", "action_name"),
    "time": (
        "occurred_at", "happened_at", "event_ts", "client_time", "at", "sent_at", "server_time",
        "received_at", "created",
    ),
    "item_id": (
        "content_id", "offer_id", "listing_id", "video_id", "track_id", "post_id", "document_id",
        "page_id",
    ),
    "title": (
        "item_name",
        "article_title",
        "product_title",
        "page_title",
        "headline",
        "content_title",
        "video_title",
    ),
    "query": ("q", "term", "keyword", "search"),
    "event_id": ("message_id", "messageid", "insert_id", "event_uuid", "uuid"),
    "categories": ("tags", "section", "product_category", "item_category"),
    "value": ("price", "amount", "revenue", "total"),
    "dwell_ms": ("duration_ms", "dwell_time_ms", "time_spent_ms"),
}  # fmt: skip
"""Names beside those of usual_names.py, the surest first."""

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLAIN: Final = re.compile(r"[\w$-]+", re.ASCII)
_NAIVE: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?", re.ASCII)
_SHORT: Final = {"seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
_decode: Final = msgspec.json.Decoder().decode


@dataclass(slots=True)
class Found:
    """Holds what a sample has at one path."""

    documents: int = 0  # that have a value there
    kinds: Counter[str] = field(default_factory=Counter)
    values: Counter[Any] = field(default_factory=Counter)  # some of them

    def add(self, value: Any) -> None:
        """Takes the value of one more document."""
        self.documents += 1
        self.kinds[type(value).__name__] += 1
        if isinstance(value, str | int | float) and len(self.values) < MOST_KEPT:
            self.values[value] += 1

    def only(self, *kinds: str) -> bool:
        """Returns whether all values are of these types."""
        return not (self.kinds.keys() - set(kinds))


@dataclass(slots=True)
class Suggestion:
    """Holds the text of a mapping file, and which fields it could not find."""

    text: str
    missing: list[str]


def suggest(documents: Iterable[bytes]) -> Suggestion:
    """Returns a mapping for documents like these, JSON objects each; others are passed over."""
    paths: dict[str, Found] = {}
    count = 0
    for document in documents:
        try:
            value = _decode(document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(value, dict):
            count += 1
            for path, each in dict(_leaves(value, "", 0)).items():
                paths.setdefault(path, Found()).add(each)
    return _written(paths, count)


def _leaves(value: dict[str, Any], before: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yields the path and value of all that an object says; the first of an array's objects."""
    for name, each in value.items():
        quoted = name if _PLAIN.fullmatch(name) else _quoted(name)
        if not name or each is None or each == "" or depth >= MOST_DEPTH:
            continue
        path = f"{before}{quoted}"
        if isinstance(each, dict):
            yield from _leaves(each, f"{path}.", depth + 1)
        elif isinstance(each, list) and each and isinstance(each[0], dict):
            if "[]" not in path:
                yield from _leaves(each[0], f"{path}[].", depth + 1)
        else:
            yield path, each


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _written(paths: Mapping[str, Found], count: int) -> Suggestion:
    """Returns the file: a line a field, the actions to be filled in, and all paths there are."""
    lines = [f"# proposed from {count:,} documents", "", "[event]"]
    chosen: dict[str, list[tuple[str, Found]]] = {}
    array = ""
    for name in ORDER:
        found = _chosen(name, paths, count, array)
        array = next((_array_of(path) for path, _ in found if "[]" in path), array)
        if found:
            chosen[name] = found
            lines.append(_line(name, found, count))
        elif name in NEEDED:
            lines.append(f'# {name} = "..."   # no field is called so; the paths are below')
    lines += _actions(chosen.get("action", []))
    lines += ["", "# all paths of the sample:"]
    by_frequency = sorted(paths.items(), key=lambda each: (-each[1].documents, each[0]))
    for path, each in by_frequency:
        lines.append(f"#   {path}: in {each.documents:,}, {' or '.join(each.kinds)}")
    missing = [name for name in NEEDED if name not in chosen]
    if "title" in chosen or "query" in chosen:
        missing = [name for name in missing if name != "item_id"]
    return Suggestion("\n".join(lines) + "\n", missing)


def _chosen(
    name: str, paths: Mapping[str, Found], count: int, array: str
) -> list[tuple[str, Found]]:
    """Returns the paths that a field is read from; those inside an array are of one array alone."""
    found = _candidates(name, paths, count)
    array = array or next((_array_of(path) for path, _ in found if "[]" in path), "")
    fitting = [each for each in found if "[]" not in each[0] or _array_of(each[0]) == array]
    first = fitting[: MOST_SOURCES.get(name, 1)]
    return sorted(first, key=lambda each: "[]" not in each[0])  # an event for each element first


def _array_of(path: str) -> str:
    return path.partition("[]")[0]


def _candidates(name: str, paths: Mapping[str, Found], count: int) -> list[tuple[str, Found]]:
    """Returns the paths that a field may come from, the likeliest first."""
    names = (name, *SYNONYMS.get(name, ()), *_MORE.get(name, ()))
    if name == "title":  # of a thing: what is only called a name may be a person's
        names = tuple(each for each in names if each != "name")
    ranked = []
    for path, found in paths.items():
        rank = min((names.index(each) for each in _called(path) if each in names), default=None)
        if rank is None and name == "event_id" and path == "id" and len(found.values) > count // 2:
            rank = len(names)
        if rank is not None and _fits(name, found):
            ranked.append((rank, -found.documents, path.count("."), path))
    return [(path, paths[path]) for *_, path in sorted(ranked)]


def _called(path: str) -> list[str]:
    """Returns what a path is called: by its last name, and by its last two."""
    steps = [_HUMP.sub("_", each).lower().strip('"') for each in path.replace("[]", "").split(".")]
    steps = [each.lstrip("$").replace("-", "_") for each in steps]
    singular = [each.removesuffix("s") for each in steps]
    if len(steps) == 1:
        return steps
    return ["_".join(singular[-2:-1] + steps[-1:]), *([] if steps[-1] == "id" else steps[-1:])]


def _fits(name: str, found: Found) -> bool:
    """Returns whether a field can hold the values of a path."""
    if name == "time":
        return _unit(found) is not None
    if name == "categories":
        return found.only("str", "list")
    if name in ("value", "dwell_ms"):
        return found.only("int", "float")
    if name in ("action", "title", "query"):
        return found.only("str")
    return found.only("str", "int")


def _unit(found: Found) -> str | None:
    """Returns how the times of a path are written, "" for RFC 3339; None: they are no times."""
    units = {_unit_of(value) for value in found.values}
    return units.pop() if len(units) == 1 else None


def _unit_of(value: Any) -> str | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        reading = read_number(value, FIRST_TIME_MS, MAX_TIME_MS)
        return None if reading is None else _SHORT.get(reading.unit)
    for unit in (RFC_3339, UTC_TEXT):
        try:
            moment_of(value, unit, "")
        except BadEvent:
            continue
        return "" if unit == RFC_3339 else unit
    try:
        parse_time(f"{value}Z")
    except BadEvent:
        return None
    return "local" if _NAIVE.fullmatch(value) else None


def _line(name: str, chosen: Sequence[tuple[str, Found]], count: int) -> str:
    """Returns the line of a field, and in how many documents it finds something."""
    if name == "time":
        path, found = chosen[0]
        unit = _unit(found)
        options = {"": "", "local": ', unit = "local", zone = "UTC"'}.get(
            unit or "", f', unit = "{unit}"'
        )
        value = f"{{ path = {_toml(path)}{options} }}" if options else _toml(path)
        note = "; say the zone of these clocks" if unit == "local" else ""
    else:
        several = [_toml(path) for path, _ in chosen]
        value = several[0] if len(several) == 1 else f"[{', '.join(several)}]"
        note = ""
    most = max(found.documents for _, found in chosen)
    return f"{name} = {value}   # in {most:,} of {count:,}{note}"


def _toml(text: str) -> str:
    """Returns a text as TOML writes it."""
    if "'" not in text and ('"' in text or "\\" in text):
        return f"'{text}'"
    return _quoted(text)


def _actions(chosen: Sequence[tuple[str, Found]]) -> list[str]:
    """Returns the table of actions: names that mean none of the contract's are to be filled in."""
    unknown = [
        (name, times)
        for _, found in chosen
        for name, times in found.values.most_common(MOST_ACTIONS)
        if isinstance(name, str) and name != "other" and not ACTION_CODES[name]
    ]
    if not unknown:
        return []
    return [
        "",
        "# names that are no action of the contract count as other; give those that matter one of",
        f"# {', '.join(ACTIONS[1:])}",
        "[actions]",
        *(f'# {_quoted(name)} = "other"   # {times:,} times' for name, times in unknown),
    ]
