"""Serves /livez, /readyz, /metrics and /version, on loopback unless the settings say otherwise.

Nothing of a user's state is ever served.
"""

from __future__ import annotations

import errno
import logging
import time
from importlib.metadata import version
from typing import Any, Final, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from models.contract import ModelInfo
from stream.errors import Failure, SettingsError
from stream.kafka.host import Host
from stream.plain_text import told

log = logging.getLogger("interest_stream")

FIRST_PORT: Final = 6066
LAST_PORT: Final = 6165


class Failing(Host, Protocol):
    """Offers settings and metrics, and why the worker fails."""

    failure: Exception | None


class Moving(Protocol):
    """Knows when something last moved, by time.monotonic()."""

    moved: float


class Served(Protocol):
    """Offers what the server shows of a worker."""

    consumer_generation_id: int
    rebalancing: bool
    in_recovery: bool

    @property
    def waiting(self) -> str:
        """Returns what the worker waits for beside Kafka, empty if for nothing."""

    @property
    def tables(self) -> Any:
        """Returns Faust's table manager, for its `actives_ready`."""

    @property
    def host(self) -> Failing:
        """Returns settings, metrics and why the worker fails."""

    @property
    def model(self) -> ModelInfo:
        """Returns the model in use."""

    @property
    def remarks(self) -> list[str]:
        """Returns what a person should know of a worker that is ready nevertheless."""

    @property
    def watchdog(self) -> Moving:
        """Returns the watchdog."""


class WebServer:
    """Answers health checks and Prometheus.

    Faust's own server binds every address.
    """

    def __init__(self, app: Served) -> None:
        self._app = app
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Binds the port of the settings.

        With port 0 it is the first free one, so that workers on a host need no options.
        """
        settings = self._app.host.settings
        site_app = web.Application(client_max_size=1024)
        site_app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/version", self._version),
            ]
        )
        self._runner = web.AppRunner(site_app, access_log=None)
        await self._runner.setup()

        # the first port that can be had
        ports = [settings.web_port] if settings.web_port else range(FIRST_PORT, LAST_PORT + 1)
        for port in ports:
            try:
                await web.TCPSite(self._runner, settings.web_host, port).start()
            except OSError as error:
                last = error
                continue
            self.port = port
            log.info("health and metrics on http://%s:%d", settings.web_host, port)
            return
        # a port may be free again after a while, an address of another machine never is
        kind = Failure if last.errno == errno.EADDRINUSE else SettingsError
        raise kind(
            f"web_host and web_port (INTEREST_STREAM_WEB_HOST, INTEREST_STREAM_WEB_PORT): cannot "
            f"listen on {settings.web_host}:{ports[-1]}: {last.strerror}; choose an address of "
            "this machine with --web-host, and a free port with --web-port"
        )

    async def stop(self) -> None:
        """Stops serving."""
        if self._runner is not None:
            await self._runner.cleanup()

    def not_ready(self) -> list[str]:
        """Returns what is missing before updates flow; empty when ready."""
        app = self._app
        reasons = []
        if app.host.failure is not None:
            reasons.append(f"failing: {told(app.host.failure)}")
        if not app.consumer_generation_id:
            reasons.append("not yet a member of the group")
        if app.rebalancing:
            reasons.append("the group is rebalancing")
        if app.in_recovery or not app.tables.actives_ready:
            reasons.append("states are being restored")
        if app.waiting:
            reasons.append(f"waiting: {app.waiting}")
        return reasons

    async def _livez(self, _request: web.Request) -> web.Response:
        watchdog = self._app.watchdog
        stalled_s = time.monotonic() - watchdog.moved
        if stalled_s > self._app.host.settings.stall_timeout_s:
            return web.json_response({"live": False, "stalled_s": round(stalled_s, 1)}, status=503)
        return web.json_response({"live": True})

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self.not_ready()
        said = [*reasons, *self._app.remarks]
        return web.json_response(
            {"ready": not reasons, "reasons": said}, status=503 if reasons else 200
        )

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._app.host.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _version(self, _request: web.Request) -> web.Response:
        info = self._app.model
        return web.json_response(
            {
                "version": version("interest-stream"),
                "model": info.name,
                "model_version": info.version,
                "fingerprint": f"{info.fingerprint:016x}",
            }
        )
