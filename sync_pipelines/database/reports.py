"""Queries for users: the status of each stream, and rejects with their reasons.

Belongs here: statements that only read, for the command line and for what Dagster shows. Does not belong here:
the ledger's own life (`ledger`), layout on a screen (`commands`).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from sync_pipelines.contracts.streams import Stream


@dataclass(frozen=True)
class RowCounts:
    """Rows of a table; each is one of the three.

    Attributes:
        live: defined and not deleted.
        placeholders: referred to, and not defined yet.
        deleted: tombstones.
    """

    live: int
    placeholders: int
    deleted: int


@dataclass(frozen=True)
class StreamStatus:
    """The status of a stream.

    Attributes:
        last_sync: when a file was last attempted.
        pending, loaded, failed, held: files by status; failed ones that are no longer in the landing are not counted.
        rows: live rows of the stream's partner in its table, without placeholders.
        open_rejects: rejects that are still open.
        oldest_pending: when the oldest file that waits to be loaded was first seen.
        undated: files without a date in their path, which take that of their modification (X4).
    """

    partner: str
    stream: str
    last_sync: datetime | None
    pending: int
    loaded: int
    failed: int
    held: int
    rows: int
    open_rejects: int
    oldest_pending: datetime | None
    undated: int


@dataclass(frozen=True)
class FailedFile:
    """An export that failed and is still in the landing."""

    partner: str
    tenant: str
    stream: str
    path: str
    error: str
    attempts: int
    attempted_at: datetime | None


@dataclass(frozen=True)
class Reject:
    """A rejected record and its status.

    Attributes:
        faults: every error with code, path and message, at most 20; none if an earlier version rejected it (F20).
    """

    id: int
    partner: str
    tenant: str
    stream: str
    path: str
    position: str | None
    external_id: str | None
    code: str
    field_path: str | None
    message: str | None
    status: str
    created_at: datetime
    faults: list[dict[str, Any]]
    record: Any = None


@dataclass(frozen=True)
class Accounting:
    """Whether the loaded files of a stream add up (law 3).

    Attributes:
        files: loaded files.
        read: their records.
        unbalanced: files whose outcomes or rejects do not add up.
        failed: files that failed; those that are no longer in the landing are not counted.
    """

    files: int
    read: int
    unbalanced: int
    failed: int


@dataclass(frozen=True)
class RejectFilter:
    """Which rejects are wanted; None means any."""

    partner: str | None = None
    stream: str | None = None
    tenant: str | None = None
    code: str | None = None
    path: str | None = None
    status: str | None = "open"


@dataclass(frozen=True)
class RejectSummary:
    """The rejects of one code, with one of them."""

    code: str
    records: int
    path: str
    position: str | None
    field_path: str | None
    message: str | None
    faults: list[dict[str, Any]]


_PATHS_COMPARED: Final = 1_000
_NEAREST: Final = 3
_REJECT_COLUMNS = (
    "r.id, f.partner, f.tenant, f.stream, f.path, r.position, r.external_id, r.code, r.field_path, r.message,"
    " r.status, r.created_at, r.faults"
)
_REJECTS = "sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"


def stream_status(connection: psycopg.Connection[Any], stream: Stream) -> StreamStatus:
    """Returns the status of a stream."""
    row = connection.execute(
        "select max(attempted_at), count(*) filter (where status = 'pending'),"
        " count(*) filter (where status = 'loaded'), count(*) filter (where status = 'failed' and not is_gone),"
        " count(*) filter (where status = 'held'),"
        " min(seen_at) filter (where status in ('pending', 'failed') and not is_gone),"
        " count(distinct path) filter (where not has_own_date and not is_gone)"
        " from sync.export_files, lateral (select coalesce(error like 'file_vanished:%%', false) as is_gone) gone"
        " where partner = %s and stream = %s",
        [stream.partner, stream.name],
    ).fetchone()
    rejects = connection.execute(
        "select count(*) from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where f.partner = %s and f.stream = %s and r.status = 'open'",
        [stream.partner, stream.name],
    ).fetchone()
    assert row is not None and rejects is not None
    last_sync, pending, loaded, failed, held, oldest, undated = row
    rows = live_rows(connection, stream)
    return StreamStatus(
        stream.partner, stream.name, last_sync, pending, loaded, failed, held, rows, rejects[0], oldest, undated
    )


def held_and_withdrawn(
    connection: psycopg.Connection[Any],
    partner: str | None,
    stream: str | None,
    tenant: str | None,
    dates: tuple[date, date] | None,
) -> dict[str, int]:
    """Returns `held` and `withdrawn` with the number of paths whose latest revision is; only those that there are.

    Args:
        connection: to the ledger.
        partner: count only those of one; None for all.
        stream: the same, without its partner.
        tenant: the same.
        dates: the first and the last day; None for all.
    """
    found = connection.execute(
        "select status, count(*) from sync.export_files f where status in ('held', 'withdrawn')"
        " and (%s::text is null or partner = %s) and (%s::text is null or stream = %s)"
        " and (%s::text is null or tenant = %s) and partition_date between %s and %s and not exists"
        " (select from sync.export_files later where later.path = f.path and later.revision > f.revision)"
        " group by status order by status",
        [partner, partner, stream, stream, tenant, tenant, *(dates or (date.min, date.max))],
    )
    return {status: count for status, count in found}


def failed_files(connection: psycopg.Connection[Any], limit: int) -> list[FailedFile]:
    """Returns exports that failed and are still in the landing, the latest attempt first."""
    with connection.cursor(row_factory=class_row(FailedFile)) as cursor:
        return cursor.execute(
            "select partner, tenant, stream, path, coalesce(error, '') as error, attempts, attempted_at"
            " from sync.export_files where status = 'failed' and coalesce(error, '') not like 'file_vanished:%%'"
            " order by attempted_at desc nulls last, id desc limit %s",
            [limit],
        ).fetchall()


def live_rows(connection: psycopg.Connection[Any], stream: Stream) -> int:
    """Returns how many live rows of the stream's partner its table holds."""
    statement = sql.SQL("select count(*) from sync.{} where partner = %s").format(
        sql.Identifier(f"live_{stream.table}")
    )
    row = connection.execute(statement, [stream.partner]).fetchone()
    return int(row[0]) if row else 0


