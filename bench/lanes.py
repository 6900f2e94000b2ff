"""What is measured: the floor and the sync, each over the same scenarios in a database of its own.

Belongs here: preparing a lane, running one scenario in it, judging the result. Does not belong here: the order in
which lanes take turns (`run`), how a process is measured (`process`).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import floor
from bench.data import SCENARIOS, Scenario, ScenarioName
from bench.database import Watch, ask_holdings, differences, tidy
from bench.process import Ended, run_process
from bench.server import Server

TENANT = "3f0c9a52-6b1e-4d7a-9c35-8e2d41b7a6f0"
TABLES = ("orders", "order_items", "customers")
LaneName = Literal["floor", "sync"]


@dataclass(frozen=True)
class Measure:
    """One measured run.

    Attributes:
        lane: whose run.
        scenario: what it loaded; "start" for a sync with nothing pending.
        seconds: the whole process.
        cpu: its own processor time.
        peak_mb: its largest memory, its children's included.
        wal_bytes: write-ahead log written meanwhile.
        dead: dead rows left, by table.
        faults: what was wrong with the result.
    """

    lane: LaneName
    scenario: ScenarioName | Literal["start"]
    seconds: float
    cpu: float
    peak_mb: float
    wal_bytes: int
    dead: dict[str, int]
    faults: list[str]


class FloorLane:
    """Rows that need no parsing, copied and merged by `bench.floor`."""

    def __init__(self, server: Server, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._url = server.create_database("floor")
        floor.make(self._url)

    def load(self, scenario: Scenario) -> Measure:
        """Loads one scenario's rows."""
        watch = Watch(self._url)
        ended = run_process([sys.executable, floor.__file__, "load", self._url, str(scenario.stem)], {}, self._folder)
        traces = watch.traces(TABLES)
        faults = exit_faults(ended, 0)
        faults += differences(ask_holdings(self._url, "orders", "order_items", None), scenario.totals)
        tidy(self._url)
        return Measure("floor", scenario.name, ended.seconds, ended.cpu, ended.peak_mb, traces.wal_bytes, traces.dead,
                       faults)  # fmt: skip


class SyncLane:
    """`sync-pipelines sync` with a home, a landing and a database of its own.

    Attributes:
        url: of the database.
        environment: variables that name all of it.
    """

    def __init__(self, server: Server, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self.url = server.create_database("sync")
        self._exports = folder / "landing" / "replenit" / TENANT / "orders"
        self._exports.mkdir(parents=True)
        self.environment = {
            "SYNC_HOME": str(folder / "home"),
            "SYNC_DATABASE_URL": self.url,
            "SYNC_LANDING": str(folder / "landing"),
            "SYNC_SOURCES": str(folder / "sources.yaml"),
        }
        made = self._sync()  # makes the tables, the sync's and Dagster's
        if made.status:
            raise SystemExit(f"the first `sync-pipelines sync` failed ({made.status}):\n{made.errors}")

    def start(self) -> Measure:
        """A sync with nothing pending: what every one of them costs."""
        watch = Watch(self.url)
        ended = self._sync()
        traces = watch.traces(TABLES)
        faults = exit_faults(ended, 0) + report_faults(ended, files=0, counts={"read": 0})
        tidy(self.url)
        return Measure("sync", "start", ended.seconds, ended.cpu, ended.peak_mb, traces.wal_bytes, traces.dead, faults)

    def put(self, scenario: Scenario) -> None:
        """Puts one scenario's file into the landing, dated a day after the last one."""
        day = SCENARIOS.index(scenario.name) + 1
        place(scenario.stem.with_suffix(".ndjson"), self._exports / f"orders_2026-01-{day:02d}.ndjson")

    def load(self, scenario: Scenario) -> Measure:
        """Puts one scenario's file into the landing, and syncs."""
        self.put(scenario)
        watch = Watch(self.url)
        ended = self._sync()
        traces = watch.traces(TABLES)
        counts = {"created": scenario.created, "updated": scenario.updated, "unchanged": scenario.unchanged}
        faults = exit_faults(ended, 0) + report_faults(ended, files=1, counts=counts)
        holdings = ask_holdings(self.url, "sync.live_orders", "sync.order_items", "sync.customers")
        faults += differences(holdings, scenario.totals)
        tidy(self.url)
        return Measure("sync", scenario.name, ended.seconds, ended.cpu, ended.peak_mb, traces.wal_bytes, traces.dead,
                       faults)  # fmt: skip

    def _sync(self) -> Ended:
        command = [str(Path(sys.executable).with_name("sync-pipelines")), "sync", "--json"]
        return run_process(command, self.environment, self._folder)


def place(source: Path, target: Path) -> None:
    """Gives a file a second name, or a copy where that cannot be."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def exit_faults(ended: Ended, wanted: int) -> list[str]:
    """What is wrong with how a process ended."""
    if ended.status == wanted:
        return []
    return [f"exit status {ended.status}: {ended.errors.strip()[-500:]}"]


def report_faults(ended: Ended, files: int, counts: dict[str, int]) -> list[str]:
    """What the sync's own report says otherwise."""
    try:
        report: dict[str, Any] = json.loads(ended.output)
    except ValueError:
        return [f"no report on stdout: {ended.output[:200]!r}"]
    found = report["totals"] | {"files": len(report["files"])}
    wanted = counts | {"files": files}
    return [f"reported {name} is {found.get(name)}, not {want}" for name, want in wanted.items()
            if found.get(name) != want]  # fmt: skip
