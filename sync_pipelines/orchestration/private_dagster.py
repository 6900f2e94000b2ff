"""Every use of undocumented parts of Dagster. An upgrade of Dagster has to be checked here, and nowhere else.

`sync_pipelines_tests/orchestration/test_private_dagster.py` compares each name and signature with the installed
Dagster, so an upgrade that changes one fails with its name. Dagster is pinned below the next minor version.

Belongs here: imports from `dagster._*` and of classes of `dagster_postgres`, methods and attributes that are not
public, names of Dagster's tables. Does not belong here: what the project does with them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, PIPELINE_EVENTS, DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.remote_representation.grpc_server_registry import GrpcServerRegistry, ServerRegistryEntry
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.tags import MAX_RETRIES_TAG, RETRY_ON_ASSET_OR_OP_FAILURE_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.utils import make_new_run_id
from dagster._serdes import ConfigurableClassData as StorageData
from dagster_postgres import (
    DagsterPostgresStorage,
    PostgresEventLogStorage,
    PostgresRunStorage,
    PostgresScheduleStorage,
)
from dagster_postgres.utils import DagsterPostgresException

from sync_pipelines.orchestration.storage_engine import Tables, build_storage_engine, connect_impatiently
from sync_pipelines.orchestration.storage_schema import make_dagster_schema, with_dagster_schema

__all__ = [
    "FINISHED_STATUSES",
    "MAX_RETRIES_TAG",
    "NOT_FINISHED_STATUSES",
    "RETRY_ON_ASSET_OR_OP_FAILURE_TAG",
    "DagsterPostgresException",
    "DagsterPostgresStorage",
    "LocalComputeLogManager",
    "StorageData",
    "make_new_run_id",
]

BATCH_SIZE_VARIABLE: Final = "DAGSTER_EVENT_BATCH_SIZE"
"""Dagster hands events to its storage in batches of this size."""

NO_COMPUTE_LOGS: Final = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}
"""An instance's override: the output of runs goes to the output of the process."""

TELLING_EVENTS: Final = frozenset(kind.value for kind in ASSET_EVENTS)
"""Events with the status of an asset's partitions; failed ones are planned and not materialized."""

KEPT_EVENTS: Final = TELLING_EVENTS | {kind.value for kind in ASSET_CHECK_EVENTS | PIPELINE_EVENTS}
"""Those, and events with the status of a check or a run. All others belong to a step of a run."""

EVENTS: Final = SqlEventLogStorageTable
"""Dagster's table of events, with the columns `run_id` and `dagster_event_type`."""

STORED_DOCUMENTS: Final[Mapping[str, str]] = {
    "event_logs": "event",
    "asset_keys": "last_materialization",
    "asset_check_executions": "evaluation_event",
    "runs": "run_body",
    "job_ticks": "tick_body",
}
"""Dagster's tables with values of the project in JSON: table -> column. Each has a column `id`."""

STORED_TEXTS: Final[Mapping[str, str]] = {"run_tags": "value", "asset_event_tags": "value"}
"""Dagster's tables with such values as plain text: table -> column. Each has a column `id`."""

_TABLES: Final = {"runs", "instance_info", "event_logs", "jobs"}
"""The tables whose existence Dagster checks."""
_ANSWERS: Final = 20
_PLANNED: Final = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}
_LISTED: Final = {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION}
"""Events that the UI lists on an asset's page."""

# The same values as in dagster-webserver: limits for slow queries and idle connections.
_STATEMENT_MILLISECONDS: Final = 15_000
_RECYCLE_SECONDS: Final = 3600
_MORE_CONNECTIONS: Final = 20
_POLL_MILLISECONDS: Final = 2000


