"""The public names are these, each can be used, and importing them costs nothing yet."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest

import interest_stream

NAMES = {
    "BadEvent",
    "BrokerError",
    "Cause",
    "DataError",
    "Event",
    "Interest",
    "InterestStreamError",
    "Item",
    "Model",
    "ModelError",
    "Place",
    "Producer",
    "PublishError",
    "Service",
    "ServiceError",
    "SettingsError",
    "Subscription",
    "TopicError",
    "Update",
    "__version__",
    "profile",
    "subscribe",
}


def test_the_public_names_are_these() -> None:
    assert set(interest_stream.__all__) == NAMES
    assert dir(interest_stream) == interest_stream.__all__


@pytest.mark.parametrize("name", sorted(NAMES - {"__version__"}))
def test_every_name_is_there_and_explains_itself(name: str) -> None:
    first = (getattr(interest_stream, name).__doc__ or "").split("\n")[0]
    assert len(first.split()) > 4


@pytest.mark.parametrize("name", ["Model", "Producer", "Service", "profile", "subscribe"])
def test_the_example_of_a_docstring_is_a_program(name: str) -> None:
    text = inspect.getdoc(getattr(interest_stream, name)) or ""
    example = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    compiled = compile(example, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if name == "Model":  # the others need a broker or a service
        exec(compiled, {"Model": interest_stream.Model})


def test_the_version_is_that_of_the_distribution() -> None:
    assert interest_stream.__version__ == version("interest-stream")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'interest_stream' has no attribute 'Worker'"):
        _ = interest_stream.Worker


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import interest_stream", set()),
        ("from interest_stream import *", {"numpy"}),
        ("from interest_stream import subscribe; subscribe()", {"numpy", "aiokafka"}),
        ("from interest_stream import Model; Model.load(demo=True)", {"numpy", "torch"}),
    ],
)
def test_libraries_are_loaded_when_they_are_first_used(code: str, loaded: set[str]) -> None:
    heavy = "{'numpy', 'torch', 'aiokafka', 'faust'}"
    command = f"{code}\nimport sys; print(*{heavy} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == loaded
