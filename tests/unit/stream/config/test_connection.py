"""Which connections are refused: a secret that others could read, and one that cannot work."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from stream.config import Settings
from stream.errors import SettingsError
from stream.kafka.client import check_reachable, client_options
from stream.kafka.consumer import new_consumer

OAUTH: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "oauth_token_url": "https://tokens.example/token",
    "oauth_client_id": "shop",
    "oauth_client_secret": "s3cret",
}


@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER", "AWS_MSK_IAM"])
def test_what_anyone_could_use_again_is_not_sent_without_tls(mechanism: str) -> None:
    with pytest.raises(SettingsError, match=rf"SASL {mechanism} without TLS .* SASL_SSL"):
        Settings(security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism)


@pytest.mark.parametrize("missing", ["oauth_token_url", "oauth_client_id", "oauth_client_secret"])
def test_a_client_without_its_credentials_is_refused(missing: str) -> None:
    Settings(**OAUTH)
    with pytest.raises(SettingsError, match=f"{missing} .*empty; set it, .*OAUTHBEARER"):
        Settings(**{**OAUTH, missing: ""})


def test_msk_needs_its_region() -> None:
    given: dict[str, Any] = {"security_protocol": "SASL_SSL", "sasl_mechanism": "aws_msk_iam"}
    with pytest.raises(SettingsError, match=r"aws_region .*empty; set it"):
        Settings(**given)
    assert Settings(**given, aws_region="eu-west-1").principal == ""


def test_secrets_are_read_from_files_and_shown_nowhere(tmp_path: Path) -> None:
    for name in ("oauth_client_id", "oauth_client_secret"):
        (tmp_path / name).write_text(f"{name}-found\n")
    given = {**OAUTH, "oauth_client_id": "", "oauth_client_secret": ""}
    files: dict[str, Any] = {
        f"{name}_file": str(tmp_path / name) for name in ("oauth_client_id", "oauth_client_secret")
    }
    settings = Settings(**given, **files)
    assert settings.principal == "oauth_client_id-found"
    assert settings.oauth_client_secret == "oauth_client_secret-found"
    assert "oauth_client_secret-found" not in str(settings.masked())
    with pytest.raises(SettingsError, match=r"oauth_client_id_file .* is another; give one"):
        Settings(**{**given, **files, "oauth_client_id": "somebody"})
    (tmp_path / "oauth_client_secret").write_text("\n")
    with pytest.raises(SettingsError, match=r"oauth_client_secret_file .* is empty"):
        Settings(**given, **files)


def test_options_reach_the_clients_that_have_them() -> None:
    settings = Settings(kafka_options="client.rack=a,client.id=b,fetch.min.bytes=5")
    assert client_options(settings)["client_id"] == "b"
    assert "client_rack" not in client_options(settings)

    async def made() -> tuple[Any, ...]:
        consumer = new_consumer(settings, client_id="ours")
        await consumer.stop()
        return consumer._client._client_id, consumer._fetch_min_bytes

    assert asyncio.run(made()) == ("b", 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("acks=0", "it is all, so that no event is lost"),
        ("group.id=mine", "set app_id instead"),
        ("sasl.password=hunter2", "set sasl_password_file instead"),
        ("client.rac=a", r"did you mean client\.rack\?"),
        ("linger=1", "is no option here; there are client.id"),
        ("retry.backoff.ms=0", "1 or more"),
        ("retry.backoff.ms=0.5", "a whole number"),
    ],
)
def test_options_that_are_not_to_be_given_are_refused(options: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Settings(kafka_options=options)


def test_a_broker_with_an_address_of_ipv6_is_reached() -> None:
    async def reached() -> None:
        try:
            server = await asyncio.start_server(lambda _reader, writer: writer.close(), "::1", 0)
        except OSError:
            pytest.skip("this machine has no IPv6")
        port = server.sockets[0].getsockname()[1]
        settings = Settings(broker=f"[::1]:{port}")
        async with server:
            await check_reachable(settings.bootstrap)
        consumer = new_consumer(settings)
        await consumer.stop()
        assert consumer._client.hosts == [("::1", port, socket.AF_INET6)]

    asyncio.run(reached())
    with pytest.raises(SettingsError, match=r"write \[address\]:port for IPv6"):
        Settings(broker="::1:9092")
