"""Undo and redo: withdraws loaded exports, and loads withdrawn ones again, for Dagster and the command line alike.

Belongs here: which exports may be withdrawn, the decision in the ledger, what a person sees of the result. Does not
belong here: what changes in the tables (`upsert.withdrawal`), layout (`commands`, `orchestration`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from sync_pipelines.command_line import typed
from sync_pipelines.corrections.withdrawn_exports import Redoing, locked, withdraw
from sync_pipelines.database import decisions, ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.ledger_copies import keep_copy
from sync_pipelines.errors import SyncError
from sync_pipelines.stages.display_rows import TableChanges, changes_of_rows
from sync_pipelines.stages.export_stages import load_export
from sync_pipelines.stages.repair import repairing
from sync_pipelines.stages.workspace import Workspace

log = logging.getLogger(__name__)

LOCK_SECONDS: Final = 10
"""How long an undo waits for a load of the same tenants."""
ROWS_SHOWN: Final = 1_000
"""Changed rows of each table that are compared in detail."""


@dataclass(frozen=True)
class Decided:
    """Who decided, and why.

    Attributes:
        reason: in the person's own words.
        decided_by: the user of the command line, or the Dagster run.
        run_id: the run id for written rows.
    """

    reason: str
    decided_by: str
    run_id: str | None = None


@dataclass(frozen=True)
class Undone:
    """The result of an undo, or of its preview.

    Attributes:
        entries: the exports as they are afterwards, in version order.
        tables: what changes in each main table.
        rejects: rejected records of the exports, which are withdrawn too.
        reopened: rejected records of other exports that are open again.
    """

    entries: list[LedgerFile]
    tables: list[TableChanges]
    rejects: int
    reopened: int


def undo(workspace: Workspace, file_ids: Sequence[int], decided: Decided, *, is_preview: bool = False) -> Undone:
    """Withdraws loaded exports in one transaction; with `is_preview`, rolls it back.

    Args:
        workspace: the sync's workspace.
        file_ids: ids of ledger entries.
        decided: who decided, and why.
        is_preview: whether to change nothing.

    Raises:
        SyncError: an export is not loaded, or a load of the same tenants runs. Nothing has changed.
        ArchiveIncomplete: kept records that a fold needs are missing and cannot be rebuilt. Nothing has changed.
    """
    return repairing(workspace, lambda: _undo(workspace, sorted(set(file_ids)), decided, is_preview=is_preview))


def _undo(workspace: Workspace, file_ids: Sequence[int], decided: Decided, *, is_preview: bool) -> Undone:
    archive = workspace.settings.archive
    with (
        workspace.connection() as stored,
        workspace.connection() as connection,
        connection.transaction(force_rollback=is_preview),
    ):
        entries = _locked(connection, lambda: locked(connection, file_ids, archive))
        for entry in entries:
            _check_loaded(connection, entry)
        done = withdraw(connection, entries, archive, decided.run_id)
        for entry in entries:
            decisions.note(connection, entry.id, "undo", decided.reason, decided.decided_by)
        tables = changes_of_rows(connection, stored, done.rows, ROWS_SHOWN)
        if not is_preview:
            keep_copy(connection, archive, *file_ids, *done.decided)
        return Undone(ledger.of_ids(connection, file_ids), tables, done.rejects, done.reopened)


def redo(workspace: Workspace, file_ids: Sequence[int], decided: Decided) -> list[LedgerFile]:
    """Loads withdrawn exports again, each at its own version. Returns their entries, in version order.

    An export that cannot be loaded fails, as in a sync, and the next sync tries it again.

    Raises:
        SyncError: an export is not withdrawn, or a load of the same tenants runs. Nothing has changed.
        ArchiveIncomplete: kept records are missing and cannot be rebuilt.
    """
    return repairing(workspace, lambda: _redo(workspace, sorted(set(file_ids)), decided))


def _redo(workspace: Workspace, file_ids: Sequence[int], decided: Decided) -> list[LedgerFile]:
    archive = workspace.settings.archive
    with workspace.connection() as connection:
        with connection.transaction():
            entries = _locked(connection, lambda: locked(connection, file_ids, archive))
            for entry in entries:
                if entry.status != "withdrawn":
                    raise SyncError("export_not_withdrawn", f"{entry.path} is {entry.status}, not withdrawn")
            deletes = Redoing(connection, entries, archive)
            for entry in entries:
                decisions.note(connection, entry.id, "redo", decided.reason, decided.decided_by)
                ledger_changes.mark_redone(connection, entry.id)
        for entry in entries:
            load_export(workspace, entry.id, decided.run_id)
        with connection.transaction():
            now = locked(connection, file_ids, archive)
            for entry in entries:
                ledger_changes.restore_loading_time(connection, entry)
            changed = deletes.decide_again(decided.run_id)
            keep_copy(connection, archive, *[entry.id for entry in now if entry.status == "loaded"], *changed)
        return ledger.of_ids(connection, file_ids)


def _check_loaded(connection: psycopg.Connection[Any], entry: LedgerFile) -> None:
    if entry.status == "loaded":
        return
    loaded = [e.revision for e in ledger.revisions_of(connection, entry.path) if e.status == "loaded"]
    hint = f"its last loaded revision is --revision {loaded[-1]}" if loaded else ""
    if entry.status == "withdrawn":
        again = f"to load it again: {typed(f'redo {entry.path}')}"
        raise SyncError("export_withdrawn", f"{entry.path} is already withdrawn", hint or again)
    message = f"{entry.path} is {entry.status}, not loaded, so there is nothing to undo"
    raise SyncError("export_not_loaded", message, hint)


def _locked(connection: psycopg.Connection[Any], work: Callable[[], list[LedgerFile]]) -> list[LedgerFile]:
    """Acquires locks, but does not wait longer than `LOCK_SECONDS` for each."""
    connection.execute(f"set local lock_timeout = '{LOCK_SECONDS}s'")
    try:
        found = work()
    except psycopg.errors.LockNotAvailable:
        message = f"exports of the same tenant are being loaded, and {LOCK_SECONDS} seconds were not enough"
        raise SyncError("load_running", message, "try again when that run has ended") from None
    connection.execute("set local lock_timeout = 0")
    return found
