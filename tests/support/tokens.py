"""Gives bearer tokens for client credentials, on loopback, as an identity provider would.

The tokens are unsecured JWS (RFC 7519, 6), which a Kafka broker takes where no other validator is
set: whoever `sub` names is let in until `exp`.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus


@dataclass
class TokenServer:
    """What is given, and what was asked for; a test may change it while it runs."""

    life_s: float = 3600.0
    secret: str = "a-secret-of-the-client"
    away: bool = False
    answer: Any = None  # instead of a token
    expires_in: Any = None  # instead of the life
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def respond(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, Any]:
        self.asked.append(form)
        if self.away:
            return 503, {}
        if self.answer is not None:
            return 200, self.answer
        login = b64decode(authorization.removeprefix("Basic ")).decode()
        client, _, secret = (unquote_plus(part) for part in login.partition(":"))
        if secret != self.secret:
            return 401, {"error": "invalid_client", "error_description": "who are you?\x1b[31m"}
        return 200, {
            "access_token": unsecured_jws(client, self.life_s),
            "token_type": "Bearer",
            "expires_in": self.life_s if self.expires_in is None else self.expires_in,
        }


def unsecured_jws(subject: str, life_s: float) -> str:
    """A token that nobody signed, for a broker of a test."""
    now = time.time()
    claims = {"sub": subject, "iat": now, "exp": now + life_s}
    parts = (json.dumps(each).encode() for each in ({"alg": "none"}, claims))
    return ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


@contextmanager
def token_server(context: ssl.SSLContext | None = None, **options: Any) -> Iterator[TokenServer]:
    """Serves until the end of the block; over TLS with a context."""
    tokens = TokenServer(**options)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            code, answer = tokens.respond(self.headers["Authorization"], parse_qs(body))
            text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if context is None else "https"
    tokens.url = f"{scheme}://127.0.0.1:{server.server_port}/token"
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield tokens
    finally:
        server.shutdown()
        server.server_close()
        serving.join()
