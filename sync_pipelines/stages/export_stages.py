"""The stages of one export, for Dagster and the command line alike.

    discover            finds what the landing has and the ledger does not (`discovery`)
    archive_export      raw bytes into the archive, by content hash
    normalize_export    kept records and rejects
    load_export         rows, counts and ledger in one transaction

A stage first completes the earlier ones, concurrently if possible: bytes are archived while they are read, and the
rows of a tenant's first export are written meanwhile. Each stage is idempotent and continues after a killed process. An
error of the file itself marks its ledger entry as failed and is not raised; an error that stops everything (no
database, no landing) is raised.

Belongs here: the order and the error handling. Does not belong here: any stage's own work, Dagster.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final, cast

import psycopg

from sync_pipelines.database import ledger, ledger_changes
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.ledger_copies import keep_copy
from sync_pipelines.errors import (
    ArchiveIncomplete,
    ConfigurationError,
    DatabaseUnavailable,
    LandingUnavailable,
    SyncError,
)
from sync_pipelines.exports.disk import storage_error
from sync_pipelines.exports.parts import is_of_parts
from sync_pipelines.exports.storage_interface import ChangedWhileRead
from sync_pipelines.exports.tee import Tee
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.kept_writer import Beside
from sync_pipelines.normalize.erasure import SUBJECT_ERASED, build_eraser
from sync_pipelines.privacy.erased_people import read_erased_people
from sync_pipelines.privacy.masking import masked_error, masked_trace
from sync_pipelines.privacy.private_files import private_folder
from sync_pipelines.privacy.untrusted_text import on_one_line, storable
from sync_pipelines.stages.archived import normalize_archived, stream_of
from sync_pipelines.stages.column_checks import check_columns
from sync_pipelines.stages.discovery import Discovery, discover
from sync_pipelines.stages.erased_bytes import rewrite_raw
from sync_pipelines.stages.repair import repairing
from sync_pipelines.stages.run_files import at_work
from sync_pipelines.stages.workspace import Workspace, open_workspace
from sync_pipelines.upsert.guards import ExportHeld
from sync_pipelines.upsert.load import load
from sync_pipelines.upsert.streaming_load import StreamingLoad

__all__ = [
    "Discovery",
    "Workspace",
    "archive",
    "archive_and_keep",
    "archive_export",
    "discover",
    "keep_records",
    "load_all",
    "load_export",
    "normalize_archived",
    "normalize_export",
    "open_workspace",
    "stream_of",
    "unforeseen",
]

log = logging.getLogger(__name__)

_NEIGHBORS: Final = 4
"""Loaded exports whose lines a new one is compared with."""


def archive_export(workspace: Workspace, file_id: int, run_id: str | None = None) -> LedgerFile:
    """Copies an export's bytes into the archive, once."""
    return _stage(workspace, file_id, run_id, lambda connection, entry: archive(workspace, connection, entry))


def normalize_export(workspace: Workspace, file_id: int, run_id: str | None = None) -> LedgerFile:
    """Creates an export's kept records and rejects, once for the current settings."""

    def normalize_pending(connection: psycopg.Connection[Any], entry: LedgerFile) -> None:
        if entry.status == "pending" or entry.sha256 is not None:
            archive_and_keep(workspace, connection, entry)

    return _stage(workspace, file_id, run_id, normalize_pending)


def load_export(workspace: Workspace, file_id: int, run_id: str | None = None) -> LedgerFile:
    """Loads an export, and completes the earlier stages if needed."""

    def load_repairing(connection: psycopg.Connection[Any], entry: LedgerFile) -> None:
        repairing(workspace, lambda: _load_pending(workspace, connection, ledger.entry_of(connection, file_id), run_id))

    return _stage(workspace, file_id, run_id, load_repairing)


def _load_pending(
    workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, run_id: str | None
) -> None:
    if entry.status != "pending":
        return
    archive_folder, stream = workspace.settings.archive, stream_of(entry)
    settings = workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream)
    with StreamingLoad(workspace.connection, archive_folder, stream, entry, run_id, settings.guards) as streaming:
        kept = archive_and_keep(workspace, connection, entry, streaming.take)
        check_columns(connection, stream, settings, replace(entry, kept=kept), archive_folder)
        if kept is not None and streaming.complete(kept):
            return
    # A path with other content by now waits for the next discovery.
    load(connection, stream, entry.id, archive_folder, run_id, guards=settings.guards)
    # A person may have been erased after it was read.
    _erase_raw(workspace, connection, entry)


