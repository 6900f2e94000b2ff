"""Partitions begin with the oldest export that was ever seen."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import dagster as dg

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.dagster_names import asset_key
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import discover, open_workspace
from sync_pipelines.stages.first_day import first_day, first_day_moved_at
from sync_pipelines_tests.exports_in import order, put


def first_partition(settings: Settings) -> str:
    """As code that loads the definitions now sees it."""
    assets = build_definitions(settings).resolve_asset_graph()
    partitions = assets.get(asset_key("rows", ORDERS)).partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    return str(partitions.get_first_partition_key())


def test_partitions_begin_with_the_oldest_export_and_only_ever_move_back(settings: Settings) -> None:
    workspace, landing = open_workspace(settings), Path(settings.landing)
    assert first_partition(settings) == "2010-01-01"
    assert discover(workspace).pending == []
    assert first_day_moved_at(settings.home) == 0
    newer = put(landing, "2026-05-03.json", [order("A")])
    put(landing, "2009-12-31.json", [order("too old")])
    put(landing, "2026-05-09.json", [order("B")])
    discover(workspace)
    assert first_partition(settings) == "2026-05-03"
    moved_at = first_day_moved_at(settings.home)
    (landing / newer).unlink()
    put(landing, "2026-05-04.json", [order("C")])
    discover(workspace)
    assert (first_partition(settings), first_day_moved_at(settings.home)) == ("2026-05-03", moved_at)
    put(landing, "2026-04-30.json", [order("D")])
    discover(workspace)
    assert first_partition(settings) == "2026-04-30"
    assert first_day_moved_at(settings.home) > moved_at
    assert first_day(settings.model_copy(update={"first_date": date(2026, 5, 1)})) == date(2026, 5, 1)


def test_a_look_at_some_days_takes_no_partition_away_from_runs_of_others(settings: Settings) -> None:
    workspace, landing = open_workspace(settings), Path(settings.landing)
    for day in ("2026-05-01", "2026-05-06", "2026-05-07"):
        put(landing, f"{day}.json", [order("A")])
    last = (date(2026, 5, 6), date(2026, 5, 7))
    discover(workspace, dates=last)
    assert first_partition(settings) == "2010-01-01"
    discover(workspace)
    assert first_partition(settings) == "2026-05-01"
    put(landing, "2026-04-30.json", [order("B")])
    discover(workspace, dates=(date(2026, 4, 30), date(2026, 4, 30)))
    assert first_partition(settings) == "2026-04-30"


def test_a_state_folder_without_its_first_day_asks_the_ledger(settings: Settings) -> None:
    workspace, landing = open_workspace(settings), Path(settings.landing)
    gone = put(landing, "2026-05-03.json", [order("A")])
    discover(workspace)
    (landing / gone).unlink()
    (settings.home / "first_day").write_text("nonsense")
    assert first_day(settings) == settings.first_date
    discover(workspace)
    assert first_day(settings) == date(2026, 5, 3)
