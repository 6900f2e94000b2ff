"""The day of the oldest export that was ever seen: Dagster's daily partitions start with it.

It is in a file of the state folder, because every process that loads the definitions needs it, without a database.
It only moves back, so that a process with a newer view has every day that an older view has.

Belongs here: that file. Does not belong here: partitions (`orchestration.partitions`), dates of exports
(`exports.file_dates`).
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
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


def has_first_day(settings: Settings) -> bool:
    """Returns whether partitions start with an export, and not with the default."""
    return _noted(settings.home) is not None


def start_first_day(settings: Settings, connection: psycopg.Connection[Any]) -> None:
    """Sets the first day to that of the oldest export in the ledger, if there is one.

    That moves it forward from the default, so runs that are in progress may lose their days: the caller knows that
    there are none.

    Raises:
        ExportError: `storage_unwritable` or `storage_full`.
    """
    first = ledger.oldest_date(connection, settings.first_date, datetime.now(UTC).date())
    if first is not None:
        _note(settings.home, first)


def move_first_day_back(settings: Settings, seen: Iterable[date]) -> None:
    """Moves the first day back if it is set and an export of an older day was seen.

    Args:
        settings: settings with the state folder.
        seen: days of exports.

    Raises:
        ExportError: `storage_unwritable` or `storage_full`.
    """
    noted = _noted(settings.home)
    oldest = min((day for day in seen if day >= settings.first_date), default=None)
    if noted is not None and oldest is not None and oldest < noted:
        _note(settings.home, oldest)


def _note(home: Path, day: date) -> None:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (home / f"{_NAME}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have seen an older one meanwhile.
            noted = _noted(home)
            if noted is None or day < noted:
                write_private(home / _NAME, f"{day}\n")
    except OSError as error:
        raise storage_error(error, home) from error


def _noted(home: Path) -> date | None:
    try:
        return date.fromisoformat((home / _NAME).read_text().strip())
    except (OSError, ValueError):
        return None
