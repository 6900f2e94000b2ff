"""Runs whose process is gone, events that are written together, pools: what the instance knows of runs at work."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.tags import PARENT_RUN_ID_TAG

from sync_pipelines.definitions import build_definitions
from sync_pipelines.orchestration.activity import PROCESS_TAG, bury_orphans, process_tags, this_process
from sync_pipelines.orchestration.storage import BATCH_SIZE_VARIABLE, SyncEventLog
from sync_pipelines.sync import Workspace
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import TABLE, days, materialized, run


def gone(run_id: str) -> dict[str, str]:
    """The tag of a run whose process on this host does not exist."""
    return {PROCESS_TAG: f"{this_process().rsplit('/', 2)[0]}/999999999/1.00/{run_id}"}


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    @dg.job(name="sync_replenit_orders")
    def somewhere() -> None: ...

    return instance.create_run_for_job(somewhere, status=dg.DagsterRunStatus.STARTED)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.status


def test_a_run_whose_process_is_gone_fails(instance: dg.DagsterInstance) -> None:
    orphan = started(instance)
    instance.add_run_tags(orphan.run_id, gone(orphan.run_id))
    assert bury_orphans(instance) == 1
    assert status(instance, orphan.run_id) == dg.DagsterRunStatus.FAILURE


def test_the_retry_of_such_a_run_carries_its_tag_and_lives(instance: dg.DagsterInstance) -> None:
    retry = started(instance)
    instance.add_run_tags(retry.run_id, {**gone("the-run-before"), PARENT_RUN_ID_TAG: "the-run-before"})
    assert bury_orphans(instance) == 0
    assert status(instance, retry.run_id) == dg.DagsterRunStatus.STARTED


@pytest.mark.parametrize("tag", ["", "elsewhere/1/1.00/{run_id}", "nonsense", "{host}/x/y/{run_id}"])
def test_runs_of_other_hosts_and_without_a_process(instance: dg.DagsterInstance, tag: str) -> None:
    other = started(instance)
    if tag:
        host = this_process().rsplit("/", 2)[0]
        instance.add_run_tags(other.run_id, {PROCESS_TAG: tag.format(run_id=other.run_id, host=host)})
    assert bury_orphans(instance) == 0


def test_a_run_of_the_daemon_notes_its_process(
    postgres_instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    done = run(build_definitions(workspace.settings), postgres_instance, {"dagster/partition": "2010-12-01"})
    assert done.success
    noted = postgres_instance.get_run_by_id(done.run_id)
    assert noted is not None
    assert noted.tags[PROCESS_TAG] == process_tags(done.run_id)[PROCESS_TAG]
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
    store = SyncEventLog._store_together

    def counted(log: SyncEventLog, events: list[EventLogEntry]) -> None:
        together.append(len(events))
        store(log, events)

    monkeypatch.setattr(SyncEventLog, "_store_together", counted)
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", "[{")
    put(landing, "2010-12-04.json", [order("B")])
    done = run(definitions, postgres_instance, days(1, 5))
    assert not done.success
    assert together == [5 * 3 + 5], "each day of each asset, and the checks"
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
