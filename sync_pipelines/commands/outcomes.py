"""`sync-pipelines outcomes`: the outcome of each record of a loaded export.

Belongs here: finding the export, and layout. Does not belong here: how outcomes are stored
(`upsert.record_outcomes`).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Any

import click
import psycopg

from sync_pipelines.commands.disclosure import log_unmasked
from sync_pipelines.commands.known_exports import revision_of_path
from sync_pipelines.commands.screen import notify, quoted, say
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.privacy.masking import masked
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.tables.schema import OUTCOMES
from sync_pipelines.upsert.record_outcomes import RecordOutcome, outcomes_in, stored_outcomes

Line = Callable[[RecordOutcome], str]


def run(path: str, only: Collection[str], revision: int | None, *, as_json: bool, unmasked: bool = False) -> int:
    """Prints the outcome of each record, in file order, with personal values in keys masked unless asked for.

    Raises:
        click.UsageError: the path is unknown, is not loaded, or was loaded before outcomes were stored.
        ArchiveIncomplete: its kept records are gone or damaged.
    """
    settings = load_settings()
    database = open_database(settings)
    migrate(database)
    with database.connect() as connection:
        entry = _entry(connection, path, revision)
        codes = stored_outcomes(connection, entry.id)
    assert entry.kept is not None
    kept = KeptRecords(settings.archive, entry.kept)
    if codes is None and kept.count:
        raise click.UsageError(f"{entry.path} was loaded by an earlier version, which stored no outcomes")
    if unmasked:
        log_unmasked(settings, "outcomes", entry.path)
    if not as_json:
        print(f"{'position':<12} {'key':<24} outcome")
    counts = _print(outcomes_in(kept, codes, only), _json_line if as_json else _text_line, unmasked=unmasked)
    if not as_json:
        parts = ", ".join(f"{counts[name]:,} {name.replace('_', ' ')}" for name in OUTCOMES if counts[name])
        say("", f"{counted(counts.total(), 'record')}{': ' if parts else ''}{parts}")
    _print_number_of_others(entry, only, counts)
    return 0


def _entry(connection: psycopg.Connection[Any], path: str, revision: int | None) -> LedgerFile:
    """Returns the loaded export with the path."""
    entry = revision_of_path(connection, path, revision)
    if entry.status != "loaded":
        why = f": {entry.error}" if entry.error else ""
        revisions = ledger.revisions_of(connection, entry.path)
        raise click.UsageError(
            f"{entry.path} is {entry.status}, so its records have no outcome{why}{_loaded(revisions)}"
        )
    return entry


def _loaded(revisions: Iterable[LedgerFile]) -> str:
    loaded = [entry.revision for entry in revisions if entry.status == "loaded"]
    return f"; its last loaded revision is --revision {loaded[-1]}" if loaded else ""


def _print(found: Iterable[RecordOutcome], line: Line, *, unmasked: bool) -> Counter[str]:
    """Prints records one by one; returns how many had which outcome."""
    counts: Counter[str] = Counter()
    for record in found:
        counts[record.outcome or "none"] += 1
        shown = record if unmasked else record._replace(key=masked(record.key, "plain"))
        sys.stdout.write(line(shown))
    return counts


def _json_line(record: RecordOutcome) -> str:
    key = "null" if record.key is None else quoted(record.key)
    return f'{{"position": {quoted(record.position)}, "key": {key}, "outcome": {json.dumps(record.outcome)}}}\n'


def _text_line(record: RecordOutcome) -> str:
    return f"{on_one_line(record.position):<12} {on_one_line(record.key or ''):<24} {record.outcome or '-'}\n"


def _print_number_of_others(entry: LedgerFile, only: Collection[str], counts: Counter[str]) -> None:
    """Prints how many counted records are not listed: rejects beyond the limit, records of another reading."""
    missing = sum(entry.counts[name] for name in set(only)) - sum(counts[name] for name in OUTCOMES)
    if missing > 0:
        notify(f"{missing:,} counted records are not listed because their content was not kept")
