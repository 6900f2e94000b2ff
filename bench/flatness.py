"""What an export of ten records costs when few, and when many exports are loaded.

    python -m bench.flatness                         with 10, 1,000 and 10,000 exports loaded
    python -m bench.flatness --loaded 10 100         of other numbers

Every export has ten orders of its own and one of the export before it, and is the newest. They are loaded one after
another in a process of their own. At each number of loaded exports, the processor time of the next ones is taken, and
then the peak memory and the processor time of a whole `sync` with one of them pending.

Belongs here: the exports, the numbers and their comparison. Does not belong here: the loop (`in_process`).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.figures import Figure, print_figures
from bench.process import Ended, compile_program, run_process
from bench.server import run_server

TENANT: Final = "3f0c9a52-6b1e-4d7a-9c35-8e2d41b7a6f0"
LOADED: Final = (10, 1_000, 10_000)
LIMIT: Final = 1.25
RECORDS: Final = 10
TIMED: Final = 15
SYNCS: Final = 3
_FIRST: Final = datetime(2020, 1, 1, tzinfo=UTC)
_SYNC: Final = (sys.executable, "-m", "sync_pipelines", "sync", "--json")


@dataclass(frozen=True)
class Point:
    """What a small export costs with some number of exports loaded.

    Attributes:
        loaded: that number.
        load_ms: processor milliseconds of one load.
        clock_ms: the same by the clock.
        sync_cpu: processor seconds of a whole `sync`.
        sync_mb: its peak memory.
    """

    loaded: int
    load_ms: float
    clock_ms: float
    sync_cpu: float
    sync_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    parser = argparse.ArgumentParser("bench.flatness", description="A small export beside many loaded ones.")
    parser.add_argument("--loaded", type=int, nargs="+", default=list(LOADED), help="numbers of loaded exports")
    return print_figures(measure(parser.parse_args(arguments).loaded))


def measure(loaded: Sequence[int] = LOADED) -> list[Figure]:
    """Measures at some numbers of loaded exports, and prints what it sees."""
    compile_program()
    with tempfile.TemporaryDirectory(prefix="flatness-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        with run_server(folder / "postgres") as server:
            environment = server.environment(folder, "flat")
            points = _Exports(environment, folder).points(sorted(loaded))
    print("| loaded | load, ms of CPU | by the clock | a sync, s of CPU | peak, MB |\n|---|---|---|---|---|")
    for point in points:
        print(f"| {point.loaded:,} | {point.load_ms:.1f} | {point.clock_ms:.1f} | {point.sync_cpu:.2f}"
              f" | {point.sync_mb:.0f} |")  # fmt: skip
    numbers = ", ".join(f"{point.loaded:,}" for point in points)
    return [
        Figure(f"{RECORDS}-record export with {numbers} loaded: {name}", LIMIT, max(seen) / min(seen), "between them")
        for name, seen in (
            ("CPU of its load", [point.load_ms for point in points]),
            ("peak memory of a sync", [point.sync_mb for point in points]),
        )
    ]


class _Exports:
    """Small exports of one tenant, each newer than those before it.

    Args:
        environment: of a landing, a state folder and a database, all new.
        folder: to work in.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._written = 0

    def points(self, numbers: Sequence[int]) -> list[Point]:
        points = list[Point]()
        for number in numbers:
            self._write(max(0, number - self._written))
            self._load()
            points.append(self._point(number))
            _say(str(points[-1]))
        return points

    def _point(self, number: int) -> Point:
        self._write(TIMED)
        times = self._load()
        syncs = [self._sync() for _ in range(SYNCS)]
        load_ms, clock_ms = (median(each) * 1e3 for each in zip(*times, strict=True))
        return Point(number, load_ms, clock_ms, min(one.cpu for one in syncs), min(one.peak_mb for one in syncs))

    def _write(self, count: int) -> None:
        orders = Path(self._environment["SYNC_LANDING"]) / "replenit" / TENANT / "orders"
        for number in range(self._written, self._written + count):
            moment = _FIRST + timedelta(hours=number)
            path = orders / str(moment.date()) / f"{moment:%Y-%m-%dT%H%M%S}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([_order(number, line) for line in range(RECORDS)]))
            os.utime(path, (time.time() - 60, time.time() - 60))
        self._written += count

    def _load(self) -> list[tuple[float, float]]:
        """Loads what is pending in a process of its own; returns what `load_pending` does."""
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(load_pending, dict(self._environment)).result()

    def _sync(self) -> Ended:
        self._write(1)
        ended = run_process(_SYNC, self._environment, self._folder)
        if ended.status or json.loads(ended.output)["totals"]["created"] != RECORDS - 1:
            raise SystemExit(f"a sync did not load its export: {ended.output}{ended.errors}")
        return ended


def load_pending(environment: Mapping[str, str]) -> list[tuple[float, float]]:
    """Loads what is pending; returns seconds of processor time and by the clock, of each export.

    For a process of its own: a `sync` is never told to need less memory than the process that started it.
    """
    from bench.in_process import load_one
    from sync_pipelines.configuration.settings import load_settings
    from sync_pipelines.stages import export_stages

    os.environ.update(environment)
    workspace = export_stages.open_workspace(load_settings())
    times = list[tuple[float, float]]()
    for number, entry in enumerate(export_stages.discover(workspace).pending, 1):
        begun, processor = time.monotonic(), time.process_time()
        load_one(workspace, entry)
        times.append((time.process_time() - processor, time.monotonic() - begun))
        if number % 1_000 == 0:
            _say(f"{number:,} loaded")
    return times


def _order(number: int, line: int) -> dict[str, Any]:
    """An order of an export; the first is the last of the export before it, which is changed."""
    return {
        "OrderId": f"{number}-{line}" if line else f"{max(0, number - 1)}-{RECORDS - 1}",
        "Email": f"c{(number * RECORDS + line) % 5_000}@example.com",
        "Currency": "CLP",
        "TotalRevenue": number + 1,
        "OrderItems": [{"ProductId": "p", "Sku": "s", "Quantity": 1, "Price": number + 1}],
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
