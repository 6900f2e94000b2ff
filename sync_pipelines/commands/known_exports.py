"""Exports that users name by their path in the landing.

Belongs here: finding an export, the nearest known path, who asks. Does not belong here: what a command does with it.
"""

from __future__ import annotations

import getpass

import click
import psycopg

from sync_pipelines.command_line import typed
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database import ledger, reports
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.exports.file_names import shown_name
from sync_pipelines.privacy.untrusted_text import storable
from sync_pipelines.stages.lost_ledger import check_ledger


def revisions_of_path(connection: psycopg.Connection[object], path: str) -> list[LedgerFile]:
    """Returns every revision of a path, the oldest first.

    Raises:
        click.UsageError: the path is unknown; the message names the nearest known ones.
        LedgerLost: every path is unknown, because the database was lost.
    """
    path, given = storable(path), path
    # A shell may give the bytes of a name that is no text, or the text that the ledger has for it.
    revisions = ledger.revisions_of(connection, path) or ledger.revisions_of(connection, shown_name(given))
    if not revisions:
        check_ledger(connection, load_settings().archive)
        raise click.UsageError(f"unknown export {path!r}; {_near(reports.nearest_paths(connection, path))}")
    return revisions


def revision_of_path(connection: psycopg.Connection[object], path: str, revision: int | None) -> LedgerFile:
    """Returns a revision of a path, the latest by default.

    Raises:
        click.UsageError: the path or the revision is unknown.
    """
    revisions = revisions_of_path(connection, path)
    entry = next((e for e in reversed(revisions) if revision in (None, e.revision)), None)
    if entry is None:
        latest = revisions[-1]
        raise click.UsageError(f"unknown revision {revision}; the latest of {latest.path} is {latest.revision}")
    return entry


def acting_user() -> str:
    """Returns who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _near(paths: list[str]) -> str:
    return f"did you mean {', '.join(paths)}?" if paths else f"`{typed('sync --json')}` prints paths in this form"