def archive(workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile) -> None:
    """Archives the bytes of an export that is neither loaded nor archived. Errors are raised."""
    if entry.status != "loaded" and entry.sha256 is None:
        looked_at = datetime.now(UTC)
        with workspace.landing.open(entry.path) as content:
            stored = workspace.archive.store(content, entry.path)
        ledger_changes.mark_archived(connection, entry, stored.sha256, looked_at)


def archive_and_keep(
    workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, beside: Beside | None = None
) -> str | None:
    """Archives and normalizes a pending export, concurrently if possible. Errors are raised.

    Args:
        workspace: the sync's workspace.
        connection: in autocommit.
        entry: the export.
        beside: receives the records while they are read.

    Returns:
        The folder of its kept records in the archive.
    """
    # The content of a zip or of several parts is read twice.
    if entry.sha256 is not None or entry.path.lower().endswith(".zip") or is_of_parts(entry.path):
        archive(workspace, connection, entry)
        return keep_records(workspace, connection, ledger.entry_of(connection, entry.id), beside)
    looked_at = datetime.now(UTC)
    with workspace.landing.open(entry.path) as content, _archiving(workspace, entry, content) as (passed, stored):
        try:
            kept = normalize_archived(workspace, entry, _neighbors(workspace, connection, entry), beside, passed.reader)
        except Exception:
            ledger_changes.mark_archived(connection, entry, stored(), looked_at)
            raise
        sha256 = stored()
        ledger_changes.mark_archived(connection, entry, sha256, looked_at)
    entry = replace(entry, sha256=sha256, raw_sha256=None)
    ledger_changes.mark_kept(connection, entry, kept)
    _erase_raw(workspace, connection, entry, kept)
    return kept


@contextlib.contextmanager
def _archiving(workspace: Workspace, entry: LedgerFile, content: BinaryIO) -> Iterator[tuple[Tee, Callable[[], str]]]:
    """Archives bytes in another thread, which passes them on. Yields them and a function that waits for their hash."""
    with ThreadPoolExecutor(1) as archiving:
        passed = Tee(content)
        archived = archiving.submit(_store, workspace, entry, passed)

        def stored() -> str:
            passed.let_go()
            return archived.result()

        try:
            yield passed, stored
        except Exception:
            raise
        except BaseException:
            # Interrupting a sync must not wait for the rest of a large export.
            passed.stop()
            raise


def _store(workspace: Workspace, entry: LedgerFile, content: Tee) -> str:
    with content:
        return workspace.archive.store(cast(BinaryIO, content), entry.path).sha256


def keep_records(
    workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, beside: Beside | None = None
) -> str | None:
    """Normalizes an archived export once for the current settings, unless it is loaded or withdrawn.

    Returns the folder of its kept records.
    """
    settings = workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream)
    if entry.status in ("loaded", "withdrawn") or entry.sha256 is None:
        return entry.kept
    damage: ArchiveIncomplete | None = None
    if entry.kept is not None:
        try:
            if KeptRecords(workspace.settings.archive, entry.kept).summary.fingerprint == settings.fingerprint:
                return entry.kept
        except ArchiveIncomplete as error:
            damage = error
    try:
        kept = normalize_archived(workspace, entry, _neighbors(workspace, connection, entry), beside)
    except ArchiveIncomplete as error:
        raise damage or error from error
    ledger_changes.mark_kept(connection, entry, kept)
    _erase_raw(workspace, connection, entry, kept)
    return kept


def _erase_raw(
    workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile, kept: str | None = None
) -> None:
    """Rewrites raw bytes that bring an erased person again; drops them if that is impossible.

    Args:
        workspace: the sync's workspace.
        connection: in autocommit.
        entry: the export.
        kept: the location of its kept records; None to read entry and location from the ledger.
    """
    archive = workspace.settings.archive
    people = read_erased_people(archive)
    if people is None:
        return
    if kept is None:
        entry = ledger.entry_of(connection, entry.id)
        kept = entry.kept
    if kept is None or entry.raw_sha256 is not None or entry.sha256 is None:
        return
    if SUBJECT_ERASED not in KeptRecords(archive, kept).summary.leniencies:
        return
    settings = workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream)
    eraser = build_eraser(people, stream_of(entry), entry.tenant, settings)
    if eraser is not None and (why := rewrite_raw(workspace, connection, entry, eraser)) is not None:
        log.warning("%s: its raw bytes, which have an erased person, were dropped: %s", entry.path, why)


