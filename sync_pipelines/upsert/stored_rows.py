"""Reads the current rows of the tables as rows of the fold, with their surrogate ids.

Belongs here: reading rows of given keys. Does not belong here: writing rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.fold import Row
from sync_pipelines.upsert.jsonb import Jsonb
from sync_pipelines.upsert.lists import ChildRow

_NOT_CONTENT = ("id", "line_no")
NOT_DERIVED: Final = frozenset({"run_id", "created_at", "updated_at"})
"""Columns of main tables that do not follow from the archive; besides them only ids."""


class Source(NamedTuple):
    """The record that determines a row: its time, its export and its position there."""

    effective_at: datetime | None
    source_file: str | None
    source_position: str | None


@dataclass(frozen=True)
class StoredChild:
    """A child row and its id."""

    id: int
    line_no: int
    row: ChildRow
    nested: dict[str, list[StoredChild]] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredRow:
    """A row of a main table, its id and those of its children.

    Attributes:
        is_lent: whether it is only a name that the row of this id has from a pair of names (F11).
        source: time, export and position of the record that determines the row.
        strays: column -> a value that no load writes there; only if it was read to be verified.
    """

    id: int
    row: Row
    children: dict[str, list[StoredChild]]
    is_lent: bool = False
    source: Source | None = None
    strays: Mapping[str, Any] = field(default_factory=dict)


def read_rows(
    connection: psycopg.Connection[Any],
    stream: Stream,
    tenant: str,
    keys: Sequence[str],
    record_ids: Sequence[str],
    *,
    is_verified: bool = False,
) -> list[StoredRow]:
    """Returns the rows that have one of the given keys or of the partner's own ids.

    With `is_verified`, everything is read that a load could have written, even what it never writes.
    """
    own = _columns(stream)
    columns = [name for name in _all_columns(stream) if name not in NOT_DERIVED] if is_verified else own
    records = _main_rows(connection, stream, tenant, keys, record_ids, columns)
    ids = [record["id"] for record in records if is_verified or record["deleted_at"] is None]
    children = {c.table: _child_rows(connection, c, ids) for c in stream.children}
    found = [_stored(record, stream, children) for record in records]
    if not is_verified:
        return found
    return [replace(stored, strays=_strays(record, stream, own)) for stored, record in zip(found, records, strict=True)]


def _columns(stream: Stream) -> list[str]:
    own = ["id", "external_id", "partner_record_id", *stream.written, "extra", "is_placeholder", "deleted_at"]
    own += ["defaulted_fields"] if stream.lists_defaults else []
    own += [reference.column for reference in stream.references]
    return [*own, *Source._fields]


def _all_columns(stream: Stream) -> list[str]:
    return [column.name for column in metadata.tables[f"{SCHEMA}.{stream.table}"].columns]


def _strays(record: Mapping[str, Any], stream: Stream, own: Sequence[str]) -> dict[str, Any]:
    """Returns values that no load writes: of columns that the stream does not have, or that a tombstone lost."""
    kept = {"id", "tenant", "partner", "external_id", "partner_record_id", "deleted_at", *Source._fields}
    allowed = kept if record["deleted_at"] is not None else {*kept, *own}
    found = {name: value for name, value in record.items() if name not in allowed and value is not None}
    if found.get("is_placeholder") is False:
        del found["is_placeholder"]
    if record["extra"] == {}:
        found["extra"] = record["extra"]
    is_defined = record["deleted_at"] is None and not record["is_placeholder"]
    if stream.lists_defaults and is_defined and record["defaulted_fields"] is None:
        found["defaulted_fields"] = None
    return found


def _main_rows(
    connection: psycopg.Connection[Any],
    stream: Stream,
    tenant: str,
    keys: Sequence[str],
    record_ids: Sequence[str],
    columns: Sequence[str],
) -> list[dict[str, Any]]:
    statement = SQL(
        "select {columns} from {main} where id in (select id from {main}"
        " where tenant = %(tenant)s and partner = %(partner)s and external_id = any(%(keys)s){unscoped}"
        " union select id from {main}"
        " where tenant = %(tenant)s and partner = %(partner)s and partner_record_id = any(%(ids)s))"
    ).format(
        columns=SQL(", ").join(map(Identifier, columns)),
        main=Identifier(SCHEMA, stream.table),
        unscoped=without_scope(stream, Identifier(stream.table)),
    )
    names = {"tenant": tenant, "partner": stream.partner, "keys": list(keys), "ids": list(record_ids)}
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, names).fetchall()


def _child_rows(
    connection: psycopg.Connection[Any], declared: Children, parents: list[int]
) -> dict[int, list[StoredChild]]:
    statement = SQL("select * from {t} where {parent} = any(%s) order by {parent}, line_no").format(
        t=Identifier(SCHEMA, declared.table), parent=Identifier(declared.parent)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        records = cursor.execute(statement, [parents]).fetchall()
    nested = {n.table: _child_rows(connection, n, [r["id"] for r in records]) for n in declared.nested}
    found: dict[int, list[StoredChild]] = {}
    for record in records:
        inner = {table: rows[record["id"]] for table, rows in nested.items() if record["id"] in rows}
        row = {name: _plain(v) for name, v in record.items() if v is not None and name not in _NOT_CONTENT}
        del row[declared.parent]
        row.update({table: [child.row for child in children] for table, children in inner.items()})
        found.setdefault(record[declared.parent], []).append(StoredChild(record["id"], record["line_no"], row, inner))
    return found


def _stored(record: dict[str, Any], stream: Stream, children: dict[str, dict[int, list[StoredChild]]]) -> StoredRow:
    identity = {"external_id": record["external_id"], "record_id": record["partner_record_id"]}
    source = Source(_plain(record["effective_at"]), record["source_file"], record["source_position"])
    own = {table: rows[record["id"]] for table, rows in children.items() if record["id"] in rows}
    if record["deleted_at"] is not None:
        return StoredRow(record["id"], Row(**identity, deleted_at=_plain(record["deleted_at"])), own, source=source)
    row = Row(
        **identity,
        values={c: _plain(record[c]) for c in stream.written if record[c] is not None},
        children={table: [child.row for child in rows] for table, rows in own.items()},
        links={r.column: record[r.column] for r in stream.references if record[r.column] is not None},
        extra=Jsonb(record["extra"] or {}),
        defaulted=tuple(record.get("defaulted_fields") or ()),
        is_placeholder=record["is_placeholder"],
    )
    return StoredRow(record["id"], row, own, source=source)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return Jsonb(value) if isinstance(value, dict) else value


def without_scope(stream: Stream, row: Identifier) -> Composed:
    """Returns a condition for keys that are unique in their tenant if other rows have a scope; it enables an index."""
    return unscoped(stream.table, row) if stream.scope is None else SQL("").format()


def unscoped(table: str, row: Identifier) -> Composed:
    """Returns a condition for rows without a scope, if others have one: references are only to those."""
    scope = metadata.tables[f"{SCHEMA}.{table}"].info.get("scope")
    return SQL(" and {}.{} is null").format(row, Identifier(scope)) if scope else SQL("").format()


def is_jsonb(table: str, column: str) -> bool:
    """Whether a column holds JSON."""
    return type(metadata.tables[f"{SCHEMA}.{table}"].c[column].type).__name__ == "JSONB"
