"""The least work for a stream with tables of any shape: flat rows into staging tables, then one MERGE each.

A program of its own, as `floor` is: `python floor_streams.py URL FOLDER` loads `FOLDER/<table>.csv` in one
transaction into the tables that `FOLDER/shapes.json` tells, made where they are missing. It validates nothing, counts
nothing, knows no references, keeps no ledger.

Belongs here: the statements of the floor. Does not belong here: anything imported from the project.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg.sql import SQL, Composable, Identifier

BLOCK = 1 << 18


class TableShape(NamedTuple):
    """A table: its name, the columns that tell its rows, and type by name of the others."""

    name: str
    keys: list[str]
    columns: dict[str, str]


def load(url: str, folder: Path) -> None:
    shapes = [TableShape(*shape) for shape in json.loads((folder / "shapes.json").read_text())]
    with psycopg.connect(url) as connection:
        connection.execute("set local client_min_messages = warning")
        for shape in shapes:
            _stage(connection, shape, folder / f"{shape.name}.csv")
        for shape in shapes:
            _merge(connection, shape)


def _stage(connection: psycopg.Connection, shape: TableShape, path: Path) -> None:
    table, stage = _names(shape)
    # The innermost keys are line numbers, the first is the record's.
    keys = [SQL("{} {}").format(Identifier(k), SQL("text" if n == 0 else "integer")) for n, k in enumerate(shape.keys)]
    others = [SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in shape.columns.items()]
    primary = SQL("primary key ({})").format(_list(shape.keys))
    connection.execute(
        SQL("create table if not exists {} ({})").format(table, SQL(", ").join([*keys, *others, primary]))
    )
    connection.execute(SQL("drop table if exists {}").format(stage))
    connection.execute(SQL("create unlogged table {} (like {})").format(stage, table))
    statement = SQL("copy {} from stdin (format csv)").format(stage)
    with path.open("rb") as rows, connection.cursor().copy(statement) as copy:
        while block := rows.read(BLOCK):
            copy.write(block)
    connection.execute(SQL("analyze {}").format(stage))


def _merge(connection: psycopg.Connection, shape: TableShape) -> None:
    table, stage = _names(shape)
    fields: dict[str, Composable] = {
        "table": table,
        "stage": stage,
        "same": SQL(" and ").join(SQL("t.{k} = s.{k}").format(k=Identifier(key)) for key in shape.keys),
        "old": _list(shape.columns, "t"),
        "new": _list(shape.columns, "s"),
        "set": SQL(", ").join(SQL("{c} = s.{c}").format(c=Identifier(name)) for name in shape.columns),
        "all": _list([*shape.keys, *shape.columns], "s"),
    }
    connection.execute(
        SQL(
            "merge into {table} t using {stage} s on {same}"
            " when matched and ({old}) is distinct from ({new}) then update set {set}"
            " when not matched then insert values ({all})"
        ).format(**fields)
    )


def _names(shape: TableShape) -> tuple[Identifier, Identifier]:
    return Identifier(shape.name), Identifier(f"stage_{shape.name}")


def _list(names: Iterable[str], *of: str) -> Composable:
    """Names with commas between, of a table where it is told."""
    return SQL(", ").join(Identifier(*of, name) for name in names)


if __name__ == "__main__":
    load(sys.argv[1], Path(sys.argv[2]))
