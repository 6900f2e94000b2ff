"""The ledger `sync.export_files`: every export with its status and counts.

One row is one revision of one path (X4). Belongs here: what an entry is, and finding entries. Does not belong here:
changing them (`ledger_changes`), listing a landing (`exports`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Final, LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from sync_pipelines.exports.landing import LandingFile
from sync_pipelines.exports.naming import natural_order
from sync_pipelines.exports.storage_interface import EPOCH
from sync_pipelines.tables.schema import OUTCOMES

COUNTS: Final = ("read", *OUTCOMES)
WAITING: Final = ("pending", "failed")
"""Statuses of exports that the next sync loads. The others stay as they are while their content is the same."""
RUN_KILLED: Final = "run_killed"
_MICROSECOND: Final = timedelta(microseconds=1)
_ROWS_AT_A_TIME: Final = 2_000
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


ExportVersion = tuple[datetime, bytes, int]
"""An export's version: time, path in natural order, revision of the path (X4)."""


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
    def version(self) -> ExportVersion:
        """The export's position in version order: time, path, revision (X4)."""
        return version_of(self.effective_at, self.path, self.revision)

    @property
    def has_killed_a_run(self) -> bool:
        """Whether the process of its last attempt was killed, which the next attempt may be, too."""
        return self.status == "failed" and (self.error or "").startswith(f"{RUN_KILLED}:")


def version_of(effective_at: datetime, path: str, revision: int) -> ExportVersion:
    """Returns an export's position in version order (X4)."""
    return effective_at, natural_order(path), revision


class NotLoaded(NamedTuple):
    """What a stream's ledger has that is not loaded.

    Attributes:
        waiting: paths of pending and failed entries.
        has_held: whether an entry is held.
    """

    waiting: set[str]
    has_held: bool


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


@cache
def _select(where: LiteralString) -> bytes:
    columns = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(LedgerFile))
    return (sql.SQL("select {} from sync.export_files where ").format(columns) + sql.SQL(where)).as_bytes(None)


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


def not_loaded(
    connection: psycopg.Connection[Any], streams: Collection[tuple[str, str]]
) -> dict[tuple[str, str], NotLoaded]:
    """Returns what is not loaded of each of some streams, given by partner and name, in one query."""
    rows = connection.execute(
        "select partner, stream, coalesce(array_agg(path) filter (where status <> 'held'), '{}'),"
        " bool_or(status = 'held') from sync.export_files where partner = any(%s) and stream = any(%s)"
        " and status in ('pending', 'failed', 'held') group by 1, 2",
        [list(names) for names in zip(*streams, strict=True)] or [[], []],
    )
    found = {(partner, stream): NotLoaded({*paths}, has_held) for partner, stream, paths, has_held in rows}
    return {key: found.get(key, NotLoaded(set(), has_held=False)) for key in streams}


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


def unloaded(
    connection: psycopg.Connection[Any], partner: str, stream: str, dates: Sequence[date] | None = None
) -> list[LedgerFile]:
    """Returns pending and failed entries of a stream, or those of some dates, in version order."""
    days = None if dates is None else list(dates)
    found = _fetch(
        connection,
        "partner = %s and stream = %s and status in ('pending', 'failed')"
        " and (%s::date[] is null or partition_date = any(%s))",
        [partner, stream, days, days],
    )
    return _in_version_order(found)


def of_ids(connection: psycopg.Connection[Any], ids: Iterable[int]) -> list[LedgerFile]:
    """Returns the entries with the given ids, in version order."""
    return _in_version_order(_fetch(connection, "id = any(%s)", [list(ids)]))


def loaded_with_records(connection: psycopg.Connection[Any], partner: str, stream: str) -> list[LedgerFile]:
    """Returns the loaded entries of a stream, of all tenants, that have accepted records, in version order."""
    where: LiteralString = "partner = %s and stream = %s and status = 'loaded' and effective_to is not null"
    return _in_version_order(_fetch(connection, where, [partner, stream]))


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


def of_kept(connection: psycopg.Connection[Any], kept: str) -> LedgerFile | None:
    """Returns the entry whose kept records are at a place (`kept.locations`)."""
    found = _fetch(connection, "kept = %s", [kept])
    return found[0] if found else None


def of_content(connection: psycopg.Connection[Any], sha256: str) -> list[LedgerFile]:
    """Returns the entries whose archived bytes have a hash."""
    return _fetch(connection, "coalesce(raw_sha256, sha256) = %s order by id", [sha256])


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
