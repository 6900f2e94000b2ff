"""`up` with everything it starts: whatever is killed comes back, and what was under way completes by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.backfill import ASSETS, ENDED, SENSOR, held_in
from bench.history import History, differences
from bench.up import Up, run_up, wait_until
from sync_pipelines.database.embedded import EmbeddedServer
from sync_pipelines.database.postgres import Database
from sync_pipelines_tests.exports_in import order, put

ORDERS_A_DAY = 20
FIRST = date(2024, 3, 1)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A state folder with an embedded server of its own."""
    (home := tmp_path / "home").mkdir()
    return home


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    environment = {"SYNC_HOME": str(home), "SYNC_SOURCES": str(home / "sources.yaml")}
    with run_up(environment, home / "up.log") as running:
        left = [process for _, process in running.processes()]
        yield running
        left += [process for _, process in running.processes()]
    assert psutil.wait_procs(left, timeout=10)[1] == []
    wait_until(lambda: EmbeddedServer(home).state() == "stopped", 30, "the database stopped with the last that used it")


def kill(up: Up, kind: str) -> None:
    """Ends the first process of a kind the hard way."""
    for found, process in up.processes():
        if found == kind:
            process.kill()
            return
    raise AssertionError(f"no {kind} runs")


def kill_server(home: Path) -> None:
    psutil.Process(int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])).kill()


def database(home: Path) -> Database:
    """The embedded server as it is, without becoming one of its users."""
    return Database(EmbeddedServer(home).url)


def what_happened(home: Path, up: Up) -> str:
    """What `up` printed, and of every run that did not succeed its last messages."""
    said = [(home / "up.log").read_text()]
    for run in up.runs():
        said.append(f"{run['runId']} {run['status']} {run['tags']}")
        if run["status"] != "SUCCESS":
            said += up.last_words(run["runId"])
    return "\n".join(said)


def test_whatever_is_killed_during_a_backfill_comes_back_and_completes_it(home: Path, up: Up) -> None:
    up.stop_sensor(SENSOR)
    history = History(home / "landing", ORDERS_A_DAY)
    # Days with gaps between them, so that there are several runs.
    days = [day for n in range(4) for day in history.write(FIRST + timedelta(days=5 * n), 2)]
    backfill = up.launch_backfill(ASSETS, [day.isoformat() for day in days])

    def at_work(least: int) -> bool:
        runs = [run["status"] for run in up.backfill(backfill)["runs"]]
        return "STARTED" in runs and runs.count("SUCCESS") >= least

    wait_until(lambda: at_work(0), 180, "a run is at work", every=0.2)
    kill(up, "run")
    kill(up, "web server")
    wait_until(lambda: at_work(1), 120, "the next run is at work", every=0.2)
    kill(up, "daemon")
    time.sleep(3)
    wait_until(lambda: at_work(1), 120, "a run is at work again", every=0.2)
    kill_server(home)
    wait_until(lambda: up.backfill(backfill)["status"] in ENDED, 300, "the backfill ended")

    assert up.backfill(backfill)["status"] == "COMPLETED_SUCCESS", what_happened(home, up)
    assert differences(held_in(database(home)), history.expected) == (0, 0, 0)
    with database(home).connect() as connection:
        ledger = connection.execute("select status, count(*) from sync.export_files group by 1").fetchall()
    assert ledger == [("loaded", 8)]
    said = (home / "up.log").read_text()
    # PostgreSQL is started by whoever needs it first, which may be a run.
    for what in ("the web server ended", "the daemon ended"):
        assert what in said


def test_the_daemon_loads_what_arrives_whole_and_once(home: Path, up: Up) -> None:
    landing = home / "landing"
    put(landing, "2010-12-05_a.json", [order("A")], age=60)
    put(landing, "2010-12-05_b.json", [order("B")], age=60)
    put(landing, "2010-12-06.json", "[{", age=60)
    text = "".join(f'{{"OrderId": "k{n}", "Currency": "EUR", "Email": "a@x.y"}}\n' for n in range(40))
    for share in (0.25, 0.5, 0.75, 1.0):
        put(landing, "2010-12-07.ndjson", text[: int(len(text) * share)], age=0)
        time.sleep(3)

    def ledger() -> dict[str, tuple[int, str, int]]:
        with database(home).connect() as connection:
            rows = connection.execute("select path, revision, status, read from sync.export_files order by revision")
            return {path.rsplit("/", 1)[-1]: (revision, status, read) for path, revision, status, read in rows}

    whole = {
        "2010-12-05_a.json": (1, "loaded", 1),
        "2010-12-05_b.json": (1, "loaded", 1),
        "2010-12-06.json": (1, "failed", 0),
        "2010-12-07.ndjson": (1, "loaded", 40),
    }
    wait_until(lambda: ledger() == whole, 180, "what arrived is loaded")
    put(landing, "2010-12-05_a.json", [order("A", TotalRevenue=11)], age=30)
    put(landing, "2010-12-01.json", [order("B", TotalRevenue=1), order("C")], age=60)
    whole |= {"2010-12-05_a.json": (2, "loaded", 1), "2010-12-01.json": (1, "loaded", 2)}
    wait_until(lambda: ledger() == whole, 180, "what was overwritten, and what came late, is loaded")
    held = {key: one.revenue for key, one in held_in(database(home)).items() if not key.startswith("k")}
    assert held == {"A": 1100, "B": 1000, "C": 1000}

    def ticks() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = up.sensor(SENSOR)["sensorState"]["ticks"]
        return found

    waiting = "1 failed and tried again"
    wait_until(lambda: any(waiting in str(tick["skipReason"]) for tick in ticks()), 120, "a tick says what waits")
    assert all(tick["endTimestamp"] - tick["timestamp"] < 20 for tick in ticks() if tick["endTimestamp"])
