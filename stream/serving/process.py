"""Runs a serving process until a signal ends it: the web server, and beside it the follower."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop

from stream.config import Settings
from stream.errors import Failure, SettingsError
from stream.kafka.consumer import open_consumer, partitions_of
from stream.serving.app import build_app
from stream.serving.clock import now_ms
from stream.serving.connections import BoundedProtocol
from stream.serving.context import Readers, Serving
from stream.serving.erasures import Erasures
from stream.serving.feed import Feed
from stream.serving.following.parent import Following, fork
from stream.serving.guard import Guard, Rates
from stream.serving.ingest import Ingest
from stream.serving.meters import Meters
from stream.serving.overview.outcomes import Events
from stream.serving.overview.parts import Overview
from stream.serving.overview.truth import Truth
from stream.serving.overview.workers import Workers
from stream.serving.store import OWNER, claim, file_in

log = logging.getLogger("interest_stream")

GARBAGE_OBJECTS: Final = 20_000
"""So many new ones until garbage is looked for: a millisecond or two each time."""

SWITCH_S: Final = 0.001
"""So long the loop waits for a thread that computes: one that writes a segment as CSV, say."""

LEAVE_S: Final = 5
"""Requests that are being answered at a signal may take so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Holds what is known of the model whose updates are served; nothing, unless one is named."""

    titles: Mapping[str, str] = field(default_factory=dict)  # by item_id
    touches: Mapping[str, Sequence[str]] = field(default_factory=dict)  # interests, by item_id
    calibration: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Holds what the command line asks for."""

    host: str
    port: int  # 0: a free one
    data: Path
    guard: Guard
    rate_limit: float
    model: Known = Known()
    truth: Path | None = None  # what is true of simulated users, in a demo
    body_mapping: str = ""  # file that describes events in, where workers read the contract


class Server(uvicorn.Server):
    """Serves until it is told to end; signals are handled by whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals alone: uvicorn raises them again at the end, which would be the end."""
        yield


def run(settings: Settings, options: ServeOptions) -> None:
    """Serves until SIGTERM or Ctrl-C, in a loop of its own; raises what `serve` raises."""
    following = fork(settings, options.data)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_and_close(settings, options, following))


async def _serve_and_close(settings: Settings, options: ServeOptions, following: Following) -> None:
    try:
        await serve(settings, options, following)
    finally:
        await following.close()


async def serve(settings: Settings, options: ServeOptions, following: Following) -> None:
    """Serves until SIGTERM or Ctrl-C; raises SettingsError, BrokerError, TopicError, Failure."""
    meters, feed = Meters(), Feed(following.listen)
    ingest = Ingest(settings, meters, options.body_mapping)
    await _check_topics(settings)
    pseudonym_key = settings.pseudonym_key()
    listening = listen(options.host, options.port)
    claim(options.data, OWNER)  # until the process ends
    await following.open()
    overview = _overview(settings, options, following)
    serving = Serving(
        settings=settings,
        readers=Readers(file_in(options.data)),
        following=following,
        feed=feed,
        ingest=ingest,
        erasures=Erasures(settings, following.position),
        guard=options.guard,
        rates=Rates(options.rate_limit),
        meters=meters,
        titles=options.model.titles,
        pseudonym_key=pseudonym_key,
        overview=overview,
    )
    server = Server(
        uvicorn.Config(
            build_app(serving),
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=LEAVE_S,
            http=BoundedProtocol,
            lifespan="off",
            ws="none",
            proxy_headers=False,  # of whoever asks nothing is read that they would change
        )
    )
    # what was made until now stays: a search for garbage in it would hold up requests for long,
    # and reading a million profiles makes much that is no garbage
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_S)
    try:
        log.info("serving on %s", address_of(listening))
        await _until_signal(server, following, serving, listening)
    finally:
        await serving.ingest.close()
        await overview.close()
        serving.readers.close()  # before the follower: who closes the file last empties its log
        listening.close()


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens there; raises Failure, SettingsError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2_048)
    except OSError as error:
        # a port may be free again after a while, an address of another machine never is
        kind = Failure if error.errno == errno.EADDRINUSE else SettingsError
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise kind(
            f"--host {host} --port {port}: cannot listen there ({reason.lower()}); choose an "
            "address of this machine and a free port, or --port 0 for any"
        ) from None


def address_of(listening: socket.socket) -> str:
    """Returns the URL of a socket that listens."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _overview(settings: Settings, options: ServeOptions, following: Following) -> Overview:
    """Returns the parts of the overview, which connect when they are needed."""
    return Overview(
        outcomes=following,
        events=Events(settings),
        workers=Workers(settings, now_ms),
        touches=options.model.touches,
        calibration=options.model.calibration,
        truth=None if options.truth is None else Truth(options.truth),
    )


async def _until_signal(
    server: Server, following: Following, serving: Serving, listening: socket.socket
) -> None:
    """Follows and serves until a signal; what ends the following ends the process, too."""
    loop = asyncio.get_running_loop()

    def leave() -> None:
        if not server.should_exit:
            log.warning("stopping: open requests are answered, the live feed ends")
        serving.feed.end()
        server.should_exit = True

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, leave)
    hearing = asyncio.create_task(following.run(serving.feed, serving.meters))
    hearing.add_done_callback(lambda _: leave())
    looking = asyncio.create_task(serving.overview.watch())
    try:
        await server.serve(sockets=[listening])
    finally:
        hearing.cancel()
        looking.cancel()
        ended, _ = await asyncio.gather(hearing, looking, return_exceptions=True)
    if isinstance(ended, Exception):
        raise ended


async def _check_topics(settings: Settings) -> None:
    """Raises BrokerError if no broker answers, TopicError if a topic is missing."""
    consumer = await open_consumer(settings)
    try:
        for topic in (settings.profiles_topic, settings.updates_topic, settings.events_topic):
            await partitions_of(consumer, topic)
    finally:
        await consumer.stop()
