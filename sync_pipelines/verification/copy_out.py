"""Reads queries as columns: each column of a result as one text, since libpq gives each row of COPY by itself.

Values are separated by a control character, and null is an empty text. A column in which a value could be confused with
either is read again, in hexadecimal.

Belongs here: the wire format of whole results. Does not belong here: which rows are read (`stored_columns`,
`verified_columns`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Composed, Identifier

MOMENT: Final = pa.timestamp("us", "UTC")
_SEPARATOR: Final = b"\x1f"
_IDS_AT_ONCE: Final = 65_536


class Result(NamedTuple):
    """The result of a query, as the server wrote it.

    Attributes:
        query: the query.
        kinds: column -> type.
        rows: the number of rows.
        texts: the values of each column, separated; None without rows.
        filled: how many values of each column are not null.
        coded: columns whose values are hexadecimal.
    """

    query: Composed
    kinds: Mapping[str, pa.DataType]
    rows: int
    texts: list[bytes | None]
    filled: list[int]
    coded: Collection[str]


def columns_of(kinds: Mapping[str, pa.DataType], row: str = "t") -> Composed:
    """Returns the columns of a query, spelled so that `read` reads their types whatever the server's settings."""
    return SQL(", ").join(
        SQL("({r}.{c} at time zone 'UTC')::timestamp as {c}").format(r=Identifier(row), c=Identifier(name))
        if pa.types.is_timestamp(kind)
        else Identifier(row, name)
        for name, kind in kinds.items()
    )


def read(connection: psycopg.Connection[Any], query: Composed, kinds: Mapping[str, pa.DataType]) -> pa.Table:
    """Returns the result of a query; arrays as PostgreSQL writes them. Each column must be small enough for one text.

    Args:
        connection: with the date style ISO.
        query: with columns as `columns_of` spells them.
        kinds: column -> type.
    """
    return table_of(connection, fetch(connection, query, kinds))


def fetch(
    connection: psycopg.Connection[Any],
    query: Composed,
    kinds: Mapping[str, pa.DataType],
    coded: Collection[str] = (),
) -> Result:
    """Returns the result of a query as the server wrote it, see `read`."""
    whole = SQL("select count(*), {texts}, {filled} from ({query}) q").format(
        texts=SQL(", ").join(_text(name, is_coded=name in coded) for name in kinds),
        filled=SQL(", ").join(SQL("count(q.{})").format(Identifier(name)) for name in kinds),
        query=query,
    )
    with connection.cursor() as cursor:
        cursor.execute(whole)
        result = cursor.pgresult
    assert result is not None
    count, *values = (result.get_value(0, column) for column in range(result.nfields))
    texts, filled = values[: len(kinds)], [int(number or 0) for number in values[len(kinds) :]]
    return Result(query, kinds, int(count or 0), texts, filled, coded)


def table_of(connection: psycopg.Connection[Any], result: Result) -> pa.Table:
    """Returns a result as columns. If it is not unambiguous, it is read again."""
    found: dict[str, pa.Array | None] = {}
    for (name, kind), text, filled in zip(result.kinds.items(), result.texts, result.filled, strict=True):
        if not filled:
            found[name] = pa.nulls(result.rows, _as(kind))
            continue
        column = _split(text or b"", result.rows, filled)
        if column is not None and name in result.coded:
            column = _decoded(column)
        found[name] = None if column is None else _typed(column, kind)
    unclear = {name for name, column in found.items() if column is None}
    if unclear:
        return table_of(connection, fetch(connection, result.query, result.kinds, {*result.coded, *unclear}))
    return pa.table(found)


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


def _text(name: str, *, is_coded: bool) -> Composed:
    # A coded value begins with a letter, so that an empty one is not null.
    value = "'x' || encode(convert_to(q.{c}::text, 'UTF8'), 'hex')" if is_coded else "q.{c}::text"
    return SQL("string_agg(coalesce(" + value + ", ''), e'\\x1f')").format(c=Identifier(name))


def _split(text: bytes, count: int, filled: int) -> pa.Array | None:
    """Returns the values of a column as texts, empty ones as null; None if these are not its values for sure."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == _SEPARATOR[0])
    if len(ends) != count - 1:
        return None
    offsets = np.zeros(count + 1, np.int32)
    offsets[1:-1], offsets[-1] = ends - np.arange(count - 1), len(text) - (count - 1)
    is_filled = offsets[1:] > offsets[:-1]
    if np.count_nonzero(is_filled) != filled:
        return None
    valid = None if filled == count else pa.py_buffer(np.packbits(is_filled, bitorder="little"))
    values = pa.py_buffer(text.replace(_SEPARATOR, b""))
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), values, valid)


def _decoded(column: pa.Array) -> pa.Array:
    texts = (None if code is None else bytes.fromhex(code[1:]).decode() for code in column.to_pylist())
    return pa.array(texts, pa.string())


def _typed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us"))
    return column.cast(_as(kind))


def _as(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_list(kind) else kind
