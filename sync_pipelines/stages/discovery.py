"""The first stage of a stream: compares the landing with the ledger.

Belongs here: which files are new, changed, invalid or gone. Does not belong here: listing (`exports.landing`),
statements on the ledger (`database.ledger`), the later stages (`export_stages`).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, BinaryIO, Final

import psycopg

from sync_pipelines.configuration.guard_settings import settings_of
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.characters import matches
from sync_pipelines.contracts.near_names import near_name
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import WAITING, LedgerFile, NewExport, NotLoaded
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.file_dates import REQUIRED, SHAPES
from sync_pipelines.exports.landing import ANY_TENANT_FOLDER, LandingFile
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.first_day import move_first_day_back
from sync_pipelines.stages.lost_ledger import check_ledger
from sync_pipelines.stages.workspace import Workspace

log = logging.getLogger(__name__)

UNCERTAIN: Final = timedelta(seconds=2)
"""A file that changed this shortly before it was read may have changed again unnoticed (law 5)."""

_COPY_SIZE: Final = 1 << 20


@dataclass
class Discovery:
    """The result of comparing the landing with the ledger.

    Attributes:
        pending: entries to load, in version order: new ones, and failed ones to retry.
        failed: entries that fail without being read: wrong tenant, wrong date, a link, an unreadable folder.
        gone: entries, as they were, of exports that failed in a run and were removed from the landing since.
    """

    pending: list[LedgerFile] = field(default_factory=list)
    failed: list[LedgerFile] = field(default_factory=list)
    gone: list[LedgerFile] = field(default_factory=list)


@dataclass(frozen=True)
class _Wanted:
    """Which exports a sync is about; None means all."""

    partner: str | None = None
    stream: str | None = None
    tenant: str | None = None
    first: date | None = None
    last: date | None = None

    def streams(self) -> list[Stream]:
        """Returns the wanted streams."""
        return [s for s in STREAMS if self.partner in (None, s.partner) and self.stream in (None, s.name, s.full_name)]

    def holds(self, tenant: str, moment: datetime) -> bool:
        """Whether an export of a tenant and time is wanted."""
        if self.tenant is not None and tenant not in (self.tenant, ANY_TENANT_FOLDER):
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
    """Compares the landing with the ledger and adds new entries (law 5, X4).

    Args:
        workspace: the sync's workspace.
        partner: only this partner.
        stream: only this stream, `orders` or `replenit/orders`.
        tenant: only this tenant.
        dates: first and last date of the wanted exports, inclusive.

    Raises:
        LandingUnavailable: the landing does not answer.
        DatabaseUnavailable: the database does not answer.
        LedgerLost: the database is empty, but the archive is not.
    """
    found = Discovery()
    wanted = _Wanted(partner, stream, tenant, *(dates or (None, None)))
    with workspace.connection() as connection:
        check_ledger(connection, workspace.settings.archive)
        streams = {(declared.partner, declared.name): declared for declared in wanted.streams()}
        # Read before listing the landing: an entry that another worker adds meanwhile is not gone.
        for key, not_loaded in ledger.not_loaded(connection, streams).items():
            look = _Look(workspace, connection, streams[key], _normalized(wanted, streams[key]), not_loaded)
            found.pending += look.run()
            found.failed += look.failed_entries
            found.gone += look.gone
    return found


def _normalized(wanted: _Wanted, stream: Stream) -> _Wanted:
    if wanted.tenant is None:
        return wanted
    return replace(wanted, tenant=stream.normalize_tenant(wanted.tenant) or wanted.tenant)


class _Look:
    """Compares one stream's landing with its ledger."""

    def __init__(
        self,
        workspace: Workspace,
        connection: psycopg.Connection[Any],
        stream: Stream,
        wanted: _Wanted,
        not_loaded: NotLoaded,
    ) -> None:
        self._workspace = workspace
        self._connection = connection
        self._stream = stream
        self._wanted = wanted
        self._not_loaded = not_loaded
        self._window = workspace.window()
        self._new: list[NewExport] = []
        self._to_try: list[int] = []
        self._errors: dict[str, ExportError] = {}
        self._unreadable: list[str] = []
        self.failed_entries: list[LedgerFile] = []
        self.gone: list[LedgerFile] = []

    def run(self) -> list[LedgerFile]:
        files = self._unknown_files()
        known = self._known(file.path for file in files)
        for file in files:
            self._take(file, known.get(file.path))
        gone = self._not_loaded.waiting.difference(file.path for file in files)
        if self._new:
            with self._connection.transaction():
                ledger_changes.register(self._connection, self._new)
        self._enter_errors()
        self._try_held_again()
        self._let_go(self._known(gone).values())
        pending = self._pending()
        move_first_day_back(self._workspace.settings, (entry.partition_date for entry in pending))
        return pending

    @property
    def _key(self) -> tuple[str, str]:
        return self._stream.partner, self._stream.name

    def _known(self, paths: Iterable[str]) -> dict[str, LedgerFile]:
        return ledger.latest_of_paths(self._connection, *self._key, paths)

    def _unknown_files(self) -> list[LandingFile]:
        """Returns the landing's files, without those that look as they did when they were loaded, held or withdrawn."""
        files = self._workspace.landing.list(*self._key)
        if (first := next(files, None)) is None:
            return []
        loaded = ledger.loaded_looks(self._connection, *self._key, UNCERTAIN)
        listed = chain([first], files)
        return [file for file in listed if file.error is not None or ledger.look_of(file) not in loaded]

    def _take(self, file: LandingFile, entry: LedgerFile | None) -> None:
        if file.error is not None and file.error.code == "folder_unreadable":
            self._unreadable.append(file.path)
        known_tenant = self._stream.normalize_tenant(file.tenant_folder)
        tenant = known_tenant or file.tenant_folder
        settings = self._settings(known_tenant)
        is_file = not file.is_folder and file.parts is None
        if settings.path is not None and is_file and not matches(file.below, settings.path):
            return
        own_date = file.dated_at(settings.file_date)
        is_dated = own_date is not None or file.is_folder
        new = NewExport(file, tenant, own_date or file.modified_at, is_dated, entry.revision if entry else 1)
        if not self._wanted.holds(tenant, new.effective_at):
            return
        found_error = self._error_of(new, known_tenant, settings)
        if found_error is not None:
            self._errors[file.path] = found_error
        if entry is None:
            self._new.append(new)
        elif file.error is not None:
            # Never opened: what came from this path stays, and the error is the path's next revision.
            if entry.status not in WAITING:
                self._new.append(_next_revision(new))
        elif entry.status in ("loaded", "withdrawn"):
            self._look_again(new, entry)
        else:
            if _is_changed(file, entry):
                self._renew(new, entry)
            self._to_try.append(entry.id)

    def _settings(self, tenant: str | None) -> StreamSettings:
        return self._workspace.sources.for_stream(self._stream.partner, tenant or "", self._stream.name)

    def _error_of(self, new: NewExport, tenant: str | None, settings: StreamSettings) -> ExportError | None:
        """Returns why an export cannot be loaded whatever its content (O1), or None."""
        file, effective_at = new.file, new.effective_at
        if file.error is not None:
            return file.error
        if tenant is None:
            message = self._stream.why_no_tenant(file.tenant_folder)
            return ExportError(
                "tenant_invalid", message, f"rename the folder to the tenant id. {self._stream.tenant_place}".rstrip()
            )
        listed = self._workspace.sources.tenants(self._stream.partner)
        if listed is not None and tenant not in listed:
            message = f"tenant {tenant} of {self._stream.partner} is not listed in sources.yaml"
            near = near_name(tenant, listed)
            suggestion = f"did you mean {near}? " if near else ""
            return ExportError("tenant_unknown", message, f"{suggestion}add the tenant there, or remove the folder")
        if settings.file_date == REQUIRED and not new.has_own_date:
            message = f"the path {file.below!r} has no date, and `file_date` is required"
            hint = f"add a date, such as {SHAPES}; or set `file_date` to its pattern, such as ventas_%d-%m-%Y"
            return ExportError("file_date_missing", message, hint)
        if not self._window.holds(effective_at):
            span = f"{self._window.first} to {self._window.last}"
            message = f"the export's date {effective_at.date()} is not between {span}"
            return ExportError("date_out_of_range", message, "rename the file, or set SYNC_FIRST_DATE")
        return None

    def _renew(self, new: NewExport, entry: LedgerFile) -> None:
        """Resets a waiting or held path that looks different, unless it is archived with the same content.

        A run may have archived it a moment ago and be about to load it.
        """
        looked_at = datetime.now(UTC)
        is_archived = entry.sha256 is not None and new.effective_at == entry.effective_at
        is_same = self._has_content(new.file, entry) if is_archived else False
        if is_same:
            ledger_changes.mark_unchanged(self._connection, entry.id, new.file, looked_at)
        elif is_same is not None:
            ledger_changes.renew(self._connection, entry, new)

    def _look_again(self, new: NewExport, entry: LedgerFile) -> None:
        """Reads a loaded or withdrawn path that looks different: the content is the same, or its next revision (X4)."""
        if not _is_changed(new.file, entry):
            return
        looked_at = datetime.now(UTC)
        is_same = self._has_content(new.file, entry)
        if is_same:
            ledger_changes.mark_unchanged(self._connection, entry.id, new.file, looked_at)
        elif is_same is not None:
            self._new.append(_next_revision(new))

    def _has_content(self, file: LandingFile, entry: LedgerFile) -> bool | None:
        """Whether a file has the content in the ledger; None if it cannot be read."""
        try:
            with self._workspace.landing.open(file.path) as content:
                return _sha256(content) == entry.sha256
        except ExportError as error:
            log.warning("%s", on_one_line(f"{file.path}: {error}"))
            return None

    def _enter_errors(self) -> None:
        if not self._errors:
            return
        latest = self._known(self._errors)
        for path, error in self._errors.items():
            entry = latest[path]
            if entry.status in WAITING:
                if entry.error != str(error):
                    ledger_changes.mark_failed(self._connection, entry.id, error, None)
                self.failed_entries += ledger.of_ids(self._connection, [entry.id])

    def _try_held_again(self) -> None:
        """Makes held exports pending whose guards or other settings have changed since."""
        for entry in ledger.held(self._connection, *self._key) if self._not_loaded.has_held else ():
            settings = self._settings(entry.tenant)
            is_changed = (entry.held or {}).get("settings") != settings_of(settings.fingerprint, settings.guards)
            if is_changed and self._wanted.holds(entry.tenant, entry.effective_at):
                ledger_changes.mark_no_longer_held(self._connection, entry.id)
                self._to_try.append(entry.id)

    def _let_go(self, gone: Iterable[LedgerFile]) -> None:
        """Marks entries as vanished that were never loaded or archived and are no longer in the landing.

        Files in an unreadable folder are not gone. An error of a folder that no longer has it is forgotten.
        """
        waiting = [e for e in gone if e.status in WAITING and self._wanted.holds(e.tenant, e.effective_at)]
        waiting = [e for e in waiting if not self._is_hidden(e.path)]
        if not waiting:
            return
        missed = [e.id for e in waiting]
        self.gone = [e for e in waiting if e.status == "failed" and e.run_id is not None]
        ledger_changes.forget_faults_of_folders(self._connection, missed)
        self._to_try += [e.id for e in waiting if e.status == "pending" and e.sha256 is not None]
        ledger_changes.mark_vanished(self._connection, missed)

    def _is_hidden(self, path: str) -> bool:
        return any(path.startswith(f"{folder}/") for folder in self._unreadable)

    def _pending(self) -> list[LedgerFile]:
        if not self._new and not self._to_try:
            return []
        latest = ledger.unloaded(self._connection, *self._key)
        paths = {new.file.path for new in self._new}
        to_try = set(self._to_try)
        return [e for e in latest if (e.path in paths or e.id in to_try) and e.path not in self._errors]


def _next_revision(new: NewExport) -> NewExport:
    return replace(new, revision=new.revision + 1)


def _is_changed(file: LandingFile, entry: LedgerFile) -> bool:
    """Whether a path may have other content than in the ledger, by size, time and etag (law 5)."""
    if (file.size, file.modified_at, file.etag) != (entry.size, entry.modified_at, entry.etag):
        return True
    return entry.looked_at is not None and file.modified_at >= entry.looked_at - UNCERTAIN


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := content.read(_COPY_SIZE):
        digest.update(block)
    return digest.hexdigest()
