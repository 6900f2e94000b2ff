"""Reads queries as columns: all rows of a query as one text, since libpq gives each row of COPY by itself.

Belongs here: the wire format of whole results. Does not belong here: which rows are read (`stored_columns`,
`verified_columns`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg.sql import SQL, Composed, Identifier

MOMENT: Final = pa.timestamp("us", "UTC")
_BLOCK: Final = 1 << 30
_PARSE: Final = pyarrow.csv.ParseOptions(newlines_in_values=True)
_IDS_AT_ONCE: Final = 65_536


def columns_of(kinds: Mapping[str, pa.DataType], row: str = "t") -> Composed:
    """Returns the columns of a query, spelled so that `read` reads their types whatever the server's settings."""
    return SQL(", ").join(
        SQL("({r}.{c} at time zone 'UTC')::timestamp as {c}").format(r=Identifier(row), c=Identifier(name))
        if pa.types.is_timestamp(kind)
        else Identifier(row, name)
        for name, kind in kinds.items()
    )


def read(connection: psycopg.Connection[Any], query: Composed, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Returns the result of a query; arrays as PostgreSQL writes them. It must be small enough for one text.

    Args:
        connection: with the date style ISO.
        query: with columns as `columns_of` spells them.
        kinds: column -> type.
    """
    # A row as text is CSV in parentheses; these become columns of their own.
    whole = SQL("select string_agg(row(null, q.*, null)::text, e'\\n') from ({}) q").format(query)
    with connection.cursor() as cursor:
        cursor.execute(whole)
        text = cursor.pgresult.get_value(0, 0) if cursor.pgresult is not None else None
    return _parsed(text, kinds)


def read_by_ids(
    connection: psycopg.Connection[Any], table: Identifier, query: Composed, kinds: Mapping[str, pa.DataType]
) -> Iterator[pa.Table]:
    """Yields the result of a query on rows `t` of a table, in the order of ids, some at a time.

    Args:
        connection: with the date style ISO.
        table: the table of the ids.
        query: ends with a condition.
        kinds: column -> type.
    """
    row = connection.execute(SQL("select min(id), max(id) from {}").format(table)).fetchone()
    first, last = row if row and row[0] is not None else (0, -1)
    for start in range(first, last + 1, _IDS_AT_ONCE):
        part = SQL("{} and t.id between {} and {} order by t.id").format(query, start, start + _IDS_AT_ONCE - 1)
        yield read(connection, part, kinds)


def _parsed(text: bytes | None, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    if not text:
        return pa.table({name: pa.array([], _as(kind)) for name, kind in kinds.items()})
    found = pyarrow.csv.read_csv(
        pa.py_buffer(text),
        pyarrow.csv.ReadOptions(column_names=["(", *kinds, ")"], block_size=min(len(text), _BLOCK)),
        _PARSE,
        pyarrow.csv.ConvertOptions(
            column_types={name: _read_as(kind) for name, kind in kinds.items()},
            include_columns=list(kinds),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    escapes = b"\\" in text
    return pa.table(
        {name: _unescaped(found.column(name).cast(_as(kind)), escapes=escapes) for name, kind in kinds.items()}
    )


def _unescaped(column: Any, *, escapes: bool) -> Any:
    """Undoes what a row as text does to backslashes."""
    if not escapes or not pa.types.is_string(column.type):
        return column
    return pc.replace_substring(column, "\\\\", "\\")


def _read_as(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.string()
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else kind


def _as(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_list(kind) else kind
