"""What a user sees and clicks: Chromium over `make up`, with its web server, daemon and embedded PostgreSQL.

`make screenshots` runs the same and keeps the README's pictures, in the folder that `SCREENSHOTS` names.

Belongs here: the way of a user through pages. Does not belong here: what the numbers should be (the ledger says that),
exact words of metadata.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from sync_pipelines.database.embedded import EmbeddedServer
from sync_pipelines.sample_data import write_sample

ROOT: Final = Path(__file__).parents[1]
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
PARTNERS: Final = ("nilo", "pocketflows", "replenit", "reten", "traede")
COUNTS: Final = ("read", "created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked", "rejected")
RUN: Final = re.compile(r"\b[0-9a-f]{8}$")

# A loaded machine of one core is far slower than this one; nobody waits so long where all is well.
CLICK_SECONDS: Final = 60
START_SECONDS: Final = 180
BACKFILL_SECONDS: Final = 240
STOP_SECONDS: Final = 60


@dataclass(frozen=True)
class Up:
    """A running `make up`.

    Attributes:
        home: its state folder.
        url: where the UI is.
        days: the days of the sample exports.
        kept_back: the orders' exports, not in the landing yet.
        broken: the one export that cannot be read, as a path in the landing.
    """

    home: Path
    url: str
    days: list[date]
    kept_back: Path
    broken: str

    def deliver(self) -> None:
        """Puts the orders' exports into the landing."""
        self.kept_back.rename(self.home / "landing" / "replenit")

    def ask(self, statement: str, *values: object) -> dict[str, Any]:
        """The one row of a query."""
        with psycopg.connect(EmbeddedServer(self.home).url, row_factory=psycopg.rows.dict_row) as connection:
            row = connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row


@pytest.fixture
def up(tmp_path: Path, browser_path: str) -> Iterator[Up]:
    home, log = tmp_path / "home", tmp_path / "up.log"
    sample = write_sample(home / "landing", days=10, orders=600)
    (home / "landing" / "replenit").rename(tmp_path / "kept_back")
    broken = f"reten/red-andina/commerces/late_{sample.last_day}.json"
    (home / "landing" / broken).write_text('[{"external_id": "c-1"')
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            # The environment that runs the tests serves the UI, whatever folder it is in.
            [
                "make",
                "-f",
                str(ROOT / "Makefile"),
                "up",
                f"PORT={port}",
                f"BIN={Path(sys.executable).parent}",
                "STAMP=",
            ],
            cwd=tmp_path,
            env=environment(SYNC_HOME=str(home), SYNC_FIRST_DATE=str(sample.first_day.replace(day=1))),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while url not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        days = [sample.first_day + timedelta(days=n) for n in range(10)]
        yield Up(home, url, days, tmp_path / "kept_back", broken)
    finally:
        stop(process)
        EmbeddedServer(home).stop()
        print(log.read_text())


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without what an outer `make` says to inner ones."""
    return {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")} | settings


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does: the signal reaches make and the command alike."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


@pytest.fixture
def browser_path() -> str:
    """Chromium's program; on a developer's machine the test can do without, in CI it cannot."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    if os.environ.get("CI"):
        pytest.fail("no Chromium: .ci/run installs it with apt-get")
    pytest.skip("no Chromium here: install it (Debian: apt-get install chromium) to run the browser test")


@pytest.fixture
def page(up: Up, browser_path: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=browser_path, args=arguments)
        context = browser.new_context(
            viewport={"width": 1600, "height": 1000}, timezone_id="UTC", locale="en-US", base_url=up.url
        )
        context.set_default_timeout(CLICK_SECONDS * 1000)
        expect.set_options(timeout=CLICK_SECONDS * 1000)
        opened = context.new_page()
        yield opened
        # Shown where the test has failed.
        print(opened.url, opened.locator("body").inner_text(), sep="\n")
        browser.close()


def test_a_user_backfills_a_partners_days_and_finds_their_counts(up: Up, page: Page) -> None:
    page.goto("/")
    switch_off_the_sensor(page, "replenit_orders_arrivals")
    up.deliver()

    chosen = up.days[2:7]
    see_the_lineage_of_a_partner(page)
    launch_a_backfill(page, chosen)
    wait_for_the_backfill(page, chosen)
    picture(page, "backfill", height=430)

    open_its_only_run(page)
    see_the_days(page, up, chosen)
    see_a_run_that_failed(page, up)
    if wanted():
        page.goto("/asset-groups")
        filter_lineage(page)
        expect(page.get_by_text("Loading...")).to_have_count(0)
        picture(page, "lineage", height=660)


