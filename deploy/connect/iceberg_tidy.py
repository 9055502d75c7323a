"""Leaves the newest profile of each user in the Iceberg table, and nothing of erased users.

    pip install "pyiceberg[pyarrow,sql-postgres]==0.12.0"
    python iceberg_tidy.py --catalog interests --table interests.profiles

The connector of iceberg.json only adds rows, so run this as often as an erasure may wait. What it
does: the newest row of each user is kept; the table is rewritten with these rows; all older
snapshots go, and with them every file that only they name. Two things go when they are old enough:
the null that stands for an erased user (`--nulls-after-hours`), because Connect may be late with a
row from before it; and a file that no snapshot names, because Connect ended before it was
committed (`--orphans-after-hours`).

Where the catalog is and how to log in stand where pyiceberg looks for them: ~/.pyiceberg.yaml, or
variables such as PYICEBERG_CATALOG__INTERESTS__URI. The whole table is held in memory once; use
MERGE, expire_snapshots and remove_orphan_files of an engine where it is too large for that.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, ValidationException
from pyiceberg.table import Table

PLACE = "kafka.connect."
"""Begin of what the connector notes in the summary of a snapshot: how far it has come."""

TRIES = 10
"""How often the connector may commit between the reading and the writing before this gives up."""


def newest(rows: pa.Table, nulls_before: datetime) -> pa.Table:
    """Returns the last row of each user by its place in the topic.

    Marks of workers, which have no user, are left out, and so are nulls from before a moment.
    """
    # a user's records are in one partition, so their offsets order them
    last = rows.group_by("user_id").aggregate([("kafka_offset", "max")])
    last = last.rename_columns(["user_id", "kafka_offset"])
    # a record that was written twice, after a crash, is there once
    kept = rows.join(last, ["user_id", "kafka_offset"], join_type="inner")
    is_recent = pc.greater_equal(kept["published"], pa.scalar(nulls_before, kept["published"].type))
    is_needed = pc.or_(pc.is_valid(kept["profile"]), is_recent)
    kept = kept.filter(pc.and_(is_needed, pc.not_equal(kept["user_id"], "")))
    index = pa.array(range(len(kept)), pa.int64())
    first = kept.append_column("row", index).group_by("user_id").aggregate([("row", "min")])
    return kept.take(first["row_min"]).select(rows.column_names)


def notes(table: Table) -> dict[str, str]:
    """Returns what the connector noted last; without it, it could commit a file twice."""
    snapshot = table.current_snapshot()
    while snapshot is not None:
        summary = snapshot.summary.additional_properties if snapshot.summary else {}
        found = {name: value for name, value in summary.items() if name.startswith(PLACE)}
        if found:
            return found
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent is not None else None
    return {}


def files(table: Table) -> set[str]:
    """Returns the addresses of all files that a snapshot of the table names."""
    found = {entry.metadata_file for entry in table.metadata.metadata_log}
    found.add(table.metadata_location)
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            entries = manifest.fetch_manifest_entry(table.io, discard_deleted=False)
            found.update(entry.data_file.file_path for entry in entries)
    return found


def rewrite(table: Table, nulls_before: datetime) -> int:
    """Makes the newest rows all that the table has; returns how many users have a profile."""
    for _ in range(TRIES):
        table.refresh()
        kept = newest(table.scan().to_arrow(), nulls_before)
        try:
            table.overwrite(kept, snapshot_properties=notes(table))
        except (CommitFailedException, ValidationException):
            continue  # the connector was faster
        return len(kept) - int(kept["profile"].null_count)
    raise SystemExit(f"the connector committed {TRIES} times meanwhile; nothing was changed")


def forgotten(table: Table, before: datetime) -> Iterable[str]:
    """Returns the files below the table's folder that nothing names, and that are old."""
    scheme, _, path = table.location().partition("://")
    storage = table.io.fs_by_scheme(scheme, path.partition("/")[0])  # type: ignore[attr-defined]
    named = files(table)
    for info in storage.get_file_info(fs.FileSelector(path, recursive=True)):
        address = f"{scheme}://{info.path}"
        if info.is_file and info.mtime < before and address not in named:
            yield address


def tidy(table: Table, nulls_after: timedelta, orphans_after: timedelta) -> tuple[int, int]:
    """Does all of it; returns how many users have a profile and how many files went."""
    began = datetime.now(UTC)
    if held := sorted(set(table.metadata.refs) - {"main"}):
        raise SystemExit(
            f"the table's tag or branch {', '.join(held)} keeps older rows, and who is erased in "
            "them; remove it first. Nothing was changed"
        )
    named = files(table)
    rows = rewrite(table, began - nulls_after)
    named |= files(table)
    current = table.metadata.current_snapshot_id
    old = [each.snapshot_id for each in table.snapshots() if each.snapshot_id != current]
    if old:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    table.refresh()
    gone = named - files(table)
    gone.update(forgotten(table, began - orphans_after))
    for address in gone:
        table.io.delete(address)
    return rows, len(gone)


def main() -> None:
    words = argparse.ArgumentParser(description="Keep the newest profile of each user.")
    words.add_argument("--catalog", default="interests")
    words.add_argument("--table", default="interests.profiles")
    words.add_argument("--nulls-after-hours", type=float, default=24)
    words.add_argument("--orphans-after-hours", type=float, default=24)
    given = words.parse_args()
    try:
        table = load_catalog(given.catalog).load_table(given.table)
    except NoSuchTableError:
        raise SystemExit(f"no table {given.table}; has the connector written yet?") from None
    nulls_after = timedelta(hours=given.nulls_after_hours)
    users, gone = tidy(table, nulls_after, timedelta(hours=given.orphans_after_hours))
    print(f"{users} users have a profile; {gone} files were removed")  # noqa: T201


if __name__ == "__main__":
    main()
