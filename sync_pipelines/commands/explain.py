"""`sync-pipelines explain`: every record of a row, and what each one changed.

Belongs here: layout. Does not belong here: finding the records (`stages.explain`).
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from sync_pipelines.commands.disclosure import log_unmasked
from sync_pipelines.commands.screen import json_of, print_table, say, shown
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.stages.explain import Asked, Explained, NothingToExplain, explain
from sync_pipelines.stages.explained_tables import record_table, row_table
from sync_pipelines.stages.lost_ledger import check_ledger


def run(asked: Asked, *, as_json: bool, unmasked: bool) -> int:
    """Prints the explanation.

    Raises:
        click.UsageError: a name is unknown, or no record is as old as the date.
        LedgerLost: nothing is known, because the database was lost.
        ArchiveIncomplete: kept records are missing or damaged.
    """
    settings = load_settings()
    database = open_database(settings)
    migrate(database)
    with database.connect(autocommit=True) as connection:
        try:
            found = explain(connection, settings.archive, asked, unmasked=unmasked)
        except NothingToExplain as error:
            check_ledger(connection, settings.archive)
            raise click.UsageError(str(error)) from None
    if unmasked:
        key = without_emails(asked.key)
        log_unmasked(settings, "explain", f"{found.partner}/{found.tenant}/{found.table}/{key}")
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
    if found.records:
        stream = "no stream" if found.stream is None else found.stream.full_name
        say(f"{counted(len(found.records), 'record')} of {stream}, the oldest first:")
        print_table(*record_table(found))
    else:
        say(f"No record has this key{'' if asked.at is None else ' until then'}.")
    for line in found.referred_by:
        say(line)
    when = "now" if asked.at is None else f"at {shown(asked.at)} (UTC)"
    for row in found.rows:
        say("", f"The row {when}:")
        print_table(("column", "value"), row_table(found, row))
    if not found.rows:
        say("", f"There is no row {when}.")
