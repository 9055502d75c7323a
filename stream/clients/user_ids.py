"""Takes the user ids that commands are given: one from the command line, or a file of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from stream.contracts.event import MAX_USER_BYTES
from stream.contracts.pseudonym import pseudonym
from stream.errors import UsageError

SHOWN: Final = 10
"""Bad lines of a file that are told one by one."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def user_key(user: str, pseudonym_key: bytes | None = None) -> bytes:
    """Returns the key of a user's records: the id, or its pseudonym if there is a key for them.

    Raises UsageError for an id that no event can have.
    """
    reason = _fault(user)
    if reason is not None:
        raise UsageError(f"the user id {reason}; no event can have it, so nothing was done")
    key = user.encode()
    return key if pseudonym_key is None else pseudonym(key, pseudonym_key).encode()


def read_user_ids(path: Path) -> list[str]:
    """Returns the ids of a file, one a line, each once and in their order; empty lines are none.

    Raises UsageError naming the file, or the numbers of lines that hold no id.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    found: dict[str, None] = {}
    bad = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            user = line.decode()
        except UnicodeDecodeError:
            bad.append(f"  {path}:{number}: it is not UTF-8")
            continue
        if (reason := _fault(user)) is not None:
            bad.append(f"  {path}:{number}: it {reason}")
        found[user] = None
    if bad:
        more = [f"  ... and {len(bad) - SHOWN:,} more"] if len(bad) > SHOWN else []
        told = "\n".join([*bad[:SHOWN], *more])
        raise UsageError(f"{len(bad):,} lines hold no user id; nothing was sent:\n{told}")
    if not found:
        raise UsageError(f"{path} holds no user id; write one a line")
    return list(found)


def _fault(user: str) -> str | None:
    """Returns why a text is no user id, None if it can be one; quotes nothing of it."""
    try:
        size = len(user.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if not size:
        return "is empty"
    if size > MAX_USER_BYTES:
        return f"has {size} bytes, more than {MAX_USER_BYTES}"
    return "holds a control character" if _CONTROL.search(user) else None
