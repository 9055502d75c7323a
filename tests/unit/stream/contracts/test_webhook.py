"""What a webhook carries: the golden body, the signature of the standard, the receiver's side."""

from __future__ import annotations

import base64
import hashlib
import hmac

import orjson
import pytest

from stream.contracts.webhook import Forwarded, body_of, headers_of, id_of, read_secrets
from tests.support.contracts import faults, golden
from tests.support.pages import blocks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
(BODY,) = golden("webhooks-valid.jsonl")
RECORDS = [
    Forwarded(
        each["offset"],
        each["user_id"],
        None if each["profile"] is None else orjson.dumps(each["profile"]),
    )
    for each in BODY["records"]
]


def test_a_body_is_the_golden_one_and_profiles_stay_byte_by_byte() -> None:
    body = body_of(BODY["topic"], BODY["partition"], RECORDS)
    assert orjson.loads(body) == BODY
    assert RECORDS[0].profile
    assert RECORDS[0].profile in body
    assert not faults("webhook-1", BODY)
    assert id_of(BODY["topic"], BODY["partition"], RECORDS) == "interest-profiles-3-17-18"


@pytest.mark.parametrize("field", ["schema", "topic", "partition", "records"])
def test_a_body_without_a_field_is_none(field: str) -> None:
    assert faults("webhook-1", {name: each for name, each in BODY.items() if name != field})


def test_the_signature_is_that_of_the_standard() -> None:
    """The example of github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md."""
    (secret,) = read_secrets(SECRET)
    body = b'{"test": 2432232314}'
    headers = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [secret])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers["webhook-timestamp"] == "1614265330"


def test_the_receiver_of_the_page_takes_ours_and_nobody_elses() -> None:
    names: dict[str, object] = {}
    exec(blocks("docs/operate/webhook.md", "python")[0], names)
    is_ours = names["is_ours"]
    assert callable(is_ours)
    other = "whsec_" + base64.b64encode(b"another secret of 32 bytes, ok!!").decode()
    body = body_of(BODY["topic"], BODY["partition"], RECORDS)
    headers = headers_of("interest-profiles-3-17-18", 1_000, body, read_secrets(SECRET))
    both = headers_of("a", 1_000, body, read_secrets(f"{other}\n\n{SECRET}\n"))
    assert is_ours(SECRET, headers, body, 1_010)
    assert is_ours(SECRET, both, body, 1_010)
    assert is_ours(other, both, body, 1_010)
    assert not is_ours(other, headers, body, 1_010)
    assert not is_ours(SECRET, headers, body + b" ", 1_010)
    assert not is_ours(SECRET, {**headers, "webhook-id": "b"}, body, 1_010)
    assert not is_ours(SECRET, {**headers, "webhook-timestamp": "1005"}, body, 1_010)
    assert not is_ours(SECRET, headers, body, 1_400)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it holds no secret"),
        (f"{SECRET}\nplain", "line 2 is no secret"),
        ("whsec_c2hvcnQ=", "line 1 is no secret of 24 to 64 bytes"),
        ("whsec_" + base64.b64encode(b"a" * 65).decode(), "line 1"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", "line 1"),
    ],
)
def test_a_secret_that_is_none_is_named_by_its_line(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        read_secrets(text)
    assert "openssl rand" in str(caught.value)
    assert "MfKQ" not in str(caught.value)


def test_the_signature_is_an_hmac() -> None:
    """By Python's other way to make one, over bytes that are no text."""
    secret, body = b"\x00" * 24, b"\xff\x00"
    expected = hmac.new(secret, b"a.5." + body, hashlib.sha256).digest()
    signature = headers_of("a", 5, body, [secret])["webhook-signature"]
    assert base64.b64decode(signature.removeprefix("v1,")) == expected
