"""Exports whose run was killed: the attempt counts like one that raised an exception.

Belongs here: the status of such an export. Does not belong here: which runs are dead (`run_files`), Dagster's runs
(`orchestration.activity`).
"""

from __future__ import annotations

import logging
from typing import Any

import psycopg

from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import RUN_KILLED
from sync_pipelines.errors import ExportError
from sync_pipelines.stages.run_files import DeadRun, dead_runs
from sync_pipelines.stages.workspace import Workspace

log = logging.getLogger(__name__)


def mark_killed(workspace: Workspace) -> int:
    """Marks the exports as failed that killed runs of this state folder were loading. Returns their number.

    An export that is loaded or held stays so. Each export counts once, however many processes were loading it.

    Raises:
        DatabaseUnavailable: the database does not answer; the next call marks them.
    """
    marked: set[int] = set()
    for dead in dead_runs(workspace.settings.home):
        if dead.entry_id is not None and dead.entry_id not in marked:
            with workspace.connection() as connection:
                if _mark(connection, dead, dead.entry_id):
                    marked.add(dead.entry_id)
    return len(marked)


def _mark(connection: psycopg.Connection[Any], dead: DeadRun, entry_id: int) -> bool:
    entry = ledger.find(connection, entry_id)
    if entry is None or entry.path != dead.path or entry.status not in ledger.WAITING:
        return False
    log.info("file %s: the process of run %s was killed", entry_id, dead.run_id)
    ledger_changes.mark_failed(connection, entry_id, _error(), dead.run_id)
    return True


def _error() -> ExportError:
    message = "the process that was loading this export was killed or ran out of memory"
    hint = "check the out-of-memory killer, add memory or send smaller exports; the next sync tries again"
    return ExportError(RUN_KILLED, message, hint)
