"""What is below a folder of a local landing: files, links, and what cannot be read.

Belongs here: the order, and which links are followed. Does not belong here: opening files, and where a link leads
(`local_storage`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sync_pipelines.errors import ExportError
from sync_pipelines.exports.file_names import shown_name
from sync_pipelines.exports.storage_interface import (
    EPOCH,
    FolderError,
    Found,
    cannot_list,
    link_refused,
    not_regular,
)

if TYPE_CHECKING:
    from sync_pipelines.exports.local_storage import LocalStorage

NOWHERE: Final = "whose target does not exist"
_BACK: Final = "to a folder above it"
_AGAIN: Final = "to a folder that another link already leads to"

Identity = tuple[int, int]


@dataclass
class LocalWalk:
    """What is below a folder, depth first. Not recursive: folders can be nested deeper than Python allows.

    Attributes:
        storage: the storage of the folder.
        path: the folder's path, for messages.
        follow_links: whether links within the root are followed. Below a link to a folder, only one more is followed:
            a dozen folders with links to each other would be a billion paths.
    """

    storage: LocalStorage
    path: str
    follow_links: bool
    _led_to: set[Identity] = field(default_factory=set)
    _outermost: int = 0
    """How many folders were open when the outermost link was entered; 0 outside of one."""
    _open: list[tuple[Iterator[os.DirEntry[str]], str, Identity]] = field(default_factory=list)

    def below(self, folder: str) -> Iterator[Found]:
        """Yields the files below a folder of the disk, and what cannot be read."""
        yield from self._enter(folder, "")
        while self._open:
            if len(self._open) <= self._outermost:
                self._outermost = 0
                self._led_to.clear()
            entries, prefix, _ = self._open[-1]
            if (entry := next(entries, None)) is None:
                self._open.pop()
            elif entry.is_symlink():
                yield from self._link(entry, prefix + entry.name)
            elif not entry.is_dir(follow_symlinks=False):
                if (found := self._file(entry, prefix)) is not None:
                    yield found
            elif not entry.name.startswith((".", "_")):
                yield from self._enter(entry.path, f"{prefix}{entry.name}/")

    def _enter(self, folder: str, prefix: str) -> Iterator[Found]:
        """Continues with a folder's entries. An unreadable folder is an error of its own."""
        try:
            status = os.stat(folder)
            entries = self.storage.entries(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            self.storage.check_root()
            shown = self._shown(prefix)
            if not prefix:
                raise FolderError(cannot_list(shown, error), shown, modified_at(folder)) from error
            yield self._unreadable(cannot_list(shown, error), prefix, folder, is_folder=True)
        else:
            self._open.append((iter(entries), prefix, (status.st_dev, status.st_ino)))

    def _file(self, entry: os.DirEntry[str], prefix: str) -> Found | None:
        """Returns a file or its error; None if it no longer exists."""
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            # A folder that can be listed but not entered is one error, not one for each of its files.
            self._open.pop()
            folder = os.path.dirname(entry.path)
            return self._unreadable(cannot_list(self._shown(prefix), error), prefix, folder, is_folder=True)
        below = prefix + entry.name
        if stat.S_ISREG(status.st_mode):
            return _found(below, status)
        return self._unreadable(not_regular(self._shown(below), status.st_mode), below, entry.path)

    def _link(self, entry: os.DirEntry[str], below: str) -> Iterator[Found]:
        if entry.name.startswith((".", "_")):
            return
        shown = self._shown(below)
        try:
            if not self.follow_links:
                raise link_refused(shown)
            real = self.storage.target(entry.path, shown)
            status = os.stat(real)
            if Path(entry.path).is_relative_to(real) or (status.st_dev, status.st_ino) in {i for _, _, i in self._open}:
                raise link_refused(shown, _BACK)
            if (status.st_dev, status.st_ino) in self._led_to:
                raise link_refused(shown, _AGAIN)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                raise not_regular(shown, status.st_mode)
        except (ExportError, OSError) as error:
            named = error if isinstance(error, ExportError) else link_refused(shown, NOWHERE)
            yield self._unreadable(named, below, entry.path, is_folder=os.path.isdir(entry.path))
            return
        if stat.S_ISDIR(status.st_mode):
            self._led_to.add((status.st_dev, status.st_ino))
            self._outermost = self._outermost or len(self._open)
            yield from self._enter(real, f"{below}/")
        else:
            yield _found(below, status)

    def _shown(self, below: str) -> str:
        return "/".join(part for part in (self.path, shown_name(below).strip("/")) if part)

    def _unreadable(self, error: ExportError, below: str, real: str, *, is_folder: bool = False) -> Found:
        return Found(shown_name(below).rstrip("/"), 0, modified_at(real), None, error, is_folder)


def modified_at(real: str) -> datetime:
    """Returns the modification time of a path; 1970 if it is not known."""
    try:
        return _time(os.lstat(real))
    except OSError:
        return EPOCH


def _time(status: os.stat_result) -> datetime:
    return EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)


def _found(below: str, status: os.stat_result) -> Found:
    return Found(shown_name(below), status.st_size, _time(status))
