"""The bench: the three scenarios through the floor and through the sync, in turns, on one server.

    python -m bench                          100,000 orders, five repetitions
    python -m bench --orders 1000000 --reps 5 --only first
    python -m bench --memory                 peak memory of 100,000 beside 1,000,000 orders

Each repetition begins with empty databases. Timed is one whole process each, its start included; the file is in the
page cache. Before each run stands a CHECKPOINT, after it VACUUM ANALYZE, both untimed. Exit status 1 when a result is
wrong or memory grows with the file.

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

from bench.data import SCENARIOS, Scenario, make_first, make_scenarios
from bench.lanes import FloorLane, Measure, SyncLane
from bench.process import compile_program
from bench.report import build_memory_table, build_spread, build_table
from bench.server import Server, run_server

MEMORY_ORDERS = (100_000, 1_000_000)
MEMORY_LIMIT = 1.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the bench with the options of the command line and gives the exit status."""
    options = _parser().parse_args(arguments)
    compile_program()
    with _scratch(options.scratch) as folder, run_server(folder / "postgres") as server:
        if options.memory:
            return _measure_memory(server, folder)
        return _measure_time(server, folder, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench", description="Measures sync-pipelines sync beside the floor.")
    parser.add_argument("--orders", type=int, default=100_000, help="orders of the first file (100000)")
    parser.add_argument("--reps", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="report this scenario; may be given again")
    parser.add_argument("--memory", action="store_true", help="peak memory for 100,000 and 1,000,000 orders instead")
    parser.add_argument("--scratch", type=Path, help="work in this folder and keep it (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="add every run to this file, one JSON object a line")
    return parser


def _measure_time(server: Server, folder: Path, options: argparse.Namespace) -> int:
    wanted = [name for name in SCENARIOS if name in (options.only or SCENARIOS)]
    _say(f"making {options.orders:,} orders ...")
    scenarios = make_scenarios(folder / "data", options.orders)
    os.sync()  # what is still on its way to the disk would slow the first runs
    needed = scenarios[: SCENARIOS.index(wanted[-1]) + 1]  # a scenario stands on those before it
    measures = [measure for rep in range(options.reps) for measure in _repetition(server, folder, needed, rep)]
    if options.out:
        with options.out.open("a") as out:
            out.writelines(json.dumps({"orders": options.orders} | asdict(measure)) + "\n" for measure in measures)
    print(f"{options.orders:,} orders of three items, medians of {options.reps}; "
          f"PostgreSQL {server.version}, {os.cpu_count()} processors\n")  # fmt: skip
    print(build_table(measures, wanted))
    print("\nseconds of each run\n" + build_spread(measures))
    return _judge(measures)


def _repetition(server: Server, folder: Path, scenarios: Sequence[Scenario], rep: int) -> Iterator[Measure]:
    """The floor and the sync take turns scenario by scenario, so that a machine's moods hit both."""
    floor, sync = FloorLane(server, folder / "floor"), SyncLane(server, folder / "sync")
    yield _said(sync.start(), rep)
    for scenario in scenarios:
        yield _said(floor.load(scenario), rep)
        yield _said(sync.load(scenario), rep)


def _measure_memory(server: Server, folder: Path) -> int:
    measures = []
    for orders in MEMORY_ORDERS:
        _say(f"making {orders:,} orders ...")
        first = make_first(folder / f"data_{orders}", orders)
        measures.append(_said(SyncLane(server, folder / "sync").load(first), 0))
    peaks = dict(zip(MEMORY_ORDERS, (measure.peak_mb for measure in measures), strict=True))
    print(build_memory_table(peaks))
    has_grown = peaks[MEMORY_ORDERS[-1]] > MEMORY_LIMIT * peaks[MEMORY_ORDERS[0]]
    if has_grown:
        print(f"memory grows with the file: more than {MEMORY_LIMIT} times", file=sys.stderr)
    return max(_judge(measures), int(has_grown))


def _judge(measures: Sequence[Measure]) -> int:
    faults = [f"{measure.lane}, {measure.scenario}: {fault}" for measure in measures for fault in measure.faults]
    print("\n" + ("\n".join(["WRONG", *faults]) if faults else "all results as expected"))
    return int(bool(faults))


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
