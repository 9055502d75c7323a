"""A token is asked for once, renewed in time, and its giver may be away meanwhile."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from stream.config import Settings
from stream.errors import SettingsError
from stream.kafka.client import client_options
from stream.kafka.security.tokens import (
    ASSUMED_S,
    ClientCredentials,
    SignedByAws,
    Token,
    TokenError,
    TokenProvider,
    token_provider,
)
from tests.support.tokens import TokenServer, token_server


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with token_server() as server:
        yield server


def settings(tokens: TokenServer, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "OAUTHBEARER",
        "oauth_token_url": tokens.url,
        "oauth_client_id": "shop:a b",
        "oauth_client_secret": tokens.secret,
        **changes,
    }
    return Settings(**given)


def test_a_token_is_asked_for_with_id_secret_scope_and_audience(tokens: TokenServer) -> None:
    found = ClientCredentials(settings(tokens, oauth_scope="kafka read", oauth_audience="kfk"))()
    assert found.text.count(".") == 2
    assert found.ends - found.begins == tokens.life_s
    assert tokens.asked == [
        {"grant_type": ["client_credentials"], "scope": ["kafka read"], "audience": ["kfk"]}
    ]


def test_the_giver_of_tokens_is_reached_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with token_server(context) as tokens:
        ClientCredentials(settings(tokens, oauth_cafile=str(tmp_path / "ca.pem")))()
        with pytest.raises(TokenError, match=r"gives no token .*certificate.*oauth_cafile"):
            ClientCredentials(settings(tokens))()
        assert len(tokens.asked) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": "another"}, r"HTTP 401, invalid_client: who are you\?\\u001b.*oauth_client_id"),
        ({"away": True}, "HTTP 503"),
        ({"answer": b"<html>"}, "gives no token"),
        ({"answer": [1]}, "without an access_token"),
        ({"answer": {"access_token": 1}}, "without an access_token"),
    ],
)
def test_no_token_is_said_with_the_reason_and_without_the_secret(
    tokens: TokenServer, changes: dict[str, Any], words: str
) -> None:
    fetch = ClientCredentials(settings(tokens))
    secret = tokens.secret
    vars(tokens).update(changes)
    with pytest.raises(TokenError, match=words) as raised:
        fetch()
    assert tokens.url in str(raised.value)
    assert secret not in str(raised.value)


@pytest.mark.parametrize(("told", "life"), [("60", 60), (None, None), ("soon", ASSUMED_S), (0, 1)])
def test_the_life_of_a_token_is_what_its_giver_says(
    tokens: TokenServer, told: Any, life: float | None
) -> None:
    tokens.expires_in = told
    found = ClientCredentials(settings(tokens))()
    assert found.ends - found.begins == (tokens.life_s if life is None else life)


class Giver:
    """Gives tokens of 100 seconds by a clock of its own, or none."""

    def __init__(self) -> None:
        self.given, self.now, self.away = 0, 1_000.0, False

    def __call__(self) -> Token:
        if self.away:
            raise TokenError("away")
        self.given += 1
        return Token(str(self.given), self.now, self.now + 100)


def test_a_token_serves_until_most_of_its_life_is_over(caplog: pytest.LogCaptureFixture) -> None:
    giver = Giver()
    provider = TokenProvider(giver, {}, lambda: giver.now)

    def at(second: float) -> str:
        giver.now = 1_000.0 + second
        return asyncio.run(provider.token())

    assert [at(second) for second in (0, 1, 79)] == ["1", "1", "1"]
    assert at(80) == "2"
    giver.away = True
    with caplog.at_level(logging.WARNING, "interest_stream"):
        assert [at(second) for second in (160, 161, 164)] == ["2", "2", "2"], "the old one serves"
        assert len(caplog.messages) == 1, "and it is not asked for at once again"
        assert at(170) == "2"
    assert len(caplog.messages) == 2
    with pytest.raises(TokenError):
        at(181)
    giver.away = False
    assert at(182) == "3"


def test_all_clients_have_the_same_provider(tokens: TokenServer) -> None:
    given = settings(tokens, oauth_extensions="logicalCluster=lkc-1,identityPoolId=pool-2")
    first, second = client_options(given), client_options(given, consumer=True)
    provider = first["sasl_oauth_token_provider"]
    assert provider is second["sasl_oauth_token_provider"]
    assert provider.extensions() == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}
    assert first["sasl_mechanism"] == "OAUTHBEARER"
    assert "sasl_plain_password" not in first
    assert token_provider(Settings()) is None


MSK: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "AWS_MSK_IAM",
    "aws_region": "eu-west-1",
}


def signer(sign: Any) -> Any:
    """Stands for the module of Amazon's signer."""
    return SimpleNamespace(MSKAuthTokenProvider=SimpleNamespace(generate_auth_token=sign))


def test_amazons_signer_makes_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    module = signer(lambda region: (f"signed for {region}", 1_900_000_000_000))
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", module)
    found = SignedByAws("eu-west-1")()
    assert (found.text, found.ends) == ("signed for eu-west-1", 1_900_000_000.0)
    options = client_options(Settings(**MSK))
    assert options["sasl_mechanism"] == "OAUTHBEARER", "so aiokafka, and the broker, know it"
    assert isinstance(options["sasl_oauth_token_provider"], TokenProvider)


def test_without_credentials_or_the_signer_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def unsigned(region: str) -> None:
        raise LookupError(f"no credentials in {region}")

    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", signer(unsigned))
    with pytest.raises(TokenError, match=r"no AWS credentials .*eu-west-1.*aws_region"):
        SignedByAws("eu-west-1")()
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(SettingsError, match=r"interest-stream\[msk\]"):
        SignedByAws("eu-west-1")
