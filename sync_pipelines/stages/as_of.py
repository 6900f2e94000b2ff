"""The tables as of a date: the ordinary load of the records until then, into an empty copy of the schema.

The copy exists in one transaction that is rolled back. Nobody else sees it, and real loads do not wait for it.

Belongs here: which exports are loaded, and which of their records. Does not belong here: the copy
(`database.empty_copy`), loading (`upsert.load`), printing answers (`commands.sql`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.empty_copy import STORED, empty_copy
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.kept_writer import KeptWriter
from sync_pipelines.kept.locations import objects_in
from sync_pipelines.kept.object_store import RECORDS
from sync_pipelines.normalize.change import Fault, Reject
from sync_pipelines.normalize.layout import layout_of
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.archived import stream_of
from sync_pipelines.stages.preview import drop_temporary
from sync_pipelines.tables.lineage import lineage_of
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata
from sync_pipelines.upsert.history import to_change
from sync_pipelines.upsert.load import load
from sync_pipelines.upsert.row_names import stream_around, streams_within

_FIRST: Final = "select min(coalesce(effective_from, effective_at)) from sync.export_files where status = 'loaded'"
_COPIED: Final = (
    "id", "partner", "tenant", "stream", "path", "revision", "size", "modified_at", "etag", "sha256", "raw_sha256",
    "looked_at", "effective_at", "partition_date", "has_own_date", "kept", "effective_from", "effective_to", "seen_at",
)  # fmt: skip
"""Columns of the ledger that a load does not set."""
_COPY_LEDGER: Final = SQL(
    "insert into {copy} ({columns}) overriding system value select {columns} from {stored} where status = 'loaded'"
    " and coalesce(effective_from, effective_at) <= %s and partner || '/' || stream = any(%s)"
)
# Guards hold what a person may have released; here there is nothing to protect.
_RELEASE: Final = (
    "insert into sync.export_decisions (export_file_id, action, reason, decided_by)"
    " select id, 'release', 'as of a date', 'as of a date' from sync.export_files"
)
# Whether a delete is blocked depends on the rows at its load, so the order is that of the loads (T9).
_IN_ORDER: Final = SQL(
    "select c.id from {copy} c join {stored} s on s.id = c.id order by s.loaded_at, s.effective_at, s.id"
)
_RESTORE: Final = SQL(
    "update {copy} c set loaded_at = s.loaded_at, run_id = s.run_id, attempts = s.attempts,"
    " attempted_at = s.attempted_at from {stored} s where s.id = c.id"
)


@dataclass(frozen=True)
class TooEarly(Exception):
    """No record is as old as the date.

    Attributes:
        first: the time of the first record; None if nothing is loaded.
    """

    first: datetime | None


def moment_of(text: str) -> datetime:
    """Returns the last instant that a date or a time means, in UTC.

    Raises:
        ValueError: it is neither; in one sentence.
    """
    text = text.strip()
    try:
        if len(text) == len("2026-06-30"):
            return datetime.combine(date.fromisoformat(text), time.max, UTC)
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a date such as 2026-06-30 or a time such as 2026-06-30T12:00:00") from None


def check_date(connection: psycopg.Connection[Any], moment: datetime) -> None:
    """Checks that some record is as old as a date.

    Raises:
        TooEarly: none is.
    """
    row = connection.execute(_FIRST).fetchone()
    first = None if row is None else row[0]
    if first is None or first > moment:
        raise TooEarly(first)


@contextmanager
def tables_as_of(
    connection: psycopg.Connection[Any],
    archive: Path,
    moment: datetime,
    wanted: Callable[[], Collection[str] | None],
) -> Iterator[None]:
    """Within the block, the tables are as if only the records until a moment had been loaded.

    Args:
        connection: in autocommit; everything that is done in the block is rolled back.
        archive: the archive's folder.
        moment: records of this time still count.
        wanted: returns the tables and views that are needed; None for all of them. It is called when the tables are
            empty.

    Raises:
        ConfigurationError: the user may not create the copy.
        ArchiveIncomplete: kept records are missing.
    """
    with empty_copy(connection), tempfile.TemporaryDirectory(prefix="sync_as_of_") as folder:
        names = wanted()
        streams = STREAMS if names is None else streams_filling(names)
        values = [moment, [stream.full_name for stream in streams]]
        connection.execute(_on_ledger(_COPY_LEDGER), values)
        connection.execute(_RELEASE)
        ids = [number for (number,) in connection.execute(_on_ledger(_IN_ORDER)).fetchall()]
        copied = Path(folder)
        _link_objects(archive, copied, ledger.of_ids(connection, ids))
        for number in ids:
            _load(connection, copied, number, moment)
        connection.execute(_on_ledger(_RESTORE))
        connection.execute(SQL("analyze {}").format(SQL(", ").join(_tables())))
        yield


def streams_filling(names: Collection[str]) -> list[Stream]:
    """Returns the streams whose exports determine some tables or views, in the registry's order."""
    tables = _main_tables(names)
    found = {s.full_name for s in STREAMS if s.table in tables or any(r.table in tables for r in s.references)}
    while True:
        grown = {other.full_name for s in STREAMS if s.full_name in found for other in (s, *_needed_by(s))}
        if grown == found:
            return [stream for stream in STREAMS if stream.full_name in found]
        found = grown


