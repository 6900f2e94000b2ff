"""Runs over some days: what is materialized, with which metadata, and what a failed day does to the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sync_pipelines.orchestration.dagster_names import STAGES, Stage, asset_key, job_name
from sync_pipelines.orchestration.jobs import run_config
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import Workspace, discover
from sync_pipelines_tests.exports_in import OTHER, TENANT, order, put
from sync_pipelines_tests.orchestration.acting import TABLE, Watching, days, files, materialized, run


def orders(workspace: Workspace) -> list[Any]:
    with workspace.connection() as connection:
        rows = connection.execute("select external_id from sync.live_orders order by 1").fetchall()
    return [key for (key,) in rows]


def test_each_day_is_materialized_with_its_own_numbers(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace, watching: Watching
) -> None:
    put(landing, "2010-12-01.json", [order("A"), order("B"), order("C", Currency="XXXX", TotalRevenue="x")])
    put(landing, "2010-12-03.json", [order("A"), order("A", TotalRevenue=12)])
    result = run(definitions, instance, days(1, 4))
    assert result.success
    assert orders(workspace) == ["A", "B"]
    told = materialized(instance, result)
    assert {day: (m["read"], m["created"], m["updated"], m["rejected"]) for day, m in told.items()} == {
        "2010-12-01": (3, 2, 0, 1),
        "2010-12-02": (0, 0, 0, 0),
        "2010-12-03": (2, 0, 1, 0),
        "2010-12-04": (0, 0, 0, 0),
    }
    (row,) = told["2010-12-01"]["rejected_by_code"].records
    assert row.data["code"] == "not_a_number"
    assert "at 3" in row.data["for example"]
    assert row.data["also wrong in it"].startswith("currency_unknown Currency: 'XXXX'")
    assert told["2010-12-04"]["dagster/row_count"] == 2
    assert set(materialized(instance, result, asset_key("exports", ORDERS))) == set(told)
    assert watching.seen == [(what, f"2010-12-{day}.json") for day in ("01", "03") for what in ("started", "rows")]


def test_a_failed_day_leaves_the_others_materialized(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", "not json")
    put(landing, "2010-12-03.json", [order("B")])
    result = run(definitions, instance, days(1, 3))
    assert not result.success
    assert set(materialized(instance, result)) == {"2010-12-01", "2010-12-03"}
    assert orders(workspace) == ["A", "B"]
    (failure,) = [e for e in result.all_events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    message = failure.step_failure_data.error.message  # type: ignore[union-attr]
    assert "1 of 3 days" in message and "2010-12-02" in message and "not_json" in message
    status = instance.event_log_storage
    assert status.get_materialized_partitions(TABLE) == {"2010-12-01", "2010-12-03"}


def test_a_day_set_right_runs_alone(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-02.json", "not json")
    assert not run(definitions, instance, days(1, 3)).success
    put(landing, "2010-12-02.json", [order("A")], age=30)
    assert run(definitions, instance, {"dagster/partition": "2010-12-02"}).success
    assert orders(workspace) == ["A"]


def test_a_bad_file_that_was_taken_away_keeps_its_day_no_longer(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    path = put(landing, "2010-12-01_bad.json", "not json")
    only_due = run_config(ORDERS, only_due=True)
    assert not run(definitions, instance, days(1, 1), only_due).success
    (landing / path).unlink()
    put(landing, "2010-12-01.json", [order("A")])
    assert run(definitions, instance, days(1, 1), only_due).success
    assert orders(workspace) == ["A"]


def test_each_file_is_tried_once_a_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json.gz", b"\x1f\x8bnothing")
    put(landing, "2010-12-02.json", "[{")
    for attempts in (1, 2):
        assert not run(definitions, instance, days(1, 2)).success
        assert {tried for _, tried, _ in files(workspace).values()} == {attempts}


def test_the_table_alone_tries_failed_files_again(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", "[{")
    assert not run(definitions, instance, days(1, 1)).success
    again = dg.materialize(
        list(definitions.get_repository_def().assets_defs_by_key.values()),
        selection=[TABLE],
        instance=instance,
        partition_key="2010-12-01",
        raise_on_error=False,
    )
    assert not again.success


@pytest.mark.parametrize(
    ("chosen", "states"),
    [
        (["exports"], [("pending", True, False)]),
        (["exports", "records"], [("pending", True, True)]),
        (["exports", "rows"], [("loaded", True, True)]),
        (["records"], [("pending", False, False)]),
        (["rows"], [("pending", False, False)]),
    ],
)
def test_assets_that_are_not_selected_are_left_alone(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    landing: Path,
    workspace: Workspace,
    chosen: list[Stage],
    states: list[tuple[str, bool, bool]],
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    discover(workspace)
    done = materialize(definitions, instance, chosen)
    assert done.success
    with workspace.connection() as connection:
        found = connection.execute("select status, sha256 is not null, kept is not null from sync.export_files")
        assert found.fetchall() == states
    made = {stage for stage in STAGES if materialized(instance, done, asset_key(stage, ORDERS))}
    assert made == set(chosen)


def test_assets_materialized_one_after_the_other_load_what_a_run_of_all_loads(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A"), order("B")])
    for stage in STAGES:
        assert materialize(definitions, instance, [stage]).success
    assert orders(workspace) == ["A", "B"]


def materialize(
    definitions: dg.Definitions, instance: dg.DagsterInstance, stages: Sequence[Stage]
) -> dg.ExecuteInProcessResult:
    """Materializes some assets of orders for the first day, as the UI does."""
    job = definitions.resolve_job_def(job_name(ORDERS))
    return job.execute_in_process(
        instance=instance,
        partition_key="2010-12-01",
        asset_selection=[asset_key(stage, ORDERS) for stage in stages],
        raise_on_error=False,
    )


def test_a_run_of_some_tenants(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-01.json", [order("B")], tenant=OTHER)
    config = run_config(ORDERS, tenants=[TENANT.upper()])
    assert run(definitions, instance, days(1, 1), config).success
    assert orders(workspace) == ["A"]


def test_a_wrong_configuration_is_refused_before_the_run(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="tenant"):
        run(definitions, instance, days(1, 1), run_config(ORDERS, tenant=TENANT))
