"""Partitions begin with the oldest export that was ever seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.activity import start_partitions
from sync_pipelines.orchestration.dagster_names import asset_key
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import Workspace, discover
from sync_pipelines.stages.first_day import first_day, first_day_moved_at
from sync_pipelines_tests.exports_in import order, put

DEFAULT = "2010-01-01"


def first_partition(settings: Settings) -> str:
    """As code that loads the definitions now sees it."""
    assets = build_definitions(settings).resolve_asset_graph()
    partitions = assets.get(asset_key("rows", ORDERS)).partitions_def
    assert isinstance(partitions, dg.DailyPartitionsDefinition)
    return str(partitions.get_first_partition_key())


def test_partitions_begin_with_the_oldest_export_and_only_ever_move_back(
    instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    settings = workspace.settings
    assert first_partition(settings) == DEFAULT
    assert discover(workspace).pending == []
    start_partitions(instance, workspace)
    assert first_day_moved_at(settings.home) == 0
    newer = put(landing, "2026-05-03.json", [order("A")])
    put(landing, "2009-12-31.json", [order("too old")])
    put(landing, "2026-05-09.json", [order("B")])
    discover(workspace)
    assert first_partition(settings) == DEFAULT
    start_partitions(instance, workspace)
    assert first_partition(settings) == "2026-05-03"
    moved_at = first_day_moved_at(settings.home)
    (landing / newer).unlink()
    put(landing, "2026-05-04.json", [order("C")])
    discover(workspace)
    start_partitions(instance, workspace)
    assert (first_partition(settings), first_day_moved_at(settings.home)) == ("2026-05-03", moved_at)
    put(landing, "2026-04-30.json", [order("D")])
    discover(workspace, dates=(date(2026, 4, 30), date(2026, 4, 30)))
    assert first_partition(settings) == "2026-04-30"
    assert first_day_moved_at(settings.home) > moved_at
    assert first_day(settings.model_copy(update={"first_date": date(2026, 5, 1)})) == date(2026, 5, 1)


def busy_with_a_run(instance: dg.DagsterInstance) -> Callable[[], None]:
    @dg.job(name="sync_replenit_orders")
    def somewhere() -> None: ...

    run = instance.create_run_for_job(somewhere, status=dg.DagsterRunStatus.STARTED)
    return lambda: instance.report_run_failed(run) and None


def busy_with_a_backfill(instance: dg.DagsterInstance) -> Callable[[], None]:
    waiting = PartitionBackfill("one", BulkActionStatus.REQUESTED, from_failure=False, tags={}, backfill_timestamp=0.0)
    instance.add_backfill(waiting)
    return lambda: instance.update_backfill(waiting._replace(status=BulkActionStatus.COMPLETED_SUCCESS))


@pytest.mark.parametrize("busy", [busy_with_a_run, busy_with_a_backfill])
def test_partitions_stay_as_they_are_while_days_may_wait_that_nobody_has_seen(
    instance: dg.DagsterInstance,
    workspace: Workspace,
    landing: Path,
    busy: Callable[[dg.DagsterInstance], Callable[[], None]],
) -> None:
    complete = busy(instance)
    put(landing, "2026-05-06.json", [order("A")])
    discover(workspace)
    start_partitions(instance, workspace)
    assert first_partition(workspace.settings) == DEFAULT
    complete()
    start_partitions(instance, workspace)
    assert first_partition(workspace.settings) == "2026-05-06"


def test_a_state_folder_without_its_first_day_asks_the_ledger(
    instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    settings = workspace.settings
    gone = put(landing, "2026-05-03.json", [order("A")])
    discover(workspace)
    start_partitions(instance, workspace)
    (landing / gone).unlink()
    (settings.home / "first_day").write_text("nonsense")
    assert first_day(settings) == settings.first_date
    start_partitions(instance, workspace)
    assert first_day(settings) == date(2026, 5, 3)
