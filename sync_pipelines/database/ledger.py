"""The ledger `sync.export_files`: every export with its status and counts.

One row is one revision of one path (X4). Belongs here: every statement on that table. Does not belong here: listing a
landing (`exports`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from sync_pipelines.errors import SyncError
from sync_pipelines.exports.landing import LandingFile
from sync_pipelines.exports.naming import natural_order
from sync_pipelines.exports.storage_interface import EPOCH
from sync_pipelines.privacy.untrusted_text import storable
from sync_pipelines.tables.schema import OUTCOMES

COUNTS: Final = ("read", *OUTCOMES)
WAITING: Final = ("pending", "failed")
"""Statuses of exports that the next sync loads. The others stay as they are while their content is the same."""
RUN_KILLED: Final = "run_killed"
_LONGEST_NAME: Final = 200
_MOST_NAMES: Final = 1_000
_MICROSECOND: Final = timedelta(microseconds=1)
_ROWS_AT_A_TIME: Final = 2_000
_COLUMNS: Final = (
    "id", "partner", "tenant", "stream", "path", "revision", "size", "modified_at", "etag", "sha256", "raw_sha256",
    "looked_at", "effective_at", "partition_date", "has_own_date", "status", *COUNTS, "lines", "leniencies",
    "unknown_fields", "error", "held", "attempts", "attempted_at", "run_id", "kept", "effective_from", "effective_to",
    "loaded_at",
)  # fmt: skip

_LOADED_LOOKS: Final = """
select size || ' ' || (extract(epoch from modified_at) * 1000000)::bigint || ' ' || length(path) || ' ' || path
    || coalesce('"' || etag, '')
from sync.export_files f
where partner = %(partner)s and stream = %(stream)s and status in ('loaded', 'held', 'withdrawn')
    and (looked_at is null or modified_at < looked_at - %(uncertain_for)s)
    and not exists (
        select from sync.export_files later
        where later.partner = f.partner and later.stream = f.stream and later.path = f.path
            and later.revision > f.revision and later.revision > 1
    )
"""


@dataclass(frozen=True)
class LedgerFile:
    """One revision of one export in the ledger.

    Attributes:
        raw_sha256: hash of the archived bytes if they were rewritten without an erased person; else they have `sha256`.
        held: for a held export, the guards that hold it, and the counts it would have had.
        has_own_date: whether `effective_at` is in its path; otherwise it is the file's modification time (X4).
    """

    id: int
    partner: str
    tenant: str
    stream: str
    path: str
    revision: int
    size: int
    modified_at: datetime
    etag: str | None
    sha256: str | None
    raw_sha256: str | None
    looked_at: datetime | None
    effective_at: datetime
    partition_date: date
    has_own_date: bool
    status: str
    read: int
    created: int
    updated: int
    unchanged: int
    stale: int
    deleted: int
    not_found: int
    blocked: int
    rejected: int
    lines: int | None
    leniencies: dict[str, int]
    unknown_fields: dict[str, int]
    error: str | None
    held: dict[str, Any] | None
    attempts: int
    attempted_at: datetime | None
    run_id: str | None
    kept: str | None
    effective_from: datetime | None
    effective_to: datetime | None
    loaded_at: datetime | None

    @property
    def counts(self) -> dict[str, int]:
        """`read` and the eight outcomes."""
        return {name: getattr(self, name) for name in COUNTS}

    @property
    def version(self) -> tuple[datetime, bytes, int]:
        """The export's position in version order: time, path, revision (X4)."""
        return (self.effective_at, natural_order(self.path), self.revision)

    @property
    def has_killed_a_run(self) -> bool:
        """Whether the process of its last attempt was killed, which the next attempt may be, too."""
        return self.status == "failed" and (self.error or "").startswith(f"{RUN_KILLED}:")


class LoadedSize(NamedTuple):
    """A loaded export's path, its number of records, and where they are kept."""

    path: str
    read: int
    kept: str | None


@dataclass(frozen=True)
class NewExport:
    """A revision that is not in the ledger yet."""

    file: LandingFile
    tenant: str
    effective_at: datetime
    has_own_date: bool
    revision: int


def _select(where: LiteralString) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
    return sql.SQL("select {columns} from sync.export_files where ").format(columns=columns) + sql.SQL(where)


def _fetch(
    connection: psycopg.Connection[Any], where: LiteralString, values: Sequence[Any] | Mapping[str, Any]
) -> list[LedgerFile]:
    with connection.cursor(row_factory=class_row(LedgerFile)) as cursor:
        return cursor.execute(_select(where), values).fetchall()


def _in_version_order(entries: Iterable[LedgerFile]) -> list[LedgerFile]:
    return sorted(entries, key=lambda entry: entry.version)


