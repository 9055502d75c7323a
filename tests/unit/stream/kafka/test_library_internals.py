"""Lists the insides of Faust, mode and aiokafka that we use, each with what it is for, in one room.

This is the test that fails first when a new version of one of them changes something private that
stream/kafka uses or overrides. A use that is not listed fails, and so does one outside the room.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from aiokafka.consumer import fetcher

from stream.kafka.batches.checked_records import CheckedPartitionRecords, FetchedRecord

ROOT = Path(__file__).resolve().parents[4]
ROOM = ROOT / "stream" / "kafka"
LIBRARIES = ("faust", "mode", "aiokafka")
FIELD = "field"

INTERNALS: dict[str, tuple[str, str]] = {
    "aiokafka.consumer.fetcher:PartitionRecords._consumer_record": (
        "(self, tp, record)",
        "a record is made cheaply, and Python's collector need not walk through it",
    ),
    "faust.app.base:App._create_directories": ("(self)", "a killed worker leaves no folder"),
    "faust.transport.consumer:Consumer._add_gap": (
        "(self, tp, offset_from, offset_to)",
        "commits come from the flow, so gaps need no tracking",
    ),
    "faust.transport.consumer:Consumer._buffered_partitions": (
        "field",
        "a batch of a paused partition is delivered, not handed back",
    ),
    "faust.transport.consumer:Consumer._commit_fut": (
        "field",
        "the last commit before a stop waits for one that is under way",
    ),
    "faust.transport.consumer:Consumer._committed_offset": (
        "field",
        "where reading began, before anything was applied",
    ),
    "faust.transport.consumer:Consumer._filter_tps_with_pending_acks": (
        "(self, topics)",
        "commits come from the flow, not from acknowledged messages",
    ),
    "faust.transport.consumer:Consumer._get_active_partitions": (
        "(self)",
        "a fetch takes a copy of the active partitions",
    ),
    "faust.transport.consumer:Consumer._is_changelog_tp": (
        "(self, tp)",
        "batches of the changelog go to the table",
    ),
    "faust.transport.consumer:Consumer._new_offset": (
        "(self, tp)",
        "commits come from the flow, not from acknowledged messages",
    ),
    "faust.transport.consumer:Consumer._unacked_messages": (
        "field",
        "an acknowledgement is a message less to wait for",
    ),
    "faust.transport.consumer:Consumer._waiting_for_ack": (
        "field",
        "whoever waits for the last message is woken",
    ),
    "faust.transport.consumer:ThreadDelegateConsumer._commit": (
        "(self, offsets)",
        "a failpoint after each commit",
    ),
    "faust.transport.consumer:ThreadDelegateConsumer._getmany": (
        "(self, active_partitions, timeout)",
        "one fetch, before Faust makes a message of each record",
    ),
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": (
        "(self)",
        "the thread is ours",
    ),
    "faust.transport.consumer:ThreadDelegateConsumer._thread": (
        "field",
        "what the group says of this worker is asked of the thread",
    ),
    "faust.tables.base:Collection._new_store": (
        "(self)",
        "the store is given, not looked up by URL",
    ),
    "faust.tables.manager:TableManager._recovery": ("field", "the recovery is ours"),
    "faust.tables.manager:TableManager._update_channels": (
        "(self)",
        "the start without the stock pause of a second",
    ),
    "faust.tables.recovery:Recovery._build_highwaters": (
        "(self, consumer, tps, destination, title)",
        "the fence is raised before the ends of the changelog are asked for",
    ),
    "faust.tables.recovery:Recovery._set_recovery_ended": (
        "(self)",
        "the length of a recovery is measured",
    ),
    "faust.tables.recovery:Recovery._set_recovery_started": (
        "(self)",
        "a signal that is left over would end the next recovery at once",
    ),
    "faust.tables.recovery:Recovery._slurp_changelogs": (
        "(obj)",
        "stock's loop would end a recovery whose fence takes long",
    ),
    "faust.tables.recovery:Recovery._wait": (
        "(self, coro, timeout)",
        "a slow step would end recovery for ever",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": (
        "(self, transport)",
        "the consumer is made where all are, with one connection",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
        "(self, consumer, active_partitions, timeout, max_records)",
        "where the next record can be is known right after a fetch",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._ensure_consumer": (
        "(self)",
        "aiokafka's consumer, to watch and to seek",
    ),
    "mode.threads:ServiceThread._stopped_set": (
        "(self)",
        "the loop of a thread that has crashed is closed",
    ),
    "faust.transport.drivers.aiokafka:Producer._ensure_producer": (
        "(self)",
        "aiokafka's producer, to send prepared batches",
    ),
    "faust.transport.drivers.aiokafka:Producer._settings_extra": (
        "(self)",
        "Faust has no settings for acks, idempotence and most of the connection",
    ),
    "faust.worker:Worker._on_sigint": ("(self)", "a word at Ctrl-C, and an end at the second"),
    "faust.worker:Worker._on_sigterm": ("(self)", "a word at SIGTERM"),
    "faust.worker:Worker._setproctitle": ("(self, info, ident)", "`ps` shows this project's name"),
    "mode.worker:Worker._schedule_shutdown": (
        "(self, signal)",
        "the app stops as Faust would stop it",
    ),
    "mode.worker:Worker._sentinel_task": ("(self)", "stock sleeps for a second at the end"),
    "mode.worker:Worker._signal_stop_time": ("field", "whether the end was asked for already"),
    "aiokafka.admin.client:AIOKafkaAdminClient._client": ("field", "which brokers are known"),
    "aiokafka.admin.client:AIOKafkaAdminClient._send_request": (
        "(self, request, node_id)",
        "a question that any broker can answer goes to the next one",
    ),
    "aiokafka.client:AIOKafkaClient._wait_on_metadata": (
        "(self, topic)",
        "partitions of a topic that the client was not assigned",
    ),
    "aiokafka.conn:AIOKafkaConnection._do_sasl_handshake": (
        "(self)",
        "a session is renewed on its connection",
    ),
    "aiokafka.conn:AIOKafkaConnection._sasl_oauth_token_provider": (
        "field",
        "a token is there before a session is renewed",
    ),
    "aiokafka.consumer.consumer:AIOKafkaConsumer._client": (
        "field",
        "metadata is asked for when it is needed",
    ),
    "aiokafka.consumer.consumer:AIOKafkaConsumer._coordinator": (
        "field",
        "what the group says of this worker",
    ),
    "aiokafka.consumer.consumer:AIOKafkaConsumer._fetcher": (
        "field",
        "how long a fetch may wait changes with what comes in",
    ),
    "aiokafka.consumer.fetcher:Fetcher._fetch_max_wait_ms": ("field", "see there"),
    "aiokafka.consumer.fetcher:Fetcher._fetch_min_bytes": ("field", "see there"),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._closing": (
        "field",
        "whether the worker leaves by its own will",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._coordination_task": (
        "field",
        "whether the coordination has ended",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": (
        "(self)",
        "when the group last confirmed this worker",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._group_instance_id": (
        "field",
        "a place that is given up for good",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._maybe_leave_group": (
        "(self)",
        "a place that is given up for good",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._pending_exception": (
        "field",
        "an error that will not go away",
    ),
    "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": (
        "(self, request)",
        "what the group answers to joins and questions for offsets",
    ),
    "aiokafka.producer.message_accumulator:BatchBuilder._build": (
        "(self)",
        "a prepared batch takes its place",
    ),
    "aiokafka.producer.message_accumulator:BatchBuilder._set_producer_state": (
        "(self, producer_id, producer_epoch, base_sequence)",
        "a batch is signed by a fence",
    ),
    "aiokafka.producer.producer:AIOKafkaProducer._sender": (
        "field",
        "the last look before the wire",
    ),
    "aiokafka.producer.sender:Sender._send_produce_req": (
        "(self, node_id, batches)",
        "the last look before the wire",
    ),
    "aiokafka.producer.sender:Sender._txn_manager": (
        "field",
        "a fenced worker ends without a traceback beside the reason",
    ),
    "aiokafka.producer.transaction_manager:TransactionManager._transaction_waiter": (
        "field",
        "a fenced worker ends without a traceback beside the reason",
    ),
}
"""By module, class and name: the parameters of a method or FIELD, and what we need it for."""


ASKED: dict[str, set[str]] = {
    "records": {"has_next", "next_batch", "size_in_bytes"},
    "next_batch": {
        "base_offset",
        "is_control_batch",
        "is_transactional",
        "next_offset",
        "producer_id",
        "validate_crc",
    },
    "record": {
        "checksum",
        "headers",
        "key",
        "offset",
        "timestamp",
        "timestamp_type",
        "value",
    },
}
"""What aiokafka's fetcher asks of the bytes of a fetch, of a batch and of a record. Ours take the
place of the first two, in its module's `MemoryRecords` and `PartitionRecords`, because it has no
other place where a batch can be judged before it is decompressed (checked_records.py)."""


def test_the_fetcher_reads_batches_by_what_ours_offer() -> None:
    stock = CheckedPartitionRecords.__base__
    fetching = inspect.getsource(fetcher.Fetcher._proc_fetch_request)
    assert "= MemoryRecords(part_data[-1])" in fetching
    assert "= PartitionRecords(" in fetching
    assert list(inspect.signature(stock).parameters)[:4] == [
        "tp",
        "records",
        "aborted_transactions",
        "fetch_offset",
    ]
    source = fetching + inspect.getsource(stock)
    for name, asked in ASKED.items():
        found = set(re.findall(rf"(?<![\w.]){name}\.(\w+)", source))
        assert found == asked, name


def test_a_fetched_record_has_the_fields_of_theirs() -> None:
    theirs = [field.name for field in dataclasses.fields(ConsumerRecord)]
    assert list(FetchedRecord.__struct_fields__) == theirs


@pytest.mark.parametrize("path", INTERNALS)
def test_what_we_use_of_their_insides_is_as_it_was(path: str) -> None:
    expected, _ = INTERNALS[path]
    where, _, attribute = path.rpartition(".")
    module, _, owner = where.partition(":")
    assert shape(getattr(importlib.import_module(module), owner), attribute) == expected


def shape(owner: type, attribute: str) -> str:
    """The parameters of a method, or FIELD for what instances are given."""
    found: Any = inspect.getattr_static(owner, attribute, None)
    if callable(found) or hasattr(found, "fun"):  # a task of mode keeps its function as `fun`
        return f"({', '.join(inspect.signature(inspect.unwrap(found)).parameters)})"
    return FIELD if attribute in fields(owner) else "gone"


@cache
def fields(owner: type) -> set[str]:
    """The private names that a class of a library and those above it declare or assign."""
    theirs = [each for each in owner.__mro__ if each.__module__.split(".")[0] in LIBRARIES]
    source = "".join(map(inspect.getsource, theirs))
    return set(re.findall(r"self\.(_[a-z]\w*)", source)) | set(
        re.findall(r"^    (_[a-z]\w*)\s*[:=]", source, re.MULTILINE)
    )


def test_their_insides_are_used_in_one_room_and_each_use_is_listed() -> None:
    listed = {path.rpartition(".")[2] for path in INTERNALS}
    used: dict[str, set[str]] = {}
    for file in sorted((ROOT / "stream").rglob("*.py")):
        for attribute in uses(file):
            used.setdefault(attribute, set()).add(str(file.relative_to(ROOT)))
    room = str(ROOM.relative_to(ROOT))
    outside = {
        name: files
        for name, files in used.items()
        if not all(file.startswith(room) for file in files)
    }
    assert not outside
    assert set(used) == listed


def uses(file: Path) -> Iterator[str]:
    """The private names of a library's objects in a file, read or overridden."""
    source = file.read_text(encoding="utf-8")
    tree = ast.parse(source)
    ours = set(re.findall(r"self\.(_[a-z]\w*)\b[^=\n]*=[^=]|def (_[a-z]\w*)", source))
    defined = {name for pair in ours for name in pair if name}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from inherited(file, node)
        elif isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")
            of_super = isinstance(node.value, ast.Call) and ast.unparse(node.value) == "super()"
            if not (of_self or of_super or node.attr in defined):
                yield node.attr


def inherited(file: Path, node: ast.ClassDef) -> Iterator[str]:
    """The private names that a class of ours uses or overrides of a library's class."""
    written = {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) in ("self", "super()")
    } | {
        each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    private = {name for name in written if re.match(r"_[a-z]", name)}
    if not private:
        return
    module = importlib.import_module(str(file.relative_to(ROOT))[:-3].replace("/", "."))
    mro = getattr(getattr(module, node.name, None), "__mro__", ())
    theirs = [each for each in mro if each.__module__.split(".")[0] in LIBRARIES]
    if node.name == "PreparedBatch":  # stands for aiokafka's BatchBuilder without being one
        theirs = [importlib.import_module("aiokafka.producer.message_accumulator").BatchBuilder]
    for name in sorted(private):
        if any(shape(each, name) != "gone" for each in theirs):
            yield name
