"""Compares the columns of a flat file with those of the tenant's previous flat file.

A record of a stream that replaces is the whole row (P3): a missing column would clear its field in every row.

Belongs here: finding the previous export, errors about missing columns. Does not belong here: the columns that any
header must have (`exports.columns`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import psycopg

from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.contract import folded_header
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ArchiveIncomplete, ExportError
from sync_pipelines.exports.columns import gone_since, nearest
from sync_pipelines.kept.kept_records import KeptRecords

_LOOKED_AT: Final = 50
"""Previous exports that are searched for the last flat one."""


def check_columns(
    connection: psycopg.Connection[Any],
    stream: Stream,
    settings: StreamSettings,
    entry: LedgerFile,
    archive: Path,
) -> None:
    """Checks that an export of a stream that replaces has all columns of the last flat one.

    Args:
        connection: sees the exports loaded before.
        stream: the export's stream.
        settings: the source's settings; `optional` names columns that may be missing.
        entry: the export, with its kept records.
        archive: the archive's folder.

    Raises:
        ExportError: `column_missing`.
        ArchiveIncomplete: its kept records are missing or damaged.
    """
    if not stream.replaces or entry.kept is None:
        return
    columns = KeptRecords(archive, entry.kept).summary.columns
    if columns is None:
        return
    before = _last_flat(connection, entry, archive)
    free = _may_be_gone(settings)
    gone = [name for name in gone_since(before[1], columns) if folded_header(name) not in free] if before else []
    if before and gone:
        raise _gone(gone, columns, before[0], stream)


def _last_flat(
    connection: psycopg.Connection[Any], entry: LedgerFile, archive: Path
) -> tuple[LedgerFile, list[str]] | None:
    """Returns the last flat export before one, and its columns."""
    for loaded in ledger.loaded_before(connection, entry, _LOOKED_AT):
        with contextlib.suppress(ArchiveIncomplete):
            columns = KeptRecords(archive, loaded.kept).summary.columns if loaded.kept else None
            if columns:
                return loaded, columns
    return None


def _may_be_gone(settings: StreamSettings) -> set[str]:
    named = {folded_header(name) for name in settings.optional}
    return named | {
        folded_header(column) for field, column in settings.columns.items() if folded_header(field) in named
    }


def _gone(gone: list[str], columns: Iterable[str], before: LedgerFile, stream: Stream) -> ExportError:
    near = nearest(gone[0], columns)
    many = f"the columns {', '.join(map(repr, gone[:12]))}" if len(gone) > 1 else f"the column {gone[0]!r}"
    message = (
        f"{many}, present in {before.path.rsplit('/', 1)[-1]!r}, {'are' if len(gone) > 1 else 'is'} missing, and a "
        f"record of {stream.full_name} replaces the whole row" + (f"; the most similar is {near!r}" if near else "")
    )
    return ExportError("column_missing", message, "send it again, or list permanently removed columns in `optional`")
