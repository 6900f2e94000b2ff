"""Files that nobody needs any more: what dead processes left behind, and what retention removes.

Kept records that the ledger names are never touched: every later fold may need them. Raw bytes of exports go only
where a setting says so, and only those of loaded exports.

Belongs here: which files go, and the proof that nothing needs them. Does not belong here: Dagster's runs and ticks
(`orchestration.storage_cleanup`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg

from sync_pipelines.stages.export_stages import Workspace

DAY: Final = 24 * 3600.0
GRACE: Final = DAY
"""Seconds without a change after which what has no owner belongs to a process that died."""
SET_ASIDE: Final = 30 * DAY
"""Seconds for which kept records that no ledger entry names stay in `archive/orphans`, for whoever misses them."""


@dataclass
class Removed:
    """What went of one kind."""

    entries: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Counts one."""
        self.entries += 1
        self.bytes += size


@dataclass(frozen=True)
class Cleared:
    """What a round of housekeeping removed of the project's own files.

    Attributes:
        unfinished: files and folders that dead processes were writing.
        orphans_set_aside: kept records that no ledger entry names, moved to `archive/orphans`.
        orphans: such records that lay there for 30 days.
        raw: raw bytes of loaded exports older than `SYNC_KEEP_RAW_DAYS`.
        logs: old traces and log files.
    """

    unfinished: Removed
    orphans_set_aside: Removed
    orphans: Removed
    raw: Removed
    logs: Removed


def clear_files(workspace: Workspace, now: float | None = None) -> Cleared:
    """One round; running it again at once removes nothing more."""
    moment = time.time() if now is None else now
    archive = workspace.settings.archive
    with workspace.connection() as connection:
        set_aside = _set_orphans_aside(connection, archive, moment)
        raw = _clear_raw(connection, workspace, moment)
    return Cleared(
        unfinished=_remove(_unfinished(workspace), moment - GRACE),
        orphans_set_aside=set_aside,
        # A folder set aside is stamped with that moment.
        orphans=_remove(_entries(archive / "orphans"), moment - SET_ASIDE, whole=False),
        raw=raw,
        logs=_remove(_logs(workspace.settings.logs), moment - workspace.settings.keep_runs_days * DAY),
    )


def _unfinished(workspace: Workspace) -> Iterator[Path]:
    """What is written under a temporary name: kept records, raw bytes, an embedded database."""
    settings = workspace.settings
    yield from _entries(settings.archive / "tmp")
    yield from _entries(settings.archive / "raw" / "incoming")
    yield from settings.home.glob("postgres.unfinished-*")


def _logs(folder: Path) -> Iterator[Path]:
    """Traces and log files that were replaced; those in use are written to every day."""
    return (path for path in _entries(folder) if path.is_file() and path.suffix in (".txt", ".log"))


def _set_orphans_aside(connection: psycopg.Connection[Any], archive: Path, now: float) -> Removed:
    """Moves kept records away that no ledger entry names.

    A ledger younger than a folder's records says nothing of them: they are another database's.
    """
    old = [path for path in _entries(archive / "records") if _changed_at(path) < now - GRACE]
    # Read after the folders were listed: what a sync finishes meanwhile is named here, or younger than the grace.
    rows = connection.execute("select kept, extract(epoch from seen_at)::float from sync.export_files").fetchall()
    named = {Path(kept).name for kept, _ in rows if kept}
    begun = min((seen for _, seen in rows), default=now)
    removed = Removed()
    for path in old:
        if named and path.name not in named and _changed_at(path) > begun:
            removed.add(_size(path))
            (archive / "orphans").mkdir(exist_ok=True)
            path.rename(archive / "orphans" / path.name)
            os.utime(archive / "orphans" / path.name, (now, now))
    return removed


def _clear_raw(connection: psycopg.Connection[Any], workspace: Workspace, now: float) -> Removed:
    """Removes raw bytes whose every export is loaded since long (retention)."""
    removed = Removed()
    days = workspace.settings.keep_raw_days
    if days is None:
        return removed
    before = datetime.fromtimestamp(now - days * DAY, UTC)
    rows = connection.execute(
        "select sha256 from sync.export_files where sha256 is not null group by 1"
        " having bool_and(status = 'loaded' and loaded_at < %s)",
        [before],
    )
    for (sha256,) in rows:
        size = workspace.archive.remove(sha256, unless_since=now - days * DAY)
        if size is not None:
            removed.add(size)
    return removed


def _remove(paths: Iterable[Path], before: float, *, whole: bool = True) -> Removed:
    """Removes what was last changed before a moment; with `whole`, anything within counts as a change."""
    removed = Removed()
    for path in list(paths):
        try:
            if (_changed_at(path) if whole else path.stat().st_mtime) >= before:
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


def _changed_at(path: Path) -> float:
    """When a file, or anything in a folder, was last changed."""
    return max((p.stat().st_mtime for p in (path, *path.rglob("*"))), default=0.0)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())
