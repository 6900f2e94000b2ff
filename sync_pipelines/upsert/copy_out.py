"""Reads queries as columns, by COPY.

Belongs here: the wire format of whole results. Does not belong here: which rows are read (`stored_columns`,
`placeholders`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg.sql import SQL, Composed, Identifier

MOMENT: Final = pa.timestamp("us", "UTC")
_BLOCK: Final = 1 << 30
_PARSE: Final = pyarrow.csv.ParseOptions(newlines_in_values=True)


def columns_of(kinds: Mapping[str, pa.DataType], row: str = "t") -> Composed:
    """Returns the columns of a query, spelled so that `read_copy` reads their types whatever the server's settings."""
    return SQL(", ").join(
        SQL("({r}.{c} at time zone 'UTC')::timestamp").format(r=Identifier(row), c=Identifier(name))
        if pa.types.is_timestamp(kind)
        else SQL("to_json({r}.{c})").format(r=Identifier(row), c=Identifier(name))
        if pa.types.is_list(kind)
        else Identifier(row, name)
        for name, kind in kinds.items()
    )


def read_copy(connection: psycopg.Connection[Any], query: Composed, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Returns the result of a query; lists as JSON text.

    Args:
        connection: in a transaction, or in autocommit.
        query: as `columns_of` spells its columns.
        kinds: column -> type.
    """
    return parsed(copied(connection, query), kinds)


def copied(connection: psycopg.Connection[Any], query: Composed) -> bytes:
    """Returns the result of a query as CSV."""
    with connection.cursor().copy(SQL("copy ({}) to stdout (format csv)").format(query)) as copy:
        return b"".join([bytes(block) for block in copy])


def parsed(text: bytes, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Returns such CSV as columns."""
    read = {name: _read_as(kind) for name, kind in kinds.items()}
    if not text:
        return pa.table({name: pa.array([], _as(kind)) for name, kind in kinds.items()})
    found = pyarrow.csv.read_csv(
        pa.py_buffer(text),
        pyarrow.csv.ReadOptions(column_names=list(kinds), block_size=min(len(text), _BLOCK)),
        _PARSE,
        pyarrow.csv.ConvertOptions(
            column_types=read,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return pa.table({name: found.column(name).cast(_as(kind)) for name, kind in kinds.items()})


def _read_as(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.string()
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else kind


def _as(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_list(kind) else kind
