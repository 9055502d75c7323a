"""Refuses logins at a schema registry that would not work, or would show a secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stream.config import Settings
from stream.errors import SettingsError

FAR = "http://registry:8081"
LOGIN: dict[str, Any] = {"schema_registry_username": "me", "schema_registry_password": "secret"}


def test_addresses_are_taken_as_they_are_meant() -> None:
    given = Settings(schema_registry=" https://a:8081/ , http://b/path ")
    assert given.schema_registries == ["https://a:8081", "http://b/path"]
    assert Settings().schema_registries == []
    assert Settings(schema_registry=FAR).schema_registries == [FAR], "nothing secret is sent"
    near = Settings(schema_registry="http://127.0.0.1:8081", **LOGIN)
    assert near.schema_registry_password == "secret"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"schema_registry": FAR, **LOGIN}, "schema_registry"),
        ({"schema_registry": FAR, "schema_registry_token": "t"}, "schema_registry"),
        ({"schema_registry_username": "me"}, "schema_registry_password"),
        ({"schema_registry_password": "secret"}, "schema_registry_username"),
        ({**LOGIN, "schema_registry_token": "t"}, "schema_registry_username"),
        ({"schema_registry_cafile": "/no/such/file"}, "schema_registry_cafile"),
        ({"schema_registry_keyfile": "/no/such/file"}, "schema_registry_keyfile"),
    ],
    ids=range(7),
)
def test_what_cannot_work_names_the_setting(given: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**given)
    assert caught.value.setting == name
    assert "secret" not in str(caught.value).replace("the secret that", "")


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hidden\n")
    given = Settings(
        schema_registry="https://registry",
        schema_registry_username="me",
        schema_registry_password_file=str(tmp_path / "password"),
    )
    assert given.schema_registry_password == "hidden"
    assert given.masked()["schema_registry_password"] == "***"
