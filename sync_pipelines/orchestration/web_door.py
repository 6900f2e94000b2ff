"""The door of Dagster's web server: which requests reach it, and the headers of its responses.

Dagster's UI has no login, accepts any `Host`, and runs mutations that are in a URL. A page on another site could
therefore launch runs through the browser of its visitor. This ASGI middleware rejects such requests.

Belongs here: rules on methods, hosts, origins and headers. Does not belong here: Dagster, the server (`web_server`),
logins, which a proxy has.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

GRAPHQL: Final = "/graphql"
_READS: Final = ("GET", "HEAD")
_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_JSON: Final = re.compile(r"application/json\s*(;.*)?", re.ASCII | re.IGNORECASE)
_PORTS: Final = {"http": 80, "https": 443}
_NO_FRAMES: Final = b"frame-ancestors 'none'"
_ALWAYS: Final = {b"x-frame-options": b"DENY", b"x-content-type-options": b"nosniff"}
_REFERRER: Final = (b"referrer-policy", b"same-origin")


@dataclass(frozen=True)
class Rejection:
    """The response to a request that must not reach Dagster.

    Attributes:
        status: the HTTP status.
        reason: one line of plain text for the sender.
    """

    status: int
    reason: str


@dataclass(frozen=True)
class Authority:
    """A host, lower case, with its port, or None for the one its scheme implies."""

    host: str
    port: int | None

    @property
    def is_loopback(self) -> bool:
        """Whether it is an address of this machine only."""
        if self.host == "localhost":
            return True
        try:
            if self.host.startswith("["):
                return IPv6Address(self.host[1:-1]).is_loopback
            return IPv4Address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class Origin:
    """Scheme and authority, with the port always given."""

    scheme: str
    host: str
    port: int


class WebDoor:
    """Passes on requests of the UI and of programs, and rejects those that another site may have caused.

    Args:
        app: Dagster's web server.
        ui_url: the URL of the UI (`SYNC_UI_URL`): the only host that is allowed besides loopback.
    """

    def __init__(self, app: App, ui_url: str | None) -> None:
        self._app = app
        self._ui = parse_origin(ui_url) if ui_url else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request, a WebSocket, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif rejection := self.rejection(scope):
            await _reject(scope, receive, send, rejection)
        else:
            await self._app(scope, receive, _with_headers(send))

    def rejection(self, scope: Scope) -> Rejection | None:
        """Returns the rejection of a request, or None.

        A request is rejected unless each of these holds:

        - its `Host` is loopback, or the host of `SYNC_UI_URL`;
        - its `Origin`, if it has one, is the UI's own;
        - the browser does not report that another site sent it, unless it follows a link to a page;
        - it is a GET without a GraphQL query, a POST of JSON, or a WebSocket.
        """
        headers = _Headers(scope)
        return (
            self._host_rejection(headers)
            or self._origin_rejection(headers)
            or _site_rejection(scope, headers)
            or _method_rejection(scope, headers)
        )

    def _host_rejection(self, headers: _Headers) -> Rejection | None:
        authority = parse_authority(headers.only("host"))
        if authority is None:
            return Rejection(400, "host_invalid: the request needs exactly one Host header that names a host.")
        if authority.is_loopback or (self._ui and authority.host == self._ui.host):
            return None
        return Rejection(
            403,
            "host_refused: this server accepts requests for localhost and for the host of SYNC_UI_URL only. "
            "If this is your host, set SYNC_UI_URL to the URL you open the UI with, and restart.",
        )

    def _origin_rejection(self, headers: _Headers) -> Rejection | None:
        if not headers.all("origin"):
            return None
        origin = parse_origin(headers.only("origin"))
        if origin is not None and origin in (self._ui, _own_origin(headers)):
            return None
        return Rejection(
            403,
            "origin_refused: the request comes from a page on another site. "
            "If it comes from your UI, set SYNC_UI_URL to the URL you open the UI with, and restart.",
        )


def parse_authority(text: str | None) -> Authority | None:
    """Returns host and port of a `Host` header; None if it is not valid."""
    found = _AUTHORITY.fullmatch(text.lower()) if text else None
    if found is None:
        return None
    return Authority(found["host"], int(found["port"]) if found["port"] else None)


def parse_origin(url: str | None) -> Origin | None:
    """Returns scheme, host and port of a URL; None if it has none, such as `null`."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    authority = parse_authority(parts.netloc.rpartition("@")[2])
    if authority is None or parts.scheme not in _PORTS:
        return None
    return Origin(parts.scheme, authority.host, authority.port or _PORTS[parts.scheme])