class BatchingEventLog(PostgresEventLogStorage):
    """Events in PostgreSQL. Planned events of a run are written together, as Dagster writes those that end a day.

    Each day keeps an event of its own, so a failed day is shown as failed. Events that the UI lists have timestamps at
    least a millisecond apart: it shows those of one asset and millisecond as one.

    Relies on: `store_event`, `store_event_batch`, `has_table`, `_has_asset_key_col_on_connection` being what Dagster
    calls; `_connect`, `_engine`, `_store_asset_event`, `prepare_insert_event_batch`, `store_asset_check_event` and
    `index_transaction` doing what they do when it writes a batch itself.
    """

    def store_event(self, event: EventLogEntry) -> None:
        """Writes an event as Dagster does, and again if the connection was lost.

        The step's work is done; without the event its run would fail. The event may be stored twice.
        """
        event = self._spaced(event)
        try:
            super().store_event(event)
        except sa.exc.OperationalError:
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Writes planned events in one statement, all others as Dagster does."""
        planned, others = list[EventLogEntry](), list[EventLogEntry]()
        for event in events:
            (planned if event.get_dagster_event().event_type in _PLANNED else others).append(event)
        if planned:
            self._store_together(planned)
        if others:
            super().store_event_batch([self._spaced(event) for event in others])

    @cached_property
    def tables(self) -> Tables:
        """Those of the database."""
        return Tables(self._engine)

    def has_table(self, table_name: str) -> bool:
        """Returns whether a table exists."""
        return self.tables.have(table_name)

    @cached_property
    def _last_listed(self) -> dict[dg.AssetKey | None, int]:
        """The millisecond of the last event of each asset."""
        return {}

    def _spaced(self, event: EventLogEntry) -> EventLogEntry:
        if event.dagster_event_type not in _LISTED:
            return event
        asset_key = event.get_dagster_event().asset_key
        moment = max(int(event.timestamp * 1000), self._last_listed.get(asset_key, 0) + 1)
        self._last_listed[asset_key] = moment
        # In the middle of the millisecond, so that rounding does not change the millisecond.
        return event._replace(timestamp=(moment + 0.5) / 1000)

    def _has_asset_key_col_on_connection(self, conn: Any, column_name: str) -> bool:
        return self.tables.have("asset_keys", column_name)

    def hurry(self) -> None:
        """Stops waiting for a server that is down. Runs and schedules share the engine."""
        connect_impatiently(self._engine)

    def dispose(self) -> None:
        """Closes the pooled connections."""
        super().dispose()
        self._engine.dispose()

    def _store_together(self, events: list[EventLogEntry]) -> None:
        statement = self.prepare_insert_event_batch(events).returning(sa.column("id"))
        with self._connect() as connection:
            ids = sorted(int(row[0]) for row in connection.execute(statement))
        last: dict[Any, tuple[EventLogEntry, int]] = {}
        for event, number in zip(events, ids, strict=True):
            if event.dagster_event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                self.store_asset_check_event(event, number)
            elif asset_key := event.get_dagster_event().asset_key:
                last[asset_key] = event, number
        with self.index_transaction() as connection:
            # Dagster stores the last event of an asset with the asset, too.
            for event, number in last.values():
                self._store_asset_event(connection, event, number)


class _Runs(PostgresRunStorage):
    """Runs in PostgreSQL.

    Relies on: Dagster asking `has_run_stats_index_cols` and `has_backfill_id_column` before nearly every statement.
    """

    @cached_property
    def tables(self) -> Tables:
        """Those of the database."""
        return Tables(self._engine)

    def has_run_stats_index_cols(self) -> bool:
        """Returns whether the columns of a run's times exist."""
        return self.tables.have("runs", "start_time", "end_time")

    def has_backfill_id_column(self) -> bool:
        """Returns whether the column of a run's backfill exists."""
        return self.tables.have("runs", "backfill_id")


class _Schedules(PostgresScheduleStorage):
    """Sensors, schedules and their ticks in PostgreSQL.

    Relies on: Dagster asking `has_instigators_table`, `_has_instigators_table` and `has_built_index` before nearly
    every statement, half a dozen times a tick. It never drops a table or reverts a migration.
    """

    @cached_property
    def tables(self) -> Tables:
        """Those of the database."""
        return Tables(self._engine)

    @cached_property
    def built(self) -> set[str]:
        """Migrations that are known to be complete."""
        return set()

    def has_instigators_table(self) -> bool:
        """Returns whether the table of sensors and schedules exists."""
        return self.tables.have("instigators")

    def _has_instigators_table(self, conn: Any) -> bool:
        return self.has_instigators_table()

    def has_built_index(self, migration_name: str) -> bool:
        """Returns whether a migration is complete. A positive answer is cached, a negative one is not."""
        if migration_name not in self.built and super().has_built_index(migration_name):
            self.built.add(migration_name)
        return migration_name in self.built


