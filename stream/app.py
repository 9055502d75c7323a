"""The composition root: builds the Faust app of a worker and runs it. Nothing happens at import.

build_app(settings, predictor, partitions)   everything wired, nothing started
run(app)                                     until SIGTERM, Ctrl-C or a failure; raises what the app failed of
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import faust
import numpy as np
from faust.types.auth import SASLMechanism
from mode import CrashingSupervisor

from stream.agents import Pipeline
from stream.asking import Predictor, UpdateSize
from stream.budget import BudgetPolicy
from stream.config import Settings
from stream.errors import Failure
from stream.events import Decoder, Limits
from stream.metrics import Metrics
from stream.recovery import BatchRecovery, BatchTableManager
from stream.rekey import Forwarder
from stream.scoring import Scoring
from stream.table import (
    TABLE_NAME,
    ArenaStore,
    StateTable,
    TableShape,
)
from stream.transport import Consumer, Producer, Transport
from stream.trending import Trending
from stream.watchdog import Watchdog
from stream.web import WebServer

log = logging.getLogger("interest_stream")


class InterestApp(faust.App):
    """A Faust app that knows its settings, runs the pipeline beside the agent, and can fail with a reason."""

    settings: Settings
    metrics: Metrics
    pipeline: Pipeline
    watchdog: Watchdog
    trending: Trending | None
    web_server_: WebServer | None
    failure: Exception | None
    failpoint: Callable[[str], None]
    state_table: StateTable

    async def on_start(self) -> None:
        await super().on_start()
        if self.web_server_ is not None:
            await self.web_server_.start()
        self.add_future(self.pipeline.compute_forever())
        self.add_future(self.pipeline.publish_forever())
        self.add_future(self.pipeline.release_forever())
        self.add_future(self.watchdog.run())
        if self.trending is not None:
            self.add_future(self.trending.run())
        log.info("worker starting; app id %s, broker %s", self.settings.app_id, self.settings.broker)

    async def on_stop(self) -> None:
        await super().on_stop()
        if self.web_server_ is not None:
            await self.web_server_.stop()

    @property
    def store(self) -> ArenaStore:
        """The one home of user states."""
        return self.state_table.store

    @property
    def batch_consumer(self) -> Consumer:
        return cast(Consumer, self.consumer)

    @property
    def batch_producer(self) -> Producer:
        return cast(Producer, self.producer)

    @property
    def recovery(self) -> BatchRecovery:
        return cast(BatchTableManager, self.tables).recovery

    def leave_for_good(self) -> None:
        """Give up the place in the group when the worker stops, also with an instance id."""
        if self._consumer is not None:
            self.batch_consumer.membership.leaves = True

    def fail(self, error: Exception) -> None:
        """Stop the worker because of an error; from the first call on nothing is committed any more."""
        if self.failure is None:
            self.failure = error
            log.error("%s: %s", type(error).__name__, error)
            self.loop.call_soon_threadsafe(os.kill, os.getpid(), signal.SIGTERM)
            if self._consumer is not None:
                self.batch_consumer.abandon_unacked()


def build_app(
    settings: Settings,
    predictor: Predictor,
    partitions: int,
    failpoint: Callable[[str], None] = lambda name: None,
    loop: Any = None,
) -> InterestApp:
    """A worker's app, wired and not started. `partitions`: of the source topic, and so of everything keyed by user."""
    app = InterestApp(settings.app_id, loop=loop, **_faust_settings(settings, partitions))
    app.settings, app.failure, app.failpoint = settings, None, failpoint
    app.metrics = metrics = Metrics()
    app.transport = Transport(app.conf.broker_consumer, app)
    app.producer_transport = app.transport
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    async def rebuild(recent: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rebuilt: np.ndarray[Any, Any] = await asyncio.get_running_loop().run_in_executor(
            executor, predictor.rebuild, recent
        )
        return rebuilt

    info = predictor.info
    shape = TableShape(info.state_size, info.fingerprint, settings.source_topic, partitions)
    table = cast(StateTable, app.Table(TABLE_NAME, key_type=bytes, value_type=bytes, partitions=partitions))
    table.make_store = partial(ArenaStore, shape=shape, rebuild=rebuild, fail=app.fail, metrics=metrics)
    app.state_table = table
    limits = Limits(settings.max_value_bytes, settings.max_text_bytes, settings.max_future_s)
    app.pipeline = Pipeline(
        settings,
        Scoring(
            predictor,
            UpdateSize.of(settings),
            failpoint,
            BudgetPolicy(settings.score_budget_s, settings.score_spacing_s),
        ),
        Decoder(limits),
        store=lambda: app.store,
        consumer=lambda: app.batch_consumer,
        producer=lambda: app.batch_producer,
        executor=executor,
        beside=ThreadPoolExecutor(max_workers=1, thread_name_prefix="beside"),
        metrics=metrics,
        fail=app.fail,
        failpoint=failpoint,
    )
    metrics.model.info({"name": info.name, "version": info.version, "fingerprint": f"{info.fingerprint:016x}"})
    app.watchdog = Watchdog(app)
    app.trending = Trending(settings, predictor, executor, metrics) if settings.live_popularity else None
    app.web_server_ = WebServer(app) if settings.web else None
    source = app.topic(
        settings.source_topic, key_type=bytes, value_type=None, value_serializer="raw", partitions=partitions
    )

    @app.agent(source, name="interests")
    async def interests(stream: Any) -> None:
        await app.pipeline.consume(stream.noack().events())

    if settings.rekey:
        _add_forwarder(app, settings, failpoint)
    return app


def _add_forwarder(app: InterestApp, settings: Settings, failpoint: Callable[[str], None]) -> None:
    forwarder = Forwarder(
        settings, lambda: app.batch_consumer, lambda: app.batch_producer, app.metrics, app.fail, failpoint
    )
    raw = app.topic(settings.events_topic, key_type=bytes, value_type=None, value_serializer="raw")

    @app.agent(raw, name="rekey")
    async def rekey(stream: Any) -> None:
        await forwarder.consume(stream.noack().events())


def run(app: InterestApp) -> None:
    """Run until told to stop. Raises the error the app failed of, or Failure when Faust itself crashed."""
    worker = StreamWorker(app, loop=app.loop, quiet=True, override_logging=False, redirect_stdouts=False)
    try:
        worker.execute_from_commandline()
    except SystemExit as exit_:
        code = exit_.code
    except Exception as error:
        raise app.failure or Failure(f"the worker crashed: {type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(app.conf.datadir, ignore_errors=True)  # Faust wants a folder; nothing of ours is in it
    if app.failure is not None:
        raise app.failure
    if code:
        reason = worker.crash_reason
        raise Failure(
            f"the worker crashed: {type(reason).__name__}: {reason}"
            if reason
            else "the worker crashed; run with -v to see more"
        )


class StreamWorker(faust.Worker):
    """Signals: the first asks to finish the batch and leave, a second Ctrl-C ends the process at once.

    With an instance id SIGTERM keeps the place in the group, for a restart; Ctrl-C (SIGINT) gives it up.
    """

    app: InterestApp

    def __init__(self, app: InterestApp, **options: Any) -> None:
        super().__init__(app, **options)
        self.spinner = None  # control characters in a log file

    def _on_sigint(self) -> None:
        if self._signal_stop_time:
            os._exit(130)
        self.app.leave_for_good()
        self._leave("Ctrl-C: finishing the batch, committing, leaving the group (again: exit at once)")

    def _on_sigterm(self) -> None:
        settings = self.app.settings
        keeping = f"keeping the place of {settings.instance_id} for {settings.session_timeout_s:g} s (Ctrl-C leaves)"
        self._leave(
            f"SIGTERM: finishing the batch, committing, {keeping if settings.instance_id else 'leaving the group'}"
        )

    def _leave(self, message: str) -> None:
        if self._signal_stop_time:
            return
        app = self.app
        app.failpoint("stopping")
        if app.failure is None:
            log.warning(message)
        deadline = threading.Timer(app.settings.shutdown_timeout_s, self._give_up)
        deadline.daemon = True
        deadline.start()
        self._schedule_shutdown(signal.SIGTERM)

    def _give_up(self) -> None:
        log.error(
            "not stopped after %.0f s; ending at once, nothing unacknowledged was committed",
            self.app.settings.shutdown_timeout_s,
        )
        if self.app.failure is not None:
            os.write(2, f"interest-stream: {self.app.failure}\n".encode())
        os._exit(1)

    def _setproctitle(self, info: str, *, ident: str = "interest-stream") -> None:
        super()._setproctitle(info, ident=ident)

    async def _sentinel_task(self) -> None:
        """Stock sleeps for a second here."""


def _faust_settings(settings: Settings, partitions: int) -> dict[str, Any]:
    return {
        "broker": [f"kafka://{each}" for each in settings.bootstrap],
        "broker_credentials": credentials(settings),
        "store": "memory://",  # not used: the table makes its own store
        "datadir": Path(mkdtemp(prefix="interest-stream-")),
        "Table": StateTable,
        "TableManager": BatchTableManager,
        "agent_supervisor": CrashingSupervisor,
        "web_enabled": False,
        "topic_partitions": partitions,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "stream_wait_empty": True,
        "stream_buffer_maxsize": 4,  # batches, not events
        "broker_commit_interval": settings.commit_interval_s,
        "broker_commit_every": 1 << 62,  # a commit by count would stall the fetch loop
        # the broker hands a restarted member what it gave to the one before, URL included, and Faust insists on its own
        "canonical_url": f"http://worker/{settings.instance_id}" if settings.instance_id else None,
        "consumer_group_instance_id": settings.instance_id or None,
        "broker_session_timeout": settings.session_timeout_s,
        "broker_heartbeat_interval": settings.heartbeat_s,
        "broker_rebalance_timeout": max(60.0, settings.session_timeout_s),
        "broker_request_timeout": max(90.0, settings.session_timeout_s),
        "broker_max_poll_interval": 300.0,
        "broker_max_poll_records": settings.max_batch_events,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": settings.fetch_max_bytes,
        "producer_compression_type": None if settings.compression == "none" else settings.compression,
        "producer_max_batch_size": 786_432,
        "producer_request_timeout": settings.publish_timeout_s,  # a batch older than that is given up
        "stream_processing_timeout": 300.0,
    }


def credentials(settings: Settings) -> Any:
    """Faust's credentials of the security settings, None for plaintext."""
    if settings.security_protocol == "PLAINTEXT":
        return None
    context = None
    if settings.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.ssl_cafile or None)
        if settings.ssl_certfile:
            context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile or None)
    if settings.security_protocol == "SSL":
        return faust.SSLCredentials(context)
    return faust.SASLCredentials(
        username=settings.sasl_username,
        password=settings.sasl_password,
        mechanism=SASLMechanism(settings.sasl_mechanism),
        ssl_context=context,
    )
