"""Says what the two processes of the service tell each other, and carries it over a socket.

The follower tells how far it is, what it has read and why it ends; the other one asks. A message is
its length, four bytes, and MessagePack. Both processes are of one program, so it has no versions.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

import msgspec

from stream.serving.overview.outcomes import Said
from stream.serving.queries import Segment

LENGTH_BYTES: Final = 4
PIECE_BYTES: Final = 65_536


class Opened(msgspec.Struct, tag=True):
    """Tells that the file is open, and can be read by others."""


class Progress(msgspec.Struct, tag=True):
    """Tells how far the follower is, and what it has read since it last told."""

    ready: bool
    history_ready: bool
    as_of_ms: int
    profiles: int = 0  # records read
    updates: int = 0
    foreign: int = 0
    older: int = 0
    erased: int = 0
    positions: list[tuple[str, int, int]] = []  # topic, partition, next offset; those that moved
    models: dict[str, str] = {}  # names and versions, by fingerprint; those of these records


class Heard(msgspec.Struct, tag=True):
    """Hands on updates, key and value of each, while somebody listens."""

    updates: list[tuple[bytes, bytes]]


class Pairs(msgspec.Struct, tag=True):
    """Answers `AskPairs`."""

    ticket: int
    pairs: list[tuple[Said, Said]]


class Counted(msgspec.Struct, tag=True):
    """Answers `AskCount`."""

    ticket: int
    users: int


class Ended(msgspec.Struct, tag=True):
    """Tells why the follower ends, by the class of an error of `stream.errors`."""

    kind: str
    message: str


class Open(msgspec.Struct, tag=True):
    """Asks the follower to open the file."""


class Follow(msgspec.Struct, tag=True):
    """Asks the follower to read on; whoever answers is there, and its signals are handled."""


class Listen(msgspec.Struct, tag=True):
    """Asks for updates to be handed on, or not any more."""

    wanted: bool


class AskPairs(msgspec.Struct, tag=True):
    """Asks for what the last updates of a user have said, and what came next."""

    ticket: int
    number: int  # of the user


class AskCount(msgspec.Struct, tag=True):
    """Asks for how many users a segment has that no tally counts."""

    ticket: int
    segment: Segment


class End(msgspec.Struct, tag=True):
    """Asks the follower to write what it has, and to end."""


FromFollower = Opened | Progress | Heard | Pairs | Counted | Ended
ToFollower = Open | Follow | Listen | AskPairs | AskCount | End

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(FromFollower | ToFollower).decode


class Channel:
    """Sends and receives messages over one end of a pair of sockets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """Returns a channel over a socket, which it owns from now on."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: FromFollower | ToFollower) -> None:
        """Sends a message; to whom is gone it is lost."""
        content = _encode(message)
        self._writer.write(len(content).to_bytes(LENGTH_BYTES, "big") + content)

    async def drain(self) -> None:
        """Waits while the other side has much to read; raises OSError if it is gone."""
        await self._writer.drain()

    async def receive(self) -> FromFollower | ToFollower | None:
        """Returns the next message, None when the other side is gone."""
        try:
            length = await self._reader.readexactly(LENGTH_BYTES)
            content = await self._reader.readexactly(int.from_bytes(length, "big"))
        except (asyncio.IncompleteReadError, OSError):
            return None
        message: FromFollower | ToFollower = _decode(content)
        return message

    async def until_gone(self) -> None:
        """Waits until the other side is gone, whatever it says until then."""
        with suppress(OSError):
            while await self._reader.read(PIECE_BYTES):
                pass

    def close(self) -> None:
        """Closes this end."""
        self._writer.close()
