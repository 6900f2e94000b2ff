"""A partner's listing on this machine: a real HTTP server that answers as a test says.

Belongs here: answers, what was asked, sources that name the server. Does not belong here: assertions.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY, TOKEN = "key-5e1f", "token-77aa"
ENVIRONMENT = {"NILO_API_KEY": KEY, "NILO_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}


@dataclass(frozen=True)
class Answer:
    """What the server sends.

    Attributes:
        body: bytes, text, or what is sent as JSON.
        status: HTTP status.
        headers: beside the usual ones.
        cut: only so many bytes of the body, then the connection is dropped.
        delay: seconds before anything is sent.
        drip: seconds between bytes of the body.
        drips_head: whether a header is sent byte by byte too, without end.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    delay: float = 0
    drip: float = 0
    drips_head: bool = False

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float


@dataclass
class Partner:
    """The server.

    Attributes:
        url: where it is.
        pages: number of the page -> its stores; others are empty.
        answers: what is said before anything else, in order; None lets the page through.
        asked: every request.
    """

    url: str = ""
    pages: dict[int, Sequence[Any]] = field(default_factory=dict)
    answers: list[Answer | None] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    on_ask: Callable[[], None] = lambda: None

    @property
    def numbers(self) -> list[str]:
        """The pages asked for, in order."""
        return [asked.query["page"] for asked in self.asked]

    def list(self, stores: Sequence[Any], size: int = 50) -> None:
        """Lays stores out on pages."""
        self.pages = {n // size + 1: stores[n : n + size] for n in range(0, len(stores), size)}

    def answer(self, path: str, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(path)
        self.asked.append(Asked(parts.path, dict(parse_qsl(parts.query)), dict(headers), time.monotonic()))
        self.on_ask()
        said = self.answers.pop(0) if self.answers else None
        number = int(self.asked[-1].query.get("page", "1"))
        return said or Answer({"code": 200, "message": "Operación exitosa", "data": self.pages.get(number, [])})


@contextmanager
def served() -> Iterator[Partner]:
    """A listing, served until the block ends."""
    partner = Partner()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = partner.answer(self.path, dict(self.headers))
            time.sleep(answer.delay)
            try:
                self.send_response(answer.status)
                if answer.drips_head:
                    self.flush_headers()
                    self._drip(b"X-Endless: " + b"x" * 10_000, answer.drip)
                for name, value in {"Content-Length": str(len(answer.content)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if answer.drip:
                    self._drip(answer.content, answer.drip)
                self.wfile.write(answer.content[: answer.cut])
            except ConnectionError:
                pass
            self.close_connection = True

        def _drip(self, content: bytes, seconds: float) -> None:
            for byte in content:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(seconds)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    partner.url = f"http://127.0.0.1:{server.server_port}/dev"
    try:
        yield partner
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pull_of(partner: Partner, **settings: Any) -> dict[str, Any]:
    """The `pull` of a source, patient for milliseconds."""
    return {
        "url": partner.url,
        "api_key": {"env": "NILO_API_KEY"},
        "authorization": {"env": "NILO_TOKEN"},
        "attempts": 3,
        "wait": 0.01,
        "timeout": 5,
    } | settings


def write_sources(path: Path, *pulls: Mapping[str, Any], tenants: Sequence[str] = ("acme", "globex")) -> None:
    """Lists a tenant of nilo for each pull, `acme` the first (JSON is YAML)."""
    sources = [
        {"partner": "nilo", "tenant": tenant, "streams": {"stores": {"pull": dict(pull)}}}
        for tenant, pull in zip(tenants, pulls, strict=False)
    ]
    path.write_text(json.dumps({"sources": sources}))


def store(code: Any, **fields: Any) -> dict[str, Any]:
    """A store as the partner lists it."""
    return {
        "name": f"Store {code}",
        "internalCode": code,
        "addresses": [{"address": "25 de mayo 1200", "zipCode": "2400"}],
        "legalName": "Legal SRL",
        "legalId": "30-12345678-9",
        **fields,
    }


def stores(first: int, last: int) -> list[dict[str, Any]]:
    """Stores with numbered codes."""
    return [store(f"S{n:04d}") for n in range(first, last + 1)]
