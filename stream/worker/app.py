"""Wires a worker: its Faust app and everything that runs with it.

`build_app` returns everything wired and nothing started; stream/worker/process.py runs it. Nothing
happens at import.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import numpy as np

from models.contract import ModelInfo, Predictor
from models.predict import NullPredictor
from stream.config import Settings
from stream.contracts.event import limits_of
from stream.contracts.update import UpdateSize
from stream.errors import InterestStreamError
from stream.formats.event_format import EventFormat
from stream.formats.registry import foreign_format, source_format
from stream.kafka.batch_consumer import BatchConsumer
from stream.kafka.batch_recovery import BatchRecovery, BatchTableManager, GivenStoreTable
from stream.kafka.folderless_app import FolderlessApp
from stream.kafka.host import Clients, ConsumerHooks
from stream.kafka.producer import BatchProducer, BatchTransport
from stream.pipeline.computing import Computing, Threads
from stream.pipeline.delivery import Delivery
from stream.pipeline.scoring import Scoring
from stream.pipeline.transport import BatchFlow
from stream.policies.erasure import Remembering
from stream.policies.score_budget import BudgetPolicy
from stream.popularity.follower import PopularityFollower
from stream.schema_registry.schemas import AnySchemas, NoSchemas, schemas_of
from stream.worker.familiarity import Drops, Familiarity, WatchedDecoder
from stream.worker.faust_settings import faust_settings
from stream.worker.host import WorkerHost
from stream.worker.readable import readable
from stream.worker.rekey import Forwarder
from stream.worker.sweep import Sweeper
from stream.worker.table import TABLE_NAME, ArenaStore, TableShape
from stream.worker.watchdog import Watchdog
from stream.worker.web import WebServer

log = logging.getLogger("interest_stream")


class InterestApp(FolderlessApp):
    """Runs the pipeline together with the Faust agent that feeds it."""

    host: WorkerHost
    model: ModelInfo
    familiarity: Familiarity | None  # None: there is no model that could know items
    computing: Computing
    delivery: Delivery
    sweeper: Sweeper
    watchdog: Watchdog
    popularity: PopularityFollower | None
    schemas: AnySchemas  # of the values that are read first
    health: WebServer | None
    state_table: GivenStoreTable

    async def on_start(self) -> None:
        """Starts the web server and the tasks of the pipeline."""
        await super().on_start()
        if self.health is not None:
            try:
                await self.health.start()
            except InterestStreamError as error:
                self.host.failure = error  # Faust logs what ends a start, and forgets it
                raise
        self.add_future(self.computing.run())
        self.add_future(self.delivery.run())
        self.add_future(self.delivery.release_forever())
        self.add_future(self.sweeper.run())
        self.add_future(self.watchdog.run())
        if self.popularity is not None:
            self.add_future(self.popularity.run())
        settings = self.host.settings
        log.info("worker starting; app id %s, broker %s", settings.app_id, settings.broker)

    async def on_stop(self) -> None:
        """Stops the web server."""
        await super().on_stop()
        await self.schemas.close()
        if self.health is not None:
            await self.health.stop()

    @property
    def store(self) -> ArenaStore:
        """Returns the store, which is the one home of user states."""
        return cast(ArenaStore, self.state_table.data)

    @property
    def batch_consumer(self) -> BatchConsumer:
        """Returns the consumer, made by Faust when it is first asked for."""
        return cast(BatchConsumer, self.consumer)

    @property
    def batch_producer(self) -> BatchProducer:
        """Returns the producer, made by Faust when it is first asked for."""
        return cast(BatchProducer, self.producer)

    @property
    def recovery(self) -> BatchRecovery:
        """Returns what restores the states."""
        return cast(BatchTableManager, self.tables).recovery

    @property
    def waiting(self) -> str:
        """Returns what the worker waits for beside Kafka, empty if for nothing."""
        return self.schemas.trouble

    @property
    def remarks(self) -> list[str]:
        """Returns what a person should know of a worker that is ready nevertheless."""
        return self.familiarity.remarks if self.familiarity is not None else []

    def leave_for_good(self) -> None:
        """Gives up the place in the group when the worker stops, also with an instance id."""
        if self._made_consumer() is not None:
            self.batch_consumer.membership.leaves = True

    def end(self) -> None:
        """Stops the worker without waiting for work that will not be done."""
        self.loop.call_soon_threadsafe(os.kill, os.getpid(), signal.SIGTERM)
        if self._made_consumer() is not None:
            self.batch_consumer.abandon_unacked()

    def _made_consumer(self) -> BatchConsumer | None:
        return cast(BatchTransport, self.transport).consumer


def build_app(
    settings: Settings,
    predictor: Predictor,
    partitions: int,
    failpoint: Callable[[str], None] = lambda name: None,
    loop: Any = None,
    encode: Callable[[bytes], bytes] | None = None,
) -> InterestApp:
    """Returns a worker's app, wired and not started.

    partitions: of the source topic, and so of everything keyed by user. encode: makes the published
    value of an update; None: it is published as it is.
    """
    host = WorkerHost(settings, failpoint)
    app = InterestApp(settings.app_id, loop=loop, **faust_settings(host, partitions))
    app.host, app.model, host.end = host, predictor.info, app.end
    threads = Threads(_one_thread("model"), _one_thread("packing"))

    rules = Remembering(settings.late_window_ms, settings.user_ttl_ms)

    # hops 2 to 7, with the clients that Faust makes when it starts
    scoring = Scoring(
        predictor,
        UpdateSize.of(settings),
        failpoint,
        BudgetPolicy(settings.score_budget_s, settings.score_spacing_s),
        rules,
        settings.max_batch_events,
    )
    clients = Clients(
        group=lambda: app.batch_consumer,
        writer=lambda: app.batch_producer,
        changelog=lambda: app.store,
    )
    limits = limits_of(settings)
    control_key = settings.control_key()
    event_format = source_format(settings)
    app.familiarity, watchers = None, list[Familiarity | Drops]()
    if not isinstance(predictor, NullPredictor):
        app.familiarity = Familiarity(predictor.info, host.metrics)
        watchers.append(app.familiarity)
    if event_format is not None:
        watchers.append(Drops(host.metrics))
    decoder = WatchedDecoder(limits, watchers, control_key, event_format)
    app.delivery = Delivery(host, clients, scoring.write, threads.packing, encode)
    app.computing = Computing(
        host, decoder, scoring, lambda partition: app.store.arena(partition), threads, app.delivery
    )

    app.sweeper = Sweeper(
        host,
        app.delivery,
        lambda: app.store.arenas,
        lambda tp: app.batch_consumer.committed_now(tp),
        rules,
        threads.model,
    )

    async def flush() -> None:
        await app.delivery.release_withheld()
        await app.sweeper.settle()

    # hops 1 and 8, and the states: objects that Faust makes, which are given what they need
    hooks = ConsumerHooks(
        host=host,
        flow=BatchFlow(settings.max_batch_events),
        model_free=app.computing.inbox.empty,
        pass_s=lambda: app.computing.pass_s,
        recovery=lambda: app.recovery,
        flush=flush,
        covered=lambda tp: app.store.persisted_offset(tp),
    )
    app.transport = BatchTransport(app.conf.broker_consumer, app, hooks)
    app.producer_transport = app.transport
    info = predictor.info
    shape = TableShape(info.state_size, info.fingerprint, settings.source_topic, partitions)
    app.state_table = _state_table(app, shape, _rebuilding(predictor, threads.model))

    # what looks at the pipeline and what feeds it
    host.metrics.model.info(
        {"name": info.name, "version": info.version, "fingerprint": f"{info.fingerprint:016x}"}
    )
    app.watchdog = Watchdog(app)
    app.health = WebServer(app) if settings.web else None
    app.popularity = None
    if settings.live_popularity:
        app.popularity = PopularityFollower(settings, predictor, threads.model, host.metrics)
    raw_format = foreign_format(settings) if settings.rekey else event_format
    app.schemas = schemas_of(raw_format, settings)
    _add_agents(app, raw_format)
    return app


def _one_thread(name: str) -> Executor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)


def _rebuilding(predictor: Predictor, executor: Executor) -> Callable[[Any], Any]:
    async def rebuild(recent: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        loop = asyncio.get_running_loop()
        rebuilt: np.ndarray[Any, Any] = await loop.run_in_executor(
            executor, predictor.rebuild, recent
        )
        return rebuilt

    return rebuild


def _state_table(
    app: InterestApp, shape: TableShape, rebuild: Callable[[Any], Any]
) -> GivenStoreTable:
    table = app.Table(TABLE_NAME, key_type=bytes, value_type=bytes, partitions=shape.partitions)
    given = cast(GivenStoreTable, table)
    given.make_store = partial(
        ArenaStore,
        shape=shape,
        rebuild=rebuild,
        host=app.host,
        writer=lambda: app.batch_producer,
    )
    return given


def _add_agents(app: InterestApp, raw_format: EventFormat | None) -> None:
    settings, partitions = app.host.settings, app.conf.topic_partitions
    topic = partial(app.topic, key_type=bytes, value_type=None, value_serializer="raw")
    source = topic(settings.source_topic, partitions=partitions)
    raw_schemas, source_schemas = app.schemas, app.schemas
    if settings.rekey:  # what is forwarded is of the contract
        source_schemas = NoSchemas()

    def group() -> BatchConsumer:
        return app.batch_consumer

    @app.agent(source, name="interests")
    async def interests(stream: Any) -> None:
        await app.computing.consume(readable(stream.noack().events(), source_schemas, group))

    if settings.rekey:
        forwarder = Forwarder(app.host, group, lambda: app.batch_producer, raw_format)
        raw = topic(settings.events_topic)

        @app.agent(raw, name="rekey")
        async def rekey(stream: Any) -> None:
            await forwarder.consume(readable(stream.noack().events(), raw_schemas, group))
