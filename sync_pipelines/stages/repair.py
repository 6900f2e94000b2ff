"""Rebuilds damaged kept records from the raw bytes of their export.

A loaded export is only read again as before: with the same settings and contract, to the same keys, in the same order,
with the same rejects. If that cannot be verified, nothing changes.

Belongs here: when kept records are replaced by equal ones. Does not belong here: finding damage (`kept.kept_records`,
`kept.archive`), reading an export with other settings (`replay`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import psycopg

from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.ledger_copies import COPIED, keep_copy
from sync_pipelines.errors import ArchiveIncomplete, SyncError
from sync_pipelines.kept.kept_records import KeptRecords, remove_unnamed, stored_footer
from sync_pipelines.stages.archived import normalize_archived
from sync_pipelines.stages.workspace import Workspace

log = logging.getLogger(__name__)

Result = TypeVar("Result")
_COMPARED = ("keys", "rows", "rejects")
"""Sections that are equal whenever an export is read the same way."""


def repairing(workspace: Workspace, work: Callable[[], Result]) -> Result:
    """Does work that reads kept records. If some are damaged, rebuilds them and starts again.

    Args:
        workspace: the sync's workspace.
        work: must leave no trace if it raises.

    Raises:
        ArchiveIncomplete: kept records are damaged or missing and cannot be rebuilt.
    """
    repaired: set[int] = set()
    while True:
        try:
            return work()
        except ArchiveIncomplete as error:
            file_id = repair_kept(workspace, error, repaired)
            if file_id is None:
                raise
            repaired.add(file_id)


def repair_kept(workspace: Workspace, damage: ArchiveIncomplete, repaired: Collection[int] = ()) -> int | None:
    """Rebuilds the kept records named in an error. Returns the export's ledger id, or None if that fails."""
    if not damage.kept:
        return None
    with workspace.connection() as connection:
        entry = ledger.of_kept(connection, damage.kept)
        # A disk that damages what was just written cannot be trusted.
        if entry is None or entry.sha256 is None or entry.id in repaired:
            return None
        try:
            kept = normalize_archived(workspace, entry)
        except SyncError as error:
            log.warning("%s: its kept records cannot be rebuilt: %s", entry.path, error)
            return None
        if is_same(workspace, entry, kept) and _replaced(workspace, connection, entry, kept):
            log.warning("%s: its kept records were rebuilt from its raw bytes after %s", entry.path, damage)
            return entry.id
    remove_unnamed(workspace.settings.archive, kept)
    log.warning("%s: its kept records cannot be rebuilt exactly", entry.path)
    return None


def _replaced(workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, kept: str) -> bool:
    with connection.transaction():
        done = ledger_changes.replace_kept(connection, entry, kept)
        if done and entry.status in COPIED:
            keep_copy(connection, workspace.settings.archive, entry.id)
        return done


def is_same(workspace: Workspace, entry: LedgerFile, kept: str) -> bool:
    """Whether an export was read as it was when it was loaded.

    Compares with the old footer, which may be damaged too: so it searches for words of 16 digits or more.
    """
    if entry.status not in ("loaded", "withdrawn"):
        return True
    archive = workspace.settings.archive
    try:
        former = stored_footer(archive, entry.kept or "-")
    except ArchiveIncomplete:
        return False
    mine = KeptRecords(archive, kept)
    words = [*mine.summary.reading, *(mine.checksum(name) for name in _COMPARED)]
    return all(word.encode() in former for word in words)
