"""Checks what the audit expects of the events of a topic."""

from __future__ import annotations

from zlib import crc32

import orjson

from stream.audit.dead_letters import DeadLetter, compare_dead_letters
from stream.audit.event_rules import Limits
from stream.audit.mapping_rules import MappedShape
from stream.audit.replay import Replay, splitmix
from tests.unit.stream.audit.test_compare import MASK, NOW_MS, event, replayed


def test_a_repeated_event_id_counts_once_within_32_events() -> None:
    near = [event(0, event_id="a"), event(1, event_id="a")]
    assert replayed(near).users[0, b"user-1"].count == 1
    far = [
        event(0, event_id="a"),
        *(event(number, event_id=f"b{number}") for number in range(32)),
        event(40, event_id="a"),
    ]
    assert replayed(far).users[0, b"user-1"].count == 34


def test_events_of_one_record_have_places_in_the_digest_and_ids_of_their_origin() -> None:
    mapping = '[event]\nuser_id = "u"\naction = "a"\ntime = "t"\nitem_id = "lines[].sku"\n'
    replay = Replay(Limits(), shape=MappedShape(mapping))
    value = orjson.dumps({"u": "u", "a": "buy", "t": NOW_MS, "lines": [{"sku": 1}, {"sku": 2}]})
    bad = b'[%b, {"u":"u"}]' % value
    for offset, (each, origin) in enumerate(((value, "raw-1"), (value, "raw-1"), (bad, None))):
        replay.add(0, offset, b"u", each, NOW_MS, origin)
    assert (replay.events, replay.applied, replay.repeated) == (3, 4, 2)
    assert replay.invalid == {(0, 2, 0): (b"u", b'{"u":"u"}')}
    digest = 0
    for offset, each in ((0, value), (2, bad)):
        first = crc32(each)
        for checksum in (first, crc32((1).to_bytes(4, "little"), first)):
            digest = (digest * 0x9E3779B97F4A7C15 + splitmix(offset, checksum, 0)) & MASK
    assert (replay.users[0, b"u"].count, replay.users[0, b"u"].digest) == (4, digest)

    # the dead letter of the document is compared with the document's own bytes
    for kept, changed in ((b'{"u":"u"}', 0), (b'{"u":"v"}', 1)):
        letter = DeadLetter(b"u", kept, {}, NOW_MS)
        report = compare_dead_letters(replay, {(0, 2, 0): letter}, {0: 3})
        assert (report["dead_letters_missing"], report["dead_letters_changed"]) == (0, changed)
    assert compare_dead_letters(replay, {}, {0: 3})["dead_letters_missing"] == 1
