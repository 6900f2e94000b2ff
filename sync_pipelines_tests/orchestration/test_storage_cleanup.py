"""Housekeeping in Dagster's storage: old runs and ticks go, what tells of partitions and checks stays."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from sync_pipelines.commands import housekeeping as command
from sync_pipelines.orchestration.check_runs import CHECK_JOB
from sync_pipelines.orchestration.check_steps import check_keys
from sync_pipelines.orchestration.storage_cleanup import HOUSEKEEPING, tidy
from sync_pipelines.partners import STREAMS
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import TABLE, days, run

LATER = datetime.now(UTC) + timedelta(days=91)


@dg.job
def another_project() -> None:
    @dg.op
    def works() -> None: ...

    works()


@pytest.fixture(params=["ephemeral", "postgres"])
def either(request: pytest.FixtureRequest) -> dg.DagsterInstance:
    name = "instance" if request.param == "ephemeral" else "postgres_instance"
    found: dg.DagsterInstance = request.getfixturevalue(name)
    return found


def events(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    return {
        entry.dagster_event.event_type_value for entry in instance.all_logs(run_id) if entry.dagster_event is not None
    }


def test_materializations_stay_and_the_events_of_steps_go(
    definitions: dg.Definitions, either: dg.DagsterInstance, landing: Path, workspace: Workspace
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", "not json")
    failed = run(definitions, either, days(1, 2))
    young = run(definitions, either, {"dagster/partition": "2010-12-03"})
    assert tidy(workspace, either, STREAMS).counts["events"] == 0

    done = tidy(workspace, either, STREAMS, LATER)

    assert done.counts["runs"] == 0
    assert done.counts["events"] > 20
    assert either.event_log_storage.get_materialized_partitions(TABLE) == {"2010-12-01", "2010-12-03"}
    assert either.event_log_storage.get_latest_asset_check_execution_by_key(check_keys([ORDERS]))
    left = events(either, failed.run_id)
    assert {"ASSET_MATERIALIZATION", "ASSET_MATERIALIZATION_PLANNED", "PIPELINE_FAILURE"} <= left
    assert "STEP_START" not in left
    assert either.get_run_by_id(failed.run_id) is not None
    latest = either.get_latest_materialization_event(TABLE)
    assert latest is not None and latest.run_id == young.run_id
    assert tidy(workspace, either, STREAMS, LATER).counts["events"] == 0


def test_runs_that_tell_nothing_of_an_asset_go_but_the_latest_checks_stay(
    definitions: dg.Definitions, either: dg.DagsterInstance, workspace: Workspace
) -> None:
    job = definitions.resolve_job_def(CHECK_JOB)
    older, latest = (job.execute_in_process(instance=either).run_id for _ in range(2))
    kept = definitions.resolve_job_def(HOUSEKEEPING).execute_in_process(instance=either).run_id
    of_others = another_project.execute_in_process(instance=either)
    assert tidy(workspace, either, STREAMS, LATER).counts["runs"] == 2
    assert either.get_run_by_id(older) is None
    assert either.get_run_by_id(kept) is None
    assert "STEP_START" in events(either, of_others.run_id), "runs of another project in the deployment stay whole"
    assert either.get_run_by_id(latest) is not None
    assert len(either.event_log_storage.get_latest_asset_check_execution_by_key(check_keys([ORDERS]))) == 9


def test_unfinished_runs_stay(either: dg.DagsterInstance, definitions: dg.Definitions, workspace: Workspace) -> None:
    job = definitions.resolve_job_def(CHECK_JOB)
    waiting = either.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert tidy(workspace, either, STREAMS, LATER).counts["runs"] == 0
    assert either.get_run_by_id(waiting.run_id) is not None


def test_what_old_runs_printed_goes(
    instance: dg.DagsterInstance, definitions: dg.Definitions, workspace: Workspace
) -> None:
    job = definitions.resolve_job_def(CHECK_JOB)
    waiting = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED).run_id
    storage = workspace.settings.logs / "runs" / "storage"
    for name in (waiting, "of-a-run-that-is-gone"):
        (storage / name / "compute_logs").mkdir(parents=True)
        (storage / name / "compute_logs" / "x.out").write_text("12345")
    assert tidy(workspace, instance, STREAMS).counts["run_logs"] == 0
    done = tidy(workspace, instance, STREAMS, LATER)
    assert (done.counts["run_logs"], done.bytes["run_logs_bytes"]) == (1, 5)
    assert [path.name for path in storage.iterdir()] == [waiting]


def test_old_ticks_of_a_sensor_that_is_gone_go_too(postgres_instance: dg.DagsterInstance, workspace: Workspace) -> None:
    target = LoadableTargetOrigin(module_name="gone")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(loadable_target_origin=target, location_name="gone")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "renamed_sensor")
    postgres_instance.add_instigator_state(
        InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
    )
    now = datetime.now(UTC)
    for status, age in ((TickStatus.SKIPPED, 3), (TickStatus.SKIPPED, 1), (TickStatus.SUCCESS, 3)):
        postgres_instance.create_tick(
            TickData(
                origin.get_id(), "renamed_sensor", InstigatorType.SENSOR, status,
                (now - timedelta(days=age)).timestamp(), run_ids=[], selector_id=origin.get_selector().get_id(),
            )
        )  # fmt: skip
    assert tidy(workspace, postgres_instance, STREAMS).counts["ticks"] == 1
    assert tidy(workspace, postgres_instance, STREAMS).counts["ticks"] == 0


def test_the_job_tells_what_it_removed(
    definitions: dg.Definitions, instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    left = workspace.settings.archive / "tmp" / "half"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    result = definitions.resolve_job_def(HOUSEKEEPING).execute_in_process(instance=instance)
    (told,) = [e.step_output_data.metadata for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    numbers = {name: value.value for name, value in told.items()}
    assert numbers["unfinished"] == 1
    assert set(numbers) >= {
        "runs",
        "events",
        "ticks",
        "raw",
        "raw_bytes",
        "objects",
        "merged",
        "merged_bytes",
        "logs",
        "run_logs",
    }


def test_the_command_does_the_same(
    postgres_instance: dg.DagsterInstance, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(as_json=False) == 0
    printed = capsys.readouterr().out
    for name in tidy(workspace, postgres_instance, STREAMS).counts:
        assert f"\n{name} " in printed
    assert command.run(as_json=True) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["raw"] == 0
