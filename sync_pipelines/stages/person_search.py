"""Where a person is named: tables, rejected records, kept records, raw bytes, log files and the landing.

Belongs here: looking, without changing anything. Does not belong here: erasing (`erase`), what is looked for
(`privacy.person_terms`), Dagster's storage (`orchestration.erased_events`).
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import psycopg
import sqlalchemy as sa
from psycopg import sql

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ArchiveIncomplete, SyncError
from sync_pipelines.exports.compression import compression_of, open_export
from sync_pipelines.exports.parts import is_of_parts
from sync_pipelines.normalize.erasure import Eraser
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.privacy.erased_people import Scope
from sync_pipelines.privacy.person_terms import Person
from sync_pipelines.stages.archived import stream_of
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA, metadata
from sync_pipelines.upsert.erased_records import named_in

_NOT_CONTENT: Final = frozenset({"id", "source_file", "source_position", "run_id", "tenant", "partner"})
_ZIPS: Final = (".xlsx", ".xlsm", ".xlsb", ".ods")


@dataclass
class Found:
    """Where a person is named.

    Attributes:
        places: a place, such as `rows of orders` -> how often.
        raw: ledger ids of the exports whose raw bytes name the person.
        kept: ledger ids of the exports whose kept records do.
        landing: paths in the landing.
        landing_error: why the landing could not be searched, or None.
    """

    places: Counter[str] = field(default_factory=Counter)
    raw: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)
    landing: list[str] = field(default_factory=list)
    landing_error: str | None = None

    @property
    def total(self) -> int:
        """The sum of all places, except the landing."""
        return self.places.total()


def exports_in(connection: psycopg.Connection[Any], scopes: Iterable[Scope]) -> list[LedgerFile]:
    """Returns every ledger entry of some partners and tenants that a stream takes."""
    wanted, known = list(dict.fromkeys(scopes)), {(s.partner, s.name) for s in STREAMS}
    rows = connection.execute(
        "select f.id from sync.export_files f join unnest(%s::text[], %s::text[]) w (partner, tenant)"
        " on w.partner = f.partner and w.tenant = f.tenant order by f.id",
        [[partner for partner, _ in wanted], [tenant for _, tenant in wanted]],
    ).fetchall()
    entries = ledger.of_ids(connection, [file_id for (file_id,) in rows])
    return [entry for entry in entries if (entry.partner, entry.stream) in known]


def search(
    workspace: Workspace, person: Person, scopes: Sequence[Scope], erasers: dict[tuple[str, str, str], Eraser]
) -> Found:
    """Looks for a person everywhere but in Dagster's storage.

    Args:
        workspace: the sync's workspace.
        person: the person.
        scopes: partners and tenants whose data is searched.
        erasers: by partner, tenant and stream.
    """
    found = Found()
    with workspace.connection() as connection:
        entries = exports_in(connection, scopes)
        for name, rows in _rows_of_tables(connection, person, scopes):
            found.places[name] += rows
        if count := len(rejects_of(connection, person, [entry.id for entry in entries])):
            found.places["rejected records"] = count
    for entry in entries:
        _search_archive(workspace, person, entry, erasers[entry.partner, entry.tenant, entry.stream], found)
    for path in log_files(workspace.settings):
        found.places["log files"] += is_in_file(person, path)
    _search_landing(workspace, person, scopes, found)
    found.places = +found.places
    return found


def rejects_of(connection: psycopg.Connection[Any], person: Person, ids: Sequence[int]) -> list[int]:
    """Returns the ids of rejected records of some exports that name a person."""
    rows = connection.execute(
        "select id, external_id, message, field_path, record, faults from sync.rejected_records"
        " where export_file_id = any(%s) and lower(to_jsonb(rejected_records)::text) like any(%s)",
        [list(ids), _likes(person)],
    ).fetchall()
    return [row[0] for row in rows if person.is_named(list(row[2:])) or person.is_named(row[1], "external_id")]


def log_files(settings: Settings) -> Iterator[Path]:
    """Yields the project's own text files: logs, traces and receipts."""
    for folder in (settings.logs, settings.home / "receipts"):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and not path.is_symlink():
                yield path


def is_in_file(person: Person, path: Path) -> bool:
    """Whether a text file names a person."""
    try:
        with path.open("rb") as content:
            return person.is_in_stream(content)
    except FileNotFoundError:
        return False


