"""Writes the differences of folded rows: COPY for new rows, one statement per table for the others.

Belongs here: SQL for complete rows. Does not belong here: which rows those are (`differences`), columnar writes
(`changed_rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.differences import Retired, Writes, child_columns, main_columns


def write(connection: psycopg.Connection[Any], stream: Stream, tenant: str, writes: Writes) -> None:
    """Writes the differences. Children are deleted before their parents and inserted after them."""
    tables = list(_nested(stream.children))
    for declared in tables:
        delete_rows(connection, declared, writes.deletes.get(declared.table, []))
    # A key may move from one row to another: free it before it is used again.
    if freed := [*writes.freed_keys, *(row.id for row in writes.retired)]:
        free = SQL("update {} set external_id = null where id = any(%s)").format(Identifier(SCHEMA, stream.table))
        connection.execute(free, [freed])
    columns = main_columns(stream)
    rows = [[tenant, stream.partner, *row] for row in writes.inserts.get(stream.table, [])]
    _copy(connection, Identifier(SCHEMA, stream.table), ["tenant", "partner", *columns], rows)
    _update(connection, stream.table, columns, ["id"], writes.updates.get(stream.table, []), touches=True)
    for declared in tables:
        names = child_columns(declared)
        _copy(connection, Identifier(SCHEMA, declared.table), names, writes.inserts.get(declared.table, []))
        keys = ["id", declared.parent]
        _update(connection, declared.table, names, keys, writes.updates.get(declared.table, []), touches=False)
    for retired in writes.retired:
        _retire(connection, stream, retired)


def _retire(connection: psycopg.Connection[Any], stream: Stream, retired: Retired) -> None:
    """Moves references to the heir. A row that is still referred to stays as a placeholder, any other is removed."""
    main = Identifier(SCHEMA, stream.table)
    for table, column in _referring(stream.table) if retired.heir is not None else ():
        try:
            with connection.transaction():
                move = SQL("update {t} set {c} = %s where {c} = %s").format(t=table, c=column)
                connection.execute(move, [retired.heir, retired.id])
        except psycopg.errors.UniqueViolation:
            # Two rows are never merged (P2): these keep the row they have.
            pass
    if not remove_unused(connection, stream.table, [retired.id]):
        cleared = (*stream.written, "extra", "deleted_at")
        nothing = SQL(", ").join(SQL("{} = null").format(Identifier(column)) for column in cleared)
        stay = SQL(
            "update {m} set external_id = %s, partner_record_id = %s, is_placeholder = true, {nothing},"
            " updated_at = now() where id = %s"
        ).format(m=main, nothing=nothing)
        connection.execute(stay, [retired.external_id, retired.record_id, retired.id])


def remove_unused(connection: psycopg.Connection[Any], table: str, ids: Sequence[int]) -> int:
    """Removes rows of a main table that no other row refers to. Returns their number."""
    unused = [SQL("not exists (select from {t} where {c} = m.id)").format(t=t, c=c) for t, c in _referring(table)]
    delete = SQL("delete from {m} m where {unused}").format(
        m=Identifier(SCHEMA, table), unused=SQL(" and ").join([SQL("m.id = any(%s)").format(), *unused])
    )
    return connection.execute(delete, [list(ids)]).rowcount


def _referring(main: str) -> list[tuple[Identifier, Identifier]]:
    """Returns table and column of every reference to a main table."""
    return [
        (Identifier(SCHEMA, table.name), Identifier(key.parent.name))
        for table in metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name == main
    ]


def _nested(children: Iterable[Children]) -> Iterator[Children]:
    for declared in children:
        yield declared
        yield from _nested(declared.nested)


def delete_children(connection: psycopg.Connection[Any], children: Sequence[Children], parents: Sequence[int]) -> None:
    """Deletes all rows of child tables that belong to some rows, recursively."""
    for declared in children:
        statement = SQL("delete from {t} where {parent} = any(%s) returning id").format(
            t=Identifier(SCHEMA, declared.table), parent=Identifier(declared.parent)
        )
        gone = connection.execute(statement, [list(parents)]).fetchall() if parents else []
        delete_children(connection, declared.nested, [row_id for (row_id,) in gone])


def delete_rows(connection: psycopg.Connection[Any], declared: Children, rows: Sequence[tuple[int, int]]) -> None:
    """Deletes rows of a child table, given by their parents' and own ids."""
    if rows:
        statement = SQL("delete from {t} where {parent} = any(%s) and id = any(%s)").format(
            t=Identifier(SCHEMA, declared.table), parent=Identifier(declared.parent)
        )
        connection.execute(statement, [list({parent for parent, _ in rows}), [row_id for _, row_id in rows]])


def _update(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str],
    keys: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    touches: bool,
) -> None:
    if rows:
        update_rows(
            connection, table, columns, keys, lambda staged: _copy(connection, staged, columns, rows), touches=touches
        )


def update_rows(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Sequence[str],
    keys: Sequence[str],
    fill: Callable[[Identifier], None],
    *,
    touches: bool,
) -> None:
    """Updates rows of a table from a temporary table.

    Args:
        connection: in the load's transaction.
        table: the table of the rows.
        columns: the columns of the temporary table.
        keys: those of them that identify the rows.
        fill: fills the temporary table with the given name.
        touches: whether `updated_at` is set to now.
    """
    staged = Identifier(f"update_{table}")
    fields = {"staged": staged, "t": Identifier(SCHEMA, table)}
    connection.execute(
        SQL(
            "create temp table if not exists {staged} on commit drop as select * from {t} with no data;"
            " truncate {staged}"
        ).format(**fields)
    )
    fill(staged)
    assignments = [SQL("{c} = s.{c}").format(c=Identifier(c)) for c in columns if c not in keys]
    assignments += [SQL("updated_at = now()").format()] if touches else []
    same = SQL(" and ").join(SQL("t.{c} = s.{c}").format(c=Identifier(key)) for key in keys)
    # Row by row: other joins would read the whole table for every chunk of records.
    statement = SQL(
        "set local enable_hashjoin = off; set local enable_mergejoin = off;"
        " update {t} t set {assignments} from {staged} s where {same};"
        " set local enable_hashjoin = default; set local enable_mergejoin = default"
    )
    connection.execute(statement.format(assignments=SQL(", ").join(assignments), same=same, **fields))


def _copy(
    connection: psycopg.Connection[Any], table: Identifier, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    if not rows:
        return
    statement = SQL("copy {table} ({columns}) from stdin").format(
        table=table, columns=SQL(", ").join(map(Identifier, columns))
    )
    with connection.cursor().copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
