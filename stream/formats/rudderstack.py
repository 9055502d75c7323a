"""Reads the calls of RudderStack's event specification, which is Segment's but for some fields.

Its own are `context.sessionId`, and the consent of `context.consentManagement`: a call with denied
consent ids is dropped. All else is as stream/formats/segment.py says.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from stream.formats.decoding import child, decoded, id_of
from stream.formats.event_format import Headers, Reading
from stream.formats.segment import Call, Context, read_call

_WHAT: Final = "a call as RudderStack's event specification has it"


class _Context(Context, gc=False, rename="camel"):
    """Holds what is read of the context of a call."""

    consent_management: Any = None
    session_id: Any = None

    def denied(self) -> bool:
        """Returns whether the user denied a category."""
        denied = child(self.consent_management, "deniedConsentIds")
        return bool(denied) or Context.denied(self)

    def session(self) -> str | None:
        """Returns the session of the call."""
        return id_of(self.session_id, "context.sessionId")


class _Call(Call, gc=False, rename="camel"):
    """Holds what is read of a call."""

    context: _Context | None = None


class RudderstackFormat:
    """Reads a call, or the body of a batch of calls."""

    name = "rudderstack"

    def __init__(self) -> None:
        """Makes the decoder."""
        self._decode = msgspec.json.Decoder(_Call).decode

    def read(self, value: bytes, headers: Headers, received_ms: int | None) -> Reading:
        """Returns the events of a document; raises BadEvent."""
        call = decoded(self._decode, value, _WHAT)
        return read_call(call, received_ms, lambda each: self.read(each, headers, received_ms))
