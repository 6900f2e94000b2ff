"""The archive's copies of ledger entries and erasures: what they contain, and when they are written.

A copy is written just before the commit of the transaction that changes its entry. If that transaction is rolled back
after all, the next load supersedes the copy.

Belongs here: the content of a copy. Does not belong here: its file (`kept.ledger_files`), comparing it with the ledger
(`stages.verify_ledger`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from sync_pipelines.kept.ledger_files import write_copies
from sync_pipelines.kept.locations import identity_of

COPIED: Final = ("loaded", "held", "withdrawn")
"""The statuses of entries that have copies."""
LOOKED_AT: Final = ("modified_at", "etag", "looked_at", "seen_at")
"""Columns that a look at the landing changes."""
_BESIDE: Final = ("decisions", "outcomes", "blocked_deletes", "rejects")
_TIMES: Final = frozenset(("effective_at", "attempted_at", "effective_from", "effective_to", "loaded_at", "decided_at"))
_AT_ONCE: Final = 1_000
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
    'blocked_deletes', (
        select coalesce(jsonb_object_agg(r.position, r.message), '{}') from sync.rejected_records r
        where r.export_file_id = f.id and r.code = 'delete_blocked' and r.depends_on_state
            and r.status in ('open', 'superseded') and r.position is not null
    ),
    'rejects', (
        select count(*) from sync.rejected_records r
        where r.export_file_id = f.id and not r.depends_on_state and r.status <> 'resolved'
    )
)::text
from sync.export_files f
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
    write_copies(archive, _texts(connection, _COPY + "where f.id = any(%s) order by f.id", file_ids))


def keep_erasures(connection: psycopg.Connection[Any], archive: Path, *ids: int) -> None:
    """Writes the archive's copies of erasures, as the last thing in a transaction that adds or lifts them."""
    write_copies(archive, _texts(connection, _ERASURE, ids))


def copies_of_ledger(
    connection: psycopg.Connection[Any], partner: str | None, stream: str | None, tenant: str | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the id of each entry of a choice, and what its copy would be, of one moment.

    Args:
        connection: in autocommit.
        partner: only this one; None for all.
        stream: only this one; None for all.
        tenant: only this one; None for all.
    """
    query = _COPY + (
        "where (%(partner)s::text is null or f.partner = %(partner)s) and (%(stream)s::text is null or"
        " f.stream = %(stream)s) and (%(tenant)s::text is null or f.tenant = %(tenant)s) order by f.id"
    )
    with connection.transaction(), connection.cursor("copies_of_ledger") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(query.replace("select jsonb", "select f.id, jsonb", 1).encode(), {
            "partner": partner, "stream": stream, "tenant": tenant
        })  # fmt: skip
        for file_id, text in cursor:
            yield file_id, json.loads(text)


def find_id(connection: psycopg.Connection[Any], identity: Sequence[Any]) -> int | None:
    """Returns the id of the entry of a copy; None if there is no such entry."""
    row = connection.execute(
        "select id from sync.export_files where (partner, tenant, stream, path, revision) = (%s, %s, %s, %s, %s)",
        identity,
    ).fetchone()
    return None if row is None else int(row[0])


def copy_of(connection: psycopg.Connection[Any], file_id: int) -> dict[str, Any]:
    """Returns what the copy of an entry would be now."""
    (text,) = _texts(connection, _COPY + "where f.id = any(%s)", [file_id])
    found: dict[str, Any] = json.loads(text)
    return found


def enter(connection: psycopg.Connection[Any], entry: Mapping[str, Any], file_id: int | None) -> int:
    """Enters the columns of a copy as a new entry, or into an existing one. Returns its id."""
    names = sql.SQL(", ").join(map(sql.Identifier, entry))
    source = sql.SQL("select {names} from jsonb_populate_record(null::sync.export_files, %s::jsonb)")
    values: list[Any] = [json.dumps(entry)]
    if file_id is None:
        statement = sql.SQL("insert into sync.export_files ({names}) {source} returning id")
    else:
        statement = sql.SQL("update sync.export_files set ({names}) = ({source}) where id = %s returning id")
        values.append(file_id)
    row = connection.execute(statement.format(names=names, source=source.format(names=names)), values).fetchone()
    assert row is not None
    return int(row[0])


def restore(connection: psycopg.Connection[Any], file_id: int, copy: Mapping[str, Any]) -> None:
    """Sets an entry, its outcomes and its decisions to those of a copy."""
    enter(connection, copy["entry"], file_id)
    connection.execute("delete from sync.export_outcomes where export_file_id = %s", [file_id])
    if copy["outcomes"] is not None:
        connection.execute(
            "insert into sync.export_outcomes (export_file_id, outcomes) values (%s, decode(%s, 'base64'))",
            [file_id, copy["outcomes"]],
        )
    connection.execute("delete from sync.export_decisions where export_file_id = %s", [file_id])
    connection.execute(
        "insert into sync.export_decisions (export_file_id, action, reason, decided_by, decided_at)"
        " select %s, action, reason, decided_by, decided_at"
        " from jsonb_populate_recordset(null::sync.export_decisions, %s::jsonb)",
        [file_id, json.dumps(copy["decisions"])],
    )


def copies_of_erasures(connection: psycopg.Connection[Any]) -> list[tuple[int, dict[str, Any]]]:
    """Returns the id of each erasure, and what its copy would be."""
    ids = [row_id for (row_id,) in connection.execute("select id from sync.erasures order by id").fetchall()]
    return list(zip(ids, map(json.loads, _texts(connection, _ERASURE, ids)), strict=True))


def restore_erasure(connection: psycopg.Connection[Any], erasure: Mapping[str, Any]) -> None:
    """Enters an erasure that the database lacks."""
    names = sql.SQL(", ").join(map(sql.Identifier, erasure))
    statement = "insert into sync.erasures ({n}) select {n} from jsonb_populate_record(null::sync.erasures, %s::jsonb)"
    connection.execute(sql.SQL(statement).format(n=names), [json.dumps(erasure)])


def has_entries(connection: psycopg.Connection[Any]) -> bool:
    """Whether the ledger has any entry that is loaded, held or withdrawn."""
    row = connection.execute(
        "select exists (select from sync.export_files where status = any(%s))", [list(COPIED)]
    ).fetchone()
    return row is not None and bool(row[0])


def differing(stored: Mapping[str, Any], copy: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns the columns in which an entry differs from its copy, with the values of both.

    Columns that a look at the landing changes are left out, and where kept records are: compaction moves them.
    """
    if stored["entry"] == copy["entry"] and all(stored[name] == copy[name] for name in _BESIDE):
        return []
    mine, theirs = _compared(stored), _compared(copy)
    return [(name, mine[name], theirs[name]) for name in mine if name in theirs and mine[name] != theirs[name]]


def _compared(copy: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: _normal(name, value) for name, value in copy["entry"].items() if name not in LOOKED_AT}
    decisions = [{name: _normal(name, value) for name, value in decision.items()} for decision in copy["decisions"]]
    return found | {name: copy[name] for name in _BESIDE} | {"decisions": decisions}


def _normal(name: str, value: Any) -> Any:
    """Returns a value so that equal ones are equal, whatever the time zone of the session that wrote them."""
    if isinstance(value, str) and name in _TIMES:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat()
    return identity_of(value) if name == "kept" and isinstance(value, str) else value


def _texts(connection: psycopg.Connection[Any], query: str, ids: Iterable[int]) -> list[str]:
    rows = connection.execute(query.encode(), [list(ids)]).fetchall()
    return [text for (text,) in rows]
