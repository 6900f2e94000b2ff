"""A landing in a local folder, read directly for speed.

Anyone who may write there can plant links, FIFOs and devices, and can swap a file at any moment. So each folder on the
way to a file is opened from its parent, and none of these opens follows a link.

Belongs here: opening and creating files of a local folder, and where its links lead. Does not belong here: what is
below a folder (`local_walk`), other storages (`remote_storage`), the layout of a landing (`landing`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, cast

from sync_pipelines.errors import ExportError
from sync_pipelines.exports.file_names import name_on_disk, shown_name
from sync_pipelines.exports.local_walk import NOWHERE, LocalWalk, modified_at
from sync_pipelines.exports.storage_interface import (
    FolderError,
    Found,
    Named,
    Reached,
    cannot_list,
    cannot_open,
    cannot_write,
    link_refused,
    missing_folder,
    not_regular,
    temporary_name,
    unavailable,
)
from sync_pipelines.exports.unchanged_files import UnchangedFile

_GONE: Final = {errno.ENOENT, errno.ENOTDIR}
_OUT: Final = "that leads out of the landing"
_ON_THE_WAY: Final = {stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK}
# A folder that can be entered but not listed can be passed through.
_FOLDER: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# A FIFO in a file's place must not block the open.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LocalStorage:
    """A local folder, created if it is missing and `creates_root` is set. It may itself be reached by a link."""

    def __init__(self, root: Path, *, creates_root: bool = True) -> None:
        self._root = root
        self._creates_root = creates_root

    def reach(self) -> Reached:
        """See `Storage`."""
        self._make_root()
        try:
            with os.scandir(self._root) as found:
                return Reached(is_empty=next(found, None) is None)
        except OSError as error:
            raise unavailable(self._root, error) from error

    @property
    def lists_by_prefix(self) -> bool:
        """See `Storage`."""
        return False

    def folders(self, path: str, *, follow_links: bool = False) -> list[str]:
        """See `Storage`."""
        self._make_root()
        folder = self._resolved(path, follow_links)
        if folder is None:
            return []
        entries = self._entries(folder, path)
        return [shown_name(entry.name) for entry in entries if not entry.is_file(follow_symlinks=False)]

    def names(self, paths: Sequence[str]) -> list[list[Named]]:
        """See `Storage`."""
        self._make_root()
        return [list(self._names(path)) for path in paths]

    def _names(self, path: str) -> Iterator[Named]:
        with contextlib.suppress(FolderError):
            folder = self._resolved(path, follow_links=False)
            for entry in self._entries(folder, path) if folder is not None else ():
                is_folder = entry.is_dir(follow_symlinks=False)
                is_file = entry.is_file(follow_symlinks=False)
                yield Named(shown_name(entry.name), "folder" if is_folder else "file" if is_file else "other")

    def files(self, path: str, *, follow_links: bool = False) -> Iterator[Found]:
        """See `Storage`. Sorted by name, without folders that begin with `.` or `_`."""
        folder = self._resolved(path, follow_links)
        if folder is not None:
            yield from LocalWalk(self, path, follow_links).below(folder)

    def open(self, path: str, *, follow_links: bool = False) -> BinaryIO:
        """See `Storage`. Reading to the end of a file that has changed raises `ChangedWhileRead`."""
        real = self._resolved(path, follow_links)
        if real is None:
            raise cannot_open(path, FileNotFoundError())
        folder, name = os.path.split(real)
        try:
            descriptor = self._opened_file(folder, name, path)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise link_refused(path) from error
            raise cannot_open(path, FileNotFoundError() if error.errno in _GONE else error) from error
        return cast(BinaryIO, io.BufferedReader(UnchangedFile(descriptor, path)))

    def create(self, path: str, content: BinaryIO, *, follow_links: bool = False) -> bool:
        """See `Storage`. If two processes use one name, one gets False."""
        above, _, name = path.rpartition("/")
        try:
            self._make_root()
            with self.created_folder(above, follow_links=follow_links) as folder:
                return _created(folder, name_on_disk(name), content)
        except OSError as error:
            raise cannot_write(path, error) from error

    @contextlib.contextmanager
    def created_folder(self, path: str, *, follow_links: bool = False) -> Iterator[int]:
        """Yields the descriptor of a folder below the root, creating the folder if needed.

        Raises:
            FolderError: a name on the way is a link.
            OSError: it cannot be created.
        """
        folder, _ = self._way(path, follow_links)
        with self._opened_folder(folder, creates=True) as descriptor:
            yield descriptor

    def entries(self, folder: str) -> list[os.DirEntry[str]]:
        """Returns the entries of a folder, by name; none if it does not exist.

        Raises:
            OSError: it cannot be listed or entered.
        """
        try:
            os.stat(os.path.join(folder, "."))
            with os.scandir(folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return []

    def target(self, link: str, shown: str) -> str:
        """Returns the real path of the target of a link within the landing.

        Raises:
            ExportError: `link_refused`.
        """
        try:
            real = os.path.realpath(link, strict=True)
        except OSError as error:
            raise link_refused(shown, NOWHERE) from error
        if not Path(real).is_relative_to(self._real_root):
            raise link_refused(shown, _OUT)
        return real

    def check_root(self) -> None:
        """Raises if the landing itself is unreadable; only then is the folder's error its own."""
        try:
            os.scandir(self._root).close()
        except OSError as error:
            raise unavailable(self._root, error) from error

    @property
    def _real_root(self) -> str:
        return os.path.realpath(self._root)

    def _entries(self, folder: str, path: str) -> list[os.DirEntry[str]]:
        try:
            return self.entries(folder)
        except OSError as error:
            self.check_root()
            raise FolderError(cannot_list(path, error), path, modified_at(folder)) from error

    def _resolved(self, path: str, follow_links: bool) -> str | None:
        """Returns the path on the disk without links; None if it does not exist."""
        real, is_there = self._way(path, follow_links)
        return real if is_there else None

    def _way(self, path: str, follow_links: bool) -> tuple[str, bool]:
        """Returns the path on the disk without links, and whether it exists."""
        real, shown, is_there = self._real_root, "", True
        for name in path.split("/") if path else ():
            above, shown = shown, f"{shown}/{name}".lstrip("/")
            found = os.path.join(real, name_on_disk(name))
            if (mode := self._mode(found, above)) is None:
                is_there = False
            if mode and stat.S_IFMT(mode) not in _ON_THE_WAY:
                raise FolderError(not_regular(shown, mode), shown, modified_at(found))
            real = self._followed(found, shown, follow_links) if mode and stat.S_ISLNK(mode) else found
        return real, is_there

    def _mode(self, real: str, above: str) -> int | None:
        """Returns the mode of a path; None if it does not exist."""
        try:
            return os.lstat(real).st_mode
        except OSError as error:
            if error.errno in _GONE:
                return None
            self.check_root()
            raise FolderError(cannot_list(above, error), above, modified_at(os.path.dirname(real))) from error

    def _followed(self, link: str, shown: str, follow_links: bool) -> str:
        try:
            if not follow_links:
                raise link_refused(shown)
            return self.target(link, shown)
        except ExportError as error:
            raise FolderError(error, shown, modified_at(link)) from error

    def _opened_file(self, folder: str, name: str, path: str) -> int:
        with self._opened_folder(folder) as above:
            mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise link_refused(path)
            if not stat.S_ISREG(mode):
                raise not_regular(path, mode)
            descriptor = os.open(name, _FILE, dir_fd=above)
        opened = os.fstat(descriptor).st_mode
        if stat.S_ISREG(opened):
            return descriptor
        os.close(descriptor)
        raise not_regular(path, opened)

    @contextlib.contextmanager
    def _opened_folder(self, folder: str, *, creates: bool = False) -> Iterator[int]:
        """Yields a descriptor of a folder below the root. Follows no link on the way."""
        root = self._real_root
        descriptor = os.open(root, _FOLDER)
        try:
            for name in Path(folder).relative_to(root).parts:
                if creates:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=descriptor)
                below = os.open(name, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _make_root(self) -> None:
        if not self._creates_root and not os.path.lexists(self._root):
            raise missing_folder(self._root)
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unavailable(self._root, error) from error


def _created(folder: int, name: str, content: BinaryIO) -> bool:
    """Creates a file in an open folder atomically. Returns False if the name is taken, even by a link."""
    with contextlib.suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return False
    unfinished = temporary_name(name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    content.seek(0)
    with open(os.open(unfinished, flags, 0o666, dir_fd=folder), "wb") as copy:
        try:
            shutil.copyfileobj(content, copy)
            copy.flush()
            os.fsync(copy.fileno())
            return _renamed(folder, unfinished, name)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished, dir_fd=folder)


def _renamed(folder: int, unfinished: str, name: str) -> bool:
    """Renames a file; returns False if the name is taken. Unlike a rename, a hard link never overwrites."""
    try:
        os.link(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no links.
        os.rename(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder)
    return True
