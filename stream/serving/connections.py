"""Speaks HTTP with whoever connects: uvicorn's fast parser, with a bound on what it collects."""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES: Final = 16_384
"""Of the head of a request, its path and headers; uvicorn bounds it for its other parser only."""

TOO_LARGE: Final = f"The head of a request has more than {HEAD_BYTES} bytes."


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection on which a head goes on for too long."""

    _head_bytes = 0
    _is_in_head = True

    def data_received(self, data: bytes) -> None:
        """Takes what came; a head is too large if it is still not complete at its bound."""
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Begins with the body."""
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expects the next head."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()
