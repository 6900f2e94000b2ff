"""COPY in and out by columns.

Belongs here: the wire format. Does not belong here: what is copied (`new_rows`, `references`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.copy_format import ahead, array_of, csv_of

Ids = npt.NDArray[np.int64]
_BLOCK: Final = 8_192
_DRAWN: Final = 32_768
"""Most ids that are drawn ahead, if as many were needed before."""


class Copying:
    """Copies columns into tables, and integers out of queries.

    Args:
        connection: in a transaction.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._ids: dict[str, Ids] = {}
        self._used: Counter[str] = Counter()

    def numbers(self, query: Composed, *columns: str) -> Ids:
        """Returns the integers of a query as one value: thousands of rows would cost more than the query."""
        texts = SQL(", ").join(Identifier(name) for name in columns)
        # Values are in the query: it comes only once.
        row = self.connection.execute(
            SQL("select string_agg(concat_ws(' ', {}), ' ') from ({}) q").format(texts, query), prepare=False
        ).fetchone()
        assert row is not None
        return np.fromstring(row[0] or "", np.int64, sep=" ")

    def new_ids(self, table: str, count: int) -> Ids:
        """Draws ids from a table's own sequence, ascending."""
        ids = self._ids.get(table, np.empty(0, np.int64))
        if (missing := count - len(ids)) > 0:
            # After many ids, as many more are likely.
            drawn = self._draw(table, max(missing, min(self._used[table], _DRAWN)))
            ids = np.concatenate([ids, drawn])
        self._used[table] += count
        self._ids[table] = ids[count:]
        return ids[:count]

    def new_id(self, table: str) -> int:
        """Draws one such id."""
        return int(self.new_ids(table, 1)[0])

    def _draw(self, table: str, count: int) -> Ids:
        # Look up the sequence once, not for every number.
        sequence = SQL("select pg_get_serial_sequence({}, 'id')::regclass as name offset 0").format(f"{SCHEMA}.{table}")
        drawn = SQL("select nextval(s.name) as id from ({}) s, generate_series(1, {})").format(sequence, count)
        ends = SQL("select min(id) as first, max(id) as last from ({}) d").format(drawn)
        first, last = self.numbers(ends, "first", "last").tolist()
        if last - first + 1 == count:
            return np.arange(first, last + 1)
        # Others draw too. Ids that came in between are not used.
        return self.numbers(drawn, "id")

    def insert(self, table: str, columns: Mapping[str, Any]) -> None:
        """Inserts new rows, given as columns."""
        rows = pa.table({name: one(column) for name, column in columns.items()})
        blocks = ahead(csv_of(block.columns) for block in rows.to_batches(_BLOCK))
        self.write(Identifier(SCHEMA, table), rows.column_names, blocks)

    def write(self, table: Identifier, columns: Sequence[str], blocks: Iterable[bytes]) -> None:
        """Copies CSV into a table."""
        statement = SQL("copy {table} ({columns}) from stdin (format csv)").format(
            table=table, columns=SQL(", ").join(map(Identifier, columns))
        )
        with self.connection.cursor().copy(statement) as copy:
            for block in blocks:
                copy.write(block)


def values(name: str, columns: Mapping[str, Any]) -> Composed:
    """Returns columns of integers or texts as a table of a query: no temporary table has to be made and filled."""
    kinds = {column: SQL("bigint" if pa.types.is_integer(kept.type) else "text") for column, kept in columns.items()}
    arrays = [SQL("{}::{}[]").format(array_of(kept), kinds[column]) for column, kept in columns.items()]
    return SQL("unnest({}) {} ({})").format(
        SQL(", ").join(arrays), Identifier(name), SQL(", ").join(map(Identifier, columns))
    )


def one(column: Any) -> Any:
    """Returns a column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    # Arrow would copy a single piece.
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
