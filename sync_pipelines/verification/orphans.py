"""Rows of child tables that no verified main row has: without a parent, or of a parent whose stream has no such list.

Belongs here: finding and deleting them. Does not belong here: the lists of a stream's own rows (`audit`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.audit import ROW, Difference


def delete_orphans(
    connection: psycopg.Connection[Any], stream: Stream, tenant: str, part: tuple[int, int], *, is_repair: bool
) -> Iterator[Difference]:
    """Yields rows of child tables that should not be there, and deletes them in a repair.

    Args:
        connection: in autocommit.
        stream: the declaration.
        tenant: the tenant, for rows with a parent.
        part: number and count of parts, by the parents' ids.
        is_repair: whether they are deleted.
    """
    declared = {child.table: child for child in stream.children}
    for table in _children_of(stream.table):
        found = _without_parent(table, part)
        if table.name not in declared:
            found = SQL("({}) or ({})").format(found, _of_stream(table, stream, tenant, part))
        for owner, line in _taken(connection, table, found, is_repair=is_repair):
            yield Difference(table.name, stream.partner, tenant, f"id {owner}", ROW, "present", None, line)
    for table in _nested(stream.children):
        for owner, line in _taken(connection, table, _without_parent(table, part), is_repair=is_repair):
            yield Difference(table.name, stream.partner, tenant, f"id {owner}", ROW, "present", None, line)


def _children_of(parent: str) -> list[sa.Table]:
    return [table for table in metadata.tables.values() if table.info.get("parent") == parent]


def _nested(children: Sequence[Children]) -> Iterator[sa.Table]:
    for child in children:
        for inner in child.nested:
            yield metadata.tables[f"{SCHEMA}.{inner.table}"]
        yield from _nested(child.nested)


def _taken(
    connection: psycopg.Connection[Any], table: sa.Table, condition: Composed, *, is_repair: bool
) -> list[tuple[int, int]]:
    statement = SQL(
        "delete from {c} c where {found} returning c.{p}, c.line_no"
        if is_repair
        else "select c.{p}, c.line_no from {c} c where {found}"
    ).format(c=Identifier(SCHEMA, table.name), p=_parent(table), found=condition)
    return connection.execute(statement).fetchall()


def _without_parent(table: sa.Table, part: tuple[int, int]) -> Composed:
    return SQL("not exists (select from {t} t where t.id = c.{p}){part}").format(
        t=Identifier(SCHEMA, table.info["parent"]), p=_parent(table), part=_of_part(table, part)
    )


def _of_stream(table: sa.Table, stream: Stream, tenant: str, part: tuple[int, int]) -> Composed:
    return SQL(
        "exists (select from {t} t where t.id = c.{p} and t.partner = {partner} and t.tenant = {tenant}){part}"
    ).format(
        t=Identifier(SCHEMA, table.info["parent"]),
        p=_parent(table),
        partner=stream.partner,
        tenant=tenant,
        part=_of_part(table, part),
    )


def _of_part(table: sa.Table, part: tuple[int, int]) -> Composed:
    number, count = part
    return SQL(" and c.{} % {} = {}" if count > 1 else "").format(_parent(table), count, number)


def _parent(table: sa.Table) -> Identifier:
    return Identifier(table.info["parent_column"])
