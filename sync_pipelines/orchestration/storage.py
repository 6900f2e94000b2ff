"""Dagster's own storage: in the project's database, beside schema `sync`, and under the project's state folder.

`dagster.yaml` names these classes instead of addresses, so that one file serves the embedded PostgreSQL and a given
one, and no password gets into what Dagster hands from process to process. What makes runs of many days cheap is here
too, because every process that opens the instance loads these classes: `up`, the command line, runs, a production
daemon.

Belongs here: where Dagster keeps things, and how it writes them. Does not belong here: the tables of schema `sync`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import psycopg2
import sqlalchemy as sa
from dagster._core.events import DagsterEventType
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage, PostgresEventLogStorage, PostgresRunStorage

from sync_pipelines.database import open_database
from sync_pipelines.orchestration.storage_schema import make_dagster_schema, with_dagster_schema
from sync_pipelines.private_files import keep_files_private
from sync_pipelines.redaction import without_statements
from sync_pipelines.settings import load_settings

BATCH_SIZE_VARIABLE: Final = "DAGSTER_EVENT_BATCH_SIZE"
_BATCH_SIZE: Final = "500"
_PATIENCE_SECONDS: Final = 10.0
"""For one connection; Dagster itself tries six times before it gives up."""
_PAUSE_SECONDS: Final = 0.5
_TABLES: Final = {"runs", "instance_info", "event_logs", "jobs"}
"""Of Dagster's tables those that it looks for."""
_PLANNED: Final = {DagsterEventType.ASSET_MATERIALIZATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED}
_COLUMNS: Final = sa.text(
    "select c.relname::text, array_agg(a.attname::text) from pg_class c join pg_attribute a on a.attrelid = c.oid"
    " where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 group by 1"
)
_STARTING: Final = "the database system is"
_POOL: Final[dict[str, Any]] = {"pool_size": 2, "max_overflow": 30, "pool_recycle": 600}
"""Writing a materialization takes two connections at once."""
_FRESH_SECONDS: Final = 0.05
"""After which a kept connection is asked whether its server is still there: events come in bursts."""


class _Tables:
    """The tables that are there, with their columns. Dagster asks before nearly every statement; nothing ever goes.

    Args:
        engine: of the database.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._columns: dict[str, list[str]] = {}

    def have(self, table: str, *columns: str) -> bool:
        """Whether a table is there with some columns; asked until it is."""
        if not self._known(table, columns):
            with self._engine.connect() as connection:
                self._columns = {name: found for name, found in connection.execute(_COLUMNS)}
        return self._known(table, columns)

    def _known(self, table: str, columns: Sequence[str]) -> bool:
        return table in self._columns and set(columns) <= {*self._columns[table]}


class SyncEventLog(PostgresEventLogStorage):
    """Events in PostgreSQL; those that plan a run are written together, as Dagster does with those that end its days.

    A day keeps an event of its own, so a day that failed is shown as failed.
    """

    def store_event(self, event: EventLogEntry) -> None:
        """Writes an event as Dagster does, once more where the server went away over it.

        What a step did is done, and its run would fail for want of a line that says so. It may stand there twice.
        """
        try:
            super().store_event(event)
        except sa.exc.OperationalError:
            super().store_event(event)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Writes what is planned in one statement, everything else as Dagster does."""
        planned, others = list[EventLogEntry](), list[EventLogEntry]()
        for event in events:
            (planned if event.get_dagster_event().event_type in _PLANNED else others).append(event)
        if planned:
            self._store_together(planned)
        if others:
            super().store_event_batch(others)

    @cached_property
    def tables(self) -> _Tables:
        """Those of the database."""
        return _Tables(self._engine)

    def has_table(self, table_name: str) -> bool:
        """Whether a table is there."""
        return self.tables.have(table_name)

    def _has_asset_key_col_on_connection(self, conn: Any, column_name: str) -> bool:
        return self.tables.have("asset_keys", column_name)

    def hurry(self) -> None:
        """Waits for no server from here on, for somebody who is told at once; runs and schedules share the engine."""
        sa.event.remove(self._engine, "do_connect", connect_patiently)

    def dispose(self) -> None:
        """Closes the connections that are kept."""
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
            # Dagster keeps the last event of an asset beside it.
            for event, number in last.values():
                self._store_asset_event(connection, event, number)


class SyncRuns(PostgresRunStorage):
    """Runs in PostgreSQL."""

    @cached_property
    def tables(self) -> _Tables:
        """Those of the database."""
        return _Tables(self._engine)

    def has_run_stats_index_cols(self) -> bool:
        """Whether the columns of a run's times are there."""
        return self.tables.have("runs", "start_time", "end_time")

    def has_backfill_id_column(self) -> bool:
        """Whether the column of a run's backfill is there."""
        return self.tables.have("runs", "backfill_id")


def connect_patiently(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connects, for some seconds again and again while the server is away or starts; as SQLAlchemy's `do_connect`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except psycopg2.OperationalError as error:
            refused = "FATAL" in str(error) and _STARTING not in str(error)
            if refused or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_SECONDS)


def _look_after_pauses(engine: sa.Engine) -> None:
    """Has connections that were kept a while tried before they are used."""

    def note(connection: Any, record: Any) -> None:
        record.info["kept_since"] = time.monotonic()

    def look(connection: Any, record: Any, proxy: Any) -> None:
        if time.monotonic() - record.info.get("kept_since", time.monotonic()) > _FRESH_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except psycopg2.Error as fault:
                raise sa.exc.InvalidatePoolError from fault

    sa.event.listen(engine, "checkin", note)
    sa.event.listen(engine, "checkout", look)


class SyncStorage(DagsterPostgresStorage):
    """Runs, events and schedules in the database of the settings.

    Connections are kept for the next statement: Dagster would open one, or two, for every event.
    A server that is away is waited for a while.
    """

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        postgres_url = with_dagster_schema(postgres_url)
        engine = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT", hide_parameters=True, **_POOL)
        without_statements(engine)
        sa.event.listen(engine, "do_connect", connect_patiently)
        _look_after_pauses(engine)
        # Each part would look for its tables, over a connection of its own.
        tables = _Tables(engine)
        if not (is_set_up := all(map(tables.have, _TABLES))):
            make_dagster_schema(engine)
        super().__init__(postgres_url, should_autocreate_tables=not is_set_up, inst_data=inst_data)
        self._run_storage = SyncRuns(postgres_url, self.should_autocreate_tables)
        self._event_log_storage = SyncEventLog(postgres_url, self.should_autocreate_tables)
        for part in (self._event_log_storage, self._run_storage, self._schedule_storage):
            part._engine = engine
        self._event_log_storage.tables = self._run_storage.tables = tables

    @classmethod
    def config_type(cls) -> Any:
        """Nothing is configured here."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SyncStorage:
        """The storage of this process's settings; events that belong together are written together from here on."""
        os.environ.setdefault(BATCH_SIZE_VARIABLE, _BATCH_SIZE)
        keep_files_private()
        return cls(open_database(load_settings()).dagster_url, inst_data=inst_data)


class SyncComputeLogs(LocalComputeLogManager):
    """What runs print, under `SYNC_HOME`; without this, `dagster dev` keeps it in a folder it deletes on exit."""

    @classmethod
    def config_type(cls) -> Any:
        """Nothing is configured here."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SyncComputeLogs:
        """The logs of this process's settings."""
        return cls(base_dir=str(load_settings().logs / "runs"), inst_data=inst_data)
