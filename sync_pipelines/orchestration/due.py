"""Which pending exports a sensor may hand to a run: settled ones, and failed ones whose time has come.

The command line asks none of this: `sync` loads what is there and tries failed files at once.

Belongs here: waiting and giving up. Does not belong here: what is pending (`stages.export_stages.discover`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sync_pipelines.database.ledger import LedgerFile

SETTLES_IN: Final = timedelta(seconds=5)
ATTEMPTS: Final = 5
BACK_OFF: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))


def is_set_aside(entry: LedgerFile) -> bool:
    """Whether only a person brings the file back: with `sync`, or by putting other content in its place."""
    return entry.attempts >= ATTEMPTS


def due_at(entry: LedgerFile) -> datetime | None:
    """When a failed file is tried again; None for one that never failed."""
    if not entry.attempts or entry.attempted_at is None:
        return None
    return entry.attempted_at + BACK_OFF[min(entry.attempts, len(BACK_OFF)) - 1]


def is_settled(entry: LedgerFile, now: datetime) -> bool:
    """Whether the file has rested long enough to be whole, or is archived; a clock ahead of ours says nothing."""
    return entry.sha256 is not None or entry.modified_at > now or now - entry.modified_at >= SETTLES_IN


def is_due(entry: LedgerFile, now: datetime) -> bool:
    """Whether a run started by itself may take the file now."""
    if is_set_aside(entry) or not is_settled(entry, now):
        return False
    later = due_at(entry)
    return later is None or later <= now
