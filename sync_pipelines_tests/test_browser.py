"""What a newcomer sees and clicks: Chromium over `make up` after a sync, with its servers and embedded PostgreSQL.

`make screenshots` runs the same and keeps the pictures of the documentation, in the folder that `SCREENSHOTS` names.

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
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from sync_pipelines.database.embedded import EmbeddedServer
from sync_pipelines.orchestration.dagster_names import job_name
from sync_pipelines.partners import STREAMS

ROOT: Final = Path(__file__).parents[1]
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
PARTNERS: Final = ("nilo", "pocketflows", "replenit", "reten", "traede")
JOBS: Final = tuple(job_name(stream) for stream in STREAMS)
COUNTS: Final = ("read", "created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked", "rejected")
RUN: Final = re.compile(r"\b[0-9a-f]{8}$")

# A loaded machine of one core is far slower than this one; nobody waits so long where all is well.
CLICK_SECONDS: Final = 60
START_SECONDS: Final = 180
BACKFILL_SECONDS: Final = 240
STOP_SECONDS: Final = 60


@dataclass(frozen=True)
class Up:
    """A running `make up`, after a sync of sample exports.

    Attributes:
        home: its state folder.
        url: where the UI is.
        days: the days of the sample exports; yesterday is the last.
        broken: an export that cannot be read, of the last day, as a path in the landing. It came after the sync.
        harmful: an export of the last day of which every record is rejected; it came after the sync, too.
    """

    home: Path
    url: str
    days: list[date]
    broken: str
    harmful: str

    def ask(self, statement: str, *values: object) -> dict[str, Any]:
        """The one row of a query."""
        with psycopg.connect(EmbeddedServer(self.home).url, row_factory=psycopg.rows.dict_row) as connection:
            row = connection.execute(statement.encode(), values).fetchone()
        assert row is not None
        return row


@pytest.fixture
def up(tmp_path: Path, browser_path: str) -> Iterator[Up]:
    home, log, programs = tmp_path / "home", tmp_path / "up.log", Path(sys.executable).parent
    own = environment(SYNC_HOME=str(home))
    for command in (["sample", "--days", "10", "--orders", "600"], ["sync"]):
        done = subprocess.run([programs / "sync-pipelines", *command], cwd=tmp_path, env=own, stdin=subprocess.DEVNULL)
        assert done.returncode in (0, 3)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    broken = f"reten/red-andina/commerces/late_{yesterday}.json"
    (home / "landing" / broken).write_text('[{"external_id": "c-1"')
    harmful = f"nilo/distribuidora-austral/stores/wrong_{yesterday}.json"
    (home / "landing" / harmful).write_text('[{"external_id": "s-1", "credit_limit": "much"}]')
    port = free_port()
    # The environment that runs the tests serves the UI, whatever folder it is in.
    command = ["make", "-f", str(ROOT / "Makefile"), "up", f"PORT={port}", f"BIN={programs}", "STAMP="]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=own,
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
        yield Up(home, url, [yesterday - timedelta(days=n) for n in reversed(range(10))], broken, harmful)
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


def test_a_newcomer_finds_what_was_loaded(up: Up, page: Page) -> None:
    page.goto("/")
    see_the_lineage_of_a_partner(page)
    chosen = up.days[2:7]
    launch_a_backfill(page, chosen)
    backfill = page.url
    # The daemon is at work on it meanwhile.
    see_the_timeline(page)
    see_the_jobs(page)
    see_the_runs_of_a_job(page)
    see_the_events(page, up)
    see_the_plots(page)
    see_the_days(page, up)
    see_a_day_that_failed(page, up)
    see_a_day_that_is_held(page, up)
    explain_a_row(page, up)
    undo_an_export(page, up)
    page.goto(backfill)
    wait_for_the_backfill(page, chosen)
    picture(page, "backfill", height=430)


def menu(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_text(name, exact=True).click()


def see_the_lineage_of_a_partner(page: Page) -> None:
    menu(page, "Lineage")
    for partner in PARTNERS:
        expect(graph(page).get_by_text(partner, exact=True)).to_be_visible()
    filter_lineage(page)
    for place in ("replenit/orders_exports", "replenit/orders_records", "replenit/orders"):
        expect(graph(page).locator(f'a[href*="/assets/{place}?view=partitions"]').first).to_be_visible()
    if wanted():
        expect(page.get_by_text("Loading...")).to_have_count(0)
        picture(page, "lineage", height=660)


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
    chosen = dialog.get_by_role("textbox").first
    chosen.fill(f"[{days[0]}...{days[-1]}]")
    chosen.press("Enter")
    expect(dialog).to_contain_text(f"{len(days)} partitions")
    dialog.get_by_role("button", name="Launch backfill").click()
    page.get_by_role("link", name="View", exact=True).click()


def wait_for_the_backfill(page: Page, days: list[date]) -> None:
    expect(page.get_by_text(f"{days[0]}...{days[-1]}")).to_be_visible()
    for name in ("replenit / orders_exports", "replenit / orders_records", "replenit / orders"):
        expect(page.get_by_role("link", name=name).last).to_be_visible()
    completed = page.get_by_text("100% completed", exact=True)
    expect(completed).to_have_count(3, timeout=BACKFILL_SECONDS * 1000)
    # The word of the status beside the heading of a column.
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(2, timeout=BACKFILL_SECONDS * 1000)


def job_link(page: Page, job: str) -> Locator:
    """The link of a job: its name, which may be there a second time for the case that it does not fit."""
    return page.locator("a").filter(has_text=re.compile(rf"^\s*({job}\s*)+$")).first


def see_the_timeline(page: Page) -> None:
    """Runs of the sync are there, and those of the sensor."""
    menu(page, "Overview")
    for job in JOBS:
        expect(job_link(page, job)).to_be_visible()
    picture(page, "timeline", height=420)


def see_the_jobs(page: Page) -> None:
    """Each says when it ran last."""
    menu(page, "Jobs")
    for job in JOBS:
        expect(job_link(page, job)).to_be_visible()
    page.wait_for_function("count => document.body.innerText.match(/ ago$/gm)?.length >= count", arg=len(JOBS))
    picture(page, "jobs", height=480)


def see_the_runs_of_a_job(page: Page) -> None:
    job_link(page, "sync_replenit_orders").click()
    page.get_by_role("tab", name="Runs").click()
    expect(page.get_by_role("link", name=RUN).first).to_be_visible()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    picture(page, "job_runs", height=330)


def see_the_events(page: Page, up: Up) -> None:
    """Every day of a run has its own line, though all were materialized at once."""
    page.goto("/assets/replenit/orders?view=events")
    for day in up.days:
        expect(page.get_by_text(str(day), exact=True).first).to_be_visible()
    picture(page, "events")


def see_the_plots(page: Page) -> None:
    page.goto("/assets/replenit/orders?view=overview")
    expect(page.get_by_text("Latest materialization").first).to_be_visible()
    page.get_by_text("Plots", exact=True).first.click()
    chart = page.locator("canvas").first
    expect(chart).to_be_visible()
    chart.scroll_into_view_if_needed()
    for name in ("created", "rejected"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()
    picture(page, "plots")


def see_the_days(page: Page, up: Up) -> None:
    """Every day of the sample is there, none is missing but today and tomorrow, and a day's page says what it did."""
    day = up.days[4]
    page.goto(f"/assets/replenit/orders?view=partitions&partition={day}")
    expect(page.get_by_text("Failed (0)", exact=True)).to_be_visible()
    expect(page.get_by_text("Missing (2)", exact=True)).to_be_visible()
    sums = ", ".join(f"sum({name})::int as {name}" for name in COUNTS)
    counts = up.ask(
        f"select {sums} from sync.export_files where partner = %s and partition_date = %s and status = 'loaded'",
        "replenit",
        day,
    )
    assert counts["read"] > 0
    for name in COUNTS:
        expect(page.get_by_role("row", name=f"{name} {counts[name]}", exact=True)).to_be_visible()
    picture(page, "day")


