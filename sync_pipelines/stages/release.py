"""Releases held exports: records the decision, and makes them pending, so that the next load ignores the guards.

Belongs here: the transaction, which revision of a path it is about, and why one cannot be released. Does not belong
here: loading (`export_stages`), the command (`commands.release`), the launchpad (`orchestration.run_config`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg

from sync_pipelines.command_line import typed
from sync_pipelines.database import decisions, ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.stages.workspace import Workspace


def release(workspace: Workspace, entries: Iterable[LedgerFile], reason: str, released_by: str) -> None:
    """Makes held exports pending, in one transaction. Those that are no longer held are skipped.

    Args:
        workspace: the sync's workspace.
        entries: held exports.
        reason: why, in the person's own words.
        released_by: the user, or the Dagster run.
    """
    with workspace.connection() as connection, connection.transaction():
        for entry in entries:
            if ledger_changes.mark_no_longer_held(connection, entry.id):
                decisions.note(connection, entry.id, "release", reason, released_by)


def held_revision(revisions: Sequence[LedgerFile]) -> LedgerFile:
    """Returns the held one of a path's revisions, or the last one if none is held."""
    return next((entry for entry in reversed(revisions) if entry.status == "held"), revisions[-1])


def is_released(connection: psycopg.Connection[Any], entry: LedgerFile) -> bool:
    """Returns whether an export was released and is loaded, or waits to be."""
    return entry.status in (*ledger.WAITING, "loaded") and decisions.is_released(connection, entry.id)


def why_not_held(entry: LedgerFile) -> str:
    """Returns in one sentence why an export that is not held cannot be released."""
    others = {
        "loaded": "it is loaded",
        "pending": f"it is pending; to load it: {typed('sync')}",
        "failed": f"it failed; to try it again: {typed('sync')}",
        "withdrawn": f"it is withdrawn; to load it again: {typed('redo PATH')}",
    }
    return f"{entry.path} is not held: {others[entry.status]}"
