"""The web server over real HTTP, alone and behind the proxy of `deploy/`: who gets through, who does not."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.databases import TEMPLATE, make_database
from sync_pipelines_tests.web_servers import (
    LAUNCH,
    PROTOCOL,
    UI_HOST,
    USER,
    WIPE,
    Proxy,
    WebServer,
    free_port,
    proxy,
    web_server,
)

LOGIN: Final = {"Authorization": "Basic " + base64.b64encode(":".join(USER).encode()).decode()}
SUBSCRIPTION: Final = "subscription($id:ID!){pipelineRunLogs(runId:$id){__typename}}"
OTHERS: Final = ({"Origin": "null"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"})


@pytest.fixture(scope="module")
def ui_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def started(server: Database, ui_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("web")
    databases = make_database(server, TEMPLATE)
    with web_server(next(databases), folder, f"https://{UI_HOST}:{ui_port}") as running:
        running.materialize()
        yield running
    list(databases)


@pytest.fixture
def web(started: WebServer) -> Iterator[WebServer]:
    """A web server; whatever a test sends it, nothing may come of it."""
    before = started.seen()
    assert before[1] == 1
    yield started
    assert started.seen() == before


@pytest.fixture(scope="module")
def nginx(started: WebServer, ui_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(ui_port, started, tmp_path_factory.mktemp("nginx")) as running:
        yield running


@pytest.mark.parametrize("mutation", [LAUNCH, WIPE])
def test_no_mutation_but_by_post_of_json(web: WebServer, mutation: str) -> None:
    url = f"{web.url}/graphql"
    assert httpx.get(url, params={"query": mutation}).status_code == 405
    assert httpx.head(url, params={"query": mutation}).status_code == 405
    assert httpx.get(f"{url}%0A", params={"query": mutation}).status_code == 405
    assert httpx.post(url, params={"query": mutation}).status_code == 415
    assert httpx.post(url, data={"query": mutation}).status_code == 415
    assert httpx.post(url, files={"query": mutation.encode()}).status_code == 415
    for content_type in ("text/plain", "text/plain; application/json", "application/graphql"):
        answer = httpx.post(url, content=json.dumps({"query": mutation}), headers={"Content-Type": content_type})
        assert (answer.status_code, answer.headers["content-type"]) == (415, "text/plain; charset=utf-8")


def test_nothing_of_others(web: WebServer) -> None:
    body = {"query": LAUNCH}
    for headers in ({"Host": "evil.example"}, {"Host": f"rebound.example:{web.port}"}, *OTHERS):
        assert httpx.post(f"{web.url}/graphql", json=body, headers=headers).status_code == 403
        assert httpx.get(f"{web.url}/", headers=headers).status_code == 403
        for path in ("report_asset_materialization/a", "report_asset_check/a", "report_asset_observation/a"):
            assert httpx.post(f"{web.url}/{path}", json={}, headers=headers).status_code == 403
        with pytest.raises(InvalidStatus, match="403"):
            open_socket(web, headers)


def test_a_mutation_over_a_websocket_does_nothing(web: WebServer) -> None:
    with open_socket(web, {}) as opened:
        for mutation in (LAUNCH, WIPE):
            opened.send(json.dumps({"type": "start", "id": "1", "payload": {"query": mutation}}))
            assert json.loads(opened.recv(30))["type"] == "error"


def test_its_own_pages_work(started: WebServer) -> None:
    page = httpx.get(f"{started.url}/")
    assert page.is_success
    assert page.headers["content-security-policy"].startswith("frame-ancestors 'none'; base-uri 'none'")
    own = {"Origin": started.url, "Sec-Fetch-Site": "same-origin"}
    launched = httpx.post(f"{started.url}/graphql", json={"query": LAUNCH}, headers=own, timeout=60)
    assert launched.json() == {"data": {"launchRun": {"__typename": "LaunchRunSuccess"}}}
    with open_socket(started, own) as opened:
        events_of_a_run(started, opened)


def test_a_login_is_asked_for_everything(nginx: Proxy, web: WebServer) -> None:
    for user in (None, ("ada", "guessed"), ("eve", USER[1])):
        for path in ("/", "/graphql", "/server_info", "/logs/a.err"):
            assert nginx.request("GET", path, user=user).status_code == 401
        assert nginx.request("POST", "/graphql", user=user, json={"query": LAUNCH}).status_code == 401
    with pytest.raises(InvalidStatus, match="401"):
        nginx.websocket({"Origin": nginx.url})


def test_who_has_logged_in_works_through_the_proxy(nginx: Proxy, started: WebServer) -> None:
    page = nginx.request("GET", "/")
    assert page.is_success
    assert "__NEXT_DATA__" in page.text
    assert page.headers["content-security-policy"].startswith("frame-ancestors 'none'")
    assert page.headers["strict-transport-security"]
    launched = nginx.request("POST", "/graphql", json={"query": LAUNCH}, headers={"Origin": nginx.url})
    assert launched.json() == {"data": {"launchRun": {"__typename": "LaunchRunSuccess"}}}
    with nginx.websocket({"Origin": nginx.url, **LOGIN}) as opened:
        events_of_a_run(started, opened)


def test_a_login_is_no_leave_for_other_sites(nginx: Proxy, web: WebServer) -> None:
    assert nginx.request("GET", "/graphql", params={"query": LAUNCH}).status_code == 405
    assert nginx.request("POST", "/graphql", data={"query": LAUNCH}).status_code == 415
    for headers in OTHERS:
        assert nginx.request("POST", "/graphql", json={"query": LAUNCH}, headers=headers).status_code == 403
        with pytest.raises(InvalidStatus, match="403"):
            nginx.websocket({**headers, **LOGIN})
    for host in ("evil.example", "127.0.0.1", "localhost"):
        assert nginx.request("POST", "/graphql", json={"query": LAUNCH}, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("command", [["up"], ["-m", "sync_pipelines.orchestration.web_server"]])
def test_other_machines_have_to_be_allowed(tmp_path: Path, command: list[str]) -> None:
    program = [sys.executable, *(["-m", "sync_pipelines"] if command == ["up"] else []), *command]
    environment = {"SYNC_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "COLUMNS": "200"}
    done = subprocess.run(
        [*program, "--host", "0.0.0.0"], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Dagster's UI has no login: whoever reaches it can launch runs and read the data" in done.stderr
    assert "--allow-remote" in done.stderr
    assert list(tmp_path.iterdir()) == []


def open_socket(web: WebServer, headers: dict[str, str]) -> ClientConnection:
    """A GraphQL WebSocket of a page or program that sends these headers."""
    given = dict(headers)
    host = given.pop("Host", "127.0.0.1").partition(":")[0]
    connection = socket.create_connection(("127.0.0.1", web.port))
    url = f"ws://{host}:{web.port}/graphql"
    return connect(url, sock=connection, subprotocols=[PROTOCOL], additional_headers=given)


def events_of_a_run(web: WebServer, opened: ClientConnection) -> None:
    """What the page of a run subscribes to comes."""
    run = web.post("{runsOrError{... on Runs{results{runId}}}}")["runsOrError"]["results"][0]["runId"]
    payload = {"query": SUBSCRIPTION, "variables": {"id": run}}
    opened.send(json.dumps({"type": "start", "id": "1", "payload": payload}))
    answer = json.loads(opened.recv(30))
    assert answer["payload"] == {"data": {"pipelineRunLogs": {"__typename": "PipelineRunLogsSubscriptionSuccess"}}}
