"""The instance in PostgreSQL: one `dagster.yaml`, no secret handed around, runs of the command line recorded there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._serdes import serialize_value

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.orchestration import private_dagster
from sync_pipelines.orchestration.dagster_names import DEFINITIONS
from sync_pipelines.orchestration.instance import dagster_home, limit_pools
from sync_pipelines.orchestration.private_dagster import BATCH_SIZE_VARIABLE, BatchingEventLog
from sync_pipelines.orchestration.runs import run_pending
from sync_pipelines.orchestration.storage import SyncStorage
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import TABLE, Watching, files


def test_dagster_keeps_its_tables_beside_ours(postgres_instance: dg.DagsterInstance, workspace: Workspace) -> None:
    assert isinstance(postgres_instance.get_ref().storage, SyncStorage)
    with workspace.connection() as connection:
        rows = connection.execute(
            "select schemaname from pg_tables where tablename in ('runs', 'event_logs')"
        ).fetchall()
    assert rows == [("public",), ("public",)]


def test_no_address_is_handed_from_process_to_process(
    postgres_instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    handed = serialize_value(postgres_instance.get_ref())
    assert "postgresql" not in handed
    assert workspace.database.place.split()[-1] not in handed


def test_the_home_is_ours_unless_the_user_named_one(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    home = dagster_home(settings)
    assert home == settings.home / "dagster"
    (home / "dagster.yaml").write_text("of an earlier version")
    assert "SyncStorage" in (dagster_home(settings) / "dagster.yaml").read_text()
    monkeypatch.setenv("DAGSTER_HOME", "/elsewhere")
    assert dagster_home(settings) == Path("/elsewhere")


def test_pools_are_limited(postgres_instance: dg.DagsterInstance) -> None:
    limit_pools(postgres_instance, STREAMS)
    info = postgres_instance.event_log_storage.get_concurrency_info("replenit_orders")
    assert info.slot_count == 1


def test_runs_of_the_command_line_are_recorded(
    postgres_instance: dg.DagsterInstance, workspace: Workspace, landing: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    put(landing, "2010-12-02.json", "not json")
    put(landing, "2010-12-05.json", [order("B")])
    watching = Watching()
    run_pending(workspace, export_stages.discover(workspace).pending, watching)
    assert {name: status for name, (status, *_) in files(workspace).items()} == {
        "2010-12-01.json": "loaded",
        "2010-12-02.json": "failed",
        "2010-12-05.json": "loaded",
    }
    runs = {run.tags.get("dagster/partition", "range"): run.status for run in postgres_instance.get_runs()}
    assert runs == {"range": dg.DagsterRunStatus.FAILURE, "2010-12-05": dg.DagsterRunStatus.SUCCESS}
    stored = postgres_instance.event_log_storage.get_materialized_partitions(TABLE)
    assert stored == {"2010-12-01", "2010-12-05"}
    # By these the UI's Timeline, Jobs and re-execution find them; no daemon launches one again beside a sync.
    origins = {run.remote_job_origin.location_name for run in postgres_instance.get_runs() if run.remote_job_origin}
    assert origins == {code_location()}
    assert len(of_location(postgres_instance, code_location())) == 2
    assert {run.tags.get("dagster/will_retry", "false") for run in postgres_instance.get_runs()} == {"false"}
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == ""


def code_location() -> str:
    """What the workspace of `up` and `dagster dev` calls it."""
    text = (Path(private_dagster.__file__).with_name("workspace.yaml")).read_text()
    (place,) = (place["python_module"] for place in yaml.safe_load(text)["load_from"])
    assert place["module_name"] == DEFINITIONS
    return str(place["location_name"])


def test_runs_of_the_command_line_belong_to_the_code_location_whose_sensors_ticked_last(
    postgres_instance: dg.DagsterInstance, workspace: Workspace, landing: Path
) -> None:
    for location, ticked_at in (("one", 1.0), ("sync_pipelines.definitions", 3.0), ("sync_pipelines", 2.0)):
        remember_tick(postgres_instance, location, ticked_at)
    put(landing, "2010-12-01.json", [order("A")])
    run_pending(workspace, export_stages.discover(workspace).pending, Watching())
    assert len(of_location(postgres_instance, "sync_pipelines.definitions")) == 1


def of_location(instance: dg.DagsterInstance, location: str) -> Sequence[dg.DagsterRun]:
    """The runs that the UI lists for a code location."""
    return instance.get_runs(dg.RunsFilter(tags={".dagster/repository": f"__repository__@{location}"}))


def remember_tick(instance: dg.DagsterInstance, location: str, ticked_at: float) -> None:
    """What Dagster's daemon stores of a sensor at each of its ticks."""
    target = LoadableTargetOrigin(module_name=DEFINITIONS)
    repository = RemoteRepositoryOrigin(ManagedGrpcPythonEnvCodeLocationOrigin(target, location), "__repository__")
    origin = repository.get_instigator_origin("replenit_orders_arrivals")
    data = SensorInstigatorData(last_tick_start_timestamp=ticked_at)
    instance.add_instigator_state(
        InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE, data)
    )


