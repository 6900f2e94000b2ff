"""Replays rejects: reads exports with rejected records again, with the current settings and contracts.

An export is read again as a whole. The tables end as if it had been loaded this way in the first place.

Belongs here: which exports, and their results. Does not belong here: what changes in the tables
(`upsert.refold`), layout on a screen (`commands`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sync_pipelines.corrections.refold import Replayed, replay
from sync_pipelines.database import ledger, reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.reports import RejectFilter
from sync_pipelines.errors import SyncError
from sync_pipelines.kept.kept_records import remove_unnamed
from sync_pipelines.stages.export_stages import Workspace, normalize_archived, stream_of, unforeseen
from sync_pipelines.stages.repair import repairing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReplayedExport:
    """One export that was read again.

    Attributes:
        entry: its ledger entry, with the counts of the first load.
        outcome: the result; None if it could not be read again.
        error: the reason if it could not.
    """

    entry: LedgerFile
    outcome: Replayed | None
    error: SyncError | None = None


def replay_rejects(workspace: Workspace, wanted: RejectFilter, run_id: str | None = None) -> Iterator[ReplayedExport]:
    """Reads every loaded export with matching unresolved rejects again, in version order.

    Each export has its own transaction. If one cannot be read again, it does not change.
    """
    with workspace.connection() as connection:
        ids = reports.exports_with_rejects(connection, wanted)
        entries = ledger.of_ids(connection, ids)
    for entry in entries:
        yield read_again(workspace, entry, run_id)


def read_again(
    workspace: Workspace, entry: LedgerFile, run_id: str | None = None, *, whole: bool = False
) -> ReplayedExport:
    """Reads a loaded export again and folds the changes at its original version (X5).

    With `whole`, its bytes are read even without rejects, as after a corrected contract.
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
        # Its kept records may have been rebuilt.
        entry = ledger.entry_of(connection, entry.id)
        assert entry.kept is not None
        kept = entry.kept
        # A reject that depends on a key's state needs only the kept records, so it works without the raw bytes.
        if whole or reports.has_rejects_of_content(connection, entry.id):
            kept = normalize_archived(workspace, entry)
        try:
            outcome = replay(connection, stream_of(entry), entry.id, kept, archive, run_id)
        except BaseException:
            if kept != entry.kept:
                remove_unnamed(archive, kept)
            raise
    # Other exports may refer to the old objects, or they may be in use: housekeeping removes them.
    return outcome
