"""Runs the commands that train and answer, over a small shop that tests share."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from stream.cli.root import main

KINDS = {"Outdoor": "tent rope lamp stove boots map", "Kitchen": "pan knife bowl cup plate spoon"}


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*words: object, text: str = "") -> Done:
    """Runs the command line inside this process: importing torch for each call takes seconds.

    Nor does each call find out which precision is faster here, which takes half a second.
    """
    streams = [
        io.TextIOWrapper(io.BytesIO(data), "utf-8", write_through=True)
        for data in (text.encode(), b"", b"")
    ]
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        patch.setattr("models.serving.scoring_pass.faster_reader", lambda _: (None, "float32"))
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
    out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])
    return Done(int(ended.value.code or 0), out, err)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with events.csv and items.jsonl.

    60 users who walk round one kind of goods; some lines are broken.
    """
    folder = tmp_path_factory.mktemp("shop")
    items = [
        {"item_id": f"{kind[0]}{place}", "title": word, "categories": [kind]}
        for kind, words in KINDS.items()
        for place, word in enumerate(words.split())
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)), encoding="utf-8")
    rows = ["visitor,sku,event_type,timestamp"]
    for user in range(60):
        kind = "OK"[user % 2]
        rows += [
            f"u{user},{kind}{(user + place) % 6},view,{1764000000 + 60 * place}"
            for place in range(5 + user % 4)
        ]
    rows += ["broken", "u1,O1,view,yesterday", "u70,O1,view,1764000000"]
    (folder / "events.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def training(shop: Path, out: Path, *more: object) -> tuple[object, ...]:
    files = (
        "--events",
        shop / "events.csv",
        "--items",
        shop / "items.jsonl",
        "--columns",
        "user_id=visitor,item_id=sku",
    )
    return ("train", *files, "--out", out, "--epochs", 12, *more)