def _neighbors(workspace: Workspace, connection: psycopg.Connection[Any], entry: LedgerFile) -> list[KeptRecords]:
    """Returns the kept records of loaded exports of its stream and tenant, the nearest in time first."""
    entries = ledger.nearest_loaded(connection, entry, _NEIGHBORS)
    found = []
    for loaded in entries:
        with contextlib.suppress(ArchiveIncomplete):
            found.append(KeptRecords(workspace.settings.archive, loaded.kept or "-"))
    return found


def _stage(
    workspace: Workspace,
    file_id: int,
    run_id: str | None,
    work: Callable[[psycopg.Connection[Any], LedgerFile], None],
) -> LedgerFile:
    """Runs a stage of one file and returns the entry after it. The file's own errors are stored in its entry."""
    try:
        with workspace.connection() as connection:
            entry = ledger.entry_of(connection, file_id)
            with at_work(workspace.settings.home, run_id, entry):
                work(connection, entry)
            return ledger.entry_of(connection, file_id)
    except (DatabaseUnavailable, LandingUnavailable, ConfigurationError):
        raise
    except ExportHeld as held:
        log.info("file %s is held: %s", file_id, on_one_line(str(held)))
        with workspace.connection() as connection:
            with connection.transaction():
                if ledger_changes.mark_held(connection, held.entry, str(held), held.held, run_id):
                    keep_copy(connection, workspace.settings.archive, file_id)
            return ledger.entry_of(connection, file_id)
    except ChangedWhileRead as error:
        log.info("file %s waits for the next sync: %s", file_id, on_one_line(str(error)))
        with workspace.connection() as connection:
            return ledger.entry_of(connection, file_id)
    except SyncError as error:
        return _failed(workspace, file_id, error, run_id)
    except Exception as error:
        return _failed(workspace, file_id, unforeseen(workspace, f"file-{file_id}", error), run_id)


def _failed(workspace: Workspace, file_id: int, error: SyncError, run_id: str | None) -> LedgerFile:
    """Stores a failure. If that fails too, stores this instead, so that other files can continue."""
    log.info("file %s failed: %s", file_id, on_one_line(str(error)))
    try:
        return _noted(workspace, file_id, error, run_id)
    except DatabaseUnavailable:
        raise
    except Exception as second:
        log.info("file %s: its failure could not be stored", file_id, exc_info=second)
        message = f"{error.code}, and {type(second).__name__} while storing that error"
        return _noted(workspace, file_id, SyncError("unforeseen", message, "see the log for details"), run_id)


def _noted(workspace: Workspace, file_id: int, error: SyncError, run_id: str | None) -> LedgerFile:
    with workspace.connection() as connection:
        if isinstance(error, ArchiveIncomplete) and error.kept in ("", ledger.entry_of(connection, file_id).kept):
            ledger_changes.forget_archived(connection, file_id)
        ledger_changes.mark_failed(connection, file_id, error, run_id)
        return ledger.entry_of(connection, file_id)


def unforeseen(workspace: Workspace, name: str, error: Exception) -> SyncError:
    """Returns an unexpected error, which fails only its file or pull. The traceback goes to a log file."""
    if isinstance(error, OSError):
        return storage_error(error, error.filename or workspace.settings.archive)
    trace = workspace.settings.logs / f"{name}.txt"
    hint = f"the full traceback is in {trace}"
    try:
        private_folder(trace.parent)
        trace.write_text(storable(masked_trace(error)), encoding="utf-8")
    except OSError as failure:
        hint = f"the full traceback cannot be written to {trace}: {failure.strerror}"
    first_line = masked_error(next(iter(str(error).splitlines()), type(error).__name__))
    return SyncError("unforeseen", f"{type(error).__name__}: {first_line}", hint)


def load_all(workspace: Workspace, entries: Sequence[LedgerFile], run_id: str | None = None) -> list[LedgerFile]:
    """Loads entries in version order, each on its own. Retries failed ones."""
    with workspace.connection() as connection:
        for entry in entries:
            ledger_changes.mark_pending(connection, entry.id)
    return [load_export(workspace, entry.id, run_id) for entry in entries]
