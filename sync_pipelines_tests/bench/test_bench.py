"""The bench: its data and its floor agree, wrong results are told, the table says what was measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from bench.data import make_scenarios
from bench.database import Holdings, differences
from bench.figures import Figure, build_budget_table
from bench.lanes import FloorLane, Measure
from bench.process import run_process
from bench.report import build_table
from bench.server import Server
from sync_pipelines.database.postgres import Database
from sync_pipelines.sample_data.bulk import BulkTotals


def test_floor_holds_what_each_scenario_says(server: Database, tmp_path: Path) -> None:
    lane = FloorLane(Server(server.url), tmp_path / "floor")
    measures = [lane.load(scenario) for scenario in make_scenarios(tmp_path / "data", 400)]
    assert [measure.faults for measure in measures] == [[], [], []]
    assert [measure.dead["orders"] for measure in measures] == [0, 1, 39]
    assert all(measure.seconds > 0 and measure.wal_bytes > 0 for measure in measures)


def test_scenarios_count_what_is_new_to_the_tables(tmp_path: Path) -> None:
    first, resent, changed = make_scenarios(tmp_path, 400)
    assert (first.created, first.updated, first.unchanged) == (400, 0, 0)
    assert (resent.created, resent.updated, resent.unchanged) == (0, 1, 399)
    assert (changed.created, changed.updated, changed.unchanged) == (20, 39, 361)


def test_differences_name_what_is_wrong() -> None:
    expected = BulkTotals(orders=2, items=6, value=Decimal("10.50"), cancelled=1, customers=2)
    right = Holdings(orders=2, cancelled=1, items=6, value=Decimal("10.5000"), customers=2)
    assert differences(right, expected) == []
    assert differences(replace(right, customers=None), expected) == []
    assert differences(replace(right, items=5), expected) == ["items is 5, not 6"]


def test_a_process_is_told_by_status_output_and_memory(tmp_path: Path) -> None:
    script = "import sys; block = b'x' * 300_000_000; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    ended = run_process([sys.executable, "-c", script], {}, tmp_path)
    assert (ended.status, ended.output, ended.errors) == (3, "out\n", "err\n")
    assert ended.seconds > 0
    # A child's peak is never told below its parent's, and pytest's own may be large.
    idle = run_process([sys.executable, "-c", "pass"], {}, tmp_path)
    assert ended.peak_mb >= max(300, idle.peak_mb)


def test_table_has_medians_and_ratios_with_and_without_the_start() -> None:
    floor = Measure("floor", "first", 2.0, 0.1, 40.0, 1_000_000, {"orders": 0}, [])
    sync = Measure("sync", "first", 5.0, 4.0, 200.0, 3_000_000, {"orders": 2, "order_items": 5}, [])
    runs = [floor, sync, replace(sync, seconds=99.0), replace(sync, seconds=1.0), replace(sync, scenario="start")]
    runs[-1] = replace(runs[-1], seconds=1.0)
    line = build_table(runs, ["first"]).splitlines()[2]
    assert line.split() == ["first", "load", "2.00", "5.00", "2.50", "4.00", "2.00", "200", "3.0", "1.0", "7", "0"]


def test_a_budget_is_held_within_a_tenth_by_a_right_result() -> None:
    figures = [Figure("one", 2.0, seen, "s") for seen in (2.0, 2.1, 2.3)] + [Figure("one", 2.0, 1.0, "s", ("lost",))]
    assert [figure.is_held for figure in figures] == [True, True, False, False]
    rows = [line.split(" | ") for line in build_budget_table(figures).splitlines()[2:]]
    assert [row[-1].removesuffix(" |") for row in rows] == ["ok", "ok, by a tenth", "MISSED", "WRONG: lost"]
    assert rows[0][1:3] == ["2.00", "2.00 s"]