def _needed_by(stream: Stream) -> list[Stream]:
    """Returns the streams on which a stream's own rows depend: for names of rows, and for blocked deletes."""
    around = stream_around(stream)
    blocking = [s for s in STREAMS if stream.blocked_by is not None and s.table == stream.blocked_by.table]
    return [*([] if around is None else [around]), *streams_within(stream), *blocking]


def _main_tables(names: Collection[str]) -> set[str]:
    """Returns the main tables to which tables belong; all of them for the ledger and the rejects."""
    found = set()
    for name in names:
        found |= {table.name for table in lineage_of(name)[-1:] or MAIN_TABLES}
    return found


def _on_ledger(statement: SQL) -> Any:
    return statement.format(
        copy=Identifier(SCHEMA, "export_files"),
        stored=Identifier(STORED, "export_files"),
        columns=SQL(", ").join(map(Identifier, _COPIED)),
    )


def _tables() -> list[Identifier]:
    return [Identifier(SCHEMA, table.name) for table in metadata.sorted_tables]


def _link_objects(archive: Path, folder: Path, entries: Sequence[LedgerFile]) -> None:
    """Makes an archive that shares the objects of another one: what a load writes stays out of that one."""
    (folder / RECORDS).mkdir()
    source = (archive / RECORDS).resolve()
    for name in {name for entry in entries for name in objects_in(entry.kept or "")}:
        os.symlink(source / name, folder / RECORDS / name)


def _load(connection: psycopg.Connection[Any], archive: Path, file_id: int, moment: datetime) -> None:
    entry = ledger.entry_of(connection, file_id)
    stream = stream_of(entry)
    if entry.effective_to is not None and entry.effective_to > moment:
        ledger_changes.mark_kept(connection, entry, _kept_until(archive, stream, entry, moment))
    load(connection, stream, file_id, archive, keeps_copy=False, is_private=True)
    drop_temporary(connection)


def _kept_until(archive: Path, stream: Stream, entry: LedgerFile, moment: datetime) -> str:
    """Keeps an export's records until a moment, beside the others. Rejects have no time of their own: all stay."""
    kept, layout = KeptRecords(archive, entry.kept or "-"), layout_of(stream)
    writer = KeptWriter(archive, layout, entry.effective_at)
    try:
        for block in kept.blocks():
            is_early = pc.less_equal(block.column("effective_at"), pa.scalar(moment, pa.timestamp("us", "UTC")))
            for record in block.filter(is_early).to_pylist():
                writer.add(to_change(record, layout, kept.bits))
        for reject in kept.rejects():
            faults = tuple(Fault(**each) for each in reject.get("faults") or ())
            writer.add_reject(Reject(**{**reject, "faults": faults}))
        return writer.finish(replace(kept.summary, read=writer.accepted + kept.summary.rejected))
    except BaseException:
        writer.discard()
        raise
