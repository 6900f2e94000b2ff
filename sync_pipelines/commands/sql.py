"""`sync-pipelines sql`: runs a query and prints the result as table, JSON or CSV.

A query is one statement in a read-only transaction with a time limit, by a user who can only read.

Belongs here: running the query, and layout. Does not belong here: that user (`database.postgres`,
`database.server_access`).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click
import psycopg
from psycopg.types.json import set_json_loads

from sync_pipelines.commands.rights import is_powerful
from sync_pipelines.commands.screen import json_of, print_table, say
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.normalize.values import from_json
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.privacy.untrusted_text import on_one_line

ROWS_ON_SCREEN: Final = 1_000
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def run(query: str, layout: str, timeout: int = 60, *, is_for_spreadsheets: bool = False) -> int:
    """Prints the result of a query.

    Args:
        query: one statement.
        layout: `table`, `json` or `csv`.
        timeout: seconds the server may take.
        is_for_spreadsheets: whether text in CSV that a spreadsheet would run gets an apostrophe.

    Raises:
        click.UsageError: PostgreSQL does not accept the query.
        ConfigurationError: the user could do more than read.
    """
    database = open_database(load_settings())
    migrate(database)
    with database.reader.connect() as connection:
        _check_harmless(connection)
        set_json_loads(from_json, connection)
        connection.execute("set transaction read only")
        connection.execute(f"set local statement_timeout = '{timeout}s'")
        connection.execute("set local time zone 'UTC'")
        try:
            with connection.cursor() as cursor:
                # A prepared statement is one statement: no commit can end the transaction and write after it.
                cursor.execute(query.encode(), prepare=True)
                _print(cursor, layout, is_for_spreadsheets)
        except psycopg.errors.QueryCanceled:
            raise click.UsageError(f"the answer took longer than {timeout} s; --timeout allows more") from None
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise click.UsageError(_sentence(error)) from None
        connection.rollback()
    return 0


def _check_harmless(connection: psycopg.Connection[Any]) -> None:
    """Checks that the user cannot run programs or read files on the server: a read-only transaction allows both."""
    if is_powerful(connection):
        message = f"the user {connection.info.user} may run programs and read files on the database's server"
        hint = "name a user who only reads in SYNC_READER_URL: create role reader login in role pg_read_all_data"
        raise ConfigurationError("database_user_too_powerful", message, hint)


def _print(cursor: psycopg.Cursor[Any], layout: str, is_for_spreadsheets: bool) -> None:
    if cursor.description is None:
        raise click.UsageError("the statement returns no rows; only queries are allowed")
    names = [column.name for column in cursor.description]
    if is_for_spreadsheets:
        _print_csv([_harmless(name) for name in names], ([_harmless(value) for value in row] for row in cursor))
    else:
        {"table": _print_table, "json": _print_json, "csv": _print_csv}[layout](names, cursor)


def _harmless(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula with an apostrophe before it; numbers as they are."""
    cell = _csv_cell(value)
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell


def _print_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    found = list(rows)
    print_table(names, [[_plain(value) for value in row] for row in found[:ROWS_ON_SCREEN]])
    shown = f", the first {ROWS_ON_SCREEN:,} shown; --format csv has all" if len(found) > ROWS_ON_SCREEN else ""
    say(f"({counted(len(found), 'row')}{shown})")


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
    writer = csv.writer(_Lines())
    writer.writerow(names)
    is_seen = sys.stdout.isatty()
    for row in rows:
        cells = [_csv_cell(value) for value in row]
        # A file keeps every character; some would control a terminal.
        writer.writerow([on_one_line(c) if is_seen and isinstance(c, str) else c for c in cells])


class _Lines:
    """Ends rows with a newline. With `lineterminator`, csv would not quote a cell with a carriage return."""

    def write(self, row: str) -> None:
        sys.stdout.write(row.removesuffix("\r\n") + "\n")


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
