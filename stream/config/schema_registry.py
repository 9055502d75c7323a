"""Holds the settings by which the schema registry of a topic is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from stream.config.fields import setting, wrong
from stream.setting_rules import THIS_MACHINE, Place, Text, TLSFileError, Urls, tls_context

REGISTRY_FILES: Final = ("schema_registry_password", "schema_registry_token")
"""Settings that a setting with `_file` behind the name can take from a file."""


@dataclass(frozen=True, kw_only=True)
class SchemaRegistrySettings:
    """Holds where schemas are fetched by their ids, and who asks."""

    schema_registry: str = setting(
        "",
        "schema registry, as https://host:8081, several of one registry with commas between them: "
        "values in its wire format are read by their schemas; empty: there is none",
        Urls(),
    )
    schema_registry_username: str = setting("", "who asks the schema registry", Text())
    schema_registry_password: str = setting(
        "", "the password for it; no option of the command line", Text()
    )
    schema_registry_password_file: str = setting("", "file that holds the password", Place())
    schema_registry_token: str = setting(
        "",
        "bearer token for the schema registry, instead of a user; no option of the command line",
        Text(),
    )
    schema_registry_token_file: str = setting(
        "", "file that holds the token; it is read again whenever the registry is asked", Place()
    )
    schema_registry_cafile: str = setting(
        "", "CA certificates of the schema registry; empty: the system's", Place()
    )
    schema_registry_certfile: str = setting("", "client certificate for it", Place())
    schema_registry_keyfile: str = setting("", "the key of that", Place())

    def check_schema_registry(self) -> None:
        """Raises SettingsError for what would not work, or would show a secret to the network."""
        user, password = self.schema_registry_username, self.schema_registry_password
        token = self.schema_registry_token
        if bool(user) != bool(password):
            name = "schema_registry_password" if user else "schema_registry_username"
            raise wrong(name, "", "a user and a password go together: give both, or neither")
        if user and token:
            fix = "schema_registry_token says who asks already; give one of the two"
            raise wrong("schema_registry_username", user, fix)
        for url in self.schema_registries:
            parts = urlsplit(url)
            if (user or token) and parts.scheme == "http" and parts.hostname not in THIS_MACHINE:
                fix = "use https: anyone on the network could read the secret that is sent there"
                raise wrong("schema_registry", self.schema_registry, fix)
        files = (
            self.schema_registry_cafile,
            self.schema_registry_certfile,
            self.schema_registry_keyfile,
        )
        if not any(files):
            return
        try:
            tls_context(*files)
        except TLSFileError as error:
            name = f"schema_registry_{error.name.removeprefix('ssl_')}"
            raise wrong(name, error.path, str(error)) from None

    @property
    def schema_registries(self) -> list[str]:
        """Returns the addresses of the registry; none: there is no registry."""
        return self.schema_registry.split(",") if self.schema_registry else []
