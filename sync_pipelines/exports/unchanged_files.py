"""Files of a landing that raise at their end if they changed while they were read.

Belongs here: noticing the change. Does not belong here: opening files (`local_storage`, `remote_storage`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO

from sync_pipelines.errors import SyncError
from sync_pipelines.exports.storage_interface import ChangedWhileRead


class UnchangedFile(io.FileIO):
    """A file that raises at its end if its size, times or place on the disk changed since it was opened.

    A writer can set the modification time back, but not the change time.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, "rb")
        self._path = path
        self._before = self._look()

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer."""
        count = super().readinto(buffer)
        if not count:
            self._compare()
        return count

    def readall(self) -> bytes:
        """Reads what is left."""
        content = super().readall()
        self._compare()
        return content

    def _compare(self) -> None:
        if self._look() != self._before:
            raise ChangedWhileRead(self._path)

    def _look(self) -> tuple[int, ...]:
        status = os.fstat(self.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class UnchangedObject(io.RawIOBase):
    """A file that raises at its end if the storage reports a change since it was opened.

    Args:
        content: content of the file.
        path: for messages.
        is_same: whether the storage still reports the same.
        error_of_file: what a storage's error means for the file.
    """

    def __init__(
        self,
        content: BinaryIO,
        path: str,
        is_same: Callable[[], bool],
        error_of_file: Callable[[Exception], SyncError],
    ) -> None:
        self._content = content
        self._path = path
        self._is_same = is_same
        self._error_of_file = error_of_file

    def readable(self) -> bool:
        """Returns True."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Reads some bytes, or what is left."""
        try:
            data = self._content.read(size)
            is_changed = (not data or size < 0) and size != 0 and not self._is_still_same()
        except Exception as error:  # storage libraries raise exceptions of their own
            raise self._error_of_file(error) from error
        if is_changed:
            raise ChangedWhileRead(self._path)
        return data

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Closes the content too."""
        if not self.closed:
            self._content.close()
        super().close()

    def _is_still_same(self) -> bool:
        try:
            return self._is_same()
        except FileNotFoundError:
            return False
