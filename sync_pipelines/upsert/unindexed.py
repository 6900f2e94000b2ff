"""Empty tables that take in many rows at once: their indexes and foreign keys are made afterwards.

An index made of rows that are there costs a third of one that grows row by row, a foreign key held once over all rows a
tenth of one that is held for each. Nobody reads anything from an empty table, so it may be locked meanwhile; where it
can't be had at once, or is not ours to alter, it is filled as it is.

Belongs here: taking indexes and foreign keys off and putting them back as they were. Does not belong here: filling
tables (`direct`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.tables.schema import SCHEMA

_LEFT_AS_IT_IS: Final = (
    errors.LockNotAvailable,  # somebody is at work on it
    errors.InsufficientPrivilege,  # somebody else owns it
    errors.DependentObjectsStillExist,  # something of the user's stands on a key
)


class _Part(NamedTuple):
    """An index or a constraint: how to take it off and how to put it back."""

    off: Composed
    on: Composed


@contextmanager
def without_indexes(
    connection: psycopg.Connection[Any], tables: Sequence[str], referred: Collection[str]
) -> Iterator[None]:
    """Within the block, tables have no indexes, and no foreign keys to tables that are empty too, if all are empty.

    Args:
        connection: inside a transaction. Where the block raises, nothing is put back: the transaction is lost.
        tables: to be filled.
        referred: tables they refer to.
    """
    parts = _taken_off(connection, tables, referred)
    yield
    for part in parts:
        connection.execute(part.on)


def _taken_off(connection: psycopg.Connection[Any], tables: Sequence[str], referred: Collection[str]) -> list[_Part]:
    if not _are_empty(connection, tables):
        return []
    empty = [*tables, *(table for table in referred if _are_empty(connection, [table]))]
    parts: list[_Part] = []
    try:
        with connection.transaction() as savepoint:
            connection.execute(
                SQL("lock table {} in access exclusive mode nowait").format(
                    SQL(", ").join(Identifier(SCHEMA, table) for table in empty)
                )
            )
            if not _are_empty(connection, empty):
                raise psycopg.Rollback(savepoint)
            found = [*_constraints(connection, tables, empty), *_plain_indexes(connection, tables)]
            # What refers to a key goes before the key.
            for part in reversed(found):
                connection.execute(part.off)
            parts = found
    except _LEFT_AS_IT_IS:
        return []
    return parts


def _are_empty(connection: psycopg.Connection[Any], tables: Sequence[str]) -> bool:
    looks = SQL(" union all ").join(SQL("(select from {} limit 1)").format(Identifier(SCHEMA, t)) for t in tables)
    return connection.execute(looks).fetchone() is None


def _constraints(connection: psycopg.Connection[Any], tables: Sequence[str], empty: Sequence[str]) -> Iterator[_Part]:
    """Keys, then foreign keys to the given empty tables."""
    rows = connection.execute(
        "select t.relname, c.conname, pg_get_constraintdef(c.oid)"
        " from pg_constraint c join pg_class t on t.oid = c.conrelid left join pg_class r on r.oid = c.confrelid"
        " where t.relnamespace = %(schema)s::regnamespace and t.relname = any(%(tables)s)"
        " and (c.contype in ('p', 'u') or c.contype = 'f' and r.relname = any(%(empty)s)"
        " and r.relnamespace = t.relnamespace)"
        " order by array_position('{p,u,f}', c.contype::text), c.oid",
        {"schema": SCHEMA, "tables": list(tables), "empty": list(empty)},
    ).fetchall()
    for table, name, definition in rows:
        alter = SQL("alter table {} ").format(Identifier(SCHEMA, table))
        yield _Part(
            alter + SQL("drop constraint {}").format(Identifier(name)),
            alter + SQL("add constraint {} ").format(Identifier(name)) + SQL(definition).format(),
        )


def _plain_indexes(connection: psycopg.Connection[Any], tables: Sequence[str]) -> Iterator[_Part]:
    """Indexes that stand for no constraint."""
    rows = connection.execute(
        "select i.relname, pg_get_indexdef(i.oid) from pg_index x join pg_class i on i.oid = x.indexrelid"
        " join pg_class t on t.oid = x.indrelid where t.relnamespace = %(schema)s::regnamespace"
        " and t.relname = any(%(tables)s) and x.indisvalid"
        " and not exists (select from pg_constraint c where c.conindid = i.oid and c.contype in ('p', 'u', 'x'))"
        " order by i.oid",
        {"schema": SCHEMA, "tables": list(tables)},
    ).fetchall()
    for name, definition in rows:
        yield _Part(SQL("drop index {}").format(Identifier(SCHEMA, name)), SQL(definition).format())
