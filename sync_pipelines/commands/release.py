"""`sync-pipelines release`: loads exports that a guard holds.

Belongs here: which exports, and the exit status. Does not belong here: the decision (`stages.release`), runs
(`orchestration.runs`), the answer, which is that of a sync (`sync`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import psycopg

from sync_pipelines.commands.known_exports import acting_user, revision_of_path, revisions_of_path
from sync_pipelines.commands.progress import FileProgress, working
from sync_pipelines.commands.sync import exit_status, print_answer
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.stages import export_stages
from sync_pipelines.stages.release import held_revision, release, why_not_held


def run(paths: Sequence[str], revision: int | None, reason: str, *, as_json: bool) -> int:
    """Releases held exports and loads them; returns the exit status of a sync of them.

    Raises:
        click.UsageError: a path is unknown or not held, or the reason is empty; nothing was changed.
    """
    from sync_pipelines.orchestration.runs import run_released

    if not reason.strip():
        raise click.UsageError('a release needs a reason: --reason "..."')
    with working("looking for exports ..."):
        workspace = export_stages.open_workspace(load_settings())
        with workspace.connection() as connection:
            found = [_entry(connection, path, revision) for path in paths]
    entries = list({entry.id: entry for entry in found}.values())
    release(workspace, entries, reason, acting_user())
    with FileProgress(len(entries)) as progress, workspace.keeping_connections() as keeping:
        run_released(keeping, entries, progress)
    with workspace.connection() as connection:
        after = ledger.of_ids(connection, [entry.id for entry in entries])
    print_answer(after, as_json=as_json)
    return exit_status(after)


def _entry(connection: psycopg.Connection[Any], path: str, revision: int | None) -> LedgerFile:
    """Returns the held export with a path."""
    if revision is None:
        entry = held_revision(revisions_of_path(connection, path))
    else:
        entry = revision_of_path(connection, path, revision)
    if entry.status != "held":
        raise click.UsageError(why_not_held(entry))
    return entry
