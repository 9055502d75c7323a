"""The shape of the house: rooms of a size that can be seen at once, no circle, sentences, lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("interest_stream", "stream", "models")
MOST_MODULES = 18
MOST_PIPELINE_LINES = 1_200
MOST_QUIET_LINES = 60
"""A function that is longer has comments of its own line inside."""

MOST_ARGUMENTS = 6
"""Of a constructor; with more it takes an object."""

FOLDERS = [
    folder
    for package in PACKAGES
    for folder in (ROOT / package, *sorted((ROOT / package).rglob("*")))
    if folder.is_dir() and list(folder.glob("*.py"))
]
FILES = [file for folder in FOLDERS for file in sorted(folder.glob("*.py"))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_a_room_can_be_seen_at_once(folder: Path) -> None:
    modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    if folder.name == "cli":  # one a command, and few others
        modules = [file for file in modules if not file.name.endswith("_command.py")]
    assert len(modules) <= MOST_MODULES


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_a_room_says_what_lives_there(folder: Path) -> None:
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "who may import it, and where does one begin to read?"


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph(*PACKAGES)
    inside = {
        module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules
    }
    assert not list(circles(inside))


def circles(imports: dict[str, set[str]]) -> Iterator[list[str]]:
    """The strongly connected components of more than one module (Tarjan 1972)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> Iterator[list[str]]:
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for other in imports[module]:
            if other not in numbers:
                yield from visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], numbers[other])
        if lowest[module] == numbers[module]:
            found = [stack.pop()]
            while found[-1] != module:
                found.append(stack.pop())
            if len(found) > 1:
                yield sorted(found)

    for module in sorted(imports):
        if module not in numbers:
            yield from visit(module)


def test_a_circle_would_be_found() -> None:
    around = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert list(circles(around)) == [["a", "b", "c"]]
    assert not list(circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}))


def test_the_pipeline_is_read_in_a_quarter_of_an_hour() -> None:
    files = (ROOT / "stream" / "pipeline").glob("*.py")
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    assert lines <= MOST_PIPELINE_LINES


@pytest.mark.parametrize("file", FILES, ids=name)
def test_docstrings_begin_with_a_sentence(file: Path) -> None:
    """The first line is a sentence of its own, so that it can be read alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            first, _, rest = text.partition("\n")
            where = f"{getattr(node, 'name', file.name)}: {first}"
            assert first[-1] in ".:?!", where
            assert not rest or rest.startswith("\n"), where


@pytest.mark.parametrize("file", FILES, ids=name)
def test_long_functions_are_narrated_and_constructors_take_few_things(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = lines[node.lineno : node.end_lineno]
        told = [line for line in body if line.strip().startswith("# ")]
        assert len(body) <= MOST_QUIET_LINES or told, f"{node.name}: {len(body)} lines"
        if node.name == "__init__":
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert len(named) - 1 <= MOST_ARGUMENTS, f"line {node.lineno}: {len(named) - 1}"
