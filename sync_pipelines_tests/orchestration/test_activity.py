"""Runs whose process was killed, events that are written together, pools: what the instance knows of runs at work."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.tags import HIDDEN_TAG_PREFIX, PARENT_RUN_ID_TAG

from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.activity import INSTALLATION_TAG, bury_orphans, installation_tags
from sync_pipelines.orchestration.private_dagster import BATCH_SIZE_VARIABLE, BatchingEventLog
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.run_files import installation_id, is_held
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import TABLE, days, holding, materialized, run


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    @dg.job(name="sync_replenit_orders")
    def somewhere() -> None: ...

    return instance.create_run_for_job(somewhere, status=dg.DagsterRunStatus.STARTED)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.status


def test_a_run_whose_file_is_gone_fails(instance: dg.DagsterInstance, workspace: Workspace) -> None:
    orphan = started(instance)
    instance.add_run_tags(orphan.run_id, installation_tags(workspace.settings.home, orphan.run_id))
    assert bury_orphans(instance, workspace) == 1
    assert status(instance, orphan.run_id) == dg.DagsterRunStatus.FAILURE


def test_a_run_lives_as_long_as_a_process_of_any_container_holds_its_file(
    instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    home, run = workspace.settings.home, started(instance)
    instance.add_run_tags(run.run_id, installation_tags(home, run.run_id))
    with holding(home, run.run_id) as process:
        assert bury_orphans(instance, workspace) == 0
        process.kill()
        process.wait()
        assert bury_orphans(instance, workspace) == 1
    assert status(instance, run.run_id) == dg.DagsterRunStatus.FAILURE
    assert not any((home / "runs").iterdir())


def test_a_run_whose_steps_are_processes_lives_between_them(instance: dg.DagsterInstance, workspace: Workspace) -> None:
    home, run = workspace.settings.home, started(instance)
    instance.add_run_tags(run.run_id, installation_tags(home, run.run_id))
    with holding(home, run.run_id) as first, holding(home, run.run_id) as second:
        for process in (first, second):
            assert bury_orphans(instance, workspace) == 0
            process.kill()
            process.wait()
    starting = dg.DagsterEventType.STEP_WORKER_STARTING.value
    event = dg.DagsterEvent(starting, job_name="sync", message="", event_specific_data=EngineEventData())
    instance.report_dagster_event(event, run.run_id)
    assert bury_orphans(instance, workspace) == 0
    assert status(instance, run.run_id) == dg.DagsterRunStatus.STARTED


def test_children_of_a_killed_process_do_not_keep_its_run_alive(
    instance: dg.DagsterInstance, workspace: Workspace, tmp_path: Path
) -> None:
    home, run = workspace.settings.home, started(instance)
    instance.add_run_tags(run.run_id, installation_tags(home, run.run_id))
    starts_another = "child = __import__('subprocess').Popen(['sleep', '60']); print(child.pid, flush=True)"
    with holding(home, run.run_id, starts_another) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            assert bury_orphans(instance, workspace) == 1
        finally:
            os.kill(child, signal.SIGKILL)


def test_runs_of_a_container_of_the_same_hostname_are_left_alone(
    instance: dg.DagsterInstance, workspace: Workspace, tmp_path: Path
) -> None:
    """Its state folder is another; whether its runs are alive cannot be seen from here."""
    run, other_home = started(instance), tmp_path / "other"
    installation_tags(workspace.settings.home, run.run_id)
    instance.add_run_tags(run.run_id, installation_tags(other_home, run.run_id))
    assert bury_orphans(instance, workspace) == 0
    assert status(instance, run.run_id) == dg.DagsterRunStatus.STARTED


def test_the_retry_of_such_a_run_carries_its_tag_and_lives(instance: dg.DagsterInstance, workspace: Workspace) -> None:
    before, retry = started(instance), started(instance)
    tags = installation_tags(workspace.settings.home, before.run_id)
    instance.add_run_tags(retry.run_id, {**tags, PARENT_RUN_ID_TAG: before.run_id})
    assert bury_orphans(instance, workspace) == 0
    assert status(instance, retry.run_id) == dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize("tag", ["", "nonsense", "/{run_id}", "{installation}", "{installation}/"])
def test_runs_with_no_tag_or_another(instance: dg.DagsterInstance, workspace: Workspace, tag: str) -> None:
    other, installation = started(instance), installation_id(workspace.settings.home)
    if tag:
        given = tag.format(run_id=other.run_id, installation=installation)
        instance.add_run_tags(other.run_id, {INSTALLATION_TAG: given})
    assert bury_orphans(instance, workspace) == 0


def test_a_run_of_the_daemon_notes_where_it_is_at_work(
    postgres_instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    done = run(build_definitions(workspace.settings), postgres_instance, {"dagster/partition": "2010-12-01"})
    assert done.success
    noted = postgres_instance.get_run_by_id(done.run_id)
    assert noted is not None
    tags = installation_tags(workspace.settings.home, done.run_id)
    assert noted.tags.items() >= tags.items()
    assert INSTALLATION_TAG.startswith(HIDDEN_TAG_PREFIX), "Dagster does not show it"
    # Until the process ends: Dagster notes the end of a run when its resources are gone.
    assert is_held(workspace.settings.home, done.run_id)
    # The queue counts it against the stream's pool, whoever launched it.
    assert noted.run_op_concurrency is not None
    assert noted.run_op_concurrency.all_pools == {"replenit_orders"}


def test_a_failed_day_among_many_written_together_is_shown_as_failed(
    definitions: dg.Definitions,
    postgres_instance: dg.DagsterInstance,
    workspace: Workspace,
    landing: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert int(os.environ[BATCH_SIZE_VARIABLE]) > 100
    together: list[int] = []
    store = BatchingEventLog._store_together

    def counted(log: BatchingEventLog, events: list[EventLogEntry]) -> None:
        together.append(len(events))
        store(log, events)

    monkeypatch.setattr(BatchingEventLog, "_store_together", counted)
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", "[{")
    put(landing, "2010-12-04.json", [order("B")])
    done = run(definitions, postgres_instance, days(1, 5))
    assert not done.success
    assert together == [5 * 3 + 6], "each day of each asset, and the checks of the stream"
    assert set(materialized(postgres_instance, done)) == {"2010-12-01", "2010-12-03", "2010-12-04", "2010-12-05"}
    log = postgres_instance.event_log_storage
    assert set(log.get_latest_asset_partition_materialization_attempts_without_materializations(TABLE)) == {
        "2010-12-02"
    }
    with workspace.connection() as connection:
        planned = connection.execute(
            "select asset_key, count(distinct partition) from public.event_logs"
            " where dagster_event_type = 'ASSET_MATERIALIZATION_PLANNED' group by 1"
        ).fetchall()
    assert sorted(count for _, count in planned) == [5, 5, 5]
