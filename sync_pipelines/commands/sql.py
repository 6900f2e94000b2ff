"""`sync-pipelines sql`: runs a query and prints the result as table, JSON or CSV.

A query is one statement in a read-only transaction with a time limit, by a user who can only read.

As of a date, the query runs in a transaction that has loaded the records until then and is rolled back. Only the owner
of the tables can do that, so the query is opened as a cursor: any statement that is not a query is a syntax error.

Belongs here: running the query, and layout. Does not belong here: that user (`database.postgres`,
`database.server_access`), the tables as of a date (`stages.as_of`).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, Final

import click
import psycopg
from psycopg.types.json import set_json_loads

from sync_pipelines.commands.progress import working
from sync_pipelines.commands.rights import is_powerful
from sync_pipelines.commands.screen import json_of, print_table, say, shown
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.empty_copy import STORED
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.normalize.values import from_json
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.as_of import TooEarly, check_date, tables_as_of
from sync_pipelines.stages.lost_ledger import check_ledger
from sync_pipelines.tables.schema import SCHEMA

ROWS_ON_SCREEN: Final = 1_000
_ROWS_AT_ONCE: Final = 10_000
_USERS_FUNCTIONS: Final = (
    "select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
    " where n.nspname not in ('pg_catalog', 'information_schema')"
)
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
        _limit(connection, timeout)
        with _sentences(timeout), connection.cursor() as cursor:
            # A prepared statement is one statement: no commit can end the transaction and write after it.
            cursor.execute(query.encode(), prepare=True)
            if cursor.description is None:
                raise click.UsageError("the statement returns no rows; only queries are allowed")
            names = [column.name for column in cursor.description]
            _print(names, cursor, layout, is_for_spreadsheets)
        connection.rollback()
    return 0


def run_as_of(
    query: str, moment: datetime, layout: str, timeout: int = 60, *, is_for_spreadsheets: bool = False
) -> int:
    """Prints the result of a query on the tables as they were by the records until a moment.

    Raises:
        click.UsageError: PostgreSQL does not accept the query, or no record is as old as the moment.
        ConfigurationError: the user could do more than own the tables, or may not create the copy.
    """
    settings = load_settings()
    database = open_database(settings)
    migrate(database)
    with database.connect(autocommit=True) as connection:
        _check_harmless(connection)
        set_json_loads(from_json, connection)
        try:
            check_date(connection, moment)
        except TooEarly as error:
            check_ledger(connection, settings.archive)
            raise click.UsageError(_too_early(moment, error)) from None

        def wanted() -> set[str] | None:
            with _sentences(timeout):
                return _tables_in(connection, query)

        with ExitStack() as stack:
            with working(f"loading the records until {shown(moment)}"):
                stack.enter_context(tables_as_of(connection, settings.archive, moment, wanted))
            connection.execute("set transaction read only")
            _limit(connection, timeout)
            with _sentences(timeout):
                _print_answer(connection, query, layout, is_for_spreadsheets)
    return 0


def _too_early(moment: datetime, error: TooEarly) -> str:
    if error.first is None:
        return "no export is loaded yet, so there is nothing as of any date"
    return f"there is no record until {shown(moment)}; the first is of {shown(error.first)} (UTC)"


def _tables_in(connection: psycopg.Connection[Any], query: str) -> set[str] | None:
    """Returns the tables that a query reads; None if they cannot be known. Run it while the copy is empty."""
    row = connection.execute(b"explain (verbose, format json) " + query.encode(), prepare=True).fetchone()
    found = set(_relations(row[0] if row else []))
    if STORED in {schema for schema, _ in found}:
        raise click.UsageError(
            f"the query uses a view or function of another schema, which shows the tables as they are now;"
            f" name the tables of schema {SCHEMA} in the query itself"
        )
    tables = {name for schema, name in found if schema == SCHEMA}
    # A function may read any table.
    functions = {name for (name,) in connection.execute(_USERS_FUNCTIONS)}
    return None if not tables or any(name in query for name in functions) else tables


def _relations(plan: Any) -> Iterator[tuple[str, str]]:
    """Yields the schema and the name of each relation in a plan."""
    if isinstance(plan, dict):
        if "Relation Name" in plan:
            yield plan.get("Schema", ""), plan["Relation Name"]
        plan = list(plan.values())
    if isinstance(plan, list):
        for part in plan:
            yield from _relations(part)


def _print_answer(connection: psycopg.Connection[Any], query: str, layout: str, is_for_spreadsheets: bool) -> None:
    connection.execute("set local cursor_tuple_fraction = 1")
    # A cursor can only be declared for a query: the transaction cannot be committed by it.
    connection.execute(b"declare answer no scroll cursor for " + query.encode(), prepare=True)
    with connection.cursor() as cursor:
        cursor.execute("fetch 0 from answer")
        names = [column.name for column in cursor.description or ()]

        def rows() -> Iterator[Sequence[Any]]:
            while some := cursor.execute(f"fetch {_ROWS_AT_ONCE} from answer").fetchall():
                yield from some

        _print(names, rows(), layout, is_for_spreadsheets)


def _limit(connection: psycopg.Connection[Any], timeout: int) -> None:
    connection.execute(f"set local statement_timeout = '{timeout}s'")
    connection.execute("set local time zone 'UTC'")


@contextmanager
def _sentences(timeout: int) -> Iterator[None]:
    """Errors of a query become a sentence."""
    try:
        yield
    except psycopg.errors.QueryCanceled:
        raise click.UsageError(f"the answer took longer than {timeout} s; --timeout allows more") from None
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise click.UsageError(_sentence(error)) from None


def _check_harmless(connection: psycopg.Connection[Any]) -> None:
    """Checks that the user cannot run programs or read files on the server: a read-only transaction allows both."""
    if is_powerful(connection):
        message = f"the user {connection.info.user} may run programs and read files on the database's server"
        hint = "name a user who only reads in SYNC_READER_URL: create role reader login in role pg_read_all_data"
        raise ConfigurationError("database_user_too_powerful", message, hint)


def _print(names: list[str], rows: Iterable[Sequence[Any]], layout: str, is_for_spreadsheets: bool) -> None:
    if is_for_spreadsheets:
        _print_csv([_harmless(name) for name in names], ([_harmless(value) for value in row] for row in rows))
    else:
        {"table": _print_table, "json": _print_json, "csv": _print_csv}[layout](names, rows)


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
