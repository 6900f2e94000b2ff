"""A store of objects: whole files that are written once and never change.

An object becomes visible under its name with its last byte, or not at all. Nothing depends on renamed folders, links,
inodes or times of files, so that a bucket can be a store too.

Belongs here: what a store offers, and the store on this machine's disk. Does not belong here: what is in an object
(`object_writer`, `object_reader`), which objects go (`stages.file_cleanup`).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from sync_pipelines.exports.disk import flush_to_disk

_STAMP: Final = "%Y%m%dT%H%M%S%f"
_NAME: Final = re.compile(r"(\d{8}T\d{12})-[0-9a-f]{16}")


class StoredObject(NamedTuple):
    """An object in a listing.

    Attributes:
        name: of the object.
        size: in bytes.
    """

    name: str
    size: int

    @property
    def made_at(self) -> float:
        """When it was written, in seconds since the epoch, as its name says; 0 where the name is not ours."""
        found = _NAME.fullmatch(self.name)
        return datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC).timestamp() if found else 0.0


class ObjectStore(Protocol):
    """What a store of objects offers."""

    def new_file(self) -> Path:
        """Returns an empty file on this machine, which `put` makes an object of. Whoever asks removes it otherwise."""

    def put(self, name: str, file: Path) -> None:
        """Makes a whole file an object, durably; the file is gone then."""

    def read(self, name: str, start: int, size: int) -> bytes:
        """Returns a range, which is shorter where the object ends before.

        Raises:
            FileNotFoundError: there is no such object.
        """

    def mapped(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        """Returns a range that is read when it is looked at, as bytes."""

    def source(self, name: str) -> Any:
        """Returns what Arrow reads an object from."""

    def list(self) -> Iterator[StoredObject]:
        """Returns all objects, the oldest first."""

    def remove(self, name: str) -> None:
        """Removes an object; one that is not there is no fault."""


class LocalStore:
    """A store in a folder of this machine; safe for several processes.

    Args:
        root: the archive's folder.
    """

    def __init__(self, root: Path) -> None:
        self._objects = root / "records"
        self._unfinished = root / "tmp"

    def new_file(self) -> Path:
        """An empty file that `put` makes an object of."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        path = self._unfinished / secrets.token_hex(16)
        path.touch(0o600)
        return path

    def put(self, name: str, file: Path) -> None:
        """Makes a whole file an object, durably."""
        flush_to_disk(file)
        self._objects.mkdir(parents=True, exist_ok=True)
        file.replace(self._objects / name)
        flush_to_disk(self._objects)

    def read(self, name: str, start: int, size: int) -> bytes:
        """A range."""
        # Most ranges are small: a file object would take longer than all the rest.
        file = os.open(self._objects / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(file, size, start)
        finally:
            os.close(file)

    def mapped(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        """A range, mapped."""
        return np.memmap(self._objects / name, np.uint8, "r", start, (size,))

    def source(self, name: str) -> Any:
        """What Arrow reads an object from."""
        return self._objects / name

    def list(self) -> Iterator[StoredObject]:
        """All objects, the oldest first."""
        if self._objects.is_dir():
            for path in sorted(self._objects.iterdir()):
                try:
                    size = path.stat().st_size
                except FileNotFoundError:  # removed meanwhile
                    continue
                yield StoredObject(path.name, size)

    def remove(self, name: str) -> None:
        """Removes an object."""
        (self._objects / name).unlink(missing_ok=True)


def open_store(root: Path) -> ObjectStore:
    """Returns the store of an archive."""
    return LocalStore(root)


def new_name() -> str:
    """Returns a name that no other object has. It begins with the time, so that a listing tells how old each is."""
    return f"{datetime.now(UTC):{_STAMP}}-{secrets.token_hex(8)}"
