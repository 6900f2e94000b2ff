"""`SYNC_PLAIN_DAGSTER_STORAGE`: a sync with Dagster's own storage, unchanged. What is masked stays masked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage

from sync_pipelines.database.postgres import Database
from sync_pipelines.orchestration.instance import limit_pools, open_instance
from sync_pipelines.orchestration.masked_events import mask_stored
from sync_pipelines.orchestration.private_dagster import plain_storage
from sync_pipelines.orchestration.storage import SyncStorage
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.commands.conftest import call
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import TABLE
from sync_pipelines_tests.orchestration.test_storage_schema import Prepare, prepared

__all__ = ["call", "prepared"]

ADDRESS = "maria.quintero@example.org"


@pytest.fixture
def plain(workspace: Workspace, call: Call, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("SYNC_PLAIN_DAGSTER_STORAGE", "1")
    with open_instance(workspace.settings) as instance:
        yield instance


def test_a_sync_is_recorded_in_dagsters_own_storage(
    plain: dg.DagsterInstance, call: Call, landing: Path, workspace: Workspace
) -> None:
    storage = plain.get_ref().storage
    assert storage is not None
    assert (type(storage), type(storage.event_log_storage), type(storage.run_storage)) == (
        DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage,
    )  # fmt: skip
    put(landing, "2010-12-01.json", [order("A", CustomerEmail=ADDRESS)])
    put(landing, "2010-12-02.json", "[{")
    assert call("sync").status == 4
    (run,) = plain.get_runs()
    assert run.status == dg.DagsterRunStatus.FAILURE
    assert plain.event_log_storage.get_materialized_partitions(TABLE) == {"2010-12-01"}
    attempts = plain.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations
    assert set(attempts(TABLE)) == {"2010-12-02"}
    limit_pools(plain, STREAMS)
    assert call("housekeeping").status == 0
    with workspace.connection() as connection:
        assert connection.execute("select count(*) from sync.live_orders").fetchone() == (1,)
        stored = connection.execute("select string_agg(event, ' ') from public.event_logs").fetchone()
    assert stored is not None and ADDRESS not in stored[0]


def test_what_was_stored_in_clear_is_masked_there_too(plain: dg.DagsterInstance, workspace: Workspace) -> None:
    plain.report_engine_event(f"asked {ADDRESS}", job_name="one", run_id="run-1")
    assert mask_stored(workspace, plain, STREAMS)["masked_events"] == 1
    assert [event.message for event in plain.all_logs("run-1")] == ["asked m***@example.org"]


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("as_web_server", [False, True])
def test_an_error_names_no_value_of_its_statement(database: Database, is_plain: bool, as_web_server: bool) -> None:
    storage = plain_storage(database.dagster_url, None) if is_plain else SyncStorage(database.dagster_url)
    if as_web_server:
        storage.event_log_storage.optimize_for_webserver(1_000, 60, 1)
    engine: sa.Engine = storage.event_log_storage._engine  # type: ignore[attr-defined]
    with pytest.raises(sa.exc.DataError) as caught, engine.connect() as connection:
        connection.execute(sa.text("select 1 / 0 where :address <> ''"), {"address": ADDRESS})
    assert ADDRESS not in str(caught.value) and "division by zero" in str(caught.value)
    engine.dispose()


def test_dagsters_tables_are_made_in_a_schema_that_the_user_may_write_to(prepared: Prepare) -> None:
    database = prepared()
    for _ in range(2):
        storage = plain_storage(database.dagster_url, None)
        assert storage.run_storage.get_runs_count() == 0
    with database.connect() as connection:
        found = connection.execute("select schemaname from pg_tables where tablename = 'event_logs'").fetchall()
    assert found == [("dagster",)]
