"""A database that was lost, or a new one beside an archive in use: the ledger is empty, and the archive is not.

Nothing is loaded then: `verify --repair` rebuilds the tables and the ledger, and a load would only add what is in the
landing by chance. Belongs here: noticing it. Does not belong here: rebuilding (`rebuild`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from sync_pipelines.command_line import typed
from sync_pipelines.database.ledger_copies import has_entries
from sync_pipelines.errors import LedgerLost
from sync_pipelines.kept.ledger_files import has_copies


def check_ledger(connection: psycopg.Connection[Any], archive: Path) -> None:
    """Checks that the ledger is not empty beside an archive with loaded exports.

    Raises:
        LedgerLost: it is.
    """
    if not has_entries(connection) and has_copies(archive):
        message = f"the database has no exports, but the archive {archive} has: the database was lost, or it is new"
        hint = (
            f"`{typed('verify --repair')}` rebuilds it from the archive; if SYNC_DATABASE_URL or SYNC_HOME is wrong,"
            " correct it; until then nothing is loaded"
        )
        raise LedgerLost("ledger_lost", message, hint)