def _rows_of_tables(
    connection: psycopg.Connection[Any], person: Person, scopes: Sequence[Scope]
) -> Iterator[tuple[str, int]]:
    for table in metadata.sorted_tables:
        joins = _joins(table)
        if joins is None:
            continue
        root, joined = joins
        query = sql.SQL(
            "select to_jsonb(t) from {table} t {joined} join unnest(%s::text[], %s::text[]) w (partner, tenant)"
            " on w.partner = {root}.partner and w.tenant = {root}.tenant where lower(to_jsonb(t)::text) like any(%s)"
        ).format(table=sql.Identifier(SCHEMA, table.name), joined=joined, root=sql.Identifier(root))
        values = [[partner for partner, _ in scopes], [tenant for _, tenant in scopes], _likes(person)]
        rows = connection.execute(query, values).fetchall()
        named = 0
        for (row,) in rows:
            content = {name: value for name, value in row.items() if name not in _NOT_CONTENT}
            if table.name in ("orders", "stores", "commerces"):
                content.pop("external_id", None)
            named += person.is_named(content)
        yield f"rows of {table.name}", named


def _joins(table: sa.Table) -> tuple[str, sql.Composed | sql.SQL] | None:
    """Returns the alias of a table's main table, and the joins to it; None if it has no rows of partners."""
    names = {main.name for main in MAIN_TABLES}
    alias, joined, current = "t", sql.SQL(""), table
    steps: list[sql.Composable] = []
    while current.name not in names:
        parent = None if "partner" in current.c else next(iter(current.foreign_keys), None)
        if parent is None:
            return None
        above = f"p{len(steps)}"
        steps.append(
            sql.SQL(" join {table} {above} on {above}.id = {alias}.{column}").format(
                table=sql.Identifier(SCHEMA, parent.column.table.name),
                above=sql.Identifier(above),
                alias=sql.Identifier(alias),
                column=sql.Identifier(parent.parent.name),
            )
        )
        alias, current = above, parent.column.table
    return alias, sql.Composed(steps) if steps else joined


def _likes(person: Person) -> list[str]:
    """Returns patterns for JSONB in lower case; PostgreSQL writes a backslash and a quote as JSON does."""
    escaped = (needle.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") for needle in person.needles)
    return [f"%{needle}%" for needle in escaped]


def _search_archive(workspace: Workspace, person: Person, entry: LedgerFile, eraser: Eraser, found: Found) -> None:
    if entry.kept is not None:
        try:
            named = named_in(workspace.settings.archive, entry.kept, stream_of(entry), eraser)
        except ArchiveIncomplete:
            found.places["kept records that cannot be read"] += 1
        else:
            if sum(named):
                found.kept.add(entry.id)
                found.places["kept records"] += named.records
                found.places["kept rejects"] += named.rejects
    if entry.sha256 is not None and _is_in_raw(workspace, person, entry, entry.id in found.kept):
        found.raw.add(entry.id)
        found.places["raw exports"] += 1


def _is_in_raw(workspace: Workspace, person: Person, entry: LedgerFile, was_kept: bool) -> bool:
    """Whether the archived bytes name a person; for formats that are no text, whether the kept records did."""
    try:
        archived = workspace.archive.read(entry.raw_sha256 or entry.sha256 or "")
        with archived.open() as content:
            if is_of_parts(entry.path):
                return person.is_in_stream(content) or was_kept
            return is_in_export(person, content, entry.path) or was_kept
    except ArchiveIncomplete:
        return False
    except SyncError:
        return was_kept


def is_in_export(person: Person, content: BinaryIO, path: str) -> bool:
    """Whether the bytes of an export name a person: decompressed, and a workbook by its parts."""
    name = path.rsplit("/", 1)[-1]
    suffix = compression_of(name)
    if suffix == ".zip" or name.lower().endswith(_ZIPS):
        return _is_in_zip(person, content)
    opened, inner = open_export(content, name)
    if inner.lower().endswith(_ZIPS):
        return _is_in_zip(person, opened)
    return person.is_in_stream(opened)


def _is_in_zip(person: Person, content: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content.read())) as archive:
            return any(person.is_in_stream(cast(BinaryIO, archive.open(name))) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, RuntimeError):
        return False


def _search_landing(workspace: Workspace, person: Person, scopes: Sequence[Scope], found: Found) -> None:
    """Looks at the files of the landing, which only the user can remove."""
    try:
        for stream in STREAMS:
            for file in landing_files(workspace, stream.partner, stream.name, scopes):
                with workspace.landing.open(file) as content:
                    if is_in_export(person, content, file):
                        found.landing.append(file)
    except SyncError as error:
        found.landing_error = str(error)


def landing_files(workspace: Workspace, partner: str, stream: str, scopes: Sequence[Scope]) -> Iterator[str]:
    """Yields the paths of exports in the landing for some partners and tenants."""
    tenants = {tenant for owner, tenant in scopes if owner == partner}
    if tenants:
        declared = find_stream(partner, stream)
        assert declared is not None
        for file in workspace.landing.list(partner, stream):
            if file.error is None and declared.normalize_tenant(file.tenant_folder) in tenants:
                yield file.path
