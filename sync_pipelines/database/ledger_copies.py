"""The archive's copies of ledger entries and erasures: what they contain, and when they are written.

A copy is written just before the commit of the transaction that changes its entry. If that transaction is rolled back
after all, the next load supersedes the copy.

Belongs here: the content of a copy. Does not belong here: its file (`kept.ledger_files`), comparing it with the ledger
(`stages.verify_ledger`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import psycopg

from sync_pipelines.kept.ledger_files import write_copies

COPIED: Final = ("loaded", "held", "withdrawn")
"""The statuses of entries that have copies."""
_COPY: Final = """
select jsonb_build_object(
    'kind', 'export',
    'identity', jsonb_build_array(f.partner, f.tenant, f.stream, f.path, f.revision),
    'copied_at', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
    'entry', to_jsonb(f) - 'id' - 'has_indexed_keys',
    'decisions', (
        select coalesce(jsonb_agg(to_jsonb(d) - 'id' - 'export_file_id' order by d.id), '[]')
        from sync.export_decisions d where d.export_file_id = f.id
    ),
    'outcomes', (
        select translate(encode(o.outcomes, 'base64'), E'\\n', '')
        from sync.export_outcomes o where o.export_file_id = f.id
    ),
    'blocked', (
        select coalesce(jsonb_object_agg(r.position, r.message), '{}') from sync.rejected_records r
        where r.export_file_id = f.id and r.code = 'delete_blocked' and r.depends_on_state
            and r.status in ('open', 'superseded') and r.position is not null
    )
)::text
from sync.export_files f where f.id = any(%s) order by f.id
"""
_ERASURE: Final = """
select jsonb_build_object(
    'kind', 'erasure',
    'identity', jsonb_build_array(e.partner, e.tenant, e.kind, e.subject, extract(epoch from e.erased_at)::text),
    'copied_at', (extract(epoch from clock_timestamp()) * 1000000)::bigint,
    'entry', to_jsonb(e) - 'id'
)::text
from sync.erasures e where e.id = any(%s) order by e.id
"""


def keep_copy(connection: psycopg.Connection[Any], archive: Path, *file_ids: int) -> None:
    """Writes the archive's copies of ledger entries with their decisions and outcomes.

    Must be the last thing in a transaction that loads, holds, replays, withdraws or releases exports, or that decides
    again which of their deletes are blocked. A preview must not call it.

    Args:
        connection: in that transaction.
        archive: the archive's folder.
        file_ids: the entries.
    """
    write_copies(archive, _texts(connection, _COPY, file_ids))


def keep_erasures(connection: psycopg.Connection[Any], archive: Path, *ids: int) -> None:
    """Writes the archive's copies of erasures, as the last thing in a transaction that adds or lifts them."""
    write_copies(archive, _texts(connection, _ERASURE, ids))


def _texts(connection: psycopg.Connection[Any], query: str, ids: Iterable[int]) -> list[str]:
    rows = connection.execute(query.encode(), [list(ids)]).fetchall()
    return [text for (text,) in rows]
