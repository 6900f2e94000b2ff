"""What happens to an entry of the ledger: registered, archived, kept, loaded, failed, held, withdrawn.

Belongs here: every statement that changes `sync.export_files`. Does not belong here: finding entries (`ledger`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from sync_pipelines.database.ledger import COUNTS, LedgerFile, NewExport
from sync_pipelines.errors import SyncError
from sync_pipelines.exports.landing import LandingFile
from sync_pipelines.privacy.untrusted_text import storable

_LONGEST_NAME: Final = 200
_MOST_NAMES: Final = 1_000


def register(connection: psycopg.Connection[Any], exports: Iterable[NewExport]) -> None:
    """Adds new revisions as pending; skips those that another worker has added meanwhile."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into sync.export_files (partner, tenant, stream, path, revision, size, modified_at, etag,"
            " effective_at, has_own_date, partition_date)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, (%s at time zone 'UTC')::date)"
            " on conflict (partner, tenant, stream, path, revision) do nothing",
            [
                (
                    new.file.partner, new.tenant, new.file.stream, new.file.path, new.revision, new.file.size,
                    new.file.modified_at, new.file.etag, new.effective_at, new.has_own_date, new.effective_at,
                )
                for new in exports
            ],
        )  # fmt: skip


def renew(connection: psycopg.Connection[Any], entry: LedgerFile, new: NewExport) -> None:
    """Resets an entry that was never loaded to the path's current content: pending, without attempts.

    What was decided about the former content no longer holds (`decisions.is_released`).
    """
    connection.execute(
        "update sync.export_files set size = %s, modified_at = %s, etag = %s, effective_at = %s, has_own_date = %s,"
        " partition_date = (%s at time zone 'UTC')::date, status = 'pending', sha256 = null, raw_sha256 = null,"
        " kept = null, looked_at = null, error = null, held = null, attempts = 0, attempted_at = null,"
        " seen_at = clock_timestamp() where id = %s and status in ('pending', 'failed', 'held')",
        [
            new.file.size, new.file.modified_at, new.file.etag, new.effective_at, new.has_own_date, new.effective_at,
            entry.id,
        ],
    )  # fmt: skip


def mark_unchanged(connection: psycopg.Connection[Any], file_id: int, file: LandingFile, looked_at: datetime) -> None:
    """Records that a path has the same content as before, so that it is not read again (law 5)."""
    connection.execute(
        "update sync.export_files set size = %s, modified_at = %s, etag = %s, looked_at = %s where id = %s",
        [file.size, file.modified_at, file.etag, looked_at, file_id],
    )


def mark_archived(connection: psycopg.Connection[Any], entry: LedgerFile, sha256: str, looked_at: datetime) -> None:
    """Records the content of an entry and when it was read, unless the entry was reset meanwhile."""
    connection.execute(
        "update sync.export_files set sha256 = %s, raw_sha256 = null, looked_at = %s"
        " where id = %s and (size, modified_at) = (%s, %s) and etag is not distinct from %s",
        [sha256, looked_at, entry.id, entry.size, entry.modified_at, entry.etag],
    )


