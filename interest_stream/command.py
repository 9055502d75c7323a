"""Starts the command line, after a check that nothing hides the packages it is made of.

The packages `stream` and `models` have common names. Another module of the same name that Python
finds earlier, such as a file stream.py in the current directory, would end in an ImportError far
from its cause. So the entry point lives in a package whose name only we have, looks where Python
would find the two, and says what is wrong. Nothing imported here may import them before.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

HOME: Final = Path(__file__).resolve().parents[1]
"""The folder that holds this package and the two others: a checkout, or site-packages."""
PACKAGES: Final = ("stream", "models")


def main() -> None:
    """Runs `interest-stream` with the words of sys.argv; ends the process with its exit code."""
    problem = hidden_package()
    if problem:
        print(f"interest-stream: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    from stream.cli.root import program

    program()


def hidden_package() -> str | None:
    """Says which of our packages Python would not find, or None.

    The text says because of what it would not be found, and what to do.
    """
    for name in PACKAGES:
        found = _place(name)
        if found is None:
            return f"its package '{name}' is not in {HOME}; install interest-stream again"
        if found != HOME / name:
            return (
                f"{found} hides the package '{name}' that interest-stream is made of; "
                f"{_remedy(found)}, or rename or remove it"
            )
    return None


def _place(name: str) -> Path | None:
    """Returns the folder or the file that `import name` would load; None if there is none."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [])
    # A folder without __init__.py is a package, too, and may be made of several folders.
    place = folders[0] if folders else spec.origin or name
    return Path(place).resolve()


def _remedy(found: Path) -> str:
    """Says how to keep Python from looking where it found another package."""
    folder = found.parent
    listed = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if any(entry and Path(entry).resolve() == folder for entry in listed):
        return f"take {folder} out of PYTHONPATH"
    if folder == Path.cwd():
        return "start interest-stream from another directory"
    return "install interest-stream into an environment of its own"
