"""An export of the sample, and writing it to disk.

Belongs here: the class that every partner's sample module produces, and writing it reproducibly (bytes, modification
time). Does not belong here: file formats (`encode`), content of records (the partners' modules).
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
    """A file to write.

    Attributes:
        path: relative to the landing, with "/".
        kind: `daily` the regular file; `status` changes of a few fields only; `batch` one body of several lists; `log`
            a request log; `late` a file for a day before exports that were already sent; `resent` the same content
            as another path.
        data: the file's bytes.
        records: the number of records or calls, dirt included.
        arrived_at: when the partner sent it, UTC; becomes the modification time.
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
    """Returns the end of the day, so that no file of a sample that ends yesterday is modified in the future."""
    return datetime.combine(day, time(23, 30 + minute), UTC)


def resent(export: Export, day: date) -> Export:
    """Returns the same content on another day, under another name."""
    folder, _, name = export.path.rpartition("/")
    stem, dot, suffix = name.partition(".")
    return replace(export, kind="resent", path=f"{folder}/{stem}_resent{dot}{suffix}", arrived_at=arrival(day, 16))


def write_export(dest: Path, export: Export) -> SampleFile:
    """Writes one export under `dest`; a partly written file never has an export's name, and no link is followed."""
    above, _, name = export.path.rpartition("/")
    seconds = int(export.arrived_at.timestamp())
    dest.mkdir(parents=True, exist_ok=True)
    with LocalStorage(dest).created_folder(above) as folder:
        # A random name, so that nobody can have created a link with it.
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