def row_counts(connection: psycopg.Connection[Any], table: str) -> dict[str, RowCounts]:
    """Counts the rows of a main table by partner."""
    statement = sql.SQL(
        "select partner, count(*) filter (where deleted_at is null and not is_placeholder),"
        " count(*) filter (where deleted_at is null and is_placeholder),"
        " count(*) filter (where deleted_at is not null) from sync.{} group by 1 order by 1"
    ).format(sql.Identifier(table))
    return {partner: RowCounts(*counts) for partner, *counts in connection.execute(statement)}


def tenants(connection: psycopg.Connection[Any], stream: Stream) -> set[str]:
    """Returns the tenants that have sent exports of a stream."""
    rows = connection.execute(
        "select distinct tenant from sync.export_files where partner = %s and stream = %s",
        [stream.partner, stream.name],
    )
    return {tenant for (tenant,) in rows}


def rejects(connection: psycopg.Connection[Any], wanted: RejectFilter, limit: int) -> list[Reject]:
    """Returns rejects, the latest first, without their content."""
    conditions, values = _conditions(wanted)
    statement = sql.SQL("select {} from {} where {} order by r.id desc limit {}").format(
        sql.SQL(_REJECT_COLUMNS), sql.SQL(_REJECTS), conditions, sql.Literal(limit)
    )
    with connection.cursor(row_factory=class_row(Reject)) as cursor:
        return cursor.execute(statement, values).fetchall()


def count_rejects(connection: psycopg.Connection[Any], wanted: RejectFilter) -> int:
    """Returns how many rejects there are."""
    conditions, values = _conditions(wanted)
    statement = sql.SQL("select count(*) from {} where {}").format(sql.SQL(_REJECTS), conditions)
    row = connection.execute(statement, values).fetchone()
    return int(row[0]) if row else 0


def reject(connection: psycopg.Connection[Any], reject_id: int) -> Reject | None:
    """Returns one reject with its content."""
    statement = sql.SQL("select {}, r.record from {} where r.id = %s").format(
        sql.SQL(_REJECT_COLUMNS), sql.SQL(_REJECTS)
    )
    with connection.cursor(row_factory=class_row(Reject)) as cursor:
        return cursor.execute(statement, [reject_id]).fetchone()


def exports_with_rejects(connection: psycopg.Connection[Any], wanted: RejectFilter) -> list[int]:
    """Returns the ledger ids of the loaded exports that have such rejects, not counting resolved ones."""
    conditions, values = _conditions(wanted)
    statement = sql.SQL(
        "select distinct f.id from {} where f.status = 'loaded' and r.status <> 'resolved' and {}"
    ).format(sql.SQL(_REJECTS), conditions)
    return [file_id for (file_id,) in connection.execute(statement, values)]


