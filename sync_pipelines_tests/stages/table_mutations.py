"""Random single changes of cells and rows of the tables, as by hand.

Belongs here: what may change. Does not belong here: whether it is found (`test_verify_tables`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import MAIN_TABLES, metadata

NOT_DERIVED = ("id", "run_id", "created_at", "updated_at")
CHILDREN = [table for table in metadata.tables.values() if "parent" in table.info]

Done = tuple[str, str]
"""The table, and what was changed."""
Mutation = Callable[[psycopg.Connection[Any], random.Random], Done | None]
"""Changes something and returns what; None if there is nothing to change."""


def _row(connection: psycopg.Connection[Any], table: sa.Table, chance: random.Random) -> dict[str, Any] | None:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        rows = cursor.execute(
            SQL("select * from {} order by 1, 2, 3").format(Identifier("sync", table.name))
        ).fetchall()
    return chance.choice(rows) if rows else None


def _where(table: sa.Table, row: dict[str, Any]) -> tuple[Any, list[Any]]:
    keys = [column.name for column in table.primary_key.columns]
    return SQL(" and ").join(SQL("{} = %s").format(Identifier(k)) for k in keys), [row[k] for k in keys]


def change_cell(connection: psycopg.Connection[Any], chance: random.Random) -> Done | None:
    """Changes one cell of any table."""
    table = chance.choice([*MAIN_TABLES, *CHILDREN])
    row = _row(connection, table, chance)
    if row is None:
        return None
    column = chance.choice([c for c in table.columns if c.name not in NOT_DERIVED])
    before = row[column.name]
    after = _other(connection, table, column, before, chance)
    if column.name == "partner" and (after := _other_partner(table, before, chance)) is None:
        return None
    if row.get("is_placeholder") and column.name == "source_position" and after is None:
        # A placeholder may name only the export.
        return None
    where, keys = _where(table, row)
    value = Jsonb(after) if isinstance(after, dict) else after
    connection.execute(
        SQL("update {} set {} = %s where {}").format(Identifier("sync", table.name), Identifier(column.name), where),
        [value, *keys],
    )
    return table.name, f"{table.name}.{column.name} of {keys}: {before!r} -> {after!r}"


def _other_partner(table: sa.Table, before: str, chance: random.Random) -> str | None:
    """Another partner of the table: rows of partners that are not installed are nobody's to verify."""
    known = {stream.partner for stream in STREAMS if stream.table == table.name}
    known |= {"replenit"} if table.name == "customers" else set()
    return chance.choice(sorted(known - {before}) or [None])


def _other(
    connection: psycopg.Connection[Any], table: sa.Table, column: sa.Column[Any], before: Any, chance: random.Random
) -> Any:
    if before is not None and column.nullable and chance.random() < 0.3:
        return None
    for key in column.foreign_keys:
        others = connection.execute(
            f"select id from {key.column.table.fullname} where id is distinct from %s", [before]
        )
        return chance.choice([row_id for (row_id,) in others.fetchall()] or [None])
    kind = type(column.type).__name__
    match kind:
        case "Text":
            return (before or "") + "x"
        case "Boolean":
            return not before
        case "BigInteger" | "Integer":
            return (before or 0) + chance.randint(1, 3)
        case "Numeric":
            return (before or Decimal(0)) + 1
        case "DateTime":
            return _moment(connection) if before is None else before + timedelta(seconds=chance.choice([-1, 1]))
        case "ARRAY":
            return [*(before or []), "x"]
        case "JSONB":
            return {} if before is None and chance.random() < 0.5 else {**(before or {}), "x": 1}
    raise AssertionError(kind)


def _moment(connection: psycopg.Connection[Any]) -> Any:
    row = connection.execute("select now()").fetchone()
    assert row
    return row[0]


def delete_row(connection: psycopg.Connection[Any], chance: random.Random) -> Done | None:
    """Deletes a row of any table."""
    table = chance.choice([*MAIN_TABLES, *CHILDREN])
    row = _row(connection, table, chance)
    if row is None:
        return None
    where, keys = _where(table, row)
    connection.execute(SQL("delete from {} where {}").format(Identifier("sync", table.name), where), keys)
    return table.name, f"deleted {table.name} {keys}"


def add_row(connection: psycopg.Connection[Any], chance: random.Random) -> Done | None:
    """Adds a copy of a row, as another row."""
    table = chance.choice([*MAIN_TABLES, *CHILDREN])
    row = _row(connection, table, chance)
    if row is None:
        return None
    del row["id"]
    if table in CHILDREN:
        row["line_no"] += chance.randint(1, 2)
    else:
        row |= {"external_id": "new", "partner_record_id": None if row["partner_record_id"] is None else "new"}
    values = [Jsonb(v) if isinstance(v, dict) else v for v in row.values()]
    connection.execute(
        SQL("insert into {} ({}) values ({})").format(
            Identifier("sync", table.name), SQL(", ").join(map(Identifier, row)), SQL(", ").join([SQL("%s")] * len(row))
        ),
        values,
    )
    return table.name, f"added {table.name} {row}"


def mutate(connection: psycopg.Connection[Any], chance: random.Random) -> Done:
    """Changes something, in a transaction of its own. Returns what."""
    while True:
        mutation = chance.choices([change_cell, delete_row, add_row], [8, 1, 1])[0]
        try:
            with connection.transaction():
                done = mutation(connection, chance)
        except (psycopg.errors.IntegrityError, psycopg.errors.DataError):
            continue
        if done is not None:
            return done
