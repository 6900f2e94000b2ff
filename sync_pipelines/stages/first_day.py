"""The day of the oldest export that was ever seen: Dagster's daily partitions start with it.

It is in a file of the state folder, because every process that loads the definitions needs it, without a database.
It only moves back, so that a process with a newer view has every day that an older view has.

Belongs here: that file. Does not belong here: partitions (`orchestration.partitions`), dates of exports
(`exports.file_dates`).
"""

from __future__ import annotations

import fcntl
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database import ledger
from sync_pipelines.exports.disk import storage_error
from sync_pipelines.privacy.private_files import write_private

_NAME: Final = "first_day"


def first_day(settings: Settings) -> date:
    """Returns the day of the oldest export seen, at the earliest `SYNC_FIRST_DATE`, which is also the default."""
    return max(settings.first_date, _noted(settings.home) or settings.first_date)


def first_day_moved_at(home: Path) -> float:
    """Returns when `first_day` last changed, in seconds since the epoch; 0 if it never did."""
    try:
        return (home / _NAME).stat().st_mtime
    except OSError:
        return 0.0


def note_first_day(
    settings: Settings, connection: psycopg.Connection[Any], oldest: date | None, *, is_whole: bool
) -> None:
    """Moves the first day back if an older export was seen.

    The first time it moves forward from the default, so only a look at all days may do that: beside it, runs of other
    days may wait.

    Args:
        settings: settings with the state folder.
        connection: connection to the database, whose ledger has that export.
        oldest: the day of the oldest export just seen, or None if there is none.
        is_whole: whether exports of all days were looked at.

    Raises:
        ExportError: `storage_unwritable` or `storage_full`.
    """
    noted = _noted(settings.home)
    moves = is_whole if noted is None else oldest is not None and oldest < noted
    if not moves:
        return
    first = ledger.oldest_date(connection, settings.first_date, datetime.now(UTC).date())
    if first is None:
        return
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (settings.home / f"{_NAME}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have seen an older one meanwhile.
            if first != (noted := _noted(settings.home)):
                write_private(settings.home / _NAME, f"{min(first, noted or first)}\n")
    except OSError as error:
        raise storage_error(error, settings.home) from error


def _noted(home: Path) -> date | None:
    try:
        return date.fromisoformat((home / _NAME).read_text().strip())
    except (OSError, ValueError):
        return None
