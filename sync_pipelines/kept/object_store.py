"""A store of objects: whole files that are written once and never change.

An object becomes visible under its name when it is complete, or not at all. Nothing depends on renamed folders, links,
inodes or file times, so that a bucket can be a store too.

Belongs here: the store on the local disk, whose methods are the interface of any store. Does not belong here: the
content of an object (`object_writer`, `object_reader`), which objects are removed (`stages.file_cleanup`).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sync_pipelines.exports.disk import flush_to_disk

RECORDS: Final = "records"
_STAMP: Final = "%Y%m%dT%H%M%S%f"
_NAME: Final = re.compile(r"(\d{8}T\d{12})-[0-9a-f]{16}")


class StoredObject(NamedTuple):
    """An object in a listing.

    Attributes:
        name: name of the object.
        size: in bytes.
    """

    name: str
    size: int

    @property
    def created_at(self) -> float:
        """Creation time in seconds since the epoch, from its name; 0 if the name is not ours."""
        found = _NAME.fullmatch(self.name)
        return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC).timestamp() if found else 0.0


class ObjectStore:
    """A store of objects in a local folder; safe for several processes.

    A store elsewhere needs only these methods.

    Args:
        root: the archive's folder.
        folder: the folder in it that holds the objects.
    """

    def __init__(self, root: Path, folder: str) -> None:
        self._objects = root / folder
        self._unfinished = root / "tmp"

    def new_file(self) -> Path:
        """Returns an empty local file for `put`. If it is not put, the caller removes it."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        path = self._unfinished / secrets.token_hex(16)
        path.touch(0o600)
        return path

    def put(self, name: str, file: Path, *, is_durable: bool = True) -> None:
        """Turns a complete file into an object. The file is moved.

        Args:
            name: name of the object.
            file: from `new_file`.
            is_durable: whether the object must be on disk before this returns.
        """
        if is_durable:
            flush_to_disk(file)
        self._objects.mkdir(parents=True, exist_ok=True)
        file.replace(self._objects / name)
        if is_durable:
            flush_to_disk(self._objects)

    def read(self, name: str, start: int, size: int) -> bytes:
        """Returns a range, which is shorter if the object ends before.

        Raises:
            FileNotFoundError: there is no such object.
        """
        # Most ranges are small: a file object would take longer than everything else.
        file = os.open(self._objects / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, size, start)
        finally:
            os.close(file)

    def mapped(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        """Returns a range as bytes that are read when they are accessed."""
        return np.memmap(self._objects / name, np.uint8, "r", start, (size,))

    def source(self, name: str) -> Any:
        """Returns a source from which Arrow can read an object."""
        return self._objects / name

    def list(self) -> Iterator[StoredObject]:
        """Yields all objects, the oldest first."""
        if self._objects.is_dir():
            for path in sorted(self._objects.iterdir()):
                try:
                    size = path.stat().st_size
                except FileNotFoundError:  # removed meanwhile
                    continue
                yield StoredObject(path.name, size)

    def remove(self, name: str) -> None:
        """Removes an object. A missing one is not an error."""
        (self._objects / name).unlink(missing_ok=True)


def open_store(root: Path, folder: str = RECORDS) -> ObjectStore:
    """Returns the store of an archive's objects in a folder: kept records, unless another one is named."""
    return ObjectStore(root, folder)


def new_name() -> str:
    """Returns a unique object name. It begins with the time, so that a listing shows each object's age."""
    return f"{datetime.now(UTC):{_STAMP}}-{secrets.token_hex(8)}"
