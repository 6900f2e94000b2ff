"""What people decided about exports: `sync.export_decisions`.

Belongs here: every statement on that table. Does not belong here: the effects (`ledger`, `upsert`).
"""

from __future__ import annotations

from typing import Any, Literal

import psycopg

from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.untrusted_text import storable

Action = Literal["release", "undo", "redo"]


def note(connection: psycopg.Connection[Any], file_id: int, action: Action, reason: str, decided_by: str) -> None:
    """Records a decision, in the transaction that carries it out."""
    connection.execute(
        "insert into sync.export_decisions (export_file_id, action, reason, decided_by) values (%s, %s, %s, %s)",
        [file_id, action, without_emails(storable(reason)), storable(decided_by)],
    )


def is_released(connection: psycopg.Connection[Any], file_id: int) -> bool:
    """Returns whether an export is loaded whatever guards say: the last decision about its content is to load it."""
    found = connection.execute(
        "select d.action <> 'undo' from sync.export_decisions d join sync.export_files f on f.id = d.export_file_id"
        " where f.id = %s and d.decided_at >= f.seen_at order by d.id desc limit 1",
        [file_id],
    ).fetchone()
    return found is not None and bool(found[0])
