"""The live view as a picture: an SVG that loads nothing from elsewhere."""

from __future__ import annotations

import html
import io
import re
from typing import Final

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

THEME: Final = TerminalTheme(
    (24, 26, 31),
    (214, 218, 224),
    [(24, 26, 31), (224, 108, 117), (127, 199, 123), (229, 192, 108), (97, 160, 220), (198, 120, 221), (86, 182, 194), (171, 178, 191)],
    [(78, 84, 97), (224, 108, 117), (152, 216, 148), (240, 208, 130), (120, 180, 240), (210, 140, 230), (100, 200, 210), (255, 255, 255)],
)  # fmt: skip
FONT_FILES: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
DRAWN_TEXT: Final = re.compile(r'textLength="[\d.]+"([^>]*)>([^<]*)</text>')
CELL: Final = 12.2  # of rich's SVG: 20 units high, times the aspect ratio below


def svg(screen: RenderableType, width: int, height: int, title: str) -> str:
    """One screen of `width` x `height` cells."""
    console = Console(record=True, width=width, height=height, file=io.StringIO(), force_terminal=True, no_color=False)
    console.print(screen)
    drawn = console.export_svg(title=title, theme=THEME, unique_id="demo", font_aspect_ratio=0.61)
    drawn = FONT_FILES.sub("", drawn).replace("Fira Code", "ui-monospace")
    return re.sub(r"[ \t]+$", "", DRAWN_TEXT.sub(_in_cells, drawn), flags=re.MULTILINE)


def _in_cells(text: re.Match[str]) -> str:
    """Rich stretches a text to as many cells as it has letters; a Chinese letter takes two."""
    cells = cell_len(html.unescape(text[2]))
    return f'textLength="{cells * CELL:g}"{text[1]}>{text[2]}</text>'