def see_a_day_that_failed(page: Page, up: Up) -> None:
    """Its first words say which export failed, and why."""
    says = re.compile(rf"^1 export failed\. {re.escape(up.broken)}: not_json: ")
    deadline = time.monotonic() + BACKFILL_SECONDS
    while True:
        page.goto(f"/assets/reten/commerces?view=partitions&partition={up.days[-1]}")
        expect(page.get_by_text("Latest materialization", exact=True)).to_be_visible()
        page.wait_for_timeout(2_000)
        if page.get_by_text("Failed (1)", exact=True).count() or time.monotonic() > deadline:
            break
    expect(page.get_by_text("Failed (1)", exact=True)).to_be_visible()
    expect(page.get_by_text(says).first).to_be_visible()
    expect(page.get_by_text("did not materialize this asset")).to_be_visible()
    picture(page, "failed_day")


def see_a_day_that_is_held(page: Page, up: Up) -> None:
    """Its first words say why a guard holds an export, and which one."""
    says = re.compile(rf"^1 export held\. .+: {re.escape(up.harmful)}\.")
    open_until(page, f"/assets/nilo/stores?view=partitions&partition={up.days[-1]}", page.get_by_text(says))
    picture(page, "held_day")


def explain_a_row(page: Page, up: Up) -> None:
    order = up.ask("select tenant, external_id as key from sync.live_orders order by updated_at, id limit 1")
    config = f"{{table: orders, tenant: {order['tenant']}, key: '{order['key']}', column: total_revenue}}"
    launch(page, "explain_row", f"ops:\n  sync_explain:\n    config: {config}\n")
    page.get_by_text("View full message", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("overridden by").first).to_be_visible()
    picture(page, "explain", height=600)
    page.keyboard.press("Escape")


def undo_an_export(page: Page, up: Up) -> None:
    """The export is withdrawn; the page of its day says by whom, and why."""
    export = up.ask(
        "select path, partition_date as day from sync.export_files"
        " where partner = 'traede' and status = 'loaded' and created > 0 order by id desc limit 1"
    )
    config = f"{{paths: [{export['path']}], reason: test data}}"
    launch(page, "undo_export", f"ops:\n  sync_undo_or_redo:\n    config: {config}\n")
    picture(page, "undo_job")
    entry = up.ask("select status from sync.export_files where path = %s", export["path"])
    assert entry == {"status": "withdrawn"}
    says = page.get_by_text(re.compile(r"Withdrawn by run .*: test data\."))
    open_until(page, f"/assets/traede/customers?view=events&partition={export['day']}", says)


def launch(page: Page, job: str, config: str) -> None:
    """Runs a job from its launchpad, until it has succeeded."""
    page.goto(f"/locations/sync_pipelines/jobs/{job}/playground")
    expect(page.locator(".CodeMirror").first).to_be_visible()
    page.evaluate("text => document.querySelector('.CodeMirror').CodeMirror.setValue(text)", config)
    page.get_by_role("button", name="Launch run").click()
    expect(page).to_have_url(re.compile("/runs/"))
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()


def open_until(page: Page, address: str, says: Locator) -> None:
    """Opens a page again until it says something."""
    deadline = time.monotonic() + BACKFILL_SECONDS
    while True:
        page.goto(address)
        page.wait_for_timeout(2_000)
        if says.count() or time.monotonic() > deadline:
            break
    expect(says.first).to_be_visible()


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
