"""The bench: the three scenarios through the floor and through the sync, in turns, on one server.

    python -m bench                          100,000 orders, five repetitions
    python -m bench --orders 1000000 --reps 5 --only first
    python -m bench --memory                 peak memory of 100,000 beside 1,000,000 orders

Each repetition begins with empty databases. Timed is one whole process each, its start included; the file is in the
page cache. Before each run stands a CHECKPOINT, after it VACUUM ANALYZE, both untimed. Exit status 1 when a result is
wrong or a budget is missed.

Belongs here: options and the order of things. Does not belong here: see `bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench.data import SCENARIOS, TITLES, Scenario, ScenarioName, make_scenarios
from bench.figures import Figure, print_figures
from bench.lanes import FloorLane, Measure, SyncLane
from bench.process import compile_program
from bench.report import build_spread, build_table, middle
from bench.server import Server, run_server

LESS_START: Final[dict[ScenarioName, float]] = {"first": 1.7, "resent": 1.0, "changed": 1.6}
"""Seconds of a sync without its bare start, times the floor."""
WHOLE: Final[dict[ScenarioName, float]] = {"first": 1.4, "resent": 0.6, "changed": 1.4}
"""Seconds of a whole sync of a million orders, times the floor."""
MEMORY_LIMIT: Final = 400.0
GROWTH_LIMIT: Final = 1.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    if options.memory:
        return print_figures(measure_large(options.orders, 1, is_timed=False))
    wanted = [name for name in SCENARIOS if name in (options.only or SCENARIOS)]
    return print_figures(measure(options.orders, options.reps, wanted, options.scratch, options.out))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench", description="Measures sync-pipelines sync beside the floor.")
    parser.add_argument("--orders", type=int, default=100_000, help="orders of the first file (100000)")
    parser.add_argument("--reps", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="report this scenario; may be given again")
    parser.add_argument("--memory", action="store_true", help="peak memory of that many beside ten times as many")
    parser.add_argument("--scratch", type=Path, help="work in this folder and keep it (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="add every run to this file, one JSON object a line")
    return parser


def measure(
    orders: int = 100_000,
    reps: int = 5,
    wanted: Sequence[ScenarioName] = SCENARIOS,
    scratch: Path | None = None,
    out: Path | None = None,
) -> list[Figure]:
    """Measures a sync beside the floor, less its start; prints every run.

    Args:
        orders: of the first file.
        reps: repetitions, of which medians count.
        wanted: scenarios to report.
        scratch: a folder to work in, which is kept.
        out: a file to add every run to.
    """
    measures = _measure(orders, reps, wanted, scratch)
    if out:
        with out.open("a") as lines:
            lines.writelines(json.dumps({"orders": orders} | asdict(measure)) + "\n" for measure in measures)
    start = middle(measures, "sync", "start", "seconds")
    return [
        Figure(
            f"{orders:,} orders, less the start: {TITLES[name]}",
            LESS_START[name],
            (middle(measures, "sync", name, "seconds") - start) / middle(measures, "floor", name, "seconds"),
            "times the floor",
            _faults(measures, name),
        )
        for name in wanted
    ]


def measure_large(orders: int = 100_000, reps: int = 5, *, is_timed: bool = True) -> list[Figure]:
    """Measures ten times as many orders, and their memory beside that of as many as are given.

    Args:
        orders: of the small file.
        reps: repetitions of the large one.
        is_timed: whether to report times, too.
    """
    small, large = _measure(orders, 1, SCENARIOS, None), _measure(orders * 10, reps, SCENARIOS, None)
    times = [
        Figure(
            f"{orders * 10:,} orders, whole process: {TITLES[name]}",
            WHOLE[name],
            middle(large, "sync", name, "seconds") / middle(large, "floor", name, "seconds"),
            "times the floor",
            _faults(large, name),
        )
        for name in SCENARIOS
    ]
    peaks = {name: middle(large, "sync", name, "peak_mb") for name in SCENARIOS}
    growth = max(peaks[name] / middle(small, "sync", name, "peak_mb") for name in SCENARIOS)
    return [
        *(times if is_timed else ()),
        Figure(f"{orders * 10:,} orders, peak memory", MEMORY_LIMIT, max(peaks.values()), "MB"),
        Figure(f"{orders * 10:,} orders, peak memory", GROWTH_LIMIT, growth, f"times that of {orders:,}"),
    ]


def _measure(orders: int, reps: int, wanted: Sequence[ScenarioName], scratch: Path | None) -> list[Measure]:
    compile_program()
    with _scratch(scratch) as folder, run_server(folder / "postgres") as server:
        _say(f"making {orders:,} orders ...")
        scenarios = make_scenarios(folder / "data", orders)
        os.sync()  # what is still on its way to the disk would slow the first runs
        needed = scenarios[: SCENARIOS.index(wanted[-1]) + 1]  # a scenario stands on those before it
        measures = [measure for rep in range(reps) for measure in _repetition(server, folder, needed, rep)]
        print(f"{orders:,} orders of three items, medians of {reps}; PostgreSQL {server.version}, {os.cpu_count()}"
              " processors\n")  # fmt: skip
    print(build_table(measures, wanted))
    print("\nseconds of each run\n" + build_spread(measures), flush=True)
    return measures


def _faults(measures: Sequence[Measure], scenario: ScenarioName) -> tuple[str, ...]:
    found = (measure for measure in measures if measure.scenario in ("start", scenario))
    return tuple(dict.fromkeys(f"{measure.lane}: {fault}" for measure in found for fault in measure.faults))


def _repetition(server: Server, folder: Path, scenarios: Sequence[Scenario], rep: int) -> Iterator[Measure]:
    """The floor and the sync take turns scenario by scenario, so that a machine's moods hit both."""
    floor, sync = FloorLane(server, folder / "floor"), SyncLane(server, folder / "sync")
    yield _said(sync.start(), rep)
    for scenario in scenarios:
        yield _said(floor.load(scenario), rep)
        yield _said(sync.load(scenario), rep)


def _said(measure: Measure, rep: int) -> Measure:
    verdict = "; ".join(measure.faults) or "ok"
    _say(f"{rep + 1}  {measure.scenario:8} {measure.lane:6} {measure.seconds:8.2f} s  {measure.cpu:7.2f} s cpu  "
         f"{measure.peak_mb:6.0f} MB  {measure.wal_bytes / 1e6:8.1f} MB WAL  {verdict}")  # fmt: skip
    return measure


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _scratch(given: Path | None) -> Iterator[Path]:
    if given:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
