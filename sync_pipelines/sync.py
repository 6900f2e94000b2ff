"""The way of one export, stage by stage, for Dagster and the command line alike.

    discover            what the landing has that the ledger does not: entered as pending, or refused
    archive_export      raw bytes into the archive, by content hash
    normalize_export    kept records and rejects
    load_export         rows, counts and ledger in one transaction

Each stage is idempotent and takes up where a killed process stopped. A fault of the file itself marks its ledger entry
as failed and is no exception; one that stops everything (no database, no landing) is raised.

Belongs here: the order and the faults. Does not belong here: any stage's own work, Dagster.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, BinaryIO, Final, cast

import psycopg

from sync_pipelines import ledger
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import Database, migrate, open_database, unavailable
from sync_pipelines.errors import ArchiveIncomplete, DatabaseUnavailable, ExportError, SyncError
from sync_pipelines.exports.archive import Archive
from sync_pipelines.exports.disk import storage_fault
from sync_pipelines.exports.landing import Landing, LandingFile
from sync_pipelines.exports.naming import effective_time_in
from sync_pipelines.ledger import LedgerFile, NewExport
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.normalize.export import ExportText, normalize
from sync_pipelines.normalize.kept import KeptRecords
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.settings import Settings
from sync_pipelines.sources import Sources, StreamSettings, load_sources
from sync_pipelines.upsert.load import load

log = logging.getLogger(__name__)

SETTLED: Final = timedelta(seconds=2)
"""A file changed this shortly before it was read may have changed again unseen (law 5)."""

_COPY_SIZE: Final = 1 << 20


@dataclass(frozen=True)
class Workspace:
    """Everything a sync works with."""

    settings: Settings
    database: Database
    sources: Sources
    landing: Landing
    archive: Archive

    def window(self) -> DateWindow:
        """The dates an export may have, as of now."""
        return DateWindow.at(self.settings.first_date, datetime.now(UTC))

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit; a server that goes away is `DatabaseUnavailable`."""
        with self.database.connect(autocommit=True) as connection:
            try:
                yield connection
            except psycopg.OperationalError as error:
                if connection.broken or connection.closed:
                    raise unavailable(self.database, error) from error
                raise


def open_workspace(settings: Settings) -> Workspace:
    """Opens what the settings name and brings the schema up to date.

    Raises:
        ConfigurationError: a setting or `sources.yaml` is wrong.
        DatabaseUnavailable: the database does not answer.
    """
    sources = load_sources(settings.sources)
    database = open_database(settings)
    migrate(database)
    return Workspace(settings, database, sources, Landing(settings.landing), Archive(settings.archive))


@dataclass
class Discovery:
    """What a look at the landing found.

    Attributes:
        pending: entries to load, in version order: new ones, and failed ones to be tried again.
        failed: entries refused at first sight: wrong tenant, wrong date.
    """

    pending: list[LedgerFile] = field(default_factory=list)
    failed: list[LedgerFile] = field(default_factory=list)


@dataclass(frozen=True)
class _Wanted:
    """Which exports a sync is about; None is all."""

    partner: str | None = None
    stream: str | None = None
    tenant: str | None = None
    first: date | None = None
    last: date | None = None

    def streams(self) -> list[Stream]:
        """The streams wanted."""
        return [s for s in STREAMS if self.partner in (None, s.partner) and self.stream in (None, s.name, s.full_name)]

    def holds(self, tenant: str, moment: datetime) -> bool:
        """Whether an export of a tenant and time is wanted."""
        if self.tenant is not None and tenant != self.tenant:
            return False
        day = moment.date()
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


def discover(
    workspace: Workspace,
    partner: str | None = None,
    stream: str | None = None,
    tenant: str | None = None,
    dates: tuple[date, date] | None = None,
) -> Discovery:
    """Compares the landing with the ledger and enters what is new (law 5, X4).

    Args:
        workspace: what to work with.
        partner: of one partner alone.
        stream: of one stream alone, `orders` or `replenit/orders`.
        tenant: of one tenant alone.
        dates: first and last date of the exports wanted, both included.

    Raises:
        LandingUnavailable: the landing does not answer.
        DatabaseUnavailable: the database does not answer.
    """
    found = Discovery()
    wanted = _Wanted(partner, stream, tenant, *(dates or (None, None)))
    with workspace.connection() as connection:
        for declared in wanted.streams():
            look = _Look(workspace, connection, declared, _normalized(wanted, declared))
            found.pending += look.run()
            found.failed += look.refused
    return found


def _normalized(wanted: _Wanted, stream: Stream) -> _Wanted:
    if wanted.tenant is None:
        return wanted
    return replace(wanted, tenant=stream.normalize_tenant(wanted.tenant) or wanted.tenant)


