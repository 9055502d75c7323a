"""A server of HTTP that says, connection by connection, what a test wants; also half an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Scripted:
    """Holds what is left to say, and what was asked."""

    url: str
    answers: list[bytes]  # one a connection, which ends then; the last one is said again and again
    asked: list[bytes] = field(default_factory=list)


def answer(status: int, body: str = "{}", *headers: str, kind: str = "application/json") -> bytes:
    """A whole answer; what it says of its length is true."""
    head = [f"HTTP/1.1 {status} x", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *headers, "Connection: close", "", body]).encode()


def stream(*events: str) -> bytes:
    """The beginning of a feed that ends without an end."""
    head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    body = "".join(f"{len(each.encode()):x}\r\n{each}\r\n" for each in events)
    return f"{head}\r\n\r\n{body}".encode()


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[Scripted]:
    """Serves these answers; b"" is a connection that breaks before one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        server.asked.append(head + await reader.readexactly(sum(lengths)))
        writer.write(server.answers.pop(0) if len(server.answers) > 1 else server.answers[0])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()[:2]
    server = Scripted(f"http://{host}:{port}", list(answers))
    async with listening:
        yield server
