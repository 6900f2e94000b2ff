"""Rows as the tables hold them now, in the fold's words.

Belongs here: reading rows of given keys. Does not belong here: writing any.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Children, Identity, Stream
from sync_pipelines.normalize.kept import ChildLayout, Layout
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.fold import Extra, Row


def current_rows(
    connection: psycopg.Connection[Any], stream: Stream, layout: Layout, tenant: str, keys: Sequence[str]
) -> dict[str, Row]:
    """Key -> its row, for the given keys that have one."""
    records = _main_rows(connection, stream, layout, tenant, keys)
    ids = [record["id"] for record in records if record["deleted_at"] is None]
    children = {
        child.table: _child_rows(connection, children, child, ids)
        for children, child in zip(stream.children, layout.children, strict=True)
    }
    return {record["external_id"]: _row(record, layout, children) for record in records}


def _main_rows(
    connection: psycopg.Connection[Any], stream: Stream, layout: Layout, tenant: str, keys: Sequence[str]
) -> list[dict[str, Any]]:
    links = [
        SQL("left join {t} {r} on {r}.id = t.{c}").format(
            t=Identifier(SCHEMA, reference.table), r=Identifier(f"r{index}"), c=Identifier(reference.column)
        )
        for index, reference in enumerate(stream.references)
    ]
    parts = [
        SQL("{r}.{part} as {name}").format(
            r=Identifier(f"r{index}"), part=Identifier(part), name=Identifier(f"{reference.column}_{part}")
        )
        for index, reference in enumerate(stream.references)
        for part in Identity._fields
    ]
    own = ["id", "external_id", *layout.columns, "extra", "is_placeholder", "deleted_at"]
    own += ["defaulted_fields"] if stream.defaults else []
    statement = SQL(
        "select {columns} from {main} t {links} where t.tenant = %s and t.partner = %s and t.external_id = any(%s)"
    ).format(
        columns=SQL(", ").join([*(SQL("t.{}").format(Identifier(c)) for c in own), *parts]),
        main=Identifier(SCHEMA, stream.table),
        links=SQL(" ").join(links),
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, [tenant, stream.partner, list(keys)]).fetchall()


def _child_rows(
    connection: psycopg.Connection[Any], children: Children, child: ChildLayout, ids: list[int]
) -> dict[int, list[dict[str, Any]]]:
    statement = SQL(
        "select {parent} as parent_id, {columns}, extra from {t} where {parent} = any(%s) order by {number}"
    ).format(
        parent=Identifier(children.parent),
        columns=SQL(", ").join(map(Identifier, child.columns)),
        t=Identifier(SCHEMA, child.table),
        number=Identifier(children.number),
    )
    rows: dict[int, list[dict[str, Any]]] = {}
    with connection.cursor(row_factory=dict_row) as cursor:
        for record in cursor.execute(statement, [ids]):
            parent = record.pop("parent_id")
            row = {name: _utc(value) for name, value in record.items() if value is not None}
            if "extra" in row:
                row["extra"] = Extra(row["extra"])
            rows.setdefault(parent, []).append(row)
    return rows


def _row(record: dict[str, Any], layout: Layout, children: dict[str, dict[int, list[dict[str, Any]]]]) -> Row:
    if record["deleted_at"] is not None:
        return Row(deleted_at=_utc(record["deleted_at"]))
    links = {link: _identity(record, link) for link in layout.links}
    return Row(
        values={c: _utc(record[c]) for c in layout.columns if record[c] is not None},
        children={table: rows[record["id"]] for table, rows in children.items() if record["id"] in rows},
        links={link: identity for link, identity in links.items() if identity is not None},
        extra=Extra(record["extra"] or {}),
        defaulted=tuple(record.get("defaulted_fields") or ()),
        is_placeholder=record["is_placeholder"],
    )


def _identity(record: dict[str, Any], link: str) -> Identity | None:
    parts = [record[f"{link}_{part}"] for part in Identity._fields]
    return None if parts[-1] is None else Identity(*parts)


def _utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value
