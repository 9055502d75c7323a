"""Keeps the newest profile of each user in an SQLite file, together with what was read so far.

A batch of records and the positions behind it are one transaction. So whenever the process is
killed, the file holds the topic as of its positions, and the next start goes on there. The file can
always be made anew from the topics, so nothing is migrated: another layout, another topic behind
the same name or a gap in what was read begins it anew. What segments ask of each user changes with
every event, so it is in an array beside the file and not in rows of it.

    store       opens the file and writes batches into it; the only door for who writes
    profiles    what a batch does to profiles: which of two is the newer one, who is erased
    histories   what a batch does to histories: when the first interests of a user have changed
    marks       what segments ask of each user: the array, written with each batch
    marks_file  the layout of the array, and how it is mapped into memory
    postings    the same by interest, in memory: how many users a segment has
    finding     who of the array is in a segment; for who reads
    tallies     how many users each interest has, counted along with every change
    system_runs whether the system went down while the file was open
    loading     what follows from the profiles, made at once at the end of a first reading
    tables      the tables, and how a file is opened

A batch is judged record by record in memory, and what is left of it is written table by table in
the order of their keys. That is what makes it fast: a page of the file is written once a batch.
Who asks reads over connections of their own (`stream.serving.queries`). Begin with `store`.
"""

from stream.serving.store.histories import HISTORY_ENTRIES, HISTORY_MS
from stream.serving.store.store import PRUNED_PARTS, Changes, Known, Store
from stream.serving.store.tables import (
    DAY_MS,
    OWNER,
    Place,
    Reader,
    claim,
    file_in,
    open_reader,
)
from stream.serving.store.tallies import begin_of

__all__ = [
    "DAY_MS",
    "HISTORY_ENTRIES",
    "HISTORY_MS",
    "OWNER",
    "PRUNED_PARTS",
    "Changes",
    "Known",
    "Place",
    "Reader",
    "Store",
    "begin_of",
    "claim",
    "file_in",
    "open_reader",
]
