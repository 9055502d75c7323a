"""Finds the values of dotted paths in a JSON document, all of them in one go.

A path names fields: `user.id`; a name with a dot or other signs is quoted: `properties."sku.no"`.
`products[].id` means the elements of an array: a document with such paths is as many rows as the
array has elements, else it is one. A path that leads nowhere, through null or through something
that is no object, is None.

The decoder is given a type made of the paths, so nothing else of a document becomes an object.
Where a document does not fit that type (null or a text where an object is usual) it is walked field
by field, with the same outcome; what the walk says is what counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from stream.contracts.faults import BadEvent, fault_of, shown
from stream.formats.columns.fields import documents_of

ELEMENTS: Final = "[]"

_STEP: Final = re.compile(r'(?:"((?:[^"\\]|\\["\\])+)"|([^\s".\[\]]+))(\[\])?(\.|$)')
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_anything: Final = msgspec.json.Decoder().decode

Row = Sequence[Any]
"""A value of each path, in the order in which the paths were given."""


@dataclass(frozen=True, slots=True)
class Path:
    """Holds the steps to a value; `inner` are those inside an element of an array."""

    text: str
    steps: tuple[str, ...]
    inner: tuple[str, ...] | None = None  # None: there is no array on the way


def parse_path(text: str) -> Path:
    """Returns a path; raises ValueError that says how one is written."""
    outer: list[str] = []
    inner: list[str] | None = None
    at, dotted = 0, True
    while dotted:
        found = _STEP.match(text, at)
        if found is None:
            raise ValueError(
                f"{shown(text)} is no path; write names with dots between them, such as user.id, "
                'and quote what is no plain name: properties."sku.no"'
            )
        name = found[2] if found[1] is None else re.sub(r"\\(.)", r"\1", found[1])
        (outer if inner is None else inner).append(name)
        if found[3]:
            if inner is not None:
                raise ValueError(f"{shown(text)} has [] twice; one array can be taken apart")
            inner = []
        at, dotted = found.end(), found[4] == "."
    return Path(text, tuple(outer), None if inner is None else tuple(inner))


class Extractor:
    """Finds the values of some paths in documents; it is made once and holds no state."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises ValueError if the paths take two arrays apart."""
        arrays = {each.steps for each in paths if each.inner is not None}
        if len(arrays) > 1:
            names = ", ".join(sorted(".".join(each) + ELEMENTS for each in arrays))
            raise ValueError(f"{names} are two arrays; one array of a document can be taken apart")
        self._array = next(iter(arrays), None)
        outer = {each.text: each.steps for each in paths if each.inner is None}
        inner = {each.text: each.inner for each in paths if each.inner is not None}
        self._outer, self._inner = list(outer.values()), list(inner.values())
        self.slots = {text: slot for slot, text in enumerate([*outer, *inner])}
        self._typed = _typed(self._outer, self._inner, self._array)
        self._fast = None if self._typed is None else _reader(self._typed, len(self._inner))

    def rows(self, value: bytes) -> tuple[Sequence[Row], bool]:
        """Returns the values of a document, and whether each row is an element of its array.

        Raises BadEvent if it is no JSON object.
        """
        if self._fast is not None:
            try:
                return self._fast(value)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass  # it is not as usual
        return self.walk(value)

    def columns(self, values: Sequence[bytes], odd: set[int]) -> list[Sequence[Any]] | None:
        """Returns a column of values for each path; None if usual documents have no type.

        Unusual documents are odd, and those whose array has elements.
        """
        if self._typed is None:
            return None
        decode, nothing, attributes, array, _ = self._typed
        documents = documents_of(decode, values, nothing, odd)
        columns: list[Sequence[Any]] = [
            list(map(attrgetter(each), documents)) for each in attributes
        ]
        if array:
            elements = map(attrgetter(array), documents)
            odd.update(place for place, each in enumerate(elements) if each)
            columns += [[None] * len(documents)] * len(self._inner)
        return columns

    @property
    def is_typed(self) -> bool:
        """Returns whether usual documents are read by a type made of the paths."""
        return self._fast is not None

    def walk(self, value: bytes) -> tuple[Sequence[Row], bool]:
        """Returns what `rows` does, found field by field; raises BadEvent."""
        try:
            return self._walk(_fields(value))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise fault_of(value, error) from None

    def _walk(self, document: dict[str, msgspec.Raw]) -> tuple[Sequence[Row], bool]:
        outer = tuple(_value(document, steps) for steps in self._outer)
        elements: list[msgspec.Raw] = []
        if self._array is not None:
            elements = self._elements(document, self._array)
        if not elements:
            return [(*outer, *[None] * len(self._inner))], False
        return [(*outer, *self._of_element(element)) for element in elements], True

    def _elements(
        self, document: dict[str, msgspec.Raw], steps: tuple[str, ...]
    ) -> list[msgspec.Raw]:
        found = _raw(document, steps)
        if found is None or bytes(found) == b"null":
            return []
        try:
            return _elements(found)
        except msgspec.ValidationError:
            where = ".".join(steps)
            raise BadEvent("wrong-type", f"{where}{ELEMENTS}: {where} is no array") from None

    def _of_element(self, element: msgspec.Raw) -> Iterator[Any]:
        inside = _object(element)
        for steps in self._inner:
            yield _value(inside, steps) if steps else _decoded(element)


