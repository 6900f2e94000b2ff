"""Comments of PostgreSQL on every table, view and column of schema `sync`.

Each has the description of the column (`tables.descriptions`) and the fields that fill it, as the contracts of the
registry declare. Migrations write them all again, so a fresh database and a migrated one have the same.

Belongs here: composing and writing the comments. Does not belong here: the descriptions (`tables.descriptions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from sync_pipelines.contracts.contract import Contract, shape_of
from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.descriptions import COLUMNS, TABLES, column_description
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.tables.views import VIEWS

if TYPE_CHECKING:
    import psycopg

Columns = dict[str, str]
"""Column -> what it holds."""
_ALEMBIC: Final = "alembic_version"


def described_relations() -> dict[str, tuple[str, Columns]]:
    """Returns table or view -> its description and those of its columns, in their order."""
    found: dict[str, tuple[str, Columns]] = {}
    for table in metadata.sorted_tables:
        columns = {str(c.name): with_fields(table.name, c.name) for c in table.columns}
        found[str(table.name)] = (TABLES[table.name], columns)
    for view in VIEWS:
        own = {str(name): with_fields(view.table, name) for name in view.table_columns}
        found[view.name] = (view.description, own | {name: added.description for name, added in view.added.items()})
    return found


def with_fields(table: str, column: str) -> str:
    """Returns what a column holds, with the fields that fill it: "Tax id, as text. Filled from reten `tax_id`."."""
    described = column_description(table, column) or ""
    fields = ", ".join(f"{owner} `{field}`" for owner, field in filled_by(table, column))
    return f"{described} Filled from {fields}." if fields else described


def filled_by(table: str, column: str) -> list[tuple[str, str]]:
    """Returns stream and field, as its page spells it, of everything that fills a column."""
    return list(
        dict.fromkeys(
            (stream.full_name, field)
            for stream in STREAMS
            for name, contract in contracts_of(stream)
            if name == table and (field := _field_of(contract, column)) is not None
        )
    )


def contracts_of(stream: Stream) -> Iterator[tuple[str, type[Contract]]]:
    """Yields every table that a stream fills, with the contract of the objects that fill it."""
    yield stream.table, stream.contract
    yield from _nested(stream.children, stream.contract)


def _nested(children: Iterable[Children], contract: type[Contract]) -> Iterator[tuple[str, type[Contract]]]:
    fields = {field.column: field for field in shape_of(contract).fields}
    for declared in children:
        inner = fields[declared.column].children
        if inner is not None:
            yield declared.table, inner.contract
            yield from _nested(declared.nested, inner.contract)


def _field_of(contract: type[Contract], column: str) -> str | None:
    source = contract.derived[column][0] if column in contract.derived else column
    return next((field.alias for field in shape_of(contract).scalars if field.column == source), None)


def write_comments(connection: psycopg.Connection[Any]) -> None:
    """Writes the comments of everything described that exists; what users added is left alone.

    Args:
        connection: of the tables' owner, inside a transaction.
    """
    relations = described_relations() | {_ALEMBIC: (TABLES[_ALEMBIC], COLUMNS[_ALEMBIC])}
    statements: list[sql.Composed] = []
    for name, kind, columns in _existing(connection):
        if name not in relations:
            continue
        description, described = relations[name]
        relation = sql.Identifier(SCHEMA, name)
        statements.append(sql.SQL("comment on {} {} is {}").format(sql.SQL(kind), relation, sql.Literal(description)))
        statements += [
            sql.SQL("comment on column {}.{} is {}").format(relation, sql.Identifier(column), sql.Literal(text))
            for column, text in described.items()
            if column in columns
        ]
    connection.execute(sql.SQL("; ").join(statements))


def _existing(connection: psycopg.Connection[Any]) -> list[tuple[str, str, list[str]]]:
    """Name, kind and columns of every table and view of the schema that we own."""
    return connection.execute(
        "select c.relname, case c.relkind when 'v' then 'view' else 'table' end,"
        " (select array_agg(a.attname::text) from pg_attribute a"
        " where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)"
        " from pg_class c where c.relnamespace = %s::regnamespace and c.relkind in ('r', 'p', 'v')"
        " and pg_has_role(c.relowner, 'usage') order by 1",
        [SCHEMA],
    ).fetchall()