class _Look:
    """One stream's landing held against its ledger."""

    def __init__(
        self, workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, wanted: _Wanted
    ) -> None:
        self._workspace = workspace
        self._connection = connection
        self._stream = stream
        self._wanted = wanted
        self._window = workspace.window()
        self._new: list[NewExport] = []
        self._to_try: list[int] = []
        self._refusals: dict[str, ExportError] = {}
        self.refused: list[LedgerFile] = []

    def run(self) -> list[LedgerFile]:
        known = ledger.latest_of_paths(self._connection, self._stream.partner, self._stream.name)
        gone = dict(known)
        for file in self._workspace.landing.list(self._stream.partner, self._stream.name):
            self._take(file, known.get(file.path))
            gone.pop(file.path, None)
        with self._connection.transaction():
            ledger.register(self._connection, self._new)
        self._refuse()
        self._let_go(gone.values())
        return self._pending()

    def _take(self, file: LandingFile, entry: LedgerFile | None) -> None:
        tenant = self._stream.normalize_tenant(file.tenant_folder)
        settings = self._settings(tenant)
        if settings.path is not None and not fnmatchcase(file.below, settings.path):
            return
        effective_at = effective_time_in(file.below) or file.modified_at
        if not self._wanted.holds(tenant or file.tenant_folder, effective_at):
            return
        refusal = self._refusal(file, tenant, effective_at)
        if refusal is not None:
            self._refusals[file.path] = refusal
        tenant = tenant or file.tenant_folder
        if entry is None:
            self._new.append(NewExport(file, tenant, effective_at, 1))
        elif entry.status == "loaded":
            self._look_again(file, entry, tenant, effective_at)
        else:
            if _is_changed(file, entry):
                ledger.renew(self._connection, entry, file, effective_at)
            self._to_try.append(entry.id)

    def _settings(self, tenant: str | None) -> StreamSettings:
        return self._workspace.sources.for_stream(self._stream.partner, tenant or "", self._stream.name)

    def _refusal(self, file: LandingFile, tenant: str | None, effective_at: datetime) -> ExportError | None:
        """Why an export can't be loaded whatever is in it (O1), or None."""
        if tenant is None:
            message = f"the folder {file.tenant_folder!r} is not how {self._stream.partner} names its tenants"
            return ExportError("tenant_invalid", message, "rename the folder")
        listed = self._workspace.sources.tenants(self._stream.partner)
        if listed is not None and tenant not in listed:
            message = f"{self._stream.partner} has no tenant {tenant} in sources.yaml"
            return ExportError("tenant_unknown", message, "list the tenant there, or remove the folder")
        if not self._window.holds(effective_at):
            span = f"{self._window.first} to {self._window.last}"
            message = f"the export's date {effective_at.date()} is not within {span}"
            return ExportError("date_out_of_range", message, "rename the file, or set SYNC_FIRST_DATE")
        return None

    def _look_again(self, file: LandingFile, entry: LedgerFile, tenant: str, effective_at: datetime) -> None:
        """A loaded path that looks different is read again: the same content, or its next revision (X4)."""
        if not _is_changed(file, entry):
            return
        looked_at = datetime.now(UTC)
        try:
            with self._workspace.landing.open(file.path) as content:
                is_same = _sha256(content) == entry.sha256
        except ExportError as error:
            log.warning("%s: %s", file.path, error)
            return
        if is_same:
            ledger.mark_unchanged(self._connection, entry.id, file, looked_at)
        else:
            self._new.append(NewExport(file, tenant, effective_at, entry.revision + 1))

    def _refuse(self) -> None:
        if not self._refusals:
            return
        latest = ledger.latest_of_paths(self._connection, self._stream.partner, self._stream.name)
        for path, error in self._refusals.items():
            entry = latest[path]
            if entry.status != "loaded":
                if entry.error != str(error):
                    ledger.mark_failed(self._connection, entry.id, error, None)
                self.refused += ledger.of_ids(self._connection, [entry.id])

    def _let_go(self, gone: Iterable[LedgerFile]) -> None:
        """What was never loaded and is no longer in the landing waits for nothing, unless it is archived already."""
        waiting = [e for e in gone if e.status != "loaded" and self._wanted.holds(e.tenant, e.effective_at)]
        self._to_try += [e.id for e in waiting if e.status == "pending" and e.sha256 is not None]
        missed = [e.id for e in waiting]
        if missed:
            ledger.mark_vanished(self._connection, missed, "file_vanished: it is no longer in the landing")

    def _pending(self) -> list[LedgerFile]:
        latest = ledger.unloaded(self._connection, self._stream.partner, self._stream.name)
        paths = {new.file.path for new in self._new}
        to_try = set(self._to_try)
        return [e for e in latest if (e.path in paths or e.id in to_try) and e.path not in self._refusals]


def _is_changed(file: LandingFile, entry: LedgerFile) -> bool:
    """Whether a path may have other content than the ledger knows: size, time and etag tell (law 5)."""
    if (file.size, file.modified_at, file.etag) != (entry.size, entry.modified_at, entry.etag):
        return True
    return entry.looked_at is not None and file.modified_at >= entry.looked_at - SETTLED


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := content.read(_COPY_SIZE):
        digest.update(block)
    return digest.hexdigest()