def menu(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_text(name, exact=True).click()


def switch_off_the_sensor(page: Page, name: str) -> None:
    """So that the orders wait for the backfill."""
    menu(page, "Automation")
    page.get_by_role("link", name=name).click()
    switch = page.get_by_role("checkbox").first
    expect(switch).to_be_checked()
    page.get_by_role("row", name="Running").get_by_role("img").click()
    expect(switch).not_to_be_checked()


def see_the_lineage_of_a_partner(page: Page) -> None:
    menu(page, "Lineage")
    for partner in PARTNERS:
        expect(graph(page).get_by_text(partner, exact=True)).to_be_visible()
    filter_lineage(page)
    for place in ("replenit/orders_exports", "replenit/orders_records", "replenit/orders"):
        expect(graph(page).locator(f'a[href*="/assets/{place}?view=partitions"]').first).to_be_visible()


def filter_lineage(page: Page) -> None:
    page.get_by_role("textbox", name="Search and filter assets").focus()
    page.keyboard.type('group:"replenit"')
    page.keyboard.press("Enter")
    expect(graph(page).get_by_text("traede", exact=True)).to_have_count(0)


def graph(page: Page) -> Locator:
    return page.locator("svg foreignObject")


def launch_a_backfill(page: Page, days: list[date]) -> None:
    page.get_by_role("button", name="Materialize all").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 assets")
    # Dagster offers the last 90 days; those of the sample are older.
    dialog.get_by_role("button", name="Show all partitions").click()
    chosen = dialog.get_by_role("textbox").first
    chosen.fill(f"[{days[0]}...{days[-1]}]")
    chosen.press("Enter")
    expect(dialog).to_contain_text(f"{len(days)} partitions")
    dialog.get_by_role("button", name="Launch backfill").click()
    page.get_by_role("link", name="View", exact=True).click()


def wait_for_the_backfill(page: Page, days: list[date]) -> None:
    expect(page.get_by_text(f"{days[0]}...{days[-1]}")).to_be_visible()
    for name in ("exports / replenit / orders", "normalized / replenit / orders", "orders / replenit"):
        expect(page.get_by_role("link", name=name).last).to_be_visible()
    completed = page.get_by_text("100% completed", exact=True)
    expect(completed).to_have_count(3, timeout=BACKFILL_SECONDS * 1000)
    # The word of the status beside the heading of a column.
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(2, timeout=BACKFILL_SECONDS * 1000)


def open_its_only_run(page: Page) -> None:
    page.get_by_role("tab", name="Runs").click()
    run = page.get_by_role("link", name=RUN)
    expect(run).to_have_count(1)
    run.click()
    expect(page.get_by_text("Success", exact=True)).to_be_visible()
    expect(page.get_by_text("RUN_SUCCESS", exact=True)).to_be_visible()


def see_the_days(page: Page, up: Up, chosen: list[date]) -> None:
    menu(page, "Catalog")
    page.get_by_role("link", name="orders / replenit").last.click()
    page.get_by_role("tab", name="Partitions").click()
    expect(page.get_by_text(f"Materialized ({len(chosen)})", exact=True)).to_be_visible()
    expect(page.get_by_text("Failed (0)", exact=True)).to_be_visible()
    day = chosen[2]
    shown = page.get_by_placeholder("ex: ")
    shown.fill(f"[{up.days[0]}...{up.days[-1]}]")
    shown.press("Enter")
    page.get_by_text(str(day), exact=True).locator("visible=true").first.click()
    sums = ", ".join(f"sum({name})::int as {name}" for name in COUNTS)
    told = up.ask(
        f"select {sums}, count(*)::int as files from sync.export_files where partner = %s and partition_date = %s"
        " and status = 'loaded'",
        "replenit",
        day,
    )
    assert told["read"] > 0
    for name in COUNTS:
        expect(page.get_by_role("row", name=f"{name} {told[name]}", exact=True)).to_be_visible()
    picture(page, "day")


def see_a_run_that_failed(page: Page, up: Up) -> None:
    menu(page, "Runs")
    page.get_by_role("tab", name="Failed").click()
    # The list of all runs stays until that of the failed ones is there.
    expect(page.get_by_text("Success", exact=True)).to_have_count(0)
    page.get_by_role("link", name=RUN).last.click()
    expect(page.get_by_text("Failure", exact=True)).to_be_visible()
    code = up.ask("select split_part(error, ':', 1) as code from sync.export_files where path = %s", up.broken)["code"]
    said = page.get_by_text(re.compile(re.escape(up.broken) + ".*" + code))
    # The log opens at its end and has only the lines in view.
    page.mouse.move(800, 800)
    for _ in range(100):
        if said.count():
            break
        page.mouse.wheel(0, -150)
        page.wait_for_timeout(300)
    expect(said.first).to_be_visible()


def wanted() -> str | None:
    """The folder for pictures, or None where nobody asked for them."""
    return os.environ.get("SCREENSHOTS")


def picture(page: Page, name: str, height: int = 1000) -> None:
    """Keeps what the page shows, from its top to a height in pixels."""
    if folder := wanted():
        # A notice stays as long as the pointer is on it.
        page.mouse.move(900, 5)
        expect(page.get_by_role("region", name="Notifications").get_by_role("listitem")).to_have_count(0)
        target = Path(folder) / f"{name}.png"
        page.screenshot(path=target, clip={"x": 0, "y": 0, "width": 1600, "height": height}, animations="disabled")