def test_events_of_one_moment_are_listed_one_by_one(
    postgres_instance: dg.DagsterInstance, workspace: Workspace, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 31):
        put(landing, f"2010-12-{day:02d}.json", [order(f"A{day}")])
    monkeypatch.setenv(BATCH_SIZE_VARIABLE, "500")
    run_pending(workspace, export_stages.discover(workspace).pending, Watching())
    records = postgres_instance.fetch_materializations(TABLE, limit=100).records
    assert len({int(record.timestamp * 1000) for record in records}) == len(records) == 30
    by_storage = [record.timestamp for record in sorted(records, key=lambda record: record.storage_id)]
    assert by_storage == sorted(by_storage)


def storage_of(instance: dg.DagsterInstance) -> SyncStorage:
    storage = instance.get_ref().storage
    assert isinstance(storage, SyncStorage)
    return storage


def test_a_table_that_is_there_is_looked_for_once(
    postgres_instance: dg.DagsterInstance, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = storage_of(postgres_instance).event_log_storage
    assert isinstance(log, BatchingEventLog)
    assert not log.has_table("later")
    with workspace.connection() as connection:
        connection.execute("create table public.later (one int)")
        assert log.has_table("later") and not log.tables.have("later", "one", "two")
        connection.execute("alter table public.later add two int")
    assert log.tables.have("later", "one", "two")
    monkeypatch.setattr(log.tables, "_engine", None)
    assert log.has_table("later") and log.tables.have("later", "two")


def test_the_state_of_sensors_is_asked_for_and_nothing_else(postgres_instance: dg.DagsterInstance) -> None:
    asked: list[str] = []
    assert postgres_instance.all_instigator_state() == []
    sa.event.listen(
        vars(postgres_instance.schedule_storage)["_engine"],
        "before_cursor_execute",
        lambda *given: asked.append(given[2]),
    )
    assert postgres_instance.all_instigator_state() == []
    assert [statement.split()[1] for statement in asked] == ["instigators.instigator_body"]


def test_a_connection_that_was_cut_while_it_was_kept_is_made_anew(
    postgres_instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    storage = storage_of(postgres_instance)
    assert storage.run_storage.get_runs_count() == 0
    with workspace.connection() as connection:
        (cut,) = connection.execute(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchone() or (0,)
    assert cut > 0
    time.sleep(0.1)
    assert storage.run_storage.get_runs_count() == 0


def test_an_event_is_written_though_the_server_goes_away_over_it(
    postgres_instance: dg.DagsterInstance, workspace: Workspace
) -> None:
    cut: list[str] = []

    def cut_once(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("NOTIFY") and not cut:
            cut.append(statement)
            with workspace.connection() as other:
                other.execute("select pg_terminate_backend(%s)", [cursor.connection.info.backend_pid])

    log = postgres_instance.event_log_storage
    assert isinstance(log, BatchingEventLog)
    sa.event.listen(log._engine, "before_cursor_execute", cut_once)
    postgres_instance.report_engine_event("said", job_name="one", run_id="run-1")
    assert cut and {event.message for event in postgres_instance.all_logs("run-1")} == {"said"}
