"""Hooks of MkDocs: the order of the pages, links to source files, nothing from another host.

A notebook becomes a page with its texts and its code: it is committed without what it prints.

On GitHub a page of docs/ may link to any file of the repository. The site has the pages only, so a
link that leaves docs/ becomes the path of that file, as code. A built page that would load a
script, style, font or picture from another host is an error: the site must work offline.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

PARTS = {
    "Start": "own-data several-processes first-model python containers cluster",
    "Understand": "architecture path-of-an-event path-of-a-model delivery decisions upstream",
    "Operate": "your-topic runbook messages security privacy serve webhook connect changes scaling "
    "popularity large-language-models",
    "Reference": "commands settings contracts event-formats topics metrics exit-codes",
    "Measured": "speed speed-why latency recovery overload profile formats sizes demo real-data "
    "containers movietweetings retail beauty ml-100k wikispeedia games new-items over-time parts "
    "frontier interests drift explanations soft-tokens language-models reliability",
}
"""The parts of the site, each a folder of its name: the order of its pages; others come after."""

LINK = re.compile(r"\[(?P<text>[^\]\n]*)\]\((?P<target>(?!https?:|#)[^)#\s]+)(?:#[^)\s]*)?\)")
FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
FOREIGN = re.compile(
    r"<(?:script|img|iframe|source|link)\b(?![^>]*rel=\"(?:canonical|next|prev)\")"
    r"[^>]*\b(?:src|href)=\"(?:https?:)?//[^\"]*\"[^>]*>"
)


def on_config(config: Any) -> Any:
    """Returns the configuration with a navigation that holds every page, part by part."""
    docs = Path(config.docs_dir)
    parts = {
        title: _pages(docs, docs / title.lower(), order.split()) for title, order in PARTS.items()
    }
    config.nav = [{"Home": "README.md"}, *({title: pages} for title, pages in parts.items())]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Returns the files of the site with a page for each notebook."""
    for path in sorted(Path(config.docs_dir).rglob("*.ipynb")):
        page = path.relative_to(config.docs_dir).with_suffix(".md").as_posix()
        files.append(File.generated(config, page, content=page_of(path)))
    return files


def page_of(notebook: Path) -> str:
    """Returns a notebook as a page."""
    source = f"This page is the notebook `docs/{notebook.parent.name}/{notebook.name}`."
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    return "\n\n".join([*parts[:1], source, *parts[1:]]) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns the text of a page with links out of docs/ written as paths."""
    folder = posixpath.dirname(page.file.src_uri)
    parts = FENCE.split(markdown)  # every second part is a block of code, which stays as it is
    parts[::2] = [LINK.sub(lambda found: _inside(found, folder), part) for part in parts[::2]]
    return "".join(parts)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Returns the page as it is; raises PluginError when it would load something from elsewhere."""
    if found := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads something from another host: {found[0]}")
    return output


def _pages(docs: Path, folder: Path, order: Sequence[str] = ()) -> list[Any]:
    """Returns the pages of a folder for the navigation, its README first, sub-folders as lists."""

    def place(path: Path) -> tuple[int, str]:
        known = ("README", "index", *order)
        return known.index(path.stem) if path.stem in known else len(known), path.name

    pages = (*folder.glob("*.md"), *folder.glob("*.ipynb"), *folder.glob("*/"))
    found = sorted(pages, key=place)
    return [
        {path.name.capitalize(): _pages(docs, path)}
        if path.is_dir()
        else path.relative_to(docs).as_posix()
        for path in found
        if path.is_file() or any(path.glob("*.md"))
    ]


def _inside(link: re.Match[str], folder: str) -> str:
    """Returns a link as it is when it stays in docs/, else the path of the file behind it."""
    target = posixpath.normpath(posixpath.join(folder, link["target"]))
    if not target.startswith("../"):
        return link[0].replace(".ipynb", ".md")
    path, text = target.removeprefix("../"), link["text"]
    return f"`{path}`" if path.endswith(text.strip("`")) else f"{text} (`{path}`)"