def mark_pending(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Sets a failed entry to pending; its attempts still count."""
    connection.execute(
        "update sync.export_files set status = 'pending', error = null where id = %s and status = 'failed'", [file_id]
    )


def mark_kept(connection: psycopg.Connection[Any], entry: LedgerFile, kept: str) -> None:
    """Records where an entry's kept records are, unless its path has other content by now."""
    connection.execute(
        "update sync.export_files set kept = %s where id = %s and sha256 = %s", [kept, entry.id, entry.sha256]
    )


def replace_kept(connection: psycopg.Connection[Any], entry: LedgerFile, kept: str) -> bool:
    """Sets a new place of the same kept records; False if the entry has others by now, or is locked."""
    done = connection.execute(
        "update sync.export_files set kept = %s where id ="
        " (select id from sync.export_files where id = %s and kept = %s for update skip locked)",
        [kept, entry.id, entry.kept],
    )
    return done.rowcount == 1


def forget_archived(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Makes the next attempt archive a pending or failed entry again."""
    connection.execute(
        "update sync.export_files set sha256 = null, raw_sha256 = null, kept = null"
        " where id = %s and status in ('pending', 'failed')",
        [file_id],
    )


def mark_failed(connection: psycopg.Connection[Any], file_id: int, error: SyncError, run_id: str | None) -> None:
    """Records why a pending entry failed; one that is loaded, held or withdrawn stays so."""
    connection.execute(
        "update sync.export_files set status = 'failed', error = %s, attempts = attempts + 1, attempted_at = now(),"
        " run_id = %s where id = %s and status in ('pending', 'failed')",
        [storable(str(error)), run_id, file_id],
    )


def forget_faults_of_folders(connection: psycopg.Connection[Any], ids: Iterable[int]) -> None:
    """Removes entries of unreadable folders: they never were exports."""
    connection.execute(
        "delete from sync.export_files where id = any(%s) and status = 'failed' and sha256 is null"
        " and error like 'folder_unreadable:%%' and revision = 1",
        [list(ids)],
    )


def mark_vanished(connection: psycopg.Connection[Any], ids: Iterable[int]) -> None:
    """Records that files were removed from the landing before they could be loaded.

    Archived pending files are skipped: they load without the landing. A file that is put back is tried again.
    """
    connection.execute(
        "update sync.export_files set status = 'failed', run_id = null,"
        " error = %s || coalesce(' - before: ' || error, '')"
        " where id = any(%s) and (status = 'failed' or (status = 'pending' and sha256 is null))"
        " and (error is null or error not like 'file_vanished:%%' or run_id is not null)",
        ["file_vanished: the file is no longer in the landing", list(ids)],
    )


def mark_loaded(
    connection: psycopg.Connection[Any],
    file_id: int,
    counts: dict[str, int],
    *,
    lines: int | None,
    leniencies: dict[str, int],
    unknown_fields: dict[str, int],
    window: tuple[datetime, datetime] | None,
    run_id: str | None,
) -> None:
    """Completes an entry in the load's own transaction; the table checks the counts (law 3)."""
    assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in COUNTS)
    statement = sql.SQL(
        "update sync.export_files set {assignments}, lines = %s, leniencies = %s, unknown_fields = %s,"
        " effective_from = %s, effective_to = %s, run_id = %s, status = 'loaded', error = null, held = null,"
        " attempts = attempts + 1, attempted_at = now(), loaded_at = now() where id = %s"
    ).format(assignments=assignments)
    first, last = window or (None, None)
    values = [counts[name] for name in COUNTS]
    values += [lines, _counts_json(leniencies), _counts_json(unknown_fields), first, last, run_id, file_id]  # type: ignore[list-item]
    connection.execute(statement, values)


def mark_held(
    connection: psycopg.Connection[Any], entry: LedgerFile, why: str, held: Mapping[str, Any], run_id: str | None
) -> bool:
    """Records that guards hold an entry, which uses no attempt; False if it has other records or another status by now.

    Args:
        connection: in autocommit, or in the transaction that holds it.
        entry: pending, as the load saw it.
        why: one sentence.
        held: the guards, and the counts that the load would have had.
        run_id: the run that tried to load it.
    """
    done = connection.execute(
        "update sync.export_files set status = 'held', error = %s, held = %s, attempted_at = now(), run_id = %s"
        " where id = %s and status = 'pending' and kept is not distinct from %s",
        [storable(why), json.dumps(held), run_id, entry.id, entry.kept],
    )
    return done.rowcount == 1


def mark_no_longer_held(connection: psycopg.Connection[Any], file_id: int) -> bool:
    """Sets a held entry to pending; returns whether it was held."""
    done = connection.execute(
        "update sync.export_files set status = 'pending', error = null, held = null where id = %s and status = 'held'",
        [file_id],
    )
    return done.rowcount == 1


def mark_withdrawn(connection: psycopg.Connection[Any], ids: Iterable[int]) -> None:
    """Sets loaded entries to withdrawn; the counts of their loads stay."""
    connection.execute(
        "update sync.export_files set status = 'withdrawn' where id = any(%s) and status = 'loaded'", [list(ids)]
    )


def mark_redone(connection: psycopg.Connection[Any], file_id: int) -> None:
    """Sets a withdrawn entry to pending, with new attempts; its rejects are written again by its load.

    Blocked deletes stay as resolved rejects, so that a decision about them knows that they were blocked (T9).
    """
    is_blocked: LiteralString = "depends_on_state and code = 'delete_blocked'"
    connection.execute(f"delete from sync.rejected_records where export_file_id = %s and not ({is_blocked})", [file_id])
    connection.execute(
        f"update sync.rejected_records set status = 'resolved', updated_at = now()"
        f" where export_file_id = %s and {is_blocked}",
        [file_id],
    )
    connection.execute(
        "update sync.export_files set status = 'pending', error = null, attempts = 0, attempted_at = null"
        " where id = %s and status = 'withdrawn'",
        [file_id],
    )


def restore_loading_time(connection: psycopg.Connection[Any], former: LedgerFile) -> None:
    """Gives a redone entry the time of its first load: a redo is not a new arrival (T9)."""
    connection.execute(
        "update sync.export_files set loaded_at = %s where id = %s and status = 'loaded'", [former.loaded_at, former.id]
    )


def mark_replayed(
    connection: psycopg.Connection[Any], file_id: int, kept: str, window: tuple[datetime, datetime] | None
) -> None:
    """Sets the new kept records of a loaded entry; the counts of its load stay (X11)."""
    first, last = window or (None, None)
    connection.execute(
        "update sync.export_files set kept = %s, effective_from = %s, effective_to = %s where id = %s",
        [kept, first, last, file_id],
    )


def _counts_json(counts: Mapping[str, int]) -> str:
    """Returns counts by name as JSON. Names come from exports; of very many, the most frequent are stored."""
    stored: Counter[str] = Counter()
    for name, number in counts.items():
        stored[storable(name)[:_LONGEST_NAME]] += number
    return json.dumps(stored if len(stored) <= _MOST_NAMES else dict(stored.most_common(_MOST_NAMES)))