class BatchingStorage(DagsterPostgresStorage):
    """Dagster's storage in PostgreSQL, with one pool of connections.

    Connections are reused: Dagster would open one or two for every event. It waits while the server is down.

    Relies on: the attributes `_run_storage`, `_event_log_storage` and `_schedule_storage` being the parts, and
    `_engine` of a part being the source of its connections.
    """

    def __init__(self, postgres_url: str, inst_data: StorageData | None = None) -> None:
        postgres_url = with_dagster_schema(postgres_url)
        engine = build_storage_engine(postgres_url)
        # Otherwise each part would look for its tables, over a connection of its own.
        tables = Tables(engine)
        if not (is_set_up := all(map(tables.have, _TABLES))):
            make_dagster_schema(engine)
        super().__init__(postgres_url, should_autocreate_tables=not is_set_up, inst_data=inst_data)
        self._run_storage = _Runs(postgres_url, self.should_autocreate_tables)
        self._event_log_storage = BatchingEventLog(postgres_url, self.should_autocreate_tables)
        self._schedule_storage = _Schedules(postgres_url, self.should_autocreate_tables)
        for part in (self._event_log_storage, self._run_storage, self._schedule_storage):
            part._engine = engine
            part.tables = tables


def plain_storage(url: str, inst_data: StorageData | None) -> DagsterPostgresStorage:
    """Returns Dagster's own storage, unchanged; only its address sets the schema of its tables."""
    url = with_dagster_schema(url)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    make_dagster_schema(engine)
    engine.dispose()
    return DagsterPostgresStorage(url, inst_data=inst_data)


def open_instance_of(home: Path, overrides: Mapping[str, Any]) -> dg.DagsterInstance:
    """Returns the instance of a home's `dagster.yaml`, with some of its keys replaced."""
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=dict(overrides)))


def hurry(instance: dg.DagsterInstance) -> None:
    """Stops an instance's storage from waiting for a server that is down."""
    if isinstance(instance.event_log_storage, BatchingEventLog):
        instance.event_log_storage.hurry()


def add_run_tags(instance: dg.DagsterInstance, run_id: str, tags: Mapping[str, str]) -> None:
    """Adds tags to a run."""
    instance.add_run_tags(run_id, dict(tags))


def record_runs_in(instance: dg.DagsterInstance, module: str, location: str, sensors: Collection[str]) -> None:
    """Records the runs of this process as runs of a code location: the UI lists and re-executes only those.

    Relies on: `JobDefinition.execute_in_process` calling the instance's `create_run_for_job`.

    Args:
        instance: where the runs are recorded.
        module: the module with the definitions.
        location: the name of the code location, if none of the sensors has ticked.
        sensors: names of its sensors. The code location in which one of them ticked last is used.
    """
    origin, create = _ticked_last(instance, sensors) or _repository_in(module, location), instance.create_run_for_job

    def create_there(job_def: dg.JobDefinition, **given: Any) -> dg.DagsterRun:
        return create(job_def=job_def, remote_job_origin=origin.get_job_origin(job_def.name), **given)

    instance.create_run_for_job = create_there  # type: ignore[assignment, method-assign]


def _ticked_last(instance: dg.DagsterInstance, sensors: Collection[str]) -> RemoteRepositoryOrigin | None:
    ticks = [
        (data.last_tick_start_timestamp or 0.0, state.origin.repository_origin)
        for state in instance.all_instigator_state()
        if state.instigator_name in sensors and isinstance(data := state.instigator_data, SensorInstigatorData)
    ]
    return max(ticks, key=lambda tick: tick[0])[1] if ticks else None


def _repository_in(module: str, location: str) -> RemoteRepositoryOrigin:
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=module)
    code_location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location)
    return RemoteRepositoryOrigin(code_location, SINGLETON_REPOSITORY_NAME)


