"""Which pending exports a sensor may hand to a run: complete ones, and failed ones that are due for a retry.

Sensors and `sync --watch` use this. A plain `sync` loads everything pending and retries failed files immediately.

Belongs here: waiting and giving up. Does not belong here: what is pending (`stages.export_stages.discover`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sync_pipelines.database.ledger import LedgerFile

STABLE_AFTER: Final = timedelta(seconds=5)
ATTEMPTS: Final = 5
BACK_OFF: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))


def is_set_aside(entry: LedgerFile) -> bool:
    """Returns whether the file is not retried automatically: only `sync`, or new content, brings it back."""
    return entry.attempts >= ATTEMPTS


def due_at(entry: LedgerFile) -> datetime | None:
    """Returns when a failed file is retried; None if it never failed."""
    if not entry.attempts or entry.attempted_at is None:
        return None
    return entry.attempted_at + BACK_OFF[min(entry.attempts, len(BACK_OFF)) - 1]


def is_stable(entry: LedgerFile, now: datetime) -> bool:
    """Returns whether the file is archived, or unchanged for long enough to be complete.

    A file from the future counts as complete: its clock is wrong.
    """
    return entry.sha256 is not None or entry.modified_at > now or now - entry.modified_at >= STABLE_AFTER


def look_of(entry: LedgerFile) -> str:
    """Returns what a look at the landing saw of the file: one that is still being written differs at the next look."""
    return f"{entry.size} {entry.modified_at.timestamp()}"


def is_due(entry: LedgerFile, now: datetime) -> bool:
    """Returns whether an automatic run may load the file now."""
    if is_set_aside(entry) or not is_stable(entry, now):
        return False
    later = due_at(entry)
    return later is None or later <= now
