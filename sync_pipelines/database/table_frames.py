"""Rows of the tables and views as pandas DataFrames, for those who build on them.

Money stays exact: `numeric` becomes Arrow's decimal128, which sums, groups and multiplies with floats. `timestamptz`
becomes `datetime64[us, UTC]`, integers `Int64`, booleans `boolean`, text `string`; null is `NA` in each. `jsonb` and
arrays become Python objects.

Belongs here: which relation a name means, conditions, and types. Does not belong here: Dagster
(`orchestration.tables_resource`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from sync_pipelines.command_line import typed
from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.tables.views import VIEWS, find_view, live_view

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from sync_pipelines.database.postgres import Database

Where = Mapping[str, Any] | str
_ROWS: Final = 20_000
"""Rows that are fetched at once."""


def relation_of(name: str) -> str:
    """Returns the table or view that a name means.

    The name of a table means the view of its live rows, if it has one; `sync.orders` means the table itself.

    Raises:
        ValueError: there is no such table or view; the message names the nearest.
    """
    tables = [table.name for table in metadata.tables.values()]
    given = name.removeprefix(f"{SCHEMA}.")
    if given not in tables and find_view(given) is None:
        known = [*tables, *(view.name for view in VIEWS)]
        raise ValueError(f"unknown table {name!r}: {suggestion(given, known)}")
    view = live_view(given)
    return given if view is None or name != given else view.name


def read_frame(
    database: Database,
    table: str,
    columns: Sequence[str] | None = None,
    where: Where | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Reads rows of a table or view.

    Args:
        database: to read from.
        table: see `relation_of`.
        columns: in the order wanted; None is all of them.
        where: column -> value, all of which must match (a list matches any of its values, None matches null); or a
            condition in SQL with named parameters, such as `ordered_at >= %(since)s`.
        parameters: name -> value. Values are sent apart from the statement, so any text is safe.

    Raises:
        ValueError: there is no such table, view or column; the message names the nearest.
        ConfigurationError: the database has no tables yet.
        DatabaseUnavailable: the server does not answer.
    """
    relation = relation_of(table)
    condition, values = _condition(where, parameters)
    with database.connect() as connection:
        known = _columns(connection, relation)
        if not known:
            message = f"{database.place} has no {SCHEMA}.{relation}"
            raise ConfigurationError("tables_missing", message, f"to create the tables: {typed('sync')}")
        for name in [*(columns or ()), *(where if isinstance(where, Mapping) else ())]:
            if name not in known:
                raise ValueError(f"{relation} has no column {name!r}: {suggestion(name, known)}")
        statement = sql.SQL("select {} from {}{}").format(
            sql.SQL(", ").join(map(sql.Identifier, known if columns is None else columns)),
            sql.Identifier(SCHEMA, relation),
            condition,
        )
        return _frame(connection, statement, values)


def _columns(connection: psycopg.Connection[Any], relation: str) -> list[str]:
    rows = connection.execute(
        "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped"
        " order by attnum",
        [f"{SCHEMA}.{relation}"],
    )
    return [name for (name,) in rows]


def _condition(where: Where | None, parameters: Mapping[str, Any] | None) -> tuple[sql.Composable, dict[str, Any]]:
    if where is None:
        return sql.SQL(""), {}
    if isinstance(where, str):
        # Without parameters psycopg takes % as it is.
        return sql.SQL(" where ") + sql.SQL(where), dict(parameters or {})
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for number, (column, value) in enumerate(where.items()):
        name, place = sql.Identifier(column), sql.Placeholder(f"value{number}")
        if value is None:
            parts.append(sql.SQL("{} is null").format(name))
            continue
        is_list = isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
        values[f"value{number}"] = list(value) if is_list else value
        parts.append(sql.SQL("{} = any({})" if is_list else "{} = {}").format(name, place))
    return (sql.SQL(" where ") + sql.SQL(" and ").join(parts) if parts else sql.SQL("")), values


def _frame(connection: psycopg.Connection[Any], statement: sql.Composed, values: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    connection.execute("set time zone 'UTC'")
    with connection.cursor("rows", binary=True) as cursor:
        cursor.itersize = _ROWS
        cursor.execute(statement, values or None)
        described = cursor.description or []
        types = [_arrow_type(column) for column in described]
        blocks: list[list[Any]] = [[] for _ in described]
        while rows := cursor.fetchmany(_ROWS):
            for block, arrow, column in zip(blocks, types, zip(*rows, strict=True), strict=True):
                block.append(list(column) if arrow is None else pa.array(column, arrow))
    frame = pd.DataFrame(index=pd.RangeIndex(sum(map(len, blocks[0])) if blocks else 0))
    columns = {
        column.name: _series(block, arrow) for column, arrow, block in zip(described, types, blocks, strict=True)
    }
    return pd.DataFrame(columns, index=frame.index)


def _arrow_type(column: psycopg.Column) -> pa.DataType | None:
    """The type of a column; None for what stays a Python object."""
    import pyarrow as pa

    match column.type_display.partition("(")[0]:
        case "int2" | "int4" | "int8":
            return pa.int64()
        case "bool":
            return pa.bool_()
        case "text" | "varchar" | "bpchar":
            return pa.large_string()
        case "timestamptz":
            return pa.timestamp("us", "UTC")
        case "timestamp":
            return pa.timestamp("us")
        case "date":
            return pa.date32()
        case "float4" | "float8":
            return pa.float64()
        case "numeric":
            # A sum has no precision of its own; ours needs no more digits than these.
            return pa.decimal128(38, 4) if column.precision is None else pa.decimal128(column.precision, column.scale)
        case _:
            return None


def _series(blocks: list[Any], arrow: pa.DataType | None) -> pd.Series[Any]:
    import pandas as pd
    import pyarrow as pa

    if arrow is None:
        return pd.Series([value for block in blocks for value in block], dtype=object)
    series: pd.Series[Any] = pa.chunked_array(blocks, arrow).to_pandas(types_mapper=_pandas_type)
    return series


def _pandas_type(arrow: pa.DataType) -> Any:
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_decimal(arrow) or pa.types.is_date(arrow):
        return pd.ArrowDtype(arrow)
    plain = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype(), pa.large_string(): pd.StringDtype()}
    return plain.get(arrow)
