"""Reads an archived export: raw bytes to kept records, by the ledger and the current settings.

Belongs here: what reading needs to know about an export. Does not belong here: when it is read (`export_stages`,
`replay`, `repair`), reading itself (`normalize`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.exports.parts import is_of_parts
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.kept.kept_writer import Beside
from sync_pipelines.partners import find_stream
from sync_pipelines.stages.normalize_export import ExportText, normalize
from sync_pipelines.stages.workspace import Workspace


def normalize_archived(
    workspace: Workspace,
    entry: LedgerFile,
    earlier: Sequence[KeptRecords] = (),
    beside: Beside | None = None,
    content: Callable[[], AbstractContextManager[BinaryIO]] | None = None,
) -> str:
    """Reads an archived export with the current settings. Returns the location of its kept records, for the ledger.

    Args:
        workspace: the sync's workspace.
        entry: the export.
        earlier: kept records of loaded exports whose lines it may repeat.
        beside: receives the new records while they are read.
        content: opens its bytes, if they are not archived yet.

    Raises:
        ExportError: the export cannot be read as a whole (X13).
        ArchiveIncomplete: its bytes are missing from the archive, or damaged.
    """
    export = export_text(workspace, entry, content)
    return normalize(export, workspace.settings.archive, earlier, beside)


def export_text(
    workspace: Workspace, entry: LedgerFile, content: Callable[[], AbstractContextManager[BinaryIO]] | None = None
) -> ExportText:
    """Returns what is read of an archived export, or of one whose bytes `content` opens.

    Raises:
        ArchiveIncomplete: its bytes are missing from the archive.
    """
    verify = None
    if content is None:
        assert entry.sha256 is not None
        archived = workspace.archive.read(entry.raw_sha256 or entry.sha256)
        content, verify = archived.open, archived.verify
    return ExportText(
        stream=stream_of(entry),
        settings=workspace.sources.for_stream(entry.partner, entry.tenant, entry.stream),
        tenant=entry.tenant,
        name=entry.path if is_of_parts(entry.path) else entry.path.rsplit("/", 1)[-1],
        content=content,
        effective_at=entry.effective_at,
        window=workspace.window(),
        verify=verify,
    )


def stream_of(entry: LedgerFile) -> Stream:
    """Returns the declaration of an entry's stream."""
    stream = find_stream(entry.partner, entry.stream)
    assert stream is not None
    return stream
