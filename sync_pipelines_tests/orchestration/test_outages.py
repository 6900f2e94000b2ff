"""Runs whose database or landing goes away: they wait and begin their step again, or are launched again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import sqlalchemy as sa
from dagster._core.storage.tags import RETRY_ON_ASSET_OR_OP_FAILURE_TAG

from sync_pipelines.database import ledger, reports
from sync_pipelines.database.embedded import EmbeddedServer
from sync_pipelines.errors import DatabaseUnavailable, LandingUnavailable, SyncError
from sync_pipelines.orchestration import outages
from sync_pipelines.orchestration.checks import ACCOUNTING
from sync_pipelines.orchestration.resources import Unobserved
from sync_pipelines.orchestration.runs import run_pending
from sync_pipelines.orchestration.storage import SyncStorage
from sync_pipelines.orchestration.storage_engine import connect_patiently
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines_tests.exports_in import order, put
from sync_pipelines_tests.orchestration.acting import days, run

DAY = {"dagster/partition": "2010-12-01"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_PAUSE_SECONDS", 0.01)


class Away:
    """A function that fails a number of times before it does what it did."""

    def __init__(self, real: Any, fault: BaseException, times: int) -> None:
        self.real, self.fault, self.left = real, fault, times

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.fault
        return self.real(*arguments, **options)


def wants_retry(instance: dg.DagsterInstance, done: dg.ExecuteInProcessResult) -> bool:
    noted = instance.get_run_by_id(done.run_id)
    assert noted is not None
    return noted.tags.get(RETRY_ON_ASSET_OR_OP_FAILURE_TAG) == "true"


def fault(kind: type[SyncError]) -> SyncError:
    return kind("away", "it went away", "wait")


@pytest.mark.parametrize(
    "away", [fault(DatabaseUnavailable), sa.exc.OperationalError("select 1", {}, Exception("server closed"))]
)
@pytest.mark.parametrize("function", ["discover", "load_export"])
def test_a_step_begins_again_when_the_database_is_back(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    workspace: Workspace,
    landing: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    away: Exception,
) -> None:
    for day in (1, 2):
        put(landing, f"2010-12-0{day}.json", [order("A"), order(str(day))])
    failing = Away(getattr(export_stages, function), away, 2)
    monkeypatch.setattr(export_stages, function, failing)
    done = run(definitions, instance, days(1, 2))
    assert done.success
    assert failing.left == 0
    with workspace.connection() as connection:
        assert connection.execute("select distinct status from sync.export_files").fetchall() == [("loaded",)]
        assert connection.execute("select count(*) from sync.live_orders").fetchone() == (3,)


def test_checks_begin_again_too(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    failing = Away(reports.accounting, fault(DatabaseUnavailable), 1)
    monkeypatch.setattr(reports, "accounting", failing)
    done = run(definitions, instance, DAY)
    assert done.success
    assert failing.left == 0
    assert [e.check_name for e in done.get_asset_check_evaluations()].count(ACCOUNTING.name) == 1


@pytest.mark.parametrize("kind", [DatabaseUnavailable, LandingUnavailable])
def test_a_run_that_waited_in_vain_is_launched_again(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    landing: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[SyncError],
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    monkeypatch.setattr(export_stages, "discover", Away(export_stages.discover, fault(kind), 100))
    done = run(definitions, instance, DAY)
    assert not done.success
    assert wants_retry(instance, done)


def test_a_file_that_failed_is_no_reason_to_launch_the_run_again(
    definitions: dg.Definitions, instance: dg.DagsterInstance, landing: Path
) -> None:
    put(landing, "2010-12-01.json", "[{")
    assert not wants_retry(instance, run(definitions, instance, DAY))


@pytest.mark.parametrize("stage", ["archive_and_keep", "load"])
def test_a_server_that_ends_in_the_midst_of_a_file_does_not_fail_the_file(
    workspace: Workspace, landing: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    (entry,) = export_stages.discover(workspace).pending

    def ended(first: Any, second: Any, *_: Any, **__: Any) -> None:
        connection = first if isinstance(first, psycopg.Connection) else second
        connection.execute("select pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(export_stages, stage, ended)
    with pytest.raises(DatabaseUnavailable):
        export_stages.load_export(workspace, entry.id)
    with workspace.connection() as connection:
        found = ledger.find(connection, entry.id)
    assert found is not None
    assert (found.status, found.error) == ("pending", None)


@pytest.fixture(params=["own", "own" * 30], ids=["short path", "long path"])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path / request.param)
    server.home.mkdir()
    server.start()
    yield server
    server.stop()


def test_dagster_waits_for_a_server_that_is_started_again(
    own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_HOME", str(own_server.home))
    storage = SyncStorage.from_config_value(None, {})
    assert storage.run_storage.get_runs() == []
    own_server.stop()
    again = threading.Timer(1.5, own_server.start)
    again.start()
    begun = time.monotonic()
    assert storage.run_storage.get_runs() == []
    assert time.monotonic() - begun > 1
    again.join()


def test_a_server_that_refuses_is_not_waited_for(own_server: EmbeddedServer) -> None:
    engine = sa.create_engine("postgresql+psycopg2://postgres@/nowhere?" + own_server.url.split("?", 1)[1])
    sa.event.listen(engine, "do_connect", connect_patiently)
    begun = time.monotonic()
    with pytest.raises(sa.exc.OperationalError, match="nowhere"):
        engine.connect()
    assert time.monotonic() - begun < 5


def test_the_command_line_is_told_at_once(workspace: Workspace, landing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(landing, "2010-12-01.json", [order("A")])
    monkeypatch.setenv("SYNC_HOME", str(workspace.settings.home))
    monkeypatch.setenv("SYNC_DATABASE_URL", workspace.database.url)
    pending = export_stages.discover(workspace).pending
    failing = Away(export_stages.load_export, fault(DatabaseUnavailable), 5)
    monkeypatch.setattr(export_stages, "load_export", failing)
    with pytest.raises(DatabaseUnavailable):
        run_pending(workspace, pending, Unobserved())
    assert failing.left == 4
