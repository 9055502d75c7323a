"""Says which values a setting may have: a number in a range, one of a list, a name, an address.

A rule returns the value as it is used, or raises ValueError with the fix, in words that go on from
"NAME is VALUE; ". Here are also the files of TLS, which are read once to see that they can be used.
"""

from __future__ import annotations

import math
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

MOST_TOPIC_CHARACTERS: Final = 249
"""Kafka's own limit, because a topic is a folder on its disk."""

INT32: Final = 2**31 - 1
"""The largest number that Kafka's protocol can carry where these settings go."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_ADDRESS: Final = re.compile(
    r"(\[[0-9A-Fa-f:.%A-Za-z]+\]|[^\s:/\[\]@\x00-\x20\x7f\ud800-\udfff]+):(\d{1,5})"
)
_SCHEME: Final = "kafka://"
THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")
_UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Rule(Protocol):
    """Judges the value of one setting."""

    def read(self, value: Any) -> Any:
        """Returns the value as it is used; raises ValueError with the fix."""


@dataclass(frozen=True, slots=True)
class Number:
    """Takes numbers of a range; infinity and what is not a number are in none."""

    least: float
    most: float
    whole: bool = False
    above: bool = False  # `least` itself is too little

    def read(self, value: Any) -> Any:
        """Returns the number; raises ValueError with the range."""
        kinds = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ValueError(f"a {'whole ' if self.whole else ''}number is needed: {self.wanted()}")
        low = value > self.least if self.above else value >= self.least
        if not (math.isfinite(value) and low and value <= self.most):
            raise ValueError(self.wanted())
        return value

    def wanted(self) -> str:
        """Returns the range, for a message."""
        least, most = f"{self.least:.12g}", f"{self.most:.12g}"
        if self.above:
            return f"set it above {least} and to {most} or less"
        return f"set it to {least} or more, {most} at most"


@dataclass(frozen=True, slots=True)
class Flag:
    """Takes true and false."""

    def read(self, value: Any) -> bool:
        """Returns the flag; raises ValueError for anything else."""
        if not isinstance(value, bool):
            raise ValueError("use true or false")
        return value


@dataclass(frozen=True, slots=True)
class OneOf:
    """Takes the words of a list, in any case."""

    words: tuple[str, ...]
    fold: Callable[[str], str] = str.lower

    def read(self, value: Any) -> str:
        """Returns the word as it stands in the list; raises ValueError with the list."""
        word = self.fold(value.strip()) if isinstance(value, str) else None
        if word is None or word not in self.words:
            *others, last = [each for each in self.words if each]
            empty = "; empty: the default" if "" in self.words else ""
            raise ValueError(f"use {', '.join(others)} or {last}{empty}")
        return word


@dataclass(frozen=True, slots=True)
class Name:
    """Takes names of topics and groups: letters, digits, dot, underscore and hyphen."""

    most: int = MOST_TOPIC_CHARACTERS
    optional: bool = False

    def read(self, value: Any) -> str:
        """Returns the name; raises ValueError with what a name is made of."""
        name = value if isinstance(value, str) else ""
        if name == value and not name and self.optional:
            return name
        if not _NAME.fullmatch(name) or len(name) > self.most or name in (".", ".."):
            raise ValueError(f"use 1 to {self.most} of a-z A-Z 0-9 . _ -")
        return name


@dataclass(frozen=True, slots=True)
class Text:
    """Takes text of one line."""

    needed: bool = False

    def read(self, value: Any) -> str:
        """Returns the text; raises ValueError if it has characters that cannot be seen."""
        if not isinstance(value, str) or _UNSEEN.search(value):
            raise ValueError("use UTF-8 text without control characters")
        if self.needed and not value.strip():
            raise ValueError("it must not be empty")
        return value


@dataclass(frozen=True, slots=True)
class Words:
    """Takes names with commas between them, as a text or as a list, or none."""

    def read(self, value: Any) -> str:
        """Returns them as name,name; raises ValueError if one is empty or cannot be seen."""
        parts = value if isinstance(value, list | tuple) else None
        if isinstance(value, str):
            parts = value.split(",") if value.strip() else []
        if parts is None or not all(isinstance(each, str) for each in parts):
            raise ValueError("write names with commas between them")
        words = [each.strip() for each in parts]
        if not all(words) or any(_UNSEEN.search(each) or "," in each for each in words):
            raise ValueError("write names with commas between them, none of them empty")
        return ",".join(dict.fromkeys(words))


def words_of(text: str) -> frozenset[str]:
    """Returns the names of what `Words` returned."""
    return frozenset(text.split(",")) if text else frozenset()


@dataclass(frozen=True, slots=True)
class Place:
    """Takes the path of a file or folder, which is looked for where it is used."""

    def read(self, value: Any) -> str:
        """Returns the path; raises ValueError if no file can have it."""
        if not isinstance(value, str) or "\x00" in value:
            raise ValueError("use the path of a file or folder")
        return value


@dataclass(frozen=True, slots=True)
class Brokers:
    """Takes addresses of Kafka with commas between them, each with or without kafka://."""

    def read(self, value: Any) -> str:
        """Returns them as host:port,host:port; raises ValueError naming a wrong one."""
        parts = re.split(r"[;,]", value) if isinstance(value, str) else []
        addresses = [part.strip().removeprefix(_SCHEME).rstrip("/") for part in parts]
        addresses = [each for each in addresses if each]
        for each in addresses:
            found = _ADDRESS.fullmatch(each)
            if found is None or not 0 < int(found[2]) < 65_536:
                which = f"{each!r} in it" if len(addresses) > 1 else "that"
                form = "[address]:port for IPv6" if each.count(":") > 1 else "host:port"
                raise ValueError(f"{which} is not a Kafka address; write {form}")
        if not addresses:
            raise ValueError("no Kafka address is in it; write host:port")
        return ",".join(addresses)


