"""A preview: loads exports in one transaction that is rolled back, to show the result.

Every file of a preview is loaded in the same transaction, so each sees the results of the earlier ones, and its counts
are those of the later load. Archived and normalized data stays; everything else is rolled back.

Belongs here: the transaction and what is read within it. Does not belong here: what a load does
(`upsert.load`), layout (`commands`, `orchestration`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.postgres import is_away
from sync_pipelines.errors import DatabaseUnavailable, SyncError
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.column_checks import check_columns
from sync_pipelines.stages.display_rows import Difference, differences
from sync_pipelines.stages.repair import repairing
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.upsert.guards import ExportHeld
from sync_pipelines.upsert.load import load
from sync_pipelines.upsert.locks import locks_of, take_locks

Report = Callable[[str, LedgerFile], object]
"""Is called with a stage and the file that has completed it."""


@dataclass(frozen=True)
class Preview:
    """The result of a load while its transaction is open.

    Attributes:
        workspace: the sync's.
        connection: inside the transaction: it sees the tables and the ledger after the load.
        run_id: the run id in the rows.
        entries: the files in the given order, with the status, counts and error that a load would give them.
    """

    workspace: Workspace
    connection: psycopg.Connection[Any]
    run_id: str
    entries: list[LedgerFile]

    def differences(self, stream: Stream, limit: int) -> list[Difference]:
        """Returns rows of a stream as they are and as they would be, at most `limit` of each file."""
        with self.workspace.connection() as stored:
            return differences(self.connection, stored, stream, self.run_id, limit)


def in_load_order(entries: Iterable[LedgerFile]) -> list[LedgerFile]:
    """Returns entries in the order of a sync: by stream in the registry's order, then by version."""
    places = {(stream.partner, stream.name): place for place, stream in enumerate(STREAMS)}
    return sorted(entries, key=lambda entry: (places[entry.partner, entry.stream], entry.version))


@contextmanager
def preview(workspace: Workspace, entries: Sequence[LedgerFile], report: Report | None = None) -> Iterator[Preview]:
    """Loads pending or failed entries, yields the result, and rolls everything back.

    A file's error is in its entry here and not in the ledger. The locks of all files are held to the end: a sync of the
    same tenants waits for it.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    reported = report or (lambda stage, entry: None)
    prepared = [prepare(workspace, entry.id, report=reported) for entry in in_load_order(entries)]
    run_id = f"preview-{uuid.uuid4()}"
    with workspace.connection() as connection, connection.transaction(force_rollback=True):
        take_locks(connection, _locks(workspace, prepared))
        done = []
        for entry in prepared:
            loaded = _load(workspace, connection, entry, run_id) if entry.status == "pending" else entry
            reported("rows", loaded)
            done.append(loaded)
        yield Preview(workspace, connection, run_id, done)


def prepare(
    workspace: Workspace, file_id: int, *, normalizes: bool = True, report: Report = lambda stage, entry: None
) -> LedgerFile:
    """Archives and normalizes a file that is not loaded. An error is in the returned entry, not in the ledger."""
    with workspace.connection() as connection:
        entry = ledger.entry_of(connection, file_id)
        try:
            export_stages.archive(workspace, connection, entry)
            entry = ledger.entry_of(connection, file_id)
            report("exports", _pending(entry))
            if normalizes:
                export_stages.keep_records(workspace, connection, entry)
                entry = ledger.entry_of(connection, file_id)
                report("records", _pending(entry))
        except Exception as error:
            return _failed(workspace, connection, entry, error)
        return _pending(entry)


def _locks(workspace: Workspace, entries: Iterable[LedgerFile]) -> set[str]:
    """Returns the locks of every load: taken together, in the order that all loads use, to avoid deadlocks."""
    names: set[str] = set()
    for entry in entries:
        if entry.status == "pending" and entry.kept is not None:
            kept = KeptRecords(workspace.settings.archive, entry.kept)
            names |= locks_of(export_stages.stream_of(entry), entry.tenant, [kept])
    return names


def _load(workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, run_id: str) -> LedgerFile:
    def loaded() -> LedgerFile:
        with connection.transaction():
            ledger_changes.mark_pending(connection, entry.id)
            stream, archive = export_stages.stream_of(entry), workspace.settings.archive
            settings = workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream)
            check_columns(connection, stream, settings, entry, archive)
            load(connection, stream, entry.id, archive, run_id, keeps_copy=False, guards=settings.guards)
            drop_temporary(connection)
            return ledger.entry_of(connection, entry.id)

    try:
        return repairing(workspace, loaded)
    except ExportHeld as held:
        return replace(entry, status="held", error=str(held), held=held.held)
    except Exception as error:
        return _failed(workspace, connection, entry, error)


def drop_temporary(connection: psycopg.Connection[Any]) -> None:
    """Drops temporary tables: a load expects them to go with the commit; here the next file comes before it."""
    tables = connection.execute(
        "select relname from pg_class where relnamespace = pg_my_temp_schema() and relkind = 'r'"
    ).fetchall()
    for (name,) in tables:
        connection.execute(SQL("drop table {}").format(Identifier("pg_temp", name)))


def _pending(entry: LedgerFile) -> LedgerFile:
    return entry if entry.status in ("loaded", "withdrawn") else replace(entry, status="pending", error=None)


def _failed(
    workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, error: Exception
) -> LedgerFile:
    """Returns the entry as a load would leave it. Errors that stop everything are raised."""
    if isinstance(error, DatabaseUnavailable) or (isinstance(error, psycopg.Error) and is_away(connection, error)):
        raise error
    failure = error if isinstance(error, SyncError) else export_stages.unforeseen(workspace, f"file-{entry.id}", error)
    return replace(entry, status="failed", error=str(failure))