def find(connection: psycopg.Connection[Any], file_id: int, *, lock: bool = False) -> LedgerFile | None:
    """Returns the entry with an id; with `lock`, locks it until the transaction ends."""
    found = _fetch(connection, "id = %s for update" if lock else "id = %s", [file_id])
    return found[0] if found else None


def entry_of(connection: psycopg.Connection[Any], file_id: int) -> LedgerFile:
    """Returns the entry with an id that exists."""
    entry = find(connection, file_id)
    assert entry is not None
    return entry


def latest_of_paths(
    connection: psycopg.Connection[Any], partner: str, stream: str, paths: Iterable[str]
) -> dict[str, LedgerFile]:
    """Returns path -> latest revision, for those of the given paths that are in a stream's ledger."""
    wanted = list(paths)
    if not wanted:
        return {}
    rows = _fetch(
        connection, "partner = %s and stream = %s and path = any(%s) order by path, revision", [partner, stream, wanted]
    )
    return {row.path: row for row in rows}


def loaded_looks(connection: psycopg.Connection[Any], partner: str, stream: str, uncertain_for: timedelta) -> set[str]:
    """Returns `look_of` for the latest revision of each of a stream's paths that is loaded, held or withdrawn.

    Files that were modified less than `uncertain_for` before they were read are left out: they may have changed since.
    """
    values = {"partner": partner, "stream": stream, "uncertain_for": uncertain_for}
    # A client-side cursor would hold all rows in memory beside the set.
    with connection.transaction(), connection.cursor("loaded_looks") as cursor:
        cursor.itersize = _ROWS_AT_A_TIME
        return {look for (look,) in cursor.execute(_LOADED_LOOKS, values)}


def look_of(file: LandingFile) -> str:
    """Returns path, size, modification time and etag as one text, which differs if the file changed."""
    etag = "" if file.etag is None else f'"{file.etag}'
    modified_at = (file.modified_at - EPOCH) // _MICROSECOND
    return f"{file.size} {modified_at} {len(file.path)} {file.path}{etag}"


def revisions_of(connection: psycopg.Connection[Any], path: str) -> list[LedgerFile]:
    """Returns every revision of a path, the oldest first."""
    return _fetch(connection, "path = %s order by revision", [path])


def to_load(
    connection: psycopg.Connection[Any], partner: str, stream: str, dates: Sequence[date], tenant: str | None = None
) -> list[LedgerFile]:
    """Returns pending and failed entries of the given dates, in version order."""
    found = _fetch(
        connection,
        "partner = %s and stream = %s and partition_date = any(%s) and status in ('pending', 'failed') "
        "and (%s::text is null or tenant = %s)",
        [partner, stream, list(dates), tenant, tenant],
    )
    return _in_version_order(found)


def of_dates(connection: psycopg.Connection[Any], partner: str, stream: str, dates: Sequence[date]) -> list[LedgerFile]:
    """Returns every entry of the given dates, whatever its status, in version order."""
    found = _fetch(
        connection,
        "partner = %s and stream = %s and partition_date = any(%s)",
        [partner, stream, list(dates)],
    )
    return _in_version_order(found)


def oldest_date(connection: psycopg.Connection[Any], first: date, last: date) -> date | None:
    """The day of the oldest export of all streams, of those between two days; None if there is none."""
    row = connection.execute(
        "select min(partition_date) from sync.export_files where partition_date between %s and %s", [first, last]
    ).fetchone()
    return None if row is None else row[0]


def unloaded(connection: psycopg.Connection[Any], partner: str, stream: str) -> list[LedgerFile]:
    """Returns pending and failed entries of a stream, in version order."""
    found = _fetch(connection, "partner = %s and stream = %s and status in ('pending', 'failed')", [partner, stream])
    return _in_version_order(found)


def of_ids(connection: psycopg.Connection[Any], ids: Iterable[int]) -> list[LedgerFile]:
    """Returns the entries with the given ids, in version order."""
    return _in_version_order(_fetch(connection, "id = any(%s)", [list(ids)]))


def loaded_at_same_time(connection: psycopg.Connection[Any], entry: LedgerFile) -> list[LedgerFile]:
    """Returns the other loaded entries of the same stream, tenant and time, in version order."""
    found = _fetch(
        connection,
        "partner = %s and stream = %s and status = 'loaded' and partition_date = %s"
        " and tenant = %s and effective_at = %s and id <> %s",
        [entry.partner, entry.stream, entry.partition_date, entry.tenant, entry.effective_at, entry.id],
    )
    return _in_version_order(found)


