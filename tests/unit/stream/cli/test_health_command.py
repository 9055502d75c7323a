"""`health`, the image's health check, against a server that answers as a worker does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stream.broker.ports import free_ports
from stream.cli import main


@contextmanager
def worker(status: int, body: bytes) -> Iterator[int]:
    """A port whose /readyz answers so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["health", *words])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_ready(capsys: pytest.CaptureFixture[str]) -> None:
    with worker(200, b'{"ready": true, "reasons": []}') as port:
        assert health("--web-port", str(port)) == 0
    assert capsys.readouterr().out == "ready\n"


def test_not_ready_names_the_reasons(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "INTEREST_STREAM_WEB_HOST", "0.0.0.0"
    )  # what a container's worker listens on
    with worker(503, b'{"ready": false, "reasons": ["states are being restored"]}') as port:
        monkeypatch.setenv("INTEREST_STREAM_WEB_PORT", str(port))
        assert health() == 1
    assert "not ready: states are being restored" in capsys.readouterr().err


def test_a_foreign_server_is_not_a_ready_worker(capsys: pytest.CaptureFixture[str]) -> None:
    with worker(500, b"oops") as port:
        assert health("--web-port", str(port)) == 1
    assert "HTTP 500" in capsys.readouterr().err


def test_no_worker(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    assert health("--web-port", str(port)) == 1
    assert "no worker answers" in capsys.readouterr().err


def test_wrong_use() -> None:
    assert health("--web-port", "many") == 2
