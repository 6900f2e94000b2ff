"""Pages of other sites, in Chromium, against the UI's web server: none of them launches, wipes, frames or listens.

Belongs here: what a browser lets a page send. Does not belong here: single requests (`orchestration.test_web_server`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.test_browser import CLICK_SECONDS, browser_path
from sync_pipelines_tests.web_servers import LAUNCH, UI_HOST, USER, WIPE, WebServer, free_port, proxy, web_server

__all__ = ["browser_path"]

REBOUND: Final = "rebound.example"
NOTE: Final = "<!doctype html><title>a page of another site</title><body></body>"

# What a page may send to another site without being asked first, and what it may not.
ATTACK: Final = """async ([target, launch, wipe]) => {
  const url = target + "/graphql", seen = {};
  const settled = promise => Promise.race([promise.catch(() => 0), new Promise(done => setTimeout(done, 3000))]);
  for (const mutation of [launch, wipe]) {
    const json = JSON.stringify({query: mutation}), get = url + "?query=" + encodeURIComponent(mutation);
    const post = (to, body, headers = {}, mode = "no-cors") =>
      settled(fetch(to, {method: "POST", mode, body, headers}));
    await post(url, json, {"Content-Type": "text/plain"});
    await post(url, json, {"Content-Type": "text/plain; application/json"});
    await post(url, json, {"Content-Type": "application/json"}, "cors");
    await post(url, new Blob([json]));
    await post(get, "");
    await post(url, new URLSearchParams({query: mutation}));
    await settled(fetch(get, {mode: "no-cors"}));
    navigator.sendBeacon(url, new Blob([json], {type: "text/plain;application/json"}));
    await settled(new Promise(done => {
      const image = new Image();
      image.onload = image.onerror = done;
      image.src = get;
      document.body.append(image);
    }));
    for (const [action, type] of [[get, "text/plain"], [get, "multipart/form-data"], [url, "multipart/form-data"]]) {
      const frame = document.createElement("iframe"), form = document.createElement("form");
      frame.name = form.target = "answer" + Math.random();
      Object.assign(form, {action, method: "post", enctype: type});
      const field = document.createElement("input");
      Object.assign(field, {name: "query", value: mutation});
      form.append(field);
      document.body.append(frame, form);
      await settled(new Promise(done => { frame.onload = done; form.submit(); }));
    }
  }
  const frame = document.createElement("iframe");
  frame.name = "framed";
  document.body.append(frame);
  await settled(new Promise(done => { frame.onload = done; frame.src = target + "/"; }));
  seen.websocket = await settled(new Promise(done => {
    const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
  }));
  return seen;
}"""

OWN: Final = """async launch => {
  const headers = {"Content-Type": "application/json"}, body = JSON.stringify({query: launch});
  const answer = await (await fetch("/graphql", {method: "POST", headers, body})).json();
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/graphql", "graphql-ws");
  const acknowledged = await new Promise((done, failed) => {
    socket.onopen = () => socket.send(JSON.stringify({type: "connection_init"}));
    socket.onmessage = event => done(JSON.parse(event.data).type);
    socket.onerror = failed;
  });
  return [answer.data.launchRun.__typename, acknowledged];
}"""


class OtherSite(BaseHTTPRequestHandler):
    """A page that does nothing until the test tells it to."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(NOTE.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.fixture
def other_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherSite) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site.server_address[1]
        site.shutdown()


@pytest.fixture
def browser(browser_path: str) -> Iterator[Browser]:
    names = f"MAP {UI_HOST} 127.0.0.1, MAP *.example 127.0.0.1"
    arguments = ["--no-sandbox", "--disable-dev-shm-usage", f"--host-resolver-rules={names}"]
    # Chromium's own guard of this machine's ports is not in every browser: the door must hold without it.
    arguments.append("--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser_path, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(CLICK_SECONDS * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def ui_port() -> int:
    return free_port()


@pytest.fixture
def web(database: Database, tmp_path: Path, ui_port: int) -> Iterator[WebServer]:
    with web_server(database, tmp_path, f"https://{UI_HOST}:{ui_port}") as running:
        yield running


def framed(page: Page) -> str:
    """What is in the attacker's frame, once it is known."""
    (frame,) = (frame for frame in page.frames if frame.name == "framed")
    deadline = time.monotonic() + CLICK_SECONDS
    while frame.url == "about:blank" and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    return frame.url


def test_pages_of_other_sites_do_nothing_and_its_own_pages_work(web: WebServer, page: Page, other_port: int) -> None:
    web.materialize()
    for site in ("evil.example", "localhost", "127.0.0.1"):
        for target in (web.url, f"http://localhost:{web.port}"):
            page.goto(f"http://{site}:{other_port}/")
            seen = page.evaluate(ATTACK, [target, LAUNCH, WIPE])
            assert seen == {"websocket": "refused"}
            assert framed(page).startswith("chrome-error:")
            assert web.seen() == (0, 1), f"{site} reached {target}"

    rebound = page.goto(f"http://{REBOUND}:{web.port}/")
    assert rebound is not None
    assert rebound.status == 403
    assert page.evaluate(ATTACK, ["", LAUNCH, WIPE]) == {"websocket": "refused"}
    assert web.seen() == (0, 1)

    # A link on another site, as a message about a failed run has one.
    page.goto(f"http://evil.example:{other_port}/")
    page.evaluate("url => { location.href = url }", f"{web.url}/runs")
    expect(page.get_by_role("navigation").get_by_text("Catalog", exact=True)).to_be_visible(timeout=60_000)
    assert page.evaluate(OWN, LAUNCH) == ["LaunchRunSuccess", "connection_ack"]
    assert web.seen() == (1, 1)
    expect(page.get_by_text("sync_housekeeping").first).to_be_visible(timeout=60_000)


def test_a_user_logs_in_at_the_proxy_and_works(web: WebServer, page: Page, ui_port: int, tmp_path: Path) -> None:
    (folder := tmp_path / "nginx").mkdir()
    with proxy(ui_port, web, folder) as nginx:
        with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
            page.context.new_page().goto(nginx.url)
        # A login in the URL is kept by the browser as one that was typed.
        page.goto(nginx.url.replace("://", f"://{USER[0]}:{USER[1].replace(' ', '%20')}@"))
        page.goto(f"{nginx.url}/runs")
        expect(page.get_by_role("navigation").get_by_text("Catalog", exact=True)).to_be_visible(timeout=60_000)
        assert page.evaluate(OWN, LAUNCH) == ["LaunchRunSuccess", "connection_ack"]
        expect(page.get_by_text("sync_housekeeping").first).to_be_visible(timeout=60_000)
    assert web.seen() == (1, 0)