def addresses_of(broker: str) -> list[str]:
    """Returns host:port of each address in what `Brokers` returned."""
    return broker.split(",")


@dataclass(frozen=True, slots=True)
class SecretUrl:
    """Takes an address that secrets are sent to: https, or http on this machine; or nothing."""

    def read(self, value: Any) -> str:
        """Returns the address; raises ValueError if others on the network could read along."""
        if value == "" and isinstance(value, str):
            return value
        try:
            parts = urlsplit(value if isinstance(value, str) and not _UNSEEN.search(value) else "")
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.username is not None or parts.scheme not in ("https", "http"):
            raise ValueError("use https://host/path, without a user in it")
        if parts.scheme == "http" and host not in THIS_MACHINE:
            raise ValueError("use https: anyone on the network could read what is sent there")
        return str(value)


@dataclass(frozen=True, slots=True)
class Urls:
    """Takes addresses of one service with commas between them, https or http; or nothing."""

    def read(self, value: Any) -> str:
        """Returns them without slashes at their ends; raises ValueError naming a wrong one."""
        if not isinstance(value, str) or _UNSEEN.search(value):
            raise ValueError("use https://host:port")
        found = [each.strip().rstrip("/") for each in value.split(",") if each.strip()]
        for each in found:
            try:
                parts = urlsplit(each)
                host, _ = parts.hostname, parts.port
            except ValueError:
                host = None
            sound = host and parts.scheme in ("https", "http")
            if not sound or parts.username is not None or parts.query or parts.fragment:
                which = f"{each!r} in it" if len(found) > 1 else "that"
                raise ValueError(f"{which} is no address; use https://host:port, no user in it")
        if value and not found:
            raise ValueError("no address is in it; use https://host:port")
        return ",".join(found)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Takes KEY=VALUE with commas between them, as text, as several texts or as a table."""

    def read(self, value: Any) -> str:
        """Returns them as key=value,key=value; raises ValueError naming a wrong one."""
        return ",".join(f"{key}={given}" for key, given in self.pairs(value))

    def pairs(self, value: Any) -> list[tuple[str, str]]:
        """Returns the keys and their values in order; raises ValueError naming a wrong one."""
        if isinstance(value, Mapping):
            parts = [f"{key}={each}" for key, each in _flat(value)]
        elif isinstance(value, list | tuple):
            parts = [each if isinstance(each, str) else repr(each) for each in value]
        elif isinstance(value, str):
            parts = value.split(",") if value else []
        else:
            raise ValueError("write key=value, several with commas between them")
        found: dict[str, str] = {}
        for part in parts:
            key, sign, given = part.partition("=")
            key, given = key.strip(), given.strip()
            if not (sign and key and given) or "," in part or _UNSEEN.search(part):
                raise ValueError(f"{part!r} in it is not key=value")
            if found.setdefault(key, given) != given:
                raise ValueError(f"{key} stands in it with two values; give one")
        return list(found.items())


def pairs_of(text: str) -> dict[str, str]:
    """Returns keys and values of what `Pairs` returned."""
    return dict(part.split("=", 1) for part in text.split(",")) if text else {}


def _flat(table: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted keys and values: to TOML `a.b = 1` is a table in a table."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", str(value).lower() if isinstance(value, bool) else value


def tls_context(cafile: str, certfile: str, keyfile: str) -> ssl.SSLContext:
    """Returns how to speak TLS: whom to trust, and the client's own certificate.

    An empty `cafile` stands for the system's certificates. Raises TLSFileError.
    """
    context = ssl.create_default_context() if not cafile else _trusting(cafile)
    if certfile:
        _load_own(context, certfile, keyfile)
    elif keyfile:
        raise TLSFileError("ssl_keyfile", keyfile, "set ssl_certfile too, whose key it is")
    return context


class TLSFileError(ValueError):
    """Says which file of TLS cannot be used, and the fix."""

    def __init__(self, name: str, path: str, fix: str) -> None:
        super().__init__(fix)
        self.name = name
        self.path = path


def _trusting(cafile: str) -> ssl.SSLContext:
    _readable("ssl_cafile", cafile)
    try:
        return ssl.create_default_context(cafile=cafile)
    except (ssl.SSLError, OSError, ValueError):
        fix = "that file holds no certificate; name a file of CA certificates in PEM"
        raise TLSFileError("ssl_cafile", cafile, fix) from None


def _load_own(context: ssl.SSLContext, certfile: str, keyfile: str) -> None:
    _readable("ssl_certfile", certfile)
    if keyfile:
        _readable("ssl_keyfile", keyfile)
    try:
        # a password is asked for on the terminal unless one is given, and then it is a wrong one
        context.load_cert_chain(certfile, keyfile or None, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or str(error)
        name, path = ("ssl_keyfile", keyfile) if keyfile else ("ssl_certfile", certfile)
        if not _holds(certfile, b"CERTIFICATE-----"):
            name, path, fix = "ssl_certfile", certfile, "that file holds no certificate in PEM"
        elif not _holds(path, b"PRIVATE KEY-----"):
            fix = "that file holds no private key in PEM" + (
                "" if keyfile else "; name the file of the key as ssl_keyfile"
            )
        else:
            fix = f"the key cannot be used with {certfile} ({reason}); give its key, not encrypted"
        raise TLSFileError(name, path, fix) from None


def _readable(name: str, path: str) -> None:
    """Raises TLSFileError if a file cannot be read."""
    try:
        Path(path).open("rb").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TLSFileError(name, path, f"it cannot be read ({reason}); name a PEM file") from None


def _holds(path: str, mark: bytes) -> bool:
    with Path(path).open("rb") as file:
        return mark in file.read(1 << 20)


def missing(path: str) -> str | None:
    """Returns why a file or folder cannot be used, None if it can."""
    try:
        if not os.path.exists(path):
            return "there is no such file or folder; name one that exists"
    except ValueError as error:
        return f"{error}; name another"
    return None if os.access(path, os.R_OK) else "it may not be read; allow it to this user"
