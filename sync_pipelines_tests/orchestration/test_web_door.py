"""Which requests reach Dagster's web server, and what its answers carry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.orchestration.listening import check_listening, is_loopback
from sync_pipelines.orchestration.web_door import Message, Receive, Scope, Send, WebDoor, guarded

UI_URL = "https://dagster.example.com/"
HERE = {"host": "127.0.0.1:3000"}
JSON = {**HERE, "content-type": "application/json"}
THERE = {"host": "dagster.example.com"}


def scope(
    method: str, path: str, headers: Mapping[str, str] | Sequence[tuple[str, str]], kind: str = "http"
) -> dict[str, Any]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    path, _, query = path.partition("?")
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    return {"type": kind, "method": method, "path": path, "query_string": query.encode(), "headers": encoded}


async def dagster(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands where Dagster is: a request that comes here has got through."""
    policy = (b"Content-Security-Policy", b"base-uri 'none'; frame-ancestors *")
    await send({"type": "http.response.start", "status": 200, "headers": [policy, (b"x-frame-options", b"SAMEORIGIN")]})
    await send({"type": "http.response.body", "body": b"through"})


def asked(request: dict[str, Any], ui_url: str | None = None) -> list[Message]:
    """All that the server sends for one request."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect" if request["type"] == "websocket" else "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(WebDoor(dagster, ui_url)(request, receive, send))
    return sent


def status(request: dict[str, Any], ui_url: str | None = UI_URL) -> int:
    return int(asked(request, ui_url)[0].get("status", 403))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8080",
        "127.0.0.1",
        "127.0.0.1:3000",
        "127.8.9.1:1",
        "[::1]",
        "[::1]:3000",
        "dagster.example.com",
        "Dagster.Example.com:443",
    ],
)
def test_hosts_that_are_answered(host: str) -> None:
    assert status(scope("GET", "/", {"host": host})) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "dagster.example.com.evil.example",
        "0.0.0.0",
        "0.0.0.0:3000",
        "10.0.0.1",
        "[::]",
        "128.0.0.1",
        "localhost.",
        "127.1",
        "2130706433",
        "[fe80::1]",
        "a.localhost",
    ],
)
def test_hosts_of_others_are_refused(host: str) -> None:
    answer = asked(scope("GET", "/", {"host": host}), UI_URL)
    assert answer[0]["status"] == 403
    assert b"set SYNC_UI_URL" in answer[1]["body"]


@pytest.mark.parametrize(
    "headers",
    [[], [("host", "")], [("host", "localhost"), ("host", "evil.example")], [("host", "localhost,evil.example")]]
    + [
        [("host", text)]
        for text in ("a@localhost", "localhost/", "localhost:", "localhost:x", "[::1", "loc alhost", "é")
    ],
)
def test_a_host_that_is_none_is_refused(headers: list[tuple[str, str]]) -> None:
    assert status(scope("GET", "/", headers)) == 400


def test_without_sync_ui_url_only_loopback_is_answered() -> None:
    assert status(scope("GET", "/", HERE), None) == 200
    assert status(scope("GET", "/", THERE), None) == 403


@pytest.mark.parametrize(
    "path",
    [
        "/graphql?query=mutation{a}",
        "/graphql?query={version}",
        "/graphql?operationName=a",
        "/graphql\n?query={version}",
        "/graphql/?query={version}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_graphql_in_a_url_is_refused(method: str, path: str) -> None:
    assert status(scope(method, path, {**HERE, "accept": "text/html"})) == 405


def test_pages_and_the_graphiql_page_are_there() -> None:
    for path in ("/", "/runs/1?tab=logs", "/graphql", "/logs/a/b.err", "/_next/x.js"):
        assert status(scope("GET", path, HERE)) == 200


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "get"])
def test_other_methods_are_refused(method: str) -> None:
    answer = asked(scope(method, "/graphql", JSON))
    assert answer[0]["status"] == 405
    assert (b"allow", b"GET, HEAD, POST") in answer[0]["headers"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON ;a=b"]
)
def test_json_is_taken(content_type: str) -> None:
    assert status(scope("POST", "/graphql", {**HERE, "content-type": content_type})) == 200


@pytest.mark.parametrize("path", ["/graphql", "/graphql?query=mutation{a}", "/report_asset_materialization/a", "/any"])
@pytest.mark.parametrize(
    "content_types",
    [
        [],
        [""],
        ["text/plain"],
        ["text/plain; application/json"],
        ["text/plain, application/json"],
        ["multipart/form-data; boundary=application/json"],
        ["application/x-www-form-urlencoded"],
        ["application/graphql"],
        ["application/json, text/plain"],
        ["application/jsonp"],
        ["application/json"] * 2,
    ],
)
def test_what_a_page_may_post_without_asking_is_refused(path: str, content_types: list[str]) -> None:
    headers = [*HERE.items(), *(("content-type", one) for one in content_types)]
    assert status(scope("POST", path, headers)) == 415


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("localhost", "http://localhost:80"),
        ("[::1]:1", "http://[::1]:1"),
        ("dagster.example.com", "https://dagster.example.com"),
        ("127.0.0.1:3000", "https://dagster.example.com:443"),
    ],
)
def test_the_ui_reaches_its_server(kind: str, host: str, origin: str) -> None:
    headers = {**JSON, "host": host, "origin": origin, "sec-fetch-site": "same-origin"}
    assert status(scope("POST" if kind == "http" else "GET", "/graphql", headers, kind)) == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1:3000", origin) for origin in ("null", "", "http://evil.example", "http://127.0.0.1:3001", "//x")]
    + [("127.0.0.1:3000", origin) for origin in ("http://localhost:3000", "https://127.0.0.1:3000", "http://127.0.0.1")]
    + [("127.0.0.1:3000", "http://127.0.0.1:3000.evil.example"), ("127.0.0.1:3000", "file://")]
    + [("dagster.example.com", "http://dagster.example.com"), ("dagster.example.com", "https://a.example.com")],
)
def test_pages_of_others_are_refused(kind: str, method: str, host: str, origin: str) -> None:
    headers = {**JSON, "host": host, "origin": origin}
    assert status(scope(method, "/graphql", headers, kind)) == 403


def test_two_origins_are_refused() -> None:
    headers = [*JSON.items(), ("origin", "http://127.0.0.1:3000"), ("origin", "http://evil.example")]
    assert status(scope("POST", "/graphql", headers)) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_another_site_sends_is_refused_but_for_a_link(site: str) -> None:
    link = {**HERE, "sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert status(scope("GET", "/runs/1", link)) == 200
    assert status(scope("GET", "/graphql?query={version}", link)) == 405
    assert status(scope("POST", "/graphql", {**JSON, **link})) == 403
    assert status(scope("GET", "/graphql", link, "websocket")) == 403
    for other in ({"sec-fetch-dest": "iframe"}, {"sec-fetch-dest": "object"}, {"sec-fetch-mode": "no-cors"}):
        assert status(scope("GET", "/runs/1", link | other)) == 403
    assert status(scope("GET", "/logs/a.err", {**HERE, "sec-fetch-site": site})) == 403


def test_a_websocket_of_others_is_closed_before_it_opens() -> None:
    (closed,) = asked(scope("GET", "/graphql", {"host": "evil.example"}, "websocket"))
    assert closed["type"] == "websocket.close"


def test_every_answer_forbids_frames_and_guessing() -> None:
    for request in (scope("GET", "/", HERE), scope("PUT", "/", HERE)):
        headers = dict(asked(request)[0]["headers"])
        assert headers[b"content-security-policy"].startswith(b"frame-ancestors 'none'")
        assert headers[b"x-frame-options"] == b"DENY"
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"referrer-policy"] == b"same-origin"


def test_the_policies_of_dagster_stay() -> None:
    given = [(b"Content-Security-Policy", b"base-uri 'none'; frame-ancestors *"), (b"referrer-policy", b"no-referrer")]
    headers = dict(guarded(given))
    assert headers[b"content-security-policy"] == b"frame-ancestors 'none'; base-uri 'none'; frame-ancestors *"
    assert headers[b"referrer-policy"] == b"no-referrer"


def test_the_servers_start_and_end_get_through() -> None:
    assert asked({"type": "lifespan"})[1]["body"] == b"through"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_listening_on_loopback(host: str) -> None:
    assert is_loopback(host)
    check_listening(host, allow_remote=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.7", "example.com", "fe80::1", "localhost.example.com"])
def test_listening_for_others_has_to_be_meant(host: str) -> None:
    with pytest.raises(ConfigurationError, match="no login") as caught:
        check_listening(host, allow_remote=False)
    assert (caught.value.code, caught.value.exit_status) == ("remote_refused", 2)
    assert "--allow-remote" in caught.value.hint
    check_listening(host, allow_remote=True)
