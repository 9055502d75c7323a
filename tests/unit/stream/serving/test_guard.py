"""Who may ask: nobody without a key but on this machine, nobody who only says who it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.errors import UsageError
from stream.serving.guard import (
    CALLERS,
    SCOPES,
    DeniedError,
    Guard,
    OpenGuard,
    Rates,
    guard_of,
    hash_of,
    host_of,
    is_loopback,
    new_key,
    read_keys,
)


def denied(guard: Guard, **headers: str) -> int:
    with pytest.raises(DeniedError) as found:
        guard.caller({name.replace("_", "-"): value for name, value in headers.items()})
    return found.value.status


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_without_keys_only_this_machine_can_reach_it(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    if own:
        assert isinstance(guard_of(host, None, None), OpenGuard)
    else:
        with pytest.raises(UsageError, match="--api-keys"):
            guard_of(host, None, None)


def test_a_page_of_another_site_reaches_no_port_of_its_reader() -> None:
    guard = OpenGuard()
    assert guard.caller({"host": "localhost:8080"}).scopes == set(SCOPES)
    assert guard.caller({"host": "[::1]:8080", "origin": "http://[::1]:8080"}).name == "local"
    assert denied(guard, host="evil.example:8080") == 403  # a name that was bound to 127.0.0.1
    assert denied(guard, host="") == 403
    assert denied(guard, host="localhost:8080", origin="https://evil.example") == 403
    assert denied(guard, host="localhost:8080", origin="null") == 403
    assert denied(guard, host="localhost:8080", sec_fetch_site="cross-site") == 403
    assert [host_of(each) for each in ("a:1", "a", "[::1]:9", "a:1/b")] == ["a", "a", "::1", "a"]


def test_a_key_lets_its_holder_in_for_its_scopes(tmp_path: Path) -> None:
    key, line = new_key("shop:profile,events")
    assert key not in line
    assert hash_of(key) in line
    file = tmp_path / "keys"
    file.write_text(f"# of the shop\n\n{line}\n", encoding="utf-8")
    guard = guard_of("0.0.0.0", file, None)
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
        caller = guard.caller(headers)
        assert (caller.name, set(caller.scopes)) == ("shop", {"profile", "events"})
    assert denied(guard) == 401
    assert denied(guard, x_api_key=key[:-1]) == 401
    assert denied(guard, authorization=f"Basic {key}") == 401
    assert denied(guard, x_forwarded_user="shop", x_api_key="\udc80") == 401


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no key"),
        ("shop profile", ":1: a line is"),
        ("shop profile sha256:12", ":1: a line is"),
        ("\nshop everything sha256:" + "a" * 64, ":2: scopes are"),
        ("sh/op profile sha256:" + "a" * 64, ":1: the name"),
    ],
)
def test_a_file_of_keys_that_is_wrong_is_told_by_line(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=says):
        read_keys(file)


def test_what_cannot_be_read_or_is_given_twice_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it cannot be read"):
        guard_of("::", tmp_path / "nothing", None)
    with pytest.raises(UsageError, match="give one"):
        guard_of("::", tmp_path, tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="not UTF-8"):
        guard_of("::", tmp_path / "binary", None)
    (tmp_path / "short").write_text("secret", encoding="utf-8")
    with pytest.raises(UsageError, match="16"):
        guard_of("::", None, tmp_path / "short")
    for words in ("shop", ":profile", "shop:all"):
        with pytest.raises(UsageError, match="--new-key"):
            new_key(words)


def test_a_proxy_proves_that_it_is_the_proxy(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("0123456789abcdef\n", encoding="utf-8")
    guard = guard_of("0.0.0.0", None, file)
    proof = {"x-interest-stream-proxy": "0123456789abcdef"}
    user = {"x-forwarded-user": "ann@example.com"}
    assert denied(guard, x_forwarded_user="ann@example.com") == 401
    assert denied(guard, x_interest_stream_proxy="0123456789abcdeg") == 401
    caller = guard.caller({**proof, **user})
    assert caller.scopes == set(SCOPES)
    assert "ann" not in caller.name
    some = guard.caller({**proof, **user, "x-forwarded-scopes": "segment, root"})
    assert (some.name, set(some.scopes)) == (caller.name, {"segment"})
    assert guard.caller({**proof, **user, "x-forwarded-scopes": ""}).scopes == set()


def test_each_caller_has_a_rate_of_its_own() -> None:
    rates = Rates(2)
    for _ in range(4):
        rates.take("a", 10.0)
    with pytest.raises(DeniedError) as found:
        rates.take("a", 10.0)
    assert (found.value.status, found.value.retry_after_s) == (429, 1)
    rates.take("b", 10.0)
    rates.take("a", 10.6)
    with pytest.raises(DeniedError):
        rates.take("a", 10.6)
    for number in range(CALLERS):
        rates.take(f"c{number}", 11.0)
    rates.take("a", 11.0)  # it was forgotten: memory has an end
    slow = Rates(0.01)
    slow.take("a", 0.0)  # even then one at a time
