"""Writes the pages of docs/reference from the code that they describe.

    python -m docs.generate            write the pages that have changed
    python -m docs.generate --check    name the pages that are stale, and exit with 1

docs/generators has a file for each kind of page. A test fails when a committed page is stale, so
nobody edits these pages by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from docs.generators.asyncapi import asyncapi_document
from docs.generators.commands import command_page, commands_page
from docs.generators.contracts import contracts_page
from docs.generators.exit_codes import exit_codes_page
from docs.generators.metrics import metrics_page
from docs.generators.settings import settings_page
from docs.generators.topics import topics_page
from stream.cli.root import COMMANDS

DOCS: Final = Path(__file__).resolve().parent
REFERENCE: Final = DOCS / "reference"
GENERATED: Final = "<!-- Written by `python -m docs.generate` from the code. Do not edit. -->"


def main(words: list[str] | None = None) -> int:
    """Writes stale pages, or only names them with --check; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="name stale pages, write nothing")
    check = parser.parse_args(words).check
    stale = stale_pages()
    for path, text in stale.items():
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(DOCS.parent)}\n")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for path in leftovers():
        sys.stdout.write(f"of no command any more, delete it: {path.relative_to(DOCS.parent)}\n")
    return int(check and bool(stale or leftovers()))


def stale_pages() -> dict[Path, str]:
    """Returns the pages whose committed text differs from what the code says, with that text."""
    return {
        path: text
        for path, text in pages().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    }


def leftovers() -> list[Path]:
    """Returns pages of commands that do not exist any more."""
    return sorted(set((REFERENCE / "commands").glob("*.md")) - pages().keys())


def pages() -> dict[Path, str]:
    """Returns the text of every generated page by its path."""
    written = {
        "commands/README.md": commands_page(),
        "settings.md": settings_page(),
        "contracts.md": contracts_page(),
        "topics.md": topics_page(),
        "metrics.md": metrics_page(),
        "exit-codes.md": exit_codes_page(),
    }
    written |= {f"commands/{name}.md": command_page(name) for name in COMMANDS}
    pages_ = {
        REFERENCE / name: f"{GENERATED}\n\n{text.rstrip()}\n" for name, text in written.items()
    }
    return pages_ | {REFERENCE / "asyncapi.json": asyncapi_document()}


if __name__ == "__main__":
    sys.exit(main())
