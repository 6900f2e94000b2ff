"""Rows of child tables whose main row does not exist.

Belongs here: finding and deleting them. Does not belong here: children of existing rows (`audit`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.audit import ROW, Difference


def delete_orphans(
    connection: psycopg.Connection[Any], stream: Stream, part: tuple[int, int], *, is_repair: bool
) -> Iterator[Difference]:
    """Yields the rows of a stream's child tables without a parent, and deletes them in a repair.

    Args:
        connection: in autocommit.
        stream: the declaration.
        part: number and count of parts, by the parents' ids.
        is_repair: whether they are deleted.
    """
    yield from _orphans(connection, stream, stream.table, stream.children, part, is_repair=is_repair)


def _orphans(
    connection: psycopg.Connection[Any],
    stream: Stream,
    parent: str,
    children: Sequence[Children],
    part: tuple[int, int],
    *,
    is_repair: bool,
) -> Iterator[Difference]:
    number, count = part
    for declared in children:
        names = {
            "c": Identifier(SCHEMA, declared.table),
            "t": Identifier(SCHEMA, parent),
            "p": Identifier(declared.parent),
            "part": SQL("") if count == 1 else SQL(" and c.{} % {} = {}").format(
                Identifier(declared.parent), count, number
            ),
        }  # fmt: skip
        found = SQL("from {c} c where not exists (select from {t} t where t.id = c.{p}){part}").format(**names)
        statement = SQL("delete {} returning c.{p}, c.line_no" if is_repair else "select c.{p}, c.line_no {}")
        for owner, line in connection.execute(statement.format(found, **names)).fetchall():
            yield Difference(declared.table, stream.partner, "", f"id {owner}", ROW, "present", None, line)
        yield from _orphans(connection, stream, declared.table, declared.nested, part, is_repair=is_repair)