def archive_export(workspace: Workspace, file_id: int, run_id: str | None = None) -> LedgerFile:
    """Copies an export's bytes into the archive, once."""
    with _stage(workspace, file_id, run_id) as (connection, entry):
        if entry.status != "loaded" and entry.sha256 is None:
            looked_at = datetime.now(UTC)
            with workspace.landing.open(entry.path) as content:
                stored = workspace.archive.store(content, entry.path)
            ledger.mark_archived(connection, file_id, stored.sha256, looked_at)
    return _entry(workspace, file_id)


def normalize_export(workspace: Workspace, file_id: int, run_id: str | None = None) -> LedgerFile:
    """Makes an archived export's kept records and rejects, once for the settings in force."""
    with _stage(workspace, file_id, run_id) as (connection, entry):
        if entry.status != "loaded" and entry.sha256 is not None:
            _normalize(workspace, connection, entry)
    return _entry(workspace, file_id)


def load_export(workspace: Workspace, file_id: int, run_id: str | None = None, *, preview: bool = False) -> LedgerFile:
    """Loads an export, taking up the earlier stages where they were not completed.

    With `preview` everything is rolled back; the entry returned has the counts a load would have.
    """
    counts = None
    with _stage(workspace, file_id, run_id) as (connection, entry):
        if entry.sha256 is None:
            entry = archive_export(workspace, file_id, run_id)
        if entry.status == "pending":
            stream = _stream_of(entry)
            _normalize(workspace, connection, entry)
            counts = load(connection, stream, file_id, workspace.settings.archive, run_id, preview=preview).counts
    entry = _entry(workspace, file_id)
    return replace(entry, **cast("dict[str, Any]", counts)) if preview and counts else entry


def _normalize(workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile) -> None:
    settings = workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream)
    if entry.kept is None or not _is_current(workspace, entry.kept, settings):
        ledger.mark_kept(connection, entry.id, normalize_archived(workspace, entry))


def normalize_archived(workspace: Workspace, entry: LedgerFile) -> str:
    """Reads an archived export under the settings in force; returns the folder of its kept records.

    Raises:
        ExportError: the export can't be read as a whole (X13).
        ArchiveIncomplete: its bytes are no longer in the archive.
    """
    sha256 = entry.sha256
    assert sha256 is not None
    export = ExportText(
        stream=_stream_of(entry),
        settings=workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream),
        tenant=entry.tenant,
        name=entry.path.rsplit("/", 1)[-1],
        content=lambda: workspace.archive.open(sha256),
        effective_at=entry.effective_at,
        window=workspace.window(),
    )
    return normalize(export, workspace.settings.archive)


def _is_current(workspace: Workspace, kept: str, settings: StreamSettings) -> bool:
    try:
        return KeptRecords(workspace.settings.archive, kept).summary.fingerprint == settings.fingerprint
    except ArchiveIncomplete:
        return False


def _stream_of(entry: LedgerFile) -> Stream:
    stream = find_stream(entry.partner, entry.stream)
    assert stream is not None
    return stream


def _entry(workspace: Workspace, file_id: int) -> LedgerFile:
    with workspace.connection() as connection:
        entry = ledger.find(connection, file_id)
    assert entry is not None
    return entry


@contextmanager
def _stage(
    workspace: Workspace, file_id: int, run_id: str | None
) -> Iterator[tuple[psycopg.Connection[Any], LedgerFile]]:
    """A stage of one file: its own faults are written to its ledger entry and end here."""
    try:
        with workspace.connection() as connection:
            entry = ledger.find(connection, file_id)
            assert entry is not None
            yield connection, entry
    except DatabaseUnavailable:
        raise
    except SyncError as error:
        _fail(workspace, file_id, error, run_id)
    except Exception as error:
        _fail(workspace, file_id, unforeseen(workspace, f"file-{file_id}", error), run_id)


def _fail(workspace: Workspace, file_id: int, error: SyncError, run_id: str | None) -> None:
    log.info("file %s failed: %s", file_id, error)
    with workspace.connection() as connection:
        ledger.mark_failed(connection, file_id, error, run_id)


def unforeseen(workspace: Workspace, name: str, error: Exception) -> SyncError:
    """A fault nobody foresaw fails its file or pull alone; the trace goes to a log file, not to the user."""
    if isinstance(error, OSError):
        return storage_fault(error, error.filename or workspace.settings.archive)
    workspace.settings.logs.mkdir(parents=True, exist_ok=True)
    trace = workspace.settings.logs / f"{name}.txt"
    trace.write_text("".join(traceback.format_exception(error)))
    first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
    return SyncError("unforeseen", f"{type(error).__name__}: {first_line}", f"the full trace is in {trace}")


def load_all(workspace: Workspace, entries: Sequence[LedgerFile], run_id: str | None = None) -> list[LedgerFile]:
    """Loads entries in version order, each on its own; failed ones are tried again."""
    with workspace.connection() as connection:
        for entry in entries:
            ledger.mark_pending(connection, entry.id)
    return [load_export(workspace, entry.id, run_id) for entry in entries]
