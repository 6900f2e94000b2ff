"""A backfill of years of orders beside live syncs, launched as the UI does.

    python -m bench.backfill                             five years, 20 orders a day
    python -m bench.backfill --days 90 --orders 200

Writes one export a day, starts `sync-pipelines up`, launches the backfill, drops newer exports of the same orders
while it runs, waits, and compares the tables with what was written. Exit status 1 when a record is lost, doubled or
not the newest, a deadlock happened, or the backfill did not complete.

Belongs here: the order of things and the figures. Does not belong here: exports and expectations (`history`), the
processes (`up`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psutil

from bench.history import Held, History, differences
from bench.up import Up, run_up, wait_until
from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database.postgres import Database, open_database

FIVE_YEARS: Final = 1_827
ASSETS: Final = (("replenit", "orders_exports"), ("replenit", "orders_records"), ("replenit", "orders"))
SENSOR: Final = "replenit_orders_arrivals"
ENDED: Final = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
_LONGEST: Final = 3_600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="backfill-", ignore_cleanup_errors=True) as scratch:
        home = options.scratch or Path(scratch)
        home.mkdir(parents=True, exist_ok=True)
        settings = Settings(home=home, landing=str(home / "landing"), database_url=None, sources=home / "sources.yaml")
        return _Bench(settings, options.days, options.orders, options.live).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench.backfill", description="A backfill of years of orders beside live syncs.")
    parser.add_argument("--days", type=int, default=FIVE_YEARS, help=f"days, one export each ({FIVE_YEARS})")
    parser.add_argument("--orders", type=int, default=20, help="new orders a day; 0 makes no exports at all (20)")
    parser.add_argument("--live", type=float, default=60.0, help="seconds between live exports; 0 for none (60)")
    parser.add_argument("--scratch", type=Path, help="work in this empty folder and keep it (default: a temporary one)")
    return parser


@dataclass
class _Memory:
    """The largest resident memory seen, of one process of a kind."""

    up: Up
    peaks: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Any:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(1.0):
            for kind, process in self.up.processes():
                try:
                    self.peaks[kind] = max(self.peaks[kind], process.memory_info().rss)
                except psutil.Error:
                    continue


class _Bench:
    """One backfill from its exports to its figures."""

    def __init__(self, settings: Settings, days: int, orders: int, live: float) -> None:
        self._settings = settings
        self._history = History(Path(settings.landing), orders)
        self._days, self._orders, self._live = days, orders, live
        self._live_files = self._live_records = 0
        self._today = datetime.now(UTC).date()

    def run(self) -> int:
        """Prints the figures; gives the exit status."""
        environment = {
            "SYNC_HOME": str(self._settings.home),
            "SYNC_LANDING": self._settings.landing,
            "SYNC_SOURCES": str(self._settings.sources),
            "SYNC_DATABASE_URL": "",
            "DAGSTER_HOME": "",
        }
        database = open_database(self._settings)
        with run_up(environment, self._settings.home / "up.log") as up:
            memory = _Memory(up)
            # While it is off, nobody but the backfill takes the old exports.
            up.stop_sensor(SENSOR)
            first = self._today - timedelta(days=self._days + 1)
            days = [first + timedelta(days=n) for n in range(self._days)]
            if self._orders:
                _say(f"writing {self._days:,} exports ...")
                self._history.write(first, self._days)
            with memory.watched():
                begun = time.monotonic()
                backfill = up.launch_backfill(ASSETS, [day.isoformat() for day in days])
                status = self._follow(up, backfill, begun)
                seconds = time.monotonic() - begun
                self._wait_for_live(up, database)
            return self._tell(up, backfill, status, seconds, memory, database)

    def _follow(self, up: Up, backfill: str, begun: float) -> str:
        """Waits for the backfill's end; drops live exports meanwhile, from when all its runs are queued."""
        next_live = float("inf")
        while True:
            told = up.backfill(backfill)
            done = Counter(run["status"] for run in told["runs"])
            _say(f"{time.monotonic() - begun:4.0f} s  {told['status']}  {dict(done)}  live exports {self._live_files}")
            if told["status"] in ENDED:
                return str(told["status"])
            if time.monotonic() - begun > _LONGEST:
                return "NOT IN TIME"
            if self._live and self._orders and next_live == float("inf") and told["runs"]:
                up.start_sensor(SENSOR)
                next_live = time.monotonic() + 5
            if time.monotonic() >= next_live:
                self._live_records += self._history.write_live(self._today, self._live_files)
                self._live_files += 1
                next_live = time.monotonic() + self._live
            time.sleep(2)

    def _wait_for_live(self, up: Up, database: Database) -> None:
        def is_loaded() -> bool:
            with database.connect() as connection:
                found = connection.execute("select count(*) from sync.export_files where status = 'loaded'").fetchone()
            return found == (self._live_files + (self._days if self._orders else 0),)

        try:
            wait_until(is_loaded, 180, "every export is loaded", every=2)
        except TimeoutError as error:
            _say(str(error))

    def _tell(self, up: Up, backfill: str, status: str, seconds: float, memory: _Memory, database: Database) -> int:
        runs = up.runs()
        mine = [run for run in runs if run["tags"].get("dagster/backfill") == backfill]
        lost, doubled, wrong = differences(held_in(database), self._history.expected)
        deadlocks, unfinished = _troubles(database)
        spent = [tick["endTimestamp"] - tick["timestamp"] for tick in up.sensor(SENSOR)["sensorState"]["ticks"]
                 if tick["endTimestamp"]]  # fmt: skip
        live = [e - run["startTime"] for run in runs if run not in mine and (e := run["endTime"]) and run["startTime"]]
        for name, value in (
            ("backfill", f"{self._days:,} days, {status}, {seconds:.0f} s from click to done"),
            ("its runs", f"{len(mine)}, {dict(Counter(run['status'] for run in mine))}"),
            ("live beside it", f"{self._live_files} exports, {self._live_records:,} records, {len(live)} runs"),
            ("orders", f"{len(self._history.expected):,} expected; lost {lost}, doubled {doubled}, not newest {wrong}"),
            ("exports not loaded", str(unfinished)),
            ("deadlocks", str(deadlocks)),
            ("longest sensor tick", f"{max(spent, default=0):.1f} s"),
            *((f"peak MB, {kind}", f"{peak / 1e6:.0f}") for kind, peak in sorted(memory.peaks.items())),
        ):
            print(f"{name:22} {value}")
        return 1 if lost or doubled or wrong or deadlocks or unfinished or "FAIL" in status or "NOT" in status else 0


def held_in(database: Database) -> dict[str, Held]:
    """What the tables hold, by order id."""
    with database.connect() as connection:
        rows = connection.execute(
            "select o.external_id, round(o.total_revenue * 100)::bigint, count(i.id) from sync.orders o"
            " left join sync.order_items i on i.order_id = o.id group by o.id"
        ).fetchall()
    return {key: Held(revenue, lines) for key, revenue, lines in rows}


def _troubles(database: Database) -> tuple[int, int]:
    with database.connect() as connection:
        deadlocks = connection.execute("select sum(deadlocks)::int from pg_stat_database").fetchone()
        left = connection.execute("select count(*) from sync.export_files where status <> 'loaded'").fetchone()
    assert deadlocks is not None and left is not None
    return deadlocks[0], left[0]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
