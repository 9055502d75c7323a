"""Decides who may ask what, and how often.

Three ways, one of which holds for a process:

- open: on loopback only, without keys. The Host must be a loopback name, and a browser must not ask
  for another site: a page from elsewhere could reach a port of its reader's machine otherwise.
- keys: of each one the file has name, scopes and SHA-256. A key has 256 random bits, so its hash
  can neither be guessed nor be looked up, and needs no salt and no slow function.
- a proxy that has authenticated whoever asks and proves that it is the proxy by a shared secret; a
  header that names a user is nothing without it.

Pure but for the clock that a caller hands over.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from stream.errors import UsageError

PROFILE, SEGMENT, ERASE, EVENTS = SCOPES = ("profile", "segment", "erase", "events")
"""What a key may be for: one user or the feed; interests and segments; erasing; sending events."""

KEY_PREFIX: Final = "is_"
SECRET_HEADER: Final = "x-interest-stream-proxy"
USER_HEADER: Final = "x-forwarded-user"
SCOPES_HEADER: Final = "x-forwarded-scopes"
MIN_SECRET_BYTES: Final = 16
CALLERS: Final = 10_000
"""Callers whose rate is remembered; the one that asked longest ago is forgotten first."""

HOSTS: Final = 64
"""Headers that name this machine, of which it is remembered whether they do."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH: Final = re.compile(r"sha256:([0-9a-f]{64})")


