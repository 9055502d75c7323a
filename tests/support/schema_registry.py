"""Answers as a schema registry does, on loopback, and can be away, slow to learn, or strict.

It speaks the part of Confluent's API that is used here. With INTEREST_STREAM_TEST_REGISTRY it
stands before the real registry of that address instead, which then registers and answers: the same
tests ask both (`make registry-test`).
"""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

REAL = "INTEREST_STREAM_TEST_REGISTRY"
"""Names the address of a real registry."""


@dataclass
class Registry:
    """What is registered, and how it answers; a test may change it while it runs."""

    url: str = ""
    upstream: str = field(default_factory=lambda: os.environ.get(REAL, ""))
    away: bool = False
    unknown_times: int = 0  # so often it says that it does not know an id, and then knows it
    also: dict[str, int] = field(default_factory=dict)  # paths at which a schema is found, too
    authorization: str = ""  # what a request has to carry
    asked: list[str] = field(default_factory=list)
    schemas: list[dict[str, Any]] = field(default_factory=list)  # id: place + 1
    subjects: dict[str, list[int]] = field(default_factory=dict)  # ids of the versions

    def register(
        self,
        subject: str,
        schema: Any,
        kind: str = "AVRO",
        references: tuple[tuple[str, str, int], ...] = (),
    ) -> int:
        """Returns the id of a schema."""
        given = {
            "schema": schema if isinstance(schema, str) else json.dumps(schema),
            "schemaType": kind,
            "references": [
                {"name": name, "subject": of, "version": version}
                for name, of, version in references
            ],
        }
        if not self.upstream:
            return self._register(subject, given)
        path = f"/subjects/{quote(subject)}/versions"
        status, answer = self._forward("POST", path, json.dumps(given).encode())
        assert status == 200, answer
        return int(answer["id"])

    def _forward(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Asks the real registry."""
        request = Request(self.upstream + path, body or None, method=method)
        request.add_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                text = error.read()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, {"error_code": error.code, "message": text.decode()[:200]}

    def _register(self, subject: str, given: dict[str, Any]) -> int:
        given = {"schemaType": "AVRO", "references": []} | given
        if given not in self.schemas:
            self.schemas.append(given)
        found = self.schemas.index(given) + 1
        versions = self.subjects.setdefault(subject, [])
        if found not in versions:
            versions.append(found)
        return found

    def respond(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(path)
        if self.away:
            return 503, {"error_code": 50301, "message": "not now"}
        if self.authorization and authorization != self.authorization:
            return 401, {"error_code": 40101, "message": "who are you?"}
        if path in self.also:
            path = f"/schemas/ids/{self.also[path]}"
        if self.upstream:
            return self._forward(method, path, body)
        parts = [unquote(each) for each in urlsplit(path).path.strip("/").split("/")]
        match method, parts:
            case "GET", ["schemas", "ids", number]:
                place = int(number)
                if not 0 < place <= len(self.schemas) or self.unknown_times > 0:
                    self.unknown_times -= 1
                    return 404, {"error_code": 40403, "message": "Schema not found"}
                return 200, self._shown(place)
            case "GET", ["subjects", subject, "versions", version]:
                place = self.subjects[subject][int(version) - 1]
                named = {"subject": subject, "version": int(version), "id": place}
                return 200, named | self._shown(place)
            case "POST", ["subjects", subject, "versions"]:
                return 200, {"id": self._register(subject, json.loads(body))}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _shown(self, place: int) -> dict[str, Any]:
        schema = dict(self.schemas[place - 1])
        if schema["schemaType"] == "AVRO":
            del schema["schemaType"]  # as Confluent's does
        return schema


@contextmanager
def schema_registry(context: ssl.SSLContext | None = None, **options: Any) -> Iterator[Registry]:
    """Serves one until the end of the block."""
    registry = Registry(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = registry.respond(
                self.command, self.path, self.headers.get("Authorization", ""), body
            )
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _answer

        def log_message(self, *_arguments: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    registry.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
