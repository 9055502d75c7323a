"""Writes calls as RudderStack's libraries do."""

from __future__ import annotations

from typing import Any

from tests.support.foreign import segment


class Writer(segment.Writer):
    """Writes Segment's calls with RudderStack's context."""

    def envelope(self, kind: str) -> tuple[dict[str, Any], str, int, str]:
        call, user, time_ms, message = super().envelope(kind)
        del call["version"]
        call |= {"channel": "web", "rudderId": self.shop.uuid(), "integrations": {"All": True}}
        call["context"] |= {
            "sessionId": self.shop.random.randrange(10**9, 10**10),
            "library": {"name": "RudderLabs JavaScript SDK", "version": "3.0"},
            "consentManagement": {"allowedConsentIds": ["C1"], "deniedConsentIds": []},
        }
        return call, user, time_ms, message

    def said(self, call: dict[str, Any]) -> dict[str, Any]:
        return {"session_id": str(call["context"]["sessionId"])}

    def deny(self, call: dict[str, Any]) -> None:
        call["context"]["consentManagement"] = {
            "allowedConsentIds": ["C1"],
            "deniedConsentIds": ["C2"],
            "provider": "oneTrust",
        }
