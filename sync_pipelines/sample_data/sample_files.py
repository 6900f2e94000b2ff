"""An export of the sample and how it gets onto the disk.

Belongs here: the shape every partner's sample module produces, and writing it the same way each time (bytes,
modification time). Does not belong here: file formats (`encode`) and what the records say (the partners' modules).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal

from sync_pipelines.exports.local_storage import LocalStorage
from sync_pipelines.exports.storage_interface import temporary_name

Record = dict[str, Any]
Kind = Literal["daily", "status", "batch", "log", "late", "resent"]


@dataclass(frozen=True)
class Export:
    """One file to be written.

    Attributes:
        path: relative to the landing, with "/".
        kind: `daily` the regular one; `status` changes of a few fields only; `batch` one body of several lists; `log` a
            request log; `late` named after a day that later exports have already spoken of; `resent` the same content
            as another path.
        data: the file's bytes.
        records: how many records or calls it holds, dirt included.
        arrived_at: when the partner put it there, UTC; becomes the modification time.
    """

    path: str
    kind: Kind
    data: bytes
    records: int
    arrived_at: datetime


@dataclass(frozen=True)
class SampleFile:
    """A file that was written: see `Export`."""

    path: str
    kind: Kind
    records: int
    size: int


def arrival(day: date, minute: int) -> datetime:
    """Exports come at the end of their day, so that none of a sample that ends yesterday is modified in the future."""
    return datetime.combine(day, time(23, 30 + minute), UTC)


def resent(export: Export, day: date) -> Export:
    """The same content once more on another day, under another name."""
    folder, _, name = export.path.rpartition("/")
    stem, dot, suffix = name.partition(".")
    return replace(export, kind="resent", path=f"{folder}/{stem}_resent{dot}{suffix}", arrived_at=arrival(day, 16))


def write_export(dest: Path, export: Export) -> SampleFile:
    """Writes one export under `dest`; a half-written one never carries an export's name, and no link is followed."""
    above, _, name = export.path.rpartition("/")
    seconds = int(export.arrived_at.timestamp())
    dest.mkdir(parents=True, exist_ok=True)
    with LocalStorage(dest).created_folder(above) as folder:
        # No name that somebody can have planted as a link.
        unfinished = temporary_name(name)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(export.data)
                file.flush()
                os.utime(file.fileno(), (seconds, seconds))
            os.replace(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            os.unlink(unfinished, dir_fd=folder)
            raise
    return SampleFile(export.path, export.kind, export.records, len(export.data))
