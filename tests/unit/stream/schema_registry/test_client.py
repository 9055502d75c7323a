"""Fetches schemas: with logins, over TLS, with references; says what is wrong with a registry."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trustme

from stream.config import Settings
from stream.errors import RegistryError
from stream.formats.framed.frame import RegisteredSchema
from stream.formats.framed.protobuf import protobuf_reader
from stream.schema_registry.client import RegistryClient
from tests.support.framed import EVENT
from tests.support.schema_registry import schema_registry

LIBRARY = 'syntax = "proto3"; package lib; message Item { string sku = 1; }'
IMPORTING = """syntax = "proto3";
import "lib/a.proto";
import "google/protobuf/timestamp.proto";
message Event { lib.Item item = 1; google.protobuf.Timestamp when = 2; }
"""


def fetched(settings: Settings, *ids: int) -> list[RegisteredSchema | None]:
    async def run() -> list[RegisteredSchema | None]:
        client = RegistryClient(settings)
        try:
            return [await client.fetch(each) for each in ids]
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_schema_comes_with_those_that_it_refers_to() -> None:
    with schema_registry() as registry:
        registry.register("item", {"type": "string"})
        one = registry.register("event", EVENT, references=(("shop.Item", "item", 1),))
        registry.register("lib", LIBRARY, "PROTOBUF")
        two = registry.register("proto", IMPORTING, "PROTOBUF", (("lib/a.proto", "lib", 1),))
        three = registry.register("broken", "no file", "PROTOBUF")
        outside = registry.register("out", IMPORTING, "PROTOBUF", (("../a.proto", "lib", 1),))
        settings = Settings(schema_registry=registry.url)
        found = fetched(settings, one, two, 99, three)
        with pytest.raises(RegistryError, match="cannot be asked"):
            fetched(settings, outside)
    item = RegisteredSchema("AVRO", '{"type": "string"}')
    assert found[0] == RegisteredSchema("AVRO", json.dumps(EVENT), (("shop.Item", item),))
    assert found[1] is not None
    document = protobuf_reader(found[1])(b"\0\x0a\x03\x0a\x01x")
    assert document == b'{"item":{"sku":"x"}}'
    assert found[2] is None
    assert found[3] == RegisteredSchema("PROTOBUF", "no file")


def test_a_user_or_a_token_is_sent(tmp_path: Path) -> None:
    login = "Basic " + b64encode(b"me:secret").decode()
    with schema_registry(authorization=login) as registry:
        one = registry.register("event", EVENT)
        url = registry.url
        user = Settings(
            schema_registry=url,
            schema_registry_username="me",
            schema_registry_password="secret",
        )
        assert fetched(user, one)[0] is not None
        with pytest.raises(RegistryError, match=r"HTTP 401 .*schema_registry_username"):
            fetched(Settings(schema_registry=url), one)
        # a token is read again from its file, which is renewed
        file = tmp_path / "token"
        file.write_text("old\n")
        token = Settings(schema_registry=url, schema_registry_token_file=str(file))
        file.write_text("new\n")
        registry.authorization = "Bearer new"
        assert fetched(token, one)[0] is not None


def test_a_registry_speaks_tls_and_asks_for_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = authority.issue_cert("worker")
    own.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    with schema_registry(context) as registry:
        one = registry.register("event", EVENT)
        trusted: dict[str, Any] = {
            "schema_registry": registry.url,
            "schema_registry_cafile": str(tmp_path / "ca.pem"),
        }
        certified = trusted | {
            "schema_registry_certfile": str(tmp_path / "cert.pem"),
            "schema_registry_keyfile": str(tmp_path / "key.pem"),
        }
        assert fetched(Settings(**certified), one)[0] is not None
        for given in ({"schema_registry": registry.url}, trusted):
            with pytest.raises(RegistryError, match="cannot be asked"):
                fetched(Settings(**given), one)


def test_several_addresses_are_one_registry() -> None:
    with schema_registry() as registry:
        one = registry.register("event", EVENT)
        settings = Settings(schema_registry=f"http://127.0.0.1:1,{registry.url}")
        assert fetched(settings, one)[0] is not None


def test_what_is_no_answer_is_no_unknown_schema() -> None:
    with schema_registry() as registry:
        registry.away = True
        with pytest.raises(RegistryError, match="HTTP 503"):
            fetched(Settings(schema_registry=registry.url), 1)
        registry.away = False
        with pytest.raises(RegistryError, match=r"HTTP 404 .*address of a schema registry"):
            fetched(Settings(schema_registry=f"{registry.url}/elsewhere"), 1)
    with pytest.raises(RegistryError, match="cannot be asked"):
        fetched(Settings(schema_registry=registry.url), 1)
