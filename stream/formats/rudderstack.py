"""Reads the calls of RudderStack's event specification, which is Segment's but for some fields.

Its own are `context.sessionId`, and the consent of `context.consentManagement`: a call with denied
consent ids, of the purposes that are asked for, is dropped. All else is as segment.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec

from stream.formats.columns.fields import ids
from stream.formats.decoding import NoObject, id_of
from stream.formats.segment import Call, Context, SegmentFormat


class _Management(msgspec.Struct, gc=False, rename="camel"):
    """Holds the consent that RudderStack's specification has."""

    denied_consent_ids: Any = None


class _Context(Context, gc=False, rename="camel"):
    """Holds what is read of the context of a call."""

    consent_management: _Management | NoObject = None
    session_id: Any = None

    def denied(self, purposes: Collection[str]) -> bool:
        """Returns whether the user denied one of these categories, or any where none is named.

        What is no text may be any of them.
        """
        management = self.consent_management
        denied = management.denied_consent_ids if type(management) is _Management else None
        if denied and purposes:
            ids = denied if isinstance(denied, list) else [denied]
            denied = any(not isinstance(each, str) or each in purposes for each in ids)
        return bool(denied) or Context.denied(self, purposes)

    def session(self) -> str | None:
        """Returns the session of the call."""
        return id_of(self.session_id, "context.sessionId")


class _Call(Call, gc=False, rename="camel"):
    """Holds what is read of a call."""

    context: _Context | None = None


class RudderstackFormat(SegmentFormat):
    """Reads a call, or the body of a batch of calls."""

    name = "rudderstack"
    what = "a call as RudderStack's event specification has it"

    def decoder(self) -> Callable[[bytes], Call]:
        """Returns what decodes a call."""
        return msgspec.json.Decoder(_Call).decode

    def sessions(self, calls: Sequence[Call], odd: set[int]) -> tuple[Sequence[str], ...]:
        """Returns the column of sessions."""
        contexts = [call.context for call in calls]
        return (ids([getattr(each, "session_id", None) for each in contexts], odd),)
