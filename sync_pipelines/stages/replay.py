"""Rejects replayed: exports that refused records are read again, under the settings and contracts now in force.

An export is read again as a whole, so that the tables end as if it had been loaded that way in the first place.

Belongs here: which exports, and what became of each. Does not belong here: what changes in the tables
(`upsert.refold`), layout on a screen (`commands`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sync_pipelines.database import ledger, reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.reports import RejectFilter
from sync_pipelines.errors import SyncError
from sync_pipelines.kept.kept_records import remove_unnamed
from sync_pipelines.stages.export_stages import Workspace, normalize_archived, stream_of, unforeseen
from sync_pipelines.stages.repair import repairing
from sync_pipelines.upsert.refold import Replayed, replay

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplayedExport:
    """One export read again.

    Attributes:
        entry: in the ledger; its counts tell the first load.
        outcome: what came of it; None where it could not be read again.
        error: why it could not.
    """

    entry: LedgerFile
    outcome: Replayed | None
    error: SyncError | None = None


def replay_rejects(workspace: Workspace, wanted: RejectFilter, run_id: str | None = None) -> Iterator[ReplayedExport]:
    """Reads again every loaded export with unresolved rejects that are wanted, in version order.

    Each export is a transaction of its own. One that can't be read again stays as it is.
    """
    with workspace.connection() as connection:
        ids = reports.exports_with_rejects(connection, wanted)
        entries = ledger.of_ids(connection, ids)
    for entry in entries:
        yield read_again(workspace, entry, run_id)


def read_again(
    workspace: Workspace, entry: LedgerFile, run_id: str | None = None, *, whole: bool = False
) -> ReplayedExport:
    """Reads a loaded export again and folds what changed at its original version (X5).

    With `whole` its bytes are read whatever was refused of it, as a corrected contract wants it.
    """
    try:
        return ReplayedExport(entry, repairing(workspace, lambda: _replayed(workspace, entry, run_id, whole=whole)))
    except SyncError as error:
        return ReplayedExport(entry, None, error)
    except Exception as error:
        return ReplayedExport(entry, None, unforeseen(workspace, f"file-{entry.id}", error))


def _replayed(workspace: Workspace, entry: LedgerFile, run_id: str | None, *, whole: bool) -> Replayed:
    archive = workspace.settings.archive
    with workspace.connection() as connection:
        # Its kept records may have been made anew.
        entry = ledger.entry_of(connection, entry.id)
        assert entry.kept is not None
        kept = entry.kept
        # A refusal by the state of a key needs no other reading, so it can be decided when the raw bytes are gone.
        if whole or reports.has_rejects_of_content(connection, entry.id):
            kept = normalize_archived(workspace, entry)
        try:
            outcome = replay(connection, stream_of(entry), entry.id, kept, archive, run_id)
        except BaseException:
            if kept != entry.kept:
                remove_unnamed(archive, kept)
            raise
    # What was kept before may be named by other exports, or be in use: housekeeping removes it.
    return outcome
