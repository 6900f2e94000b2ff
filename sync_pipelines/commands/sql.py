"""`sync-pipelines sql`: a question to the database and its answer as table, JSON or CSV.

Belongs here: asking and layout. Does not belong here: writing; the transaction reads only.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import psycopg
from psycopg.types.json import set_json_loads

from sync_pipelines.commands.screen import json_of, print_table, say
from sync_pipelines.database import migrate, open_database
from sync_pipelines.normalize.values import from_json
from sync_pipelines.settings import load_settings
from sync_pipelines.untrusted_text import on_one_line

ROWS_ON_SCREEN: Final = 1_000


def run(query: str, layout: str) -> int:
    """Prints the answer to a query.

    Raises:
        click.UsageError: PostgreSQL does not accept the query.
    """
    database = open_database(load_settings())
    migrate(database)
    with database.connect() as connection:
        set_json_loads(from_json, connection)
        connection.execute("set transaction read only")
        connection.execute("set local time zone 'UTC'")
        try:
            with connection.cursor() as cursor:
                # A prepared statement is one statement: no commit can end the transaction and write after it.
                cursor.execute(query.encode(), prepare=True)
                _print(cursor, layout)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise click.UsageError(_sentence(error)) from None
        connection.rollback()
    return 0


def _print(cursor: psycopg.Cursor[Any], layout: str) -> None:
    if cursor.description is None:
        raise click.UsageError("the query has no answer; only questions are asked here")
    names = [column.name for column in cursor.description]
    {"table": _print_table, "json": _print_json, "csv": _print_csv}[layout](names, cursor)


def _print_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    found = list(rows)
    print_table(names, [[_plain(value) for value in row] for row in found[:ROWS_ON_SCREEN]])
    shown = f", the first {ROWS_ON_SCREEN:,} shown; --format csv has all" if len(found) > ROWS_ON_SCREEN else ""
    say(f"({len(found):,} row{'' if len(found) == 1 else 's'}{shown})")


def _plain(value: Any) -> Any:
    """Numbers without thousands separators: they may be ids."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _print_json(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    sys.stdout.write("[")
    for index, row in enumerate(rows):
        sys.stdout.write(",\n " if index else "")
        sys.stdout.write(json_of(dict(zip(names, row, strict=True))))
    sys.stdout.write("]\n")


def _print_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    is_seen = sys.stdout.isatty()
    for row in rows:
        cells = [_csv_cell(value) for value in row]
        # A file keeps every character; a terminal would obey some.
        writer.writerow([on_one_line(c) if is_seen and isinstance(c, str) else c for c in cells])


def _csv_cell(value: Any) -> Any:
    match value:
        case bool() | dict() | list():
            return json_of(value)
        case _ if hasattr(value, "isoformat"):
            return value.isoformat()
        case _:
            return value


def _sentence(error: psycopg.Error) -> str:
    diagnostic = error.diag
    hint = f" ({diagnostic.message_hint})" if diagnostic.message_hint else ""
    return f"{diagnostic.message_primary or error}{hint}"
