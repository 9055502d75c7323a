"""Writes what a webhook carries, and signs it as Standard Webhooks 1.0.0 has it. Pure.

Bodies are JSON (`schemas/webhook-1.json`): some profiles of one partition in the order of its log,
a null for a user who was erased. A request has the headers `webhook-id`, the same whenever these
records are sent again, `webhook-timestamp`, the seconds of this try, and `webhook-signature`:

    v1,BASE64(HMAC-SHA-256(secret, "ID.TIMESTAMP.BODY"))

one for each secret, with spaces between them, so that a secret can be changed without a stop
(github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

SCHEMA: Final = "interest-webhook/1"
PREFIX: Final = "whsec_"
LEAST_BYTES, MOST_BYTES = 24, 64
"""Of a secret, as the specification has it."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Holds a record of the profiles that is sent on."""

    offset: int
    user_id: str
    profile: bytes | None  # as published; None: the user was erased


def read_secrets(text: str) -> list[bytes]:
    """Returns the secrets of a file, one a line; raises ValueError naming the line and the fix."""
    secrets = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        prefix, secret = line.strip()[: len(PREFIX)], line.strip()[len(PREFIX) :]
        try:
            found = base64.b64decode(secret, validate=True) if prefix == PREFIX else b""
        except binascii.Error:
            found = b""
        if not LEAST_BYTES <= len(found) <= MOST_BYTES:
            raise ValueError(
                f"line {number} is no secret of {LEAST_BYTES} to {MOST_BYTES} bytes; make one with "
                f'echo "{PREFIX}$(openssl rand -base64 32)"'
            )
        secrets.append(found)
    if not secrets:
        raise ValueError(
            f'it holds no secret; make one with echo "{PREFIX}$(openssl rand -base64 32)"'
        )
    return secrets


def body_of(topic: str, partition: int, records: Sequence[Forwarded]) -> bytes:
    """Returns the body of a request; profiles stand in it byte by byte as they were published."""
    head = msgspec.json.encode({"schema": SCHEMA, "topic": topic, "partition": partition})
    parts = [
        b'{"offset":%d,"user_id":%b,"profile":%b}'
        % (each.offset, msgspec.json.encode(each.user_id), each.profile or b"null")
        for each in records
    ]
    return b'%b,"records":[%b]}' % (head[:-1], b",".join(parts))


def id_of(topic: str, partition: int, records: Sequence[Forwarded]) -> str:
    """Returns the name of a request: where its records stand."""
    return f"{topic}-{partition}-{records[0].offset}-{records[-1].offset}"


def headers_of(name: str, time_s: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Returns the headers that prove who sends a body, and when."""
    signed = b"%b.%d.%b" % (name.encode(), time_s, body)
    signatures = [
        "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
        for secret in secrets
    ]
    return {
        "Content-Type": "application/json",
        "webhook-id": name,
        "webhook-timestamp": str(time_s),
        "webhook-signature": " ".join(signatures),
    }
