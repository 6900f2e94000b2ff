"""`sync-pipelines explain`: every record of a row, and what each one changed.

Belongs here: layout. Does not belong here: finding the records (`stages.explain`).
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any, Final

import click

from sync_pipelines.commands.disclosure import log_unmasked
from sync_pipelines.commands.screen import json_of, print_table, say, shown
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.stages.explain import Asked, Explained, NothingToExplain, explain

_CELL: Final = 100


def run(asked: Asked, *, as_json: bool, unmasked: bool) -> int:
    """Prints the explanation.

    Raises:
        click.UsageError: a name is unknown, or no record is as old as the date.
        ArchiveIncomplete: kept records are missing or damaged.
    """
    settings = load_settings()
    database = open_database(settings)
    migrate(database)
    with database.connect(autocommit=True) as connection:
        try:
            found = explain(connection, settings.archive, asked, unmasked=unmasked)
        except NothingToExplain as error:
            raise click.UsageError(str(error)) from None
    if unmasked:
        log_unmasked(settings, "explain", f"{found.partner}/{found.tenant}/{found.table}/{asked.key}")
    if as_json:
        sys.stdout.write(json_of(to_json(found, asked)) + "\n")
    else:
        _print(found, asked)
    return 0


def to_json(found: Explained, asked: Asked) -> dict[str, Any]:
    """Returns the explanation as one object."""
    return {
        "table": found.table,
        "partner": found.partner,
        "stream": None if found.stream is None else found.stream.name,
        "tenant": found.tenant,
        "column": found.column,
        "at": asked.at,
        "records": [asdict(record) for record in found.records],
        "rows": list(found.rows),
        "referred_by": list(found.referred_by),
    }


def _print(found: Explained, asked: Asked) -> None:
    stream = "no stream" if found.stream is None else found.stream.full_name
    say(f"{counted(len(found.records), 'record')} of {stream}, the oldest first:")
    if found.records:
        heads, rows = table_of(found)
        print_table(heads, rows)
    for line in found.referred_by:
        say(line)
    when = "now" if asked.at is None else f"at {shown(asked.at)} (UTC)"
    for row in found.rows:
        say("", f"The row {when}:")
        filled = {name: value for name, value in row.items() if value not in (None, []) or name == found.column}
        print_table(("column", "value"), [(name, _cell(value)) for name, value in filled.items()])
    if not found.rows:
        say("", f"There is no row {when}.")


def table_of(found: Explained) -> tuple[list[str], list[list[Any]]]:
    """Returns the heads and the rows of the records' table."""
    of_column = ["said", "value", f"{found.column} after it", "overridden by"]
    heads = ["time", "export", "position", "operation", "outcome", *(of_column if found.column else ["changed"]), "why"]
    rows = []
    for record in found.records:
        path = record.path if record.revision == 1 else f"{record.path} (revision {record.revision})"
        what: list[Any] = [_cell(record.value)]
        if found.column:
            what = [record.said, _cell(record.value), _cell(record.row), record.overridden_by]
        place = [shown(record.effective_at), path, record.position, record.operation, record.outcome]
        rows.append([*place, *what, record.reason])
    return heads, rows


def _cell(value: Any) -> str:
    """Returns a value on one line, shortened."""
    if isinstance(value, dict):
        text = ", ".join(f"{name}: {_text(below)}" for name, below in value.items())
    else:
        text = _text(value)
    return text if len(text) <= _CELL else text[: _CELL - 1] + "\u2026"


def _text(value: Any) -> str:
    return "" if value is None else json_of(value) if isinstance(value, dict | list) else str(value)