def fail_run(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Marks a run as failed, with a message for its page."""
    instance.report_run_failed(run, message)


def has_backfills(instance: dg.DagsterInstance) -> bool:
    """Returns whether a backfill still launches runs."""
    return bool(instance.get_backfills(status=BulkActionStatus.REQUESTED, limit=1))


def limit_pool(instance: dg.DagsterInstance, pool: str, slots: int) -> None:
    """Sets how many runs of a pool can be in progress at the same time."""
    instance.event_log_storage.set_concurrency_slots(pool, slots)


def latest_check_runs(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> frozenset[str]:
    """Returns the ids of the runs with the latest result of a check."""
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return frozenset(record.run_id for record in latest.values())


def has_event(instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType) -> bool:
    """Returns whether a run has an event of a kind."""
    return bool(instance.get_records_for_run(run_id, of_type=kind, limit=1).records)


def checks_of_run(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckEvaluation]:
    """Returns the results of the checks of a run."""
    kind = DagsterEventType.ASSET_CHECK_EVALUATION
    events = (record.event_log_entry for record in instance.get_records_for_run(run_id, of_type=kind).records)
    return [event.get_dagster_event().asset_check_evaluation_data for event in events]


def check_before(instance: dg.DagsterInstance, key: dg.AssetCheckKey, run_id: str) -> dg.AssetCheckEvaluation | None:
    """Returns the result of a check before that of a run; None if there is none."""
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=_ANSWERS)
    runs = [record.run_id for record in history]
    earlier = history[runs.index(run_id) + 1 :] if run_id in runs else []
    answers = (record.evaluation for record in earlier)
    return next((answer for answer in answers if isinstance(answer, dg.AssetCheckEvaluation)), None)


def has_sql_storage(instance: dg.DagsterInstance) -> bool:
    """Returns whether an instance keeps its events in a SQL database."""
    return isinstance(instance.event_log_storage, SqlEventLogStorage)


def storage_connection(instance: dg.DagsterInstance) -> AbstractContextManager[sa.Connection]:
    """Returns a connection to the database of an instance that `has_sql_storage`, for a `with` block."""
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    return storage.index_connection()


def purge_ticks(instance: dg.DagsterInstance, now: datetime) -> int:
    """Deletes old ticks by the retention of `dagster.yaml`, including those of removed sensors and schedules.

    Returns:
        How many.
    """
    storage, removed = instance.schedule_storage, 0
    if storage is None:
        return 0
    for state in instance.all_instigator_state():
        for status, days in instance.get_tick_retention_settings(state.instigator_type).items():
            if days > 0:
                before = (now - timedelta(days=days)).timestamp()
                origin, selector = state.instigator_origin_id, state.selector_id
                removed += len(storage.get_ticks(origin, selector, before=before, statuses=[status]))
                storage.purge_ticks(origin, selector, before, [status])
    return removed


@contextmanager
def web_app(
    workspaces: Iterable[str], *, read_only: bool, lifespan: Callable[[Any], Any]
) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Creates Dagster's web app for the instance in `DAGSTER_HOME`, as the command `dagster-webserver` does.

    Args:
        workspaces: paths of workspace files.
        read_only: whether the app rejects every mutation.
        lifespan: a Starlette lifespan, which runs from the start to the end of the app.

    Yields:
        The app, and a function that loads the definitions again.
    """
    import logging

    from dagster._cli.utils import get_instance_for_cli
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._utils.interrupts import setup_interrupt_handlers
    from dagster._utils.log import configure_loggers
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.version import __version__

    configure_loggers(log_level="INFO")
    setup_interrupt_handlers()
    with get_instance_for_cli(logger=logging.getLogger("dagster-webserver")) as instance:
        instance.optimize_for_webserver(_STATEMENT_MILLISECONDS, _RECYCLE_SECONDS, _MORE_CONNECTIONS)
        target = WorkspaceFileTarget(paths=list(workspaces))
        with WorkspaceProcessContext(
            instance, version=__version__, read_only=read_only, workspace_load_target=target
        ) as context:
            app = create_app_from_workspace_process_context(context, "", _POLL_MILLISECONDS, lifespan=lifespan)
            yield app, context.reload_workspace


@dataclass(frozen=True)
class CodeServer:
    """A code server of the daemon.

    Attributes:
        is_alive: whether it started, and has not ended.
        started_at: seconds since the epoch.
    """

    is_alive: bool
    started_at: float


def code_servers(registry: Any) -> list[CodeServer]:
    """Returns the code servers that a daemon's registry has started, including those that failed to start."""
    return [
        CodeServer(entry.process.server_process.poll() is None, entry.creation_timestamp)
        if isinstance(entry, ServerRegistryEntry)
        else CodeServer(False, 0.0)
        for entry in list(registry._active_entries.values())
    ]


def keep_code_servers(keeps: Callable[[Any], bool]) -> None:
    """Makes Dagster's daemon keep its code servers, which it would replace every minute.

    Args:
        keeps: gets the registry of the code servers; returns whether they are kept.
    """
    replace_all: Callable[[GrpcServerRegistry], None] = GrpcServerRegistry.clear_all_grpc_endpoints

    def replace_spent(registry: GrpcServerRegistry) -> None:
        if not keeps(registry):
            replace_all(registry)

    GrpcServerRegistry.clear_all_grpc_endpoints = replace_spent  # type: ignore[method-assign]


def run_daemon(keeps_code_servers: Callable[[Any], bool]) -> None:
    """Runs Dagster's daemon with the arguments of this process, see `keep_code_servers`."""
    # Importing it takes a second, which other processes need not spend.
    from dagster._daemon.cli import main

    keep_code_servers(keeps_code_servers)
    main()
