"""Where a person is named: tables, rejected records, kept records, raw bytes, log files and the landing.

Belongs here: looking, without changing anything. Does not belong here: erasing (`erase`), what is looked for
(`privacy.person_terms`), Dagster's storage (`orchestration.erased_events`).
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import psycopg
from psycopg import sql

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Children
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ArchiveIncomplete, SyncError
from sync_pipelines.exports.compression import compression_of, open_export
from sync_pipelines.exports.parts import is_of_parts
from sync_pipelines.normalize.erasure import Eraser
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.erased_people import Scope
from sync_pipelines.privacy.person_terms import Person
from sync_pipelines.stages.archived import stream_of
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA
from sync_pipelines.upsert.erased_records import named_in

Stream = tuple[str, str, str]
"""A partner, a tenant and a stream."""
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


def search(workspace: Workspace, looked_for: Mapping[Scope, Person], erasers: Mapping[Stream, Eraser]) -> Found:
    """Looks for a person everywhere but in Dagster's storage.

    Args:
        workspace: the sync's workspace.
        looked_for: partner and tenant to search -> the person, without the key where it is nobody's.
        erasers: by partner, tenant and stream.
    """
    found = Found()
    scopes = list(looked_for)
    with workspace.connection() as connection:
        entries = exports_in(connection, scopes)
        for person in dict.fromkeys(looked_for.values()):
            mine = [scope for scope in scopes if looked_for[scope] == person]
            for name, rows in _rows_of_tables(connection, person, mine):
                found.places[name] += rows
            ids = [entry.id for entry in entries if (entry.partner, entry.tenant) in mine]
            found.places["rejected records"] += len(rejects_of(connection, person, ids))
    for entry in entries:
        person, eraser = looked_for[entry.partner, entry.tenant], erasers[entry.partner, entry.tenant, entry.stream]
        _search_archive(workspace, person, entry, eraser, found)
    for path in log_files(workspace.settings):
        found.places["log files"] += is_in_file(next(iter(looked_for.values())), path)
    _search_landing(workspace, looked_for, found)
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
    for table, parents in _tables():
        aliases = ["t", *(f"p{number}" for number in range(len(parents)))]
        joined = sql.SQL("").join(
            sql.SQL(" join {table} {above} on {above}.id = {alias}.{column}").format(
                table=sql.Identifier(SCHEMA, parent),
                above=sql.Identifier(aliases[number + 1]),
                alias=sql.Identifier(aliases[number]),
                column=sql.Identifier(column),
            )
            for number, (parent, column) in enumerate(parents)
        )
        query = sql.SQL(
            "select to_jsonb(t) from {table} t{joined} join unnest(%s::text[], %s::text[]) w (partner, tenant)"
            " on w.partner = {root}.partner and w.tenant = {root}.tenant where lower(to_jsonb(t)::text) like any(%s)"
        ).format(table=sql.Identifier(SCHEMA, table), joined=joined, root=sql.Identifier(aliases[-1]))
        values = [[partner for partner, _ in scopes], [tenant for _, tenant in scopes], _likes(person)]
        named = 0
        for (row,) in connection.execute(query, values).fetchall():
            key = {"external_id"} if not parents and table != "customers" else set()
            content = {name: value for name, value in row.items() if name not in _NOT_CONTENT | key}
            named += person.is_named(content)
        yield f"rows of {table}", named


@cache
def _tables() -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Returns every table with rows of partners, and its parent tables with the columns that name them, upwards."""
    found: dict[str, tuple[tuple[str, str], ...]] = {main.name: () for main in MAIN_TABLES}

    def below(children: Iterable[Children], parents: tuple[str, ...]) -> None:
        for child in children:
            found[child.table] = ((parents[0], child.parent), *found[parents[0]])
            below(child.nested, (child.table, *parents))

    for stream in STREAMS:
        below(stream.children, (stream.table,))
    return tuple(found.items())


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


def _search_landing(workspace: Workspace, looked_for: Mapping[Scope, Person], found: Found) -> None:
    """Looks at the files of the landing, which only the user can remove."""
    try:
        for stream in STREAMS:
            people = {tenant: person for (partner, tenant), person in looked_for.items() if partner == stream.partner}
            for file in workspace.landing.list(stream.partner, stream.name) if people else ():
                person = people.get(stream.normalize_tenant(file.tenant_folder) or "")
                if person is not None and file.error is None:
                    with workspace.landing.open(file.path) as content:
                        if is_in_export(person, content, file.path):
                            found.landing.append(file.path)
    except SyncError as error:
        found.landing_error = str(error)
