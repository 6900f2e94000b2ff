"""Removes files that are no longer needed: leftovers of dead processes, and files past their retention.

Objects of kept records that the ledger refers to are never removed: every later fold may need them. An unreferenced
object is removed a day after it was first seen, so that processes with an older view of the ledger can finish. Raw
bytes are removed only if a setting says so, and only those of loaded exports.

Belongs here: which files are removed, and why nothing needs them. Does not belong here: Dagster's runs and ticks
(`orchestration.storage_cleanup`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from sync_pipelines.database import kept_objects
from sync_pipelines.kept.locations import objects_in
from sync_pipelines.kept.object_store import ObjectStore, open_store
from sync_pipelines.stages.export_stages import Workspace

DAY: Final = 24 * 3600.0
GRACE: Final = DAY
"""Seconds without a change after which a file without an owner belongs to a dead process."""


@dataclass
class Removed:
    """Removed files of one kind."""

    entries: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Counts a file."""
        self.entries += 1
        self.bytes += size


@dataclass(frozen=True)
class Cleared:
    """What a round of housekeeping removed of the project's own files.

    Attributes:
        unfinished: files and folders that dead processes were writing.
        objects: kept records that no ledger entry has referred to for a day.
        raw: raw bytes of loaded exports older than `SYNC_KEEP_RAW_DAYS`.
        logs: old tracebacks and log files.
    """

    unfinished: Removed
    objects: Removed
    raw: Removed
    logs: Removed


def clear_files(workspace: Workspace, now: float | None = None) -> Cleared:
    """Runs one round. An immediate second run removes nothing."""
    moment = time.time() if now is None else now
    with workspace.connection() as connection:
        objects = _remove_unnamed(connection, open_store(workspace.settings.archive), moment)
        raw = _clear_raw(connection, workspace, moment)
    return Cleared(
        unfinished=_remove(_unfinished(workspace), moment - GRACE),
        objects=objects,
        raw=raw,
        logs=_remove(_logs(workspace.settings.logs), moment - workspace.settings.keep_runs_days * DAY),
    )


def _unfinished(workspace: Workspace) -> Iterator[Path]:
    """Yields files with a temporary name: kept records, raw bytes, an embedded database."""
    settings = workspace.settings
    yield from _entries(settings.archive / "tmp")
    yield from _entries(settings.archive / "raw" / "incoming")
    yield from settings.home.glob("postgres.unfinished-*")


def _logs(folder: Path) -> Iterator[Path]:
    """Yields tracebacks and rotated log files; current ones change every day."""
    return (path for path in _entries(folder) if path.is_file() and path.suffix in (".txt", ".log"))


def _remove_unnamed(connection: psycopg.Connection[Any], store: ObjectStore, now: float) -> Removed:
    """Removes objects that no ledger entry has referred to for a day.

    An object older than the ledger belongs to another database.
    """
    stored = list(store.list())
    # Read after listing the objects: what a sync finishes meanwhile is referred to, or within the grace period.
    named, oldest_seen = set[str](), now
    for entry in kept_objects.all_kept(connection):
        named |= objects_in(entry.kept or "")
        oldest_seen = min(oldest_seen, entry.seen_at)
    unnamed = {item.name: item.size for item in stored if item.name not in named and item.created_at > oldest_seen}
    removed = Removed()
    for name in kept_objects.note_unnamed(connection, list(unnamed), now, now - GRACE) if named else ():
        store.remove(name)
        removed.add(unnamed[name])
    return removed


def _clear_raw(connection: psycopg.Connection[Any], workspace: Workspace, now: float) -> Removed:
    """Removes raw bytes of exports that were all loaded long ago (retention)."""
    removed = Removed()
    days = workspace.settings.keep_raw_days
    if days is None:
        return removed
    before = datetime.fromtimestamp(now - days * DAY, UTC)
    rows = connection.execute(
        "select coalesce(raw_sha256, sha256) from sync.export_files where sha256 is not null group by 1"
        " having bool_and(status = 'loaded' and loaded_at < %s)",
        [before],
    )
    for (sha256,) in rows:
        size = workspace.archive.remove(sha256, unless_since=now - days * DAY)
        if size is not None:
            removed.add(size)
    return removed


def _remove(paths: Iterable[Path], before: float) -> Removed:
    """Removes what was last changed before a moment. A change within a folder counts as a change of it."""
    removed = Removed()
    for path in list(paths):
        try:
            if changed_at(path) >= before:
                continue
            size = _size(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            continue
        removed.add(size)
    return removed


def _entries(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.iterdir()) if folder.is_dir() else ())


def changed_at(path: Path) -> float:
    """Returns when a file, or anything in a folder, was last changed."""
    return max((p.stat().st_mtime for p in (path, *path.rglob("*"))), default=0.0)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())
