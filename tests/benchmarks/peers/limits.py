"""Measures what no pipeline can beat: the model alone, and the transport alone.

The model alone computes the same events in the same batches; the transport alone consumes, decodes
and publishes. `interest-stream bench compare` starts it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from job import (
    BATCH,
    BROKER,
    CHANGELOG,
    EVENTS,
    PARTITIONS,
    REAL,
    SECONDS,
    SOURCE,
    UPDATES,
    Meter,
    peak_memory_mb,
)
from models.contract import Hosting
from models.predict import load_predictor, null_predictor
from stream.contracts.update import UpdateSize
from stream.kafka.record_batches import PreparedBatch, pack
from stream.pipeline.decode import Decoder
from stream.pipeline.scoring import Scoring
from stream.pipeline.state import Arena

UPDATE, STATE = b"x" * 900, b"x" * 700
PROFILES = f"{UPDATES}-profiles"


def predictor() -> Any:
    """Returns the predictor as the worker loads it."""
    return load_predictor(None, hosting=Hosting()) if REAL else null_predictor()


async def consumed() -> Any:
    """Yields fetched batches, as the worker gets them."""
    consumer = AIOKafkaConsumer(
        SOURCE,
        bootstrap_servers=BROKER,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 << 20,
        enable_auto_commit=False,
    )
    await consumer.start()
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).items():
            yield tp.partition, records


async def model_alone() -> None:
    """Reports the rate if only LSTM and language model took time."""
    scoring, decoder, batches, total = Scoring(predictor(), UpdateSize()), Decoder(), [], 0
    async for partition, records in consumed():
        batches.append((partition, records))
        total += len(records)
        if total >= EVENTS:
            break
    info = scoring.predictor.info
    arenas = [Arena(info.state_size, info.fingerprint, PARTITIONS) for _ in range(PARTITIONS)]
    applied, spent, users, until = 0, 0.0, 0, time.perf_counter() + SECONDS
    for partition, records in batches:
        outcome = scoring.process(decoder.decode(SOURCE, partition, records), arenas[partition], 0)
        applied, users = applied + outcome.applied, users + len(outcome.users)
        spent += outcome.step_seconds + outcome.score_seconds
        if time.perf_counter() > until:
            break
    report = {
        "events_per_s": applied / spent,
        "updates_per_s": users / spent,
        "events_per_batch": BATCH,
        "seconds": spent,
        "memory_mb": peak_memory_mb(),
    }
    os.write(1, f"RATE {json.dumps(report)}\n".encode())
    os._exit(0)


async def transport_alone() -> None:
    """Reports the rate of consuming, decoding and publishing.

    For each touched user it publishes a constant update, profile and state: no rules, no state, no
    model.
    """
    decoder, meter = Decoder(), Meter()
    producer = AIOKafkaProducer(
        bootstrap_servers=BROKER, max_batch_size=786_432, acks="all", enable_idempotence=True
    )
    await producer.start()
    async for partition, records in consumed():
        users = list(dict.fromkeys(decoder.decode(SOURCE, partition, records).users))
        futures = []
        for topics, value in (((UPDATES, PROFILES), UPDATE), ((CHANGELOG,), STATE)):
            for section in pack(users, [value] * len(users), int(time.time() * 1000), "lz4"):
                futures += [
                    await producer.send_batch(PreparedBatch(section), topic, partition=partition)
                    for topic in topics
                ]
        await asyncio.gather(*futures)
        meter(len(records), len(users))


asyncio.run(model_alone() if os.environ["JOB_FORM"] == "model" else transport_alone())
