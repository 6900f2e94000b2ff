"""`sync-pipelines status`: the status of each stream.

Belongs here: layout. Does not belong here: the queries (`database.reports`).
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from sync_pipelines.commands.misplaced import as_answer, print_misplaced
from sync_pipelines.commands.problem_files import find_problem_files
from sync_pipelines.commands.screen import json_of, print_table, say
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.database.postgres import migrate, open_database
from sync_pipelines.database.reports import StreamStatus, stream_status
from sync_pipelines.errors import LedgerLost, SyncError
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.lost_ledger import check_ledger
from sync_pipelines.stages.misplaced import find_misplaced, unknown_endings
from sync_pipelines.stages.workspace import open_landing


def run(*, as_json: bool) -> int:
    """Prints the status of every stream; returns 1 if the database was lost, else 0."""
    settings = load_settings()
    database = open_database(settings)
    migrate(database)
    with database.connect() as connection:
        found = [stream_status(connection, stream) for stream in STREAMS]
        problems = find_problem_files(connection, found)
        misplaced = unknown_endings(connection)
        lost = _lost_ledger(connection, settings.archive)
    error = None
    try:
        sources = load_sources(settings.sources)
        misplaced = [*find_misplaced(open_landing(settings, sources), sources), *misplaced]
    except SyncError as raised:
        error = raised
    if as_json:
        streams = {"streams": [_in_utc(s) for s in found]}
        lost_ledger = {"ledger_lost": None if lost is None else lost.message}
        print(json_of(streams | problems.as_answer() | as_answer(misplaced) | lost_ledger))
        return 0 if lost is None else lost.exit_status
    if lost is not None:
        say(f"{lost.message}.", f"{lost.hint}.", "")
    problems.print_first()
    headers = (
        "stream",
        "last sync (UTC)",
        "pending",
        "loaded",
        "failed",
        "held",
        "rows",
        "open rejects",
        "oldest pending (UTC)",
    )
    print_table(
        headers,
        [
            (
                f"{s.partner}/{s.stream}", s.last_sync or "never", s.pending, s.loaded, s.failed, s.held, s.rows,
                s.open_rejects, s.oldest_pending or "-",
            )
            for s in found
        ],
    )  # fmt: skip
    for undated in (s for s in found if s.undated):
        say(f"{undated.partner}/{undated.stream}: {_undated(undated.undated)}")
    problems.print_details()
    print_misplaced(misplaced)
    say("", f"landing {settings.landing_shown}, database {database.shown}")
    if error is not None:
        say(f"the landing could not be read: {error.message}")
    return 0 if lost is None else lost.exit_status


def _lost_ledger(connection: psycopg.Connection[Any], archive: Path) -> LedgerLost | None:
    try:
        check_ledger(connection, archive)
    except LedgerLost as error:
        return error
    return None


def _undated(files: int) -> str:
    """Returns why exports may not be in the order that their owner expects."""
    have = "1 file has" if files == 1 else f"{files:,} files have"
    return f"{have} no date in the path, so the modification time is used; see `file_date` in docs/sources.md"


def _in_utc(status: StreamStatus) -> dict[str, object]:
    return {k: v.astimezone(UTC) if isinstance(v, datetime) else v for k, v in asdict(status).items()}
