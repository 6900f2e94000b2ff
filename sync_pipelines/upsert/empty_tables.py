"""Fills empty tables with many rows: their indexes and foreign keys are created afterwards.

Building an index on existing rows costs a third of growing it row by row; checking a foreign key once for all rows
costs a tenth of checking it for each. Values that all rows share (tenant, file, run) are half of their text, so they
become column defaults meanwhile. Nobody reads from an empty table, so it may be locked. If the lock is not available at
once, or the table is not ours to alter, it is filled with its indexes in place.

Belongs here: dropping indexes and foreign keys and restoring them as they were. Does not belong here: filling
tables (`new_rows`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import errors
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.tables.schema import SCHEMA

_LEFT_AS_IT_IS: Final = (
    errors.LockNotAvailable,  # another process uses it
    errors.InsufficientPrivilege,  # another role owns it
    errors.DependentObjectsStillExist,  # an object of the user's depends on a key
)


Common = Mapping[str, Mapping[str, str]]
"""Table -> column -> the value in all of its new rows."""


class _Part(NamedTuple):
    """An index or a constraint of a table: how to drop and how to restore it.

    Attributes:
        waits: whether it is restored after all tables are filled, not with its table's other parts.
    """

    table: str
    waits: bool
    off: Composed
    on: Composed


class DeferredIndexes:
    """Tables that have no indexes for now.

    Args:
        connection: in a transaction.
        parts: what was dropped.
        tables: the tables; they were empty before.
        common: column values that their new rows get by default.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        parts: Sequence[_Part] = (),
        tables: Collection[str] = (),
        common: Common | None = None,
    ) -> None:
        self._connection = connection
        self._parts = list(parts)
        self._filled = tuple(tables)
        self._common = common or {}
        self.tables = set(tables)

    def without_defaults(self, table: str, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the columns of new rows, without those that are defaults now."""
        common = self._common.get(table, ())
        return {name: values for name, values in columns.items() if name not in common}

    def put_back(self, table: str) -> None:
        """Restores the indexes and keys of a table."""
        self._make([part for part in self._parts if part.table == table and not part.waits])
        self.tables.discard(table)

    def put_all_back(self) -> None:
        """Restores everything, and statistics: without them the next queries would be planned for empty tables."""
        self._make(list(self._parts))
        self.tables.clear()
        if self._filled:
            self._connection.execute("set local default_statistics_target = 30")
            # Other columns are not searched; autovacuum will still analyze the tables.
            indexed = _indexed_columns(self._connection, self._filled)
            tables = [Identifier(SCHEMA, table) + SQL(indexed.get(table, "")) for table in self._filled]
            self._connection.execute(SQL("analyze {}").format(SQL(", ").join(tables)))

    def _make(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            self._connection.execute(part.on)
            self._parts.remove(part)


@contextmanager
def without_indexes(
    connection: psycopg.Connection[Any], tables: Sequence[str], referred: Collection[str], common: Common
) -> Iterator[DeferredIndexes]:
    """Within the block, tables that are all empty have no indexes; the same holds for empty tables they refer to.

    Foreign keys between them are dropped as well, and those of other empty tables that refer to them.

    Args:
        connection: in a transaction. If the block raises, nothing is restored: the transaction is lost.
        tables: the tables to fill.
        referred: tables that they refer to.
        common: values of all rows that are created in the block, for columns without a default of their own.
    """
    unindexed = _dropped(connection, tables, referred, common)
    yield unindexed
    unindexed.put_all_back()


def _dropped(
    connection: psycopg.Connection[Any], tables: Sequence[str], referred: Collection[str], common: Common
) -> DeferredIndexes:
    if not _are_empty(connection, tables) or _are_checked_later(connection, [*tables, *referred]):
        return DeferredIndexes(connection)
    empty = [*tables, *(table for table in referred if _are_empty(connection, [table]))]
    # An empty table that refers to them has no rows for which a foreign key must be checked.
    referring = sorted({table for table, *_ in _foreign_keys(connection, empty)} - {*empty})
    around = [*empty, *(table for table in referring if _are_empty(connection, [table]))]
    found: list[_Part] = []
    try:
        with connection.transaction() as savepoint:
            connection.execute(
                SQL("lock table {} in access exclusive mode nowait").format(
                    SQL(", ").join(Identifier(SCHEMA, table) for table in around)
                )
            )
            if not _are_empty(connection, around) or _hold_more(connection, around):
                raise psycopg.Rollback(savepoint)
            parts = [*_keys(connection, empty), *_plain_indexes(connection, empty), *_references(connection, around)]
            common = _without_default(connection, {table: common.get(table, {}) for table in empty})
            parts += _defaults(common)
            # Foreign keys are dropped before the keys that they refer to.
            for part in reversed(parts):
                connection.execute(part.off)
            found = parts
    except _LEFT_AS_IT_IS:
        return DeferredIndexes(connection)
    return DeferredIndexes(connection, found, empty, common) if found else DeferredIndexes(connection)


def _are_empty(connection: psycopg.Connection[Any], tables: Sequence[str]) -> bool:
    looks = SQL(" union all ").join(SQL("(select from {} limit 1)").format(Identifier(SCHEMA, t)) for t in tables)
    return connection.execute(looks).fetchone() is None


def _are_checked_later(connection: psycopg.Connection[Any], tables: Sequence[str]) -> bool:
    """Whether a trigger of the user's waits for the end of the transaction; its table cannot be altered."""
    statement = (
        "select from pg_trigger g join pg_class t on t.oid = g.tgrelid"
        " where t.relnamespace = %s::regnamespace and t.relname = any(%s) and g.tginitdeferred limit 1"
    )
    return connection.execute(statement, [SCHEMA, list(tables)]).fetchone() is not None


def _hold_more(connection: psycopg.Connection[Any], tables: Sequence[str]) -> bool:
    """Whether an index or a constraint has properties beside its definition: a comment, a role in replication."""
    statement = (
        "select from pg_class t where t.relnamespace = %s::regnamespace and t.relname = any(%s) and (exists (select"
        " from pg_index x join pg_class i on i.oid = x.indexrelid where x.indrelid = t.oid and (x.indisreplident"
        " or x.indisclustered or i.reltablespace <> 0 or obj_description(i.oid, 'pg_class') is not null))"
        " or exists (select from pg_constraint c where c.conrelid = t.oid"
        " and obj_description(c.oid, 'pg_constraint') is not null)) limit 1"
    )
    return connection.execute(statement, [SCHEMA, list(tables)]).fetchone() is not None


def _foreign_keys(connection: psycopg.Connection[Any], tables: Sequence[str]) -> list[tuple[str, str, str]]:
    """Returns the foreign keys that refer to some tables: table, name and definition."""
    return connection.execute(
        "select t.relname, c.conname, pg_get_constraintdef(c.oid) from pg_constraint c"
        " join pg_class t on t.oid = c.conrelid join pg_class r on r.oid = c.confrelid where c.contype = 'f'"
        " and t.relnamespace = %(schema)s::regnamespace and r.relnamespace = t.relnamespace"
        " and r.relname = any(%(tables)s) order by c.oid",
        {"schema": SCHEMA, "tables": list(tables)},
    ).fetchall()


def _keys(connection: psycopg.Connection[Any], tables: Sequence[str]) -> Iterator[_Part]:
    rows = connection.execute(
        "select t.relname, c.conname, pg_get_constraintdef(c.oid) from pg_constraint c"
        " join pg_class t on t.oid = c.conrelid where t.relnamespace = %s::regnamespace and t.relname = any(%s)"
        " and c.contype in ('p', 'u') order by c.contype, c.oid",
        [SCHEMA, list(tables)],
    ).fetchall()
    return (_constraint(*row, waits=False) for row in rows)


def _references(connection: psycopg.Connection[Any], tables: Sequence[str]) -> Iterator[_Part]:
    """Yields foreign keys from one of the tables to another."""
    return (_constraint(*key, waits=True) for key in _foreign_keys(connection, tables) if key[0] in tables)


def _constraint(table: str, name: str, definition: str, *, waits: bool) -> _Part:
    alter = SQL("alter table {} ").format(Identifier(SCHEMA, table))
    return _Part(
        table,
        waits,
        alter + SQL("drop constraint {}").format(Identifier(name)),
        alter + SQL("add constraint {} ").format(Identifier(name)) + SQL(definition),
    )


def _plain_indexes(connection: psycopg.Connection[Any], tables: Sequence[str]) -> Iterator[_Part]:
    """Yields indexes that belong to no constraint."""
    rows = connection.execute(
        "select t.relname, i.relname, pg_get_indexdef(i.oid) from pg_index x join pg_class i on i.oid = x.indexrelid"
        " join pg_class t on t.oid = x.indrelid where t.relnamespace = %s::regnamespace"
        " and t.relname = any(%s) and x.indisvalid"
        " and not exists (select from pg_constraint c where c.conindid = i.oid and c.contype in ('p', 'u', 'x'))"
        " order by i.oid",
        [SCHEMA, list(tables)],
    ).fetchall()
    for table, name, definition in rows:
        off = SQL("drop index {}").format(Identifier(SCHEMA, name))
        yield _Part(table, False, off, Composed([SQL(definition)]))


def _indexed_columns(connection: psycopg.Connection[Any], tables: Sequence[str]) -> dict[str, str]:
    """Returns table -> the columns of its indexes, in parentheses."""
    rows = connection.execute(
        "select t.relname, format('(%%s)', string_agg(distinct quote_ident(a.attname), ', '))"
        " from pg_index x join pg_class t on t.oid = x.indrelid"
        " join pg_attribute a on a.attrelid = t.oid and a.attnum = any(x.indkey)"
        " where t.relnamespace = %s::regnamespace and t.relname = any(%s) group by 1",
        [SCHEMA, list(tables)],
    ).fetchall()
    return dict(rows)


def _without_default(connection: psycopg.Connection[Any], common: Common) -> Common:
    """Returns the values without columns that have a default of the user's."""
    rows = connection.execute(
        "select t.relname, a.attname from pg_attrdef d join pg_class t on t.oid = d.adrelid"
        " join pg_attribute a on a.attrelid = t.oid and a.attnum = d.adnum"
        " where t.relnamespace = %s::regnamespace and t.relname = any(%s)",
        [SCHEMA, list(common)],
    ).fetchall()
    return {
        table: {column: value for column, value in columns.items() if (table, column) not in rows}
        for table, columns in common.items()
    }


def _defaults(common: Common) -> Iterator[_Part]:
    """Yields column defaults, which exist only while nobody else can create a row."""
    for table, columns in common.items():
        for column, value in columns.items():
            alter = SQL("alter table {} alter column {} ").format(Identifier(SCHEMA, table), Identifier(column))
            yield _Part(table, True, alter + SQL("set default {}").format(value), alter + SQL("drop default"))
