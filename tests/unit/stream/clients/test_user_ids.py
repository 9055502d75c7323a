"""Checks which user ids commands take, and what they say of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.clients.user_ids import read_user_ids, user_key
from stream.contracts.pseudonym import pseudonym
from stream.errors import UsageError


def test_an_id_is_looked_for_by_itself_or_by_its_pseudonym() -> None:
    assert user_key("алиса") == "алиса".encode()
    assert user_key("x" * 256) == b"x" * 256
    assert user_key("alice", b"k" * 16) == pseudonym(b"alice", b"k" * 16).encode()


@pytest.mark.parametrize(
    ("user", "told"),
    [
        ("", "is empty"),
        ("x" * 257, "has 257 bytes, more than 256"),
        ("я" * 129, "has 258 bytes"),
        ("a\x1b[2J", "holds a control character"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_what_no_event_can_have_is_wrong_use_and_is_not_quoted(user: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        user_key(user)
    assert not user or user not in str(caught.value)


def test_a_file_has_one_id_a_line_and_each_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes("alice\r\n\n bob \nалиса\nalice\n".encode())
    assert read_user_ids(path) == ["alice", " bob ", "алиса"]


def test_bad_lines_are_told_by_their_numbers_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_bytes(b"alice\n" + b"x" * 257 + b"\n\xff\n" + b"a\x00b\n" * 20)
    with pytest.raises(UsageError, match="22 lines hold no user id; nothing was sent") as caught:
        read_user_ids(path)
    told = str(caught.value)
    assert f"{path}:2: it has 257 bytes" in told
    assert f"{path}:3: it is not UTF-8" in told
    assert "... and 12 more" in told
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_user_ids(tmp_path / "missing.txt")
    path.write_bytes(b"\n\n")
    with pytest.raises(UsageError, match="holds no user id"):
        read_user_ids(path)
