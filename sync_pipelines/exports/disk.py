"""The local disk: write errors, and copies for formats that must be read from a file.

Belongs here: what a failed write means, flushing to disk, temporary copies. Does not belong here: the archive's layout.
"""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from sync_pipelines.errors import ExportError

COPY_SIZE = 1 << 20
"""Bytes copied at a time."""

_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


def storage_error(error: OSError, where: object) -> ExportError:
    """Returns a failed write as the error of an export: `storage_full` or `storage_unwritable`."""
    why = error.strerror or str(error)
    if error.errno in _FULL:
        hint = "free disk space or raise the quota, then sync again; nothing of this export was kept"
        return ExportError("storage_full", f"not enough space to write to {where}: {why}", hint)
    return ExportError("storage_unwritable", f"cannot write to {where}: {why}", "make the folder writable")


def flush_to_disk(path: Path) -> None:
    """Flushes a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def on_disk(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Returns the stream as a seekable file: itself if it is one, else a temporary copy."""
    if isinstance(stream, io.BytesIO) or (isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO)):
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        while data := stream.read(COPY_SIZE):
            with _written_to(tempfile.gettempdir()):
                copy.write(data)
        with _written_to(tempfile.gettempdir()):
            copy.seek(0)
        yield cast(BinaryIO, copy)


@contextmanager
def _written_to(where: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error(error, where) from error