def _raw(document: dict[str, msgspec.Raw], steps: Sequence[str]) -> msgspec.Raw | None:
    """Returns the JSON that a path leads to, None if it leads nowhere."""
    *before, last = steps
    for step in before:
        if (found := document.get(step)) is None:
            return None
        document = _object(found)
    return document.get(last)


def _value(document: dict[str, msgspec.Raw], steps: Sequence[str]) -> Any:
    found = _raw(document, steps)
    return None if found is None else _decoded(found)


def _decoded(raw: msgspec.Raw) -> Any:
    try:
        return _anything(raw)
    except msgspec.ValidationError as error:  # JSON may have it, but no number can
        raise BadEvent("out-of-range", f"{error}; send numbers of a usual size") from None


def _object(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Returns the fields of an object; what is none has no fields."""
    return _fields(raw) if bytes(raw).startswith(b"{") else {}


@dataclass(slots=True)
class _Node:
    """Holds what the paths ask of one object, as the type that a decoder makes of it."""

    names: dict[str, str] = field(default_factory=dict)  # by name in JSON: the attribute
    inside: dict[str, _Node | None] = field(default_factory=dict)  # None: the value itself
    arrays: dict[str, Any] = field(default_factory=dict)  # by name in JSON: type of the elements

    def add(self, steps: Sequence[str], elements: Any = None) -> str:
        """Adds a path and returns how it is reached by attributes.

        elements: the type of those of the array there. Raises _TwoShapesError if one path needs the
        value of another one's object.
        """
        name, *rest = steps
        attribute = self.names.setdefault(name, f"f{len(self.names)}")
        node = self.inside.setdefault(name, _Node() if rest else None)
        if bool(rest) == (node is None) or name in self.arrays:
            raise _TwoShapesError
        if node is not None:
            return f"{attribute}.{node.add(rest, elements)}"
        if elements is not None:
            self.arrays[name] = elements
        return attribute

    def type(self) -> Any:
        """Returns the type of the object."""
        fields: list[tuple[str, Any, Any]] = []
        for name, node in self.inside.items():
            if node is not None:
                kind = node.type()
                fields.append((self.names[name], kind, kind()))
            else:
                array = self.arrays.get(name)
                kind = Any if array is None else list[array] | None  # type: ignore[valid-type]
                fields.append((self.names[name], kind, None))
        names = {attribute: name for name, attribute in self.names.items()}
        return msgspec.defstruct("Document", fields, rename=names, frozen=True, gc=False)


class _TwoShapesError(Exception):
    """Says that no one type serves all paths."""


class _Typed(NamedTuple):
    """Holds what reads documents of the usual shape, and where it leaves their values."""

    decode: Callable[[bytes], Any]  # raises what msgspec raises
    nothing: Any  # what an empty document becomes
    outer: list[str]  # attributes of a document, with dots
    array: str | None  # the attribute of the array
    inner: list[str] | None  # attributes of an element; None: the element itself


def _typed(
    outer: Sequence[tuple[str, ...]],
    inner: Sequence[tuple[str, ...]],
    array: tuple[str, ...] | None,
) -> _Typed | None:
    """Returns what reads documents of the usual shape, None if no type serves all paths."""
    document, element = _Node(), _Node()
    inside: list[str] | None = None
    elements: str | None = None
    if () in inner and len(inner) > 1:
        return None
    try:
        attributes = [document.add(steps) for steps in outer]
        if array is not None:
            if () not in inner:
                inside = [element.add(steps) for steps in inner]
            elements = document.add(array, Any if inside is None else element.type())
    except _TwoShapesError:
        return None
    kind = document.type()
    return _Typed(msgspec.json.Decoder(kind).decode, kind(), attributes, elements, inside)


def _reader(typed: _Typed, inner: int) -> Callable[[bytes], tuple[Sequence[Row], bool]]:
    """Returns what reads the rows of a document; it raises what msgspec raises."""
    decode, outer_of = typed.decode, _getter(typed.outer)
    if typed.array is None:
        return lambda value: ((outer_of(decode(value)),), False)
    inner_of = _itself if typed.inner is None else _getter(typed.inner)
    elements_of = attrgetter(typed.array)
    nothing = (None,) * inner

    def rows(value: bytes) -> tuple[Sequence[Row], bool]:
        found = decode(value)
        before, elements = outer_of(found), elements_of(found)
        if not elements:
            return [before + nothing], False
        return [before + inner_of(each) for each in elements], True

    return rows


def _itself(value: Any) -> tuple[Any, ...]:
    return (value,)


def _getter(attributes: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Returns what reads attributes of an object as a tuple."""
    if not attributes:
        return lambda _: ()
    found = attrgetter(*attributes)
    if len(attributes) == 1:
        return lambda value: (found(value),)
    return found