class DeniedError(Exception):
    """Says that a request is not answered, with the status and the reason that are told."""

    def __init__(self, status: int, detail: str, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after_s = status, detail, retry_after_s


@dataclass(frozen=True, slots=True)
class Caller:
    """Holds who asks, by the name that logs may tell, and what for."""

    name: str
    scopes: frozenset[str]


class Guard:
    """Lets callers in; subclasses say how they prove who they are."""

    def caller(self, headers: Mapping[str, str]) -> Caller:
        """Returns who asks; raises DeniedError."""
        raise NotImplementedError


LOCAL: Final = Caller("local", frozenset(SCOPES))


class OpenGuard(Guard):
    """Lets everybody on this machine in, for everything."""

    def caller(self, headers: Mapping[str, str]) -> Caller:
        if not names_loopback(headers.get("host", "")):
            raise DeniedError(
                403, "without API keys this service answers to a loopback name only, as localhost"
            )
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise DeniedError(403, "a page of another site may not ask this service")
        origin = headers.get("origin", "")
        if origin and host_of(origin.partition("://")[2]) != host_of(headers.get("host", "")):
            raise DeniedError(403, "a page of another site may not ask this service")
        return LOCAL


class KeyGuard(Guard):
    """Lets holders of keys in, for the scopes of their keys."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        """`callers` are by the SHA-256 of their key, in hexadecimal."""
        self._callers = callers

    def caller(self, headers: Mapping[str, str]) -> Caller:
        given = headers.get("x-api-key", "")
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if not given and scheme.lower() == "bearer":
            given = token.strip()
        found = self._callers.get(hash_of(given)) if given else None
        if found is None:
            raise DeniedError(
                401, "an API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
            )
        return found


class ProxyGuard(Guard):
    """Lets in whom a proxy names, if the proxy knows the secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def caller(self, headers: Mapping[str, str]) -> Caller:
        given = headers.get(SECRET_HEADER, "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, self._secret):
            raise DeniedError(401, "this service is asked through its proxy only")
        scopes = headers.get(SCOPES_HEADER)
        allowed = SCOPES if scopes is None else re.split(r"[\s,]+", scopes)
        # who it is may be an address of mail: only a hash of it goes on from here
        user = hash_of(headers.get(USER_HEADER, ""))[:12]
        return Caller(f"proxy-{user}", frozenset(allowed) & frozenset(SCOPES))


class Rates:
    """Gives each caller a number of requests a second, and twice as many at once."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # and as of when

    def take(self, name: str, now_s: float) -> None:
        """Counts one request of a caller; raises DeniedError if there are too many."""
        most = max(1.0, 2 * self._per_s)
        left, since_s = self._left.pop(name, (most, now_s))
        left = min(most, left + (now_s - since_s) * self._per_s)
        self._left[name] = (left - 1 if left >= 1 else left), now_s
        while len(self._left) > CALLERS:
            self._left.popitem(last=False)
        if left < 1:
            raise DeniedError(
                429,
                f"more than {self._per_s:g} requests a second",
                max(1, round((1 - left) / self._per_s)),
            )


def guard_of(host: str, api_keys: Path | None, proxy_secret: Path | None) -> Guard:
    """Returns the guard of a service on this host; raises UsageError where nobody would guard."""
    if api_keys is not None and proxy_secret is not None:
        raise UsageError("--api-keys and --behind-proxy are two ways to be let in; give one")
    if api_keys is not None:
        return KeyGuard(read_keys(api_keys))
    if proxy_secret is not None:
        return ProxyGuard(_read_secret(proxy_secret))
    if not is_loopback(host):
        raise UsageError(
            f"--host {host} can be reached from other machines, and nothing says who may ask; give "
            "--api-keys FILE (see --new-key) or --behind-proxy FILE, or leave --host at 127.0.0.1"
        )
    return OpenGuard()


def new_key(words: str) -> tuple[str, str]:
    """Returns a new key and its line for the file, of `NAME:SCOPE,SCOPE`; raises UsageError."""
    name, _, listed = words.partition(":")
    scopes = [each for each in listed.split(",") if each]
    _check_caller("--new-key", name, scopes)
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    return key, f"{name} {','.join(scopes)} sha256:{hash_of(key)}"


def read_keys(path: Path) -> dict[str, Caller]:
    """Returns callers by the hash of their key: a line has name, scopes and hash.

    Empty lines and those that begin with # are none. Raises UsageError naming the line.
    """
    callers = {}
    for number, line in enumerate(_text_of("--api-keys", path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        where, words = f"{path}:{number}", line.split()
        found = _HASH.fullmatch(words[-1])
        if len(words) != 3 or found is None:
            raise UsageError(
                f"{where}: a line is NAME SCOPE,SCOPE sha256:HASH; make one with "
                "`interest-stream serve --new-key NAME:SCOPE,SCOPE`"
            )
        scopes = words[1].split(",")
        _check_caller(where, words[0], scopes)
        callers[found[1]] = Caller(words[0], frozenset(scopes))
    if not callers:
        raise UsageError(
            f"{path} holds no key, so nobody could ask; make one with "
            "`interest-stream serve --new-key NAME:SCOPE,SCOPE`"
        )
    return callers


def hash_of(key: str) -> str:
    """Returns the SHA-256 of a key in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def host_of(address: str) -> str:
    """Returns the host of host:port; an IPv6 address without its brackets."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition("/")[0].rpartition(":")[0] or address.partition("/")[0]


@lru_cache(HOSTS)
def names_loopback(address: str) -> bool:
    """Returns whether only this machine can reach host:port."""
    return is_loopback(host_of(address))


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _check_caller(where: str, name: str, scopes: list[str]) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{where}: the name of a key has 1 to 64 letters, digits or any of . _ -")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise UsageError(f"{where}: scopes are some of {', '.join(SCOPES)}, with , between them")


def _read_secret(path: Path) -> bytes:
    secret = _text_of("--behind-proxy", path).strip().encode()
    if len(secret) < MIN_SECRET_BYTES:
        raise UsageError(
            f"--behind-proxy {path}: its secret has {len(secret)} bytes and {MIN_SECRET_BYTES} are "
            "the least; make one with 'openssl rand -hex 32'"
        )
    return secret


def _text_of(option: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{option} {path}: it cannot be read ({error.strerror}); name a file that this user "
            "may read"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path}: it is not UTF-8 text") from None