def has_rejects_of_content(connection: psycopg.Connection[Any], file_id: int) -> bool:
    """Whether an export has unresolved rejects because of its content, not because of the state of their keys."""
    return bool(
        connection.execute(
            "select from sync.rejected_records where export_file_id = %s and status <> 'resolved'"
            " and not depends_on_state limit 1",
            [file_id],
        ).rowcount
    )


def reject_summary(
    connection: psycopg.Connection[Any], partner: str, stream: str, days: Sequence[date]
) -> dict[date, list[RejectSummary]]:
    """Returns the open rejects of some days by code, the most frequent first, each with its first record."""
    rows = connection.execute(
        "select f.partition_date, r.code, count(*),"
        " (array_agg(jsonb_build_array(f.path, r.position, r.field_path, r.message, r.faults) order by r.id))[1]"
        " from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where f.partner = %s and f.stream = %s and f.partition_date = any(%s) and r.status = 'open'"
        " group by 1, 2 order by 3 desc, 2",
        [partner, stream, list(days)],
    ).fetchall()
    found: dict[date, list[RejectSummary]] = {}
    for day, code, records, example in rows:
        found.setdefault(day, []).append(RejectSummary(code, records, *example))
    return found


def rejects_of_files(connection: psycopg.Connection[Any], file_ids: Sequence[int]) -> list[RejectSummary]:
    """Returns the open rejected records of some exports by code, the most frequent first, each with its first record.

    Args:
        connection: whose view of the rejects.
        file_ids: ids of the exports in the ledger.
    """
    rows = connection.execute(
        "select r.code, count(*),"
        " (array_agg(jsonb_build_array(f.path, r.position, r.field_path, r.message, r.faults) order by r.id))[1]"
        " from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where f.id = any(%s) and r.status = 'open' group by 1 order by 2 desc, 1",
        [list(file_ids)],
    ).fetchall()
    return [RejectSummary(code, records, *example) for code, records, example in rows]


def nearest_paths(connection: psycopg.Connection[Any], path: str) -> list[str]:
    """Returns up to three paths of the ledger that a mistyped path may mean: with its file name, or else similar."""
    name = "/" + path.rpartition("/")[2]
    rows = connection.execute(
        "select path, is_namesake from"
        " (select path, max(id) as id, right(path, length(%(name)s)) = %(name)s as is_namesake"
        " from sync.export_files group by path) known order by is_namesake desc, id desc limit %(limit)s",
        {"name": name, "limit": _PATHS_COMPARED},
    ).fetchall()
    namesakes = [found for found, is_namesake in rows if is_namesake]
    return namesakes[:_NEAREST] or difflib.get_close_matches(path, [found for found, _ in rows], n=_NEAREST)


def accounting(connection: psycopg.Connection[Any], stream: Stream) -> Accounting:
    """Adds up the counts of a stream's loaded files, and compares them with the rejects (X11)."""
    row = connection.execute(
        "select count(*) filter (where status = 'loaded'),"
        " coalesce(sum(read) filter (where status = 'loaded'), 0)::bigint,"
        " count(*) filter (where status = 'loaded' and (read <> created + updated + unchanged"
        " + stale + deleted + not_found + blocked + rejected or rejected > coalesce(r.records, 0))),"
        " count(*) filter (where status = 'failed' and coalesce(error, '') not like 'file_vanished:%%')"
        " from sync.export_files f left join (select export_file_id, count(*) as records"
        " from sync.rejected_records group by 1) r on r.export_file_id = f.id"
        " where f.partner = %s and f.stream = %s",
        [stream.partner, stream.name],
    ).fetchone()
    assert row is not None
    return Accounting(*row)


def _conditions(wanted: RejectFilter) -> tuple[sql.Composable, list[str]]:
    given = {
        "f.partner": wanted.partner,
        "f.stream": wanted.stream,
        "f.tenant": wanted.tenant,
        "f.path": wanted.path,
        "r.code": wanted.code,
        "r.status": wanted.status,
    }
    chosen = {column: value for column, value in given.items() if value is not None}
    parts = [sql.SQL("{} = %s").format(sql.Identifier(*column.split("."))) for column in chosen]
    return sql.SQL(" and ").join(parts) if parts else sql.SQL("true"), list(chosen.values())
