"""Asks a schema registry for schemas, through Confluent's own client.

It asks once and says what came of it: a schema, none of that id, or that the registry cannot be
asked now. Waiting and asking again is the caller's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

from stream.config.connection import ConnectionSettings
from stream.errors import RegistryError, SettingsError
from stream.formats.framed.frame import AVRO, PROTOBUF, RegisteredSchema
from stream.plain_text import plain, told
from stream.schema_registry.protos import compiled

ANSWER_S: Final = 5.0
"""Longest wait for an answer of the registry: what it looks up lies in its memory."""

NO_SUCH_SCHEMA: Final = 40403
"""The registry's own code. Another 404 is of something that is no registry."""

MOST_REFERENCES: Final = 100
"""Schemas that one may refer to, directly and through others."""


class RegistryClient:
    """Fetches schemas by their ids; it belongs to one event loop."""

    def __init__(self, settings: ConnectionSettings) -> None:
        """Connects to nothing yet; raises SettingsError where the extra is not installed."""
        self._settings = settings
        self._registry = self._connect()

    @property
    def address(self) -> str:
        """Returns the address of the registry, for a message."""
        return self._settings.schema_registry

    async def close(self) -> None:
        """Closes the connections."""
        await self._registry.__aexit__(None, None, None)
        await asyncio.sleep(0)  # a connection is closed in the next turn of the loop

    async def fetch(self, schema_id: int) -> RegisteredSchema | None:
        """Returns a schema with what it refers to, None if the registry has none of that id.

        Raises RegistryError if the registry cannot be asked now.
        """
        try:
            found = await self._whole(await self._registry.get_schema(schema_id), [])
            return compiled(found) if found.kind == PROTOBUF else found
        except Exception as error:  # of httpx, of the client, of an answer that is none
            if getattr(error, "error_code", None) == NO_SUCH_SCHEMA:
                return None
            raise self._refused(error) from None

    async def register(self, subject: str, text: str, kind: str) -> int:
        """Returns the id of a schema, registered under a subject; raises RegistryError."""
        from confluent_kafka.schema_registry import Schema

        try:
            found: int = await self._registry.register_schema(subject, Schema(text, kind))
        except Exception as error:
            raise self._refused(error) from None
        return found

    async def _whole(self, found: Any, seen: list[str]) -> RegisteredSchema:
        """Returns a schema with those that it refers to."""
        references = []
        for each in found.references or ():
            seen.append(each.name)
            if len(seen) > MOST_REFERENCES:
                raise ValueError(f"a schema refers to more than {MOST_REFERENCES} others")
            inner = await self._registry.get_version(each.subject, each.version, True)
            references.append((each.name, await self._whole(inner.schema, seen)))
        return RegisteredSchema(found.schema_type or AVRO, found.schema_str, tuple(references))

    def _refused(self, error: Exception) -> RegistryError:
        status = getattr(error, "http_status_code", None)
        if status is None:
            said = told(error) or type(error).__name__
            return RegistryError(f"schema registry {self.address} cannot be asked: {said}")
        what = {
            401: "check schema_registry_username and its password, or the token",
            403: "allow its user to read all subjects",
            404: "is it the address of a schema registry?",
        }.get(status, "see its log")
        said = plain(str(getattr(error, "error_message", "")))[:200]
        return RegistryError(
            f"schema registry {self.address} answers HTTP {status} ({said}); {what}"
        )

    def _connect(self) -> Any:
        try:
            from confluent_kafka.schema_registry import AsyncSchemaRegistryClient
        except ImportError:
            raise SettingsError(
                "schema_registry needs the registry's client; install it with "
                "\"pip install 'interest-stream[registry]'\"",
                "schema_registry",
            ) from None
        settings = self._settings
        options: dict[str, Any] = {
            "url": ",".join(settings.schema_registries),
            "timeout": ANSWER_S,
            "max.retries": 0,
        }
        if settings.schema_registry_username:
            user, password = settings.schema_registry_username, settings.schema_registry_password
            options["basic.auth.user.info"] = f"{user}:{password}"
        if settings.schema_registry_token:
            options |= {
                "bearer.auth.credentials.source": "CUSTOM",
                "bearer.auth.custom.provider.function": self._bearer,
                "bearer.auth.custom.provider.config": {},
            }
        files = {
            "ssl.ca.location": settings.schema_registry_cafile,
            "ssl.certificate.location": settings.schema_registry_certfile,
            "ssl.key.location": settings.schema_registry_keyfile,
        }
        options |= {name: path for name, path in files.items() if path}
        return AsyncSchemaRegistryClient(options)

    async def _bearer(self, _config: dict[str, Any]) -> dict[str, str]:
        """Returns the token, from its file each time: such files are renewed."""
        settings = self._settings
        token = settings.schema_registry_token
        if settings.schema_registry_token_file:
            path = Path(settings.schema_registry_token_file)
            token = path.read_text(encoding="utf-8").strip()  # noqa: ASYNC240  # a small file
        return {
            "bearer.auth.token": token,
            "bearer.auth.logical.cluster": "",
            "bearer.auth.identity.pool.id": "",
        }
