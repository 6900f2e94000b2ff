"""What people decided about exports: `sync.export_decisions`.

Belongs here: every statement on that table. Does not belong here: the effects (`ledger`, `upsert`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.untrusted_text import storable

Action = Literal["release", "undo", "redo"]


@dataclass(frozen=True)
class Decision:
    """A decision about one export.

    Attributes:
        reason: why, in the person's own words.
        decided_by: the user of the command line, or the Dagster run.
    """

    export_file_id: int
    action: Action
    reason: str
    decided_by: str
    decided_at: datetime


def note(connection: psycopg.Connection[Any], file_id: int, action: Action, reason: str, decided_by: str) -> None:
    """Records a decision, in the transaction that carries it out."""
    connection.execute(
        "insert into sync.export_decisions (export_file_id, action, reason, decided_by) values (%s, %s, %s, %s)",
        [file_id, action, without_emails(storable(reason)), storable(decided_by)],
    )


def of_exports(connection: psycopg.Connection[Any], ids: Iterable[int]) -> dict[int, list[Decision]]:
    """Returns export id -> its decisions, the oldest first."""
    found: dict[int, list[Decision]] = {}
    with connection.cursor(row_factory=class_row(Decision)) as cursor:
        cursor.execute(
            "select export_file_id, action, reason, decided_by, decided_at from sync.export_decisions"
            " where export_file_id = any(%s) order by id",
            [list(ids)],
        )
        for decision in cursor:
            found.setdefault(decision.export_file_id, []).append(decision)
    return found


def is_released(connection: psycopg.Connection[Any], file_id: int) -> bool:
    """Returns whether an export is loaded whatever guards say: the last decision about its content is to load it."""
    found = connection.execute(
        "select d.action <> 'undo' from sync.export_decisions d join sync.export_files f on f.id = d.export_file_id"
        " where f.id = %s and d.decided_at >= f.seen_at order by d.id desc limit 1",
        [file_id],
    ).fetchone()
    return found is not None and bool(found[0])
