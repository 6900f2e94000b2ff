"""Checks as Dagster runs them: after a materialization, alone, and after a run that failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.orchestration.alerts import failed_files
from sync_pipelines.orchestration.check_steps import check_keys
from sync_pipelines.orchestration.dagster_names import table_key
from sync_pipelines.partners import STREAMS
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.exports_in import put
from sync_pipelines_tests.loading import order
from sync_pipelines_tests.orchestration.acting import days, run


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_every_check_is_evaluated_after_a_materialization(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A"), order("B", Currency="XXXX")])
    result = run(definitions, instance, days(1, 1))
    answers = result.get_asset_check_evaluations()
    found = [(e.asset_check_key.to_user_string(), e.passed, e.severity.value) for e in answers]
    assert sorted(found) == [
        ("replenit/orders:accounting_balances", True, "ERROR"),
        ("replenit/orders:no_open_rejects", False, "WARN"),
        ("replenit/orders:nothing_is_held", True, "ERROR"),
        ("replenit/orders:nothing_is_misplaced", True, "WARN"),
        ("replenit/orders:rows_equal_archive", True, "WARN"),
        ("replenit/orders:yesterday_is_loaded", False, "WARN"),
        ("tables/customers:keys_and_references", True, "ERROR"),
        ("tables/customers:placeholders_are_defined", True, "WARN"),
        ("tables/orders:customers_are_not_deleted", True, "WARN"),
        ("tables/orders:keys_and_references", True, "ERROR"),
        ("tables/orders:totals_match_items", True, "WARN"),
    ]
    # The UI shows a check's answer where its run materialized the asset.
    tables = [table_key("orders"), table_key("customers")]
    assert all(instance.get_latest_materialization_events(tables).values())
    told = evaluations(result)
    rejects = told["no_open_rejects"].metadata
    assert rejects["open"].value == 1
    assert "rejects list" in str(rejects["what_to_do"].value)
    assert told["no_open_rejects"].description == "1 rejected record open."


def test_the_accounting_is_checked(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    assert evaluations(run(definitions, instance, days(1, 1)))["accounting_balances"].passed
    with workspace.connection() as connection:
        connection.execute("alter table sync.export_files drop constraint export_files_accounting_check")
        connection.execute("update sync.export_files set read = 5")
    failed = evaluations(run(definitions, instance, days(1, 1)))["accounting_balances"]
    assert not failed.passed
    assert failed.severity == dg.AssetCheckSeverity.ERROR


def check_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, asked: dg.RunRequest | None = None
) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def("sync_check_tables")
    if asked is not None:
        repository = definitions.get_repository_def()
        job = repository.get_job("sync_check_tables").get_subset(
            asset_check_selection=set(asked.asset_check_keys or ())
        )
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_checks_run_alone_on_every_table(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    result = check_alone(definitions, instance)
    assert result.success
    assert len(result.get_asset_check_evaluations()) == len(check_keys(STREAMS))


def test_one_check_runs_alone(definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path) -> None:
    key = dg.AssetCheckKey(table_key("orders"), "totals_match_items")
    result = check_alone(definitions, instance, dg.RunRequest(asset_check_keys=[key]))
    assert [evaluation.asset_check_key for evaluation in result.get_asset_check_evaluations()] == [key]


@pytest.fixture
def status_tick(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> Callable[[str, str | None], dg.SensorResult | Any]:
    """One evaluation of a sensor of run statuses, as the daemon makes it."""

    def tick(name: str, cursor: str | None) -> Any:
        repository = definitions.get_repository_def()
        sensor = repository.get_sensor_def(name)
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, repository_def=repository, resources=dict(definitions.resources or {})
        )
        with context:
            return sensor.evaluate_tick(context)

    return tick


def test_the_checks_that_a_failed_run_left_out_are_made_up_for(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    landing: Path,
    workspace: Workspace,
    status_tick: Callable[[str, str | None], Any],
) -> None:
    cursor = status_tick("sync_checks_after_failure", None).cursor
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", "not json")
    failed = run(definitions, instance, days(1, 2))
    assert not failed.success
    assert evaluations(failed) == {}

    tick = status_tick("sync_checks_after_failure", cursor)

    (asked,) = tick.run_requests
    assert asked.run_key == failed.run_id
    told = evaluations(check_alone(definitions, instance, asked))
    assert set(told) == {key.name for key in check_keys([ORDERS])}
    assert told["accounting_balances"].passed
    assert told["accounting_balances"].metadata["failed"].value == 1
    assert len(failed_files(workspace, [ORDERS], failed.run_id)) == 1


def test_a_run_of_checks_that_fails_asks_for_no_other(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    workspace: Workspace,
    status_tick: Callable[[str, str | None], Any],
) -> None:
    cursor = status_tick("sync_checks_after_failure", None).cursor
    with workspace.connection() as connection:
        connection.execute("alter table sync.rejected_records rename to elsewhere")
    assert not check_alone(definitions, instance).success
    tick = status_tick("sync_checks_after_failure", cursor)
    assert not tick.run_requests
    assert "was not to load a table" in tick.skip_message
