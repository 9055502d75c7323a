"""A head has an end, however slowly it comes; a body may be larger."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from stream.serving.connections import HEAD_BYTES, BoundedProtocol
from stream.serving.process import Server


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the number of bytes in the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answers(*parts: bytes) -> bytes:
    """What a server answers to parts that come one after the other, until the connection ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=BoundedProtocol, log_config=None, lifespan="off", ws="none")
    server = Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await reader.read()
    finally:
        writer.close()
        server.should_exit = True
        await serving


@pytest.mark.parametrize(
    ("begins", "goes_on"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X-Many: 0123456789\r\n"),
        (b"GET / HTTP/1.1\r\nX-Long: ", b"a"),
    ],
    ids=["path", "headers", "header"],
)
def test_a_head_that_goes_on_is_refused(begins: bytes, goes_on: bytes) -> None:
    # the last part is the one too many: what came behind it would reset the connection, and the
    # answer might be lost
    fitting = (HEAD_BYTES - len(begins)) // len(goes_on)
    found = asyncio.run(answers(begins, goes_on * fitting, goes_on))
    assert found.startswith(b"HTTP/1.1 400 ")
    assert b"more than 16384 bytes" in found
    assert found.count(b"HTTP/1.1 ") == 1


def test_a_body_may_be_larger_and_the_next_request_is_answered() -> None:
    body = b"x" * 3 * HEAD_BYTES
    first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    second = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    found = asyncio.run(answers(first, body, second))
    assert found.count(b"HTTP/1.1 200 ") == 2
    assert b"\r\n\r\n%d" % len(body) in found
