"""COPY in and out by columns: what the direct way asks and writes.

Belongs here: the wire. Does not belong here: what is copied (`direct`, `referred`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.stage import ahead, csv_of

Ids = npt.NDArray[np.int64]
_BLOCK = 8_192


class Begun(NamedTuple):
    """Rows of a table on their way into CSV."""

    table: str
    names: list[str]
    blocks: Iterator[bytes]


class Copying:
    """Copies columns into tables and integers out of queries.

    Args:
        connection: inside a transaction.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def numbers(self, query: Composed, *columns: str) -> Ids:
        """The integers of an answer, row by row, as one value: thousands of rows would cost more than the query."""
        texts = SQL(", ").join(Identifier(name) for name in columns)
        row = self.connection.execute(
            SQL("select string_agg(concat_ws(' ', {}), ' ') from ({}) q").format(texts, query)
        ).fetchone()
        assert row is not None
        return np.fromstring(row[0] or "", np.int64, sep=" ")

    def new_ids(self, table: str, count: int) -> Ids:
        """Ids drawn from a table's own sequence."""
        # The sequence is looked up once, not for every number.
        sequence = SQL("select pg_get_serial_sequence({}, 'id')::regclass as name offset 0").format(f"{SCHEMA}.{table}")
        drawn = SQL("select nextval(s.name) as id from ({}) s, generate_series(1, {})").format(sequence, count)
        return self.numbers(drawn, "id")

    def fill(self, table: str, columns: Mapping[str, Any]) -> None:
        """Makes columns the whole content of a temporary table."""
        self.connection.execute(SQL("truncate {}").format(Identifier(table)))
        self.write(Identifier(table), list(columns), [csv_of(list(columns.values()))])

    def insert(self, table: str, columns: Mapping[str, Any]) -> None:
        """New rows of a table, a column each."""
        self.finish(self.begin(table, columns))

    def begin(self, table: str, columns: Mapping[str, Any]) -> Begun:
        """Begins to make new rows ready, while the server has other work."""
        rows = pa.table({name: one(column) for name, column in columns.items()})
        return Begun(table, rows.column_names, ahead(csv_of(block.columns) for block in _blocks_of(rows)))

    def finish(self, begun: Begun) -> None:
        """Writes rows that were begun."""
        self.write(Identifier(SCHEMA, begun.table), begun.names, begun.blocks)

    def write(self, table: Identifier, columns: Sequence[str], blocks: Iterable[bytes]) -> None:
        """CSV into a table."""
        statement = SQL("copy {table} ({columns}) from stdin (format csv)").format(
            table=table, columns=SQL(", ").join(map(Identifier, columns))
        )
        with self.connection.cursor().copy(statement) as copy:
            for block in blocks:
                copy.write(block)


def one(column: Any) -> Any:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    # Arrow would copy a single piece.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _blocks_of(rows: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, rows.num_rows, _BLOCK):
        yield rows.slice(start, _BLOCK)
