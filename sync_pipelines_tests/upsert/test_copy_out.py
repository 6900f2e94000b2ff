"""Results read as columns: every value as it is stored, whatever characters it has."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
from psycopg.sql import SQL

from sync_pipelines.verification.copy_out import MOMENT, columns_of, read
from sync_pipelines_tests.loading import Site

KINDS = {
    "id": pa.int64(),
    "name": pa.string(),
    "price": pa.decimal128(18, 4),
    "is_gift": pa.bool_(),
    "at": MOMENT,
    "names": pa.list_(pa.string()),
}
AT = datetime(2024, 3, 1, 10, 0, 0, 250000, UTC)
ROWS = [
    (1, None, None, None, None, None),
    (2, 'a "b", \\c\né\r', Decimal("-1.2500"), True, AT, '{a,"b c"}'),
    (3, "NULL", Decimal("0.0000"), False, AT, "{}"),
]


def read_back(site: Site, *names: str | None) -> None:
    """Stores rows, some with other names, and reads them."""
    rows = [*ROWS, *((number, name, *ROWS[1][2:]) for number, name in enumerate(names, 10))]
    with site.database.connect() as connection:
        connection.execute(
            "create temp table t (id bigint, name text, price numeric(18, 4), is_gift bool, at timestamptz,"
            " names text[])"
        )
        connection.cursor().executemany("insert into t values (%s, %s, %s, %s, %s, %s)", rows)
        connection.execute("set datestyle to 'ISO, YMD'; set timezone to 'America/Bogota'")
        query = SQL("select {} from t order by id").format(columns_of(KINDS))
        found = read(connection, query, KINDS)
    assert [tuple(row.values()) for row in found.to_pylist()] == rows
    assert found.column("at").type == MOMENT


def test_values_are_read_as_they_are_stored(site: Site) -> None:
    read_back(site)


def test_no_value_is_confused_with_null_or_with_the_separator(site: Site) -> None:
    for names in (["", None], ["\x1f"], ["\x1f", "", "x", "é\x1fb\n"], [""]):
        read_back(site, *names)


def test_no_rows_are_columns_without_values(site: Site) -> None:
    with site.database.connect() as connection:
        found = read(
            connection,
            SQL("select {} from {} where false").format(SQL("t.id"), SQL("sync.orders t")),
            {"id": pa.int64()},
        )
    assert (len(found), found.column_names) == (0, ["id"])
