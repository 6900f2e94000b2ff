"""What the text of an export does in the browser of whoever opens its day: nothing, in Chromium.

Dagster's UI renders some texts as Markdown, and a browser fetches the images of Markdown. The web server answers
mutations sent by GET, so an image is a command.

Belongs here: names, headers and errors of exports, seen in the UI. Does not belong here: what other pages may ask of
the web server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import psycopg
import pytest
from playwright.sync_api import Page, Request, expect, sync_playwright

from sync_pipelines.database.embedded import EmbeddedServer
from sync_pipelines_tests.test_browser import CLICK_SECONDS, START_SECONDS, browser_path, environment, free_port, stop

__all__ = ["browser_path"]

DAY: Final = "2026-06-01"
MUTATION: Final = "/graphql?query=mutation%7BwipeAssets%28assetPartitionRanges%3A%5B%5D%29%7B__typename%7D%7D"
IMAGE: Final = f"![x]({MUTATION})"
HTML: Final = f"<img src='{MUTATION}'>"
FOLDER: Final = "replenit/7d444840-9dc0-11d1-b245-5ffdce74fad2/orders"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The UI over a landing whose exports speak Markdown in header, name, field and value."""
    home, port = tmp_path / "home", free_port()
    landing = home / "landing" / FOLDER
    landing.mkdir(parents=True)
    (landing / f"{DAY}_evil.csv").write_text(f'"{IMAGE}","{IMAGE}"\n1,2\n')
    (landing / f"{DAY}_![x](..?query=a).json").write_text("{")
    order = {"OrderId": IMAGE, "Currency": "USD", "Email": HTML, HTML: 1}
    (landing / f"{DAY}_orders.json").write_text(json.dumps([order, {"OrderId": "2", "Currency": IMAGE}]))
    own = environment(SYNC_HOME=str(home), SYNC_FIRST_DATE=DAY)
    program = str(Path(sys.executable).parent / "sync-pipelines")
    assert subprocess.run([program, "sync"], cwd=tmp_path, env=own, stdin=subprocess.DEVNULL).returncode == 4
    with (tmp_path / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "up", "--port", str(port)],
            cwd=tmp_path, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield answering(f"http://127.0.0.1:{port}", process)
    finally:
        stop(process)
        EmbeddedServer(home).stop()


def answering(url: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urlopen(f"{url}/server_info").close()
            return url
        except OSError:
            time.sleep(0.2)
    pytest.fail("the UI does not answer")


@pytest.fixture
def asked() -> list[str]:
    """The URLs of every request of the page."""
    return []


@pytest.fixture
def page(url: str, browser_path: str, asked: list[str]) -> Iterator[Page]:
    def remember(request: Request) -> None:
        asked.append(request.url)

    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=browser_path, args=arguments)
        opened = browser.new_context(viewport={"width": 1600, "height": 2000}, base_url=url).new_page()
        opened.set_default_timeout(CLICK_SECONDS * 1000)
        opened.on("request", remember)
        yield opened
        print(opened.url, opened.locator("body").inner_text(), sep="\n")
        browser.close()


def test_text_of_an_export_is_only_text(page: Page, asked: list[str], tmp_path: Path) -> None:
    records, rows = "/assets/replenit/orders_records", "/assets/replenit/orders"
    # The header stands as it is in the file, brackets and all, as far as a message shows it.
    see(page, f"{records}?view=partitions&partition={DAY}", IMAGE[:50])
    see(page, f"{rows}?view=partitions&partition={DAY}", "Latest materialization")
    see(page, f"{rows}?view=events", "summary")
    see(page, f"{rows}?view=overview", "replenit")
    see(page, f"{rows}?view=checks&checkDetail=no_open_rejects", "no_open_rejects")
    for run_id in runs(tmp_path / "home"):
        see(page, f"/runs/{run_id}", "RUN_START")
    assert page.locator(f'img[src*="{MUTATION[:15]}"]').count() == 0
    assert [url for url in asked if "query=" in url] == []
    assert any("/graphql" in url for url in asked)


def see(page: Page, address: str, text: str) -> None:
    """Opens a page and waits until it shows a text and asks for nothing more."""
    page.goto(address)
    expect(page.get_by_text(text).first).to_be_visible(timeout=CLICK_SECONDS * 1000)
    page.wait_for_timeout(1_500)


def runs(home: Path) -> list[str]:
    with psycopg.connect(EmbeddedServer(home).url) as connection:
        return [run_id for (run_id,) in connection.execute("select distinct run_id from sync.export_files")]