class _Headers:
    """The headers of a request, each as often as it was sent."""

    def __init__(self, scope: Scope) -> None:
        self._pairs = [(name.lower(), value) for name, value in scope["headers"]]

    def all(self, name: str) -> list[str]:
        return [value.decode("latin-1") for found, value in self._pairs if found == name.encode()]

    def only(self, name: str) -> str | None:
        """The value of a header that was sent once."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None


def _own_origin(headers: _Headers) -> Origin | None:
    """The origin of a UI that is opened on this machine. Any other UI needs `SYNC_UI_URL`."""
    authority = parse_authority(headers.only("host"))
    if authority is None or not authority.is_loopback:
        return None
    return Origin("http", authority.host, authority.port or _PORTS["http"])


def _site_rejection(scope: Scope, headers: _Headers) -> Rejection | None:
    sites = headers.all("sec-fetch-site")
    if all(site in ("same-origin", "none") for site in sites):
        return None
    follows_link = (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.only("sec-fetch-mode") == "navigate"
        and headers.only("sec-fetch-dest") == "document"
    )
    if follows_link:
        return None
    return Rejection(403, "site_refused: the browser reports that a page on another site sent this request.")


def _method_rejection(scope: Scope, headers: _Headers) -> Rejection | None:
    if scope["type"] == "websocket":
        # Dagster uses them for subscriptions only.
        return None
    if scope["method"] in _READS:
        # Starlette's `/graphql` also matches the path with a newline at its end, hence `startswith`.
        if scope["path"].startswith(GRAPHQL) and scope.get("query_string"):
            return Rejection(405, "method_refused: send GraphQL by POST, with content type application/json.")
        return None
    if scope["method"] != "POST":
        return Rejection(405, "method_refused: this server accepts GET, HEAD and POST.")
    # Content types that a page on another site can send without a preflight request must not reach Dagster.
    if _JSON.fullmatch(headers.only("content-type") or ""):
        return None
    return Rejection(415, "content_type_refused: send the body of a POST with content type application/json.")


async def _reject(scope: Scope, receive: Receive, send: Send, rejection: Rejection) -> None:
    if scope["type"] == "websocket":
        # A close before the WebSocket is accepted gives status 403.
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": rejection.reason[:120]})
        return
    body = f"{rejection.reason}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if rejection.status == 405:
        headers.append((b"allow", b"GET, HEAD, POST"))
    respond = _with_headers(send)
    await respond({"type": "http.response.start", "status": rejection.status, "headers": headers})
    await respond({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _with_headers(send: Send) -> Send:
    async def send_guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": guarded(message.get("headers", ()))}
        await send(message)

    return send_guarded


def guarded(headers: Any) -> list[tuple[bytes, bytes]]:
    """Returns the headers of a response with framing by other pages and content sniffing turned off."""
    kept = [(name, value) for name, value in headers if name.lower() not in _ALWAYS]
    policies = [value for name, value in kept if name.lower() == b"content-security-policy"]
    kept = [(name, value) for name, value in kept if name.lower() != b"content-security-policy"]
    # The first directive of a name applies, so ours is first.
    kept += [(b"content-security-policy", b"; ".join([_NO_FRAMES, policy])) for policy in policies]
    if not policies:
        kept.append((b"content-security-policy", _NO_FRAMES))
    if all(name.lower() != _REFERRER[0] for name, _ in kept):
        kept.append(_REFERRER)
    return [*kept, *_ALWAYS.items()]
