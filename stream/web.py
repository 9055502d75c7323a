"""/livez, /readyz, /metrics and /version, on loopback unless told otherwise. Nothing of a user's state is ever served."""

from __future__ import annotations

import logging
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.app import InterestApp

log = logging.getLogger("interest_stream")

FIRST_PORT: Final = 6066
LAST_PORT: Final = 6165


class WebServer:
    """The worker's own small server; Faust's serves tables and binds every address."""

    def __init__(self, app: InterestApp) -> None:
        self._app = app
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Bind; with port 0 the first free one, so that several workers on a host need no options."""
        settings = self._app.settings
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
        raise SettingsError(
            f"web_port: cannot listen on {settings.web_host}:{ports[-1]}: {last.strerror}; choose another --web-port"
        )

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def not_ready(self) -> list[str]:
        """What is missing before updates flow; empty when ready."""
        app = self._app
        reasons = []
        if app.failure is not None:
            reasons.append(f"failing: {app.failure}")
        if not app.consumer_generation_id:
            reasons.append("not yet a member of the group")
        if app.rebalancing:
            reasons.append("the group is rebalancing")
        if app.in_recovery or not app.tables.actives_ready:
            reasons.append("states are being restored")
        return reasons

    async def _livez(self, _request: web.Request) -> web.Response:
        watchdog = self._app.watchdog
        stalled_s = time.monotonic() - watchdog.moved
        if stalled_s > self._app.settings.stall_timeout_s:
            return web.json_response({"live": False, "stalled_s": round(stalled_s, 1)}, status=503)
        return web.json_response({"live": True})

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self.not_ready()
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._app.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _version(self, _request: web.Request) -> web.Response:
        info = self._app.pipeline.model_info
        return web.json_response(
            {
                "version": version("interest-stream"),
                "model": info.name,
                "model_version": info.version,
                "fingerprint": f"{info.fingerprint:016x}",
            }
        )