def nearest_loaded(connection: psycopg.Connection[Any], entry: LedgerFile, limit: int) -> list[LedgerFile]:
    """Returns loaded entries of the same stream and tenant that have accepted records, the nearest in time first.

    Of equally near ones, the newer come first.
    """
    of_stream: LiteralString = (
        "select id, effective_at from sync.export_files where partner = %(partner)s and stream = %(stream)s"
        " and tenant = %(tenant)s and status = 'loaded' and effective_to is not null and effective_at"
    )
    found = _fetch(
        connection,
        f"id in (select id from ("
        f"({of_stream} <= %(at)s order by effective_at desc limit %(limit)s) union all"
        f" ({of_stream} > %(at)s order by effective_at limit %(limit)s)) found"
        " order by abs(extract(epoch from effective_at - %(at)s)) limit %(limit)s)",
        {
            "partner": entry.partner, "stream": entry.stream, "tenant": entry.tenant,
            "at": entry.effective_at, "limit": limit,
        },
    )  # fmt: skip
    newest_first = reversed(_in_version_order(found))
    return sorted(newest_first, key=lambda near: abs(near.effective_at - entry.effective_at))


def loaded_before(connection: psycopg.Connection[Any], entry: LedgerFile, limit: int) -> list[LedgerFile]:
    """Returns loaded entries of the same stream and tenant that come before it in version order, the last first."""
    found = _fetch(
        connection,
        "partner = %(partner)s and stream = %(stream)s and tenant = %(tenant)s and status = 'loaded'"
        " and effective_at <= %(at)s order by effective_at desc limit %(limit)s",
        {
            "partner": entry.partner, "stream": entry.stream, "tenant": entry.tenant,
            "at": entry.effective_at, "limit": limit,
        },
    )  # fmt: skip
    before = (loaded for loaded in found if loaded.version < entry.version)
    return sorted(before, key=lambda loaded: loaded.version, reverse=True)


def sizes_before(connection: psycopg.Connection[Any], entry: LedgerFile, limit: int) -> list[LoadedSize]:
    """Returns the last loaded exports of the same stream and tenant until an entry's time, the last first.

    Exports without accepted records are left out. The cost does not depend on the number of exports.
    """
    rows = connection.execute(
        "select path, read, kept from sync.export_files where partner = %s and stream = %s and tenant = %s"
        " and status = 'loaded' and effective_to is not null and effective_at <= %s and id <> %s"
        " order by effective_at desc limit %s",
        [entry.partner, entry.stream, entry.tenant, entry.effective_at, entry.id, limit],
    ).fetchall()
    return [LoadedSize(*row) for row in rows]


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


def of_kept(connection: psycopg.Connection[Any], kept: str) -> LedgerFile | None:
    """Returns the entry whose kept records are at a place (`kept.locations`)."""
    found = _fetch(connection, "kept = %s", [kept])
    return found[0] if found else None


def of_content(connection: psycopg.Connection[Any], sha256: str) -> list[LedgerFile]:
    """Returns the entries whose archived bytes have a hash."""
    return _fetch(connection, "coalesce(raw_sha256, sha256) = %s order by id", [sha256])


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


def mark_vanished(connection: psycopg.Connection[Any], ids: Iterable[int], error: str) -> None:
    """Records that files were removed from the landing before they could be loaded.

    Archived pending files are skipped: they load without the landing. A file that is put back is tried again.
    """
    connection.execute(
        "update sync.export_files set status = 'failed', run_id = null,"
        " error = %s || coalesce(' - before: ' || error, '')"
        " where id = any(%s) and (status = 'failed' or (status = 'pending' and sha256 is null))"
        " and (error is null or error not like 'file_vanished:%%' or run_id is not null)",
        [storable(error), list(ids)],
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


def held(
    connection: psycopg.Connection[Any], partner: str | None = None, stream: str | None = None
) -> list[LedgerFile]:
    """Returns held entries of a partner's stream, or of all, the latest first."""
    found = _fetch(
        connection,
        "status = 'held' and (%s::text is null or partner = %s) and (%s::text is null or stream = %s)"
        " order by attempted_at desc nulls last, id desc",
        [partner, partner, stream, stream],
    )
    return found


def _counts_json(counts: Mapping[str, int]) -> str:
    """Returns counts by name as JSON. Names come from exports; of very many, the most frequent are stored."""
    stored: Counter[str] = Counter()
    for name, number in counts.items():
        stored[storable(name)[:_LONGEST_NAME]] += number
    return json.dumps(stored if len(stored) <= _MOST_NAMES else dict(stored.most_common(_MOST_NAMES)))


def loaded_with_records(connection: psycopg.Connection[Any], partner: str, stream: str) -> list[LedgerFile]:
    """Returns the loaded entries of a stream, of all tenants, that have accepted records, in version order."""
    where: LiteralString = "partner = %s and stream = %s and status = 'loaded' and effective_to is not null"
    return _in_version_order(_fetch(connection, where, [partner, stream]))


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
