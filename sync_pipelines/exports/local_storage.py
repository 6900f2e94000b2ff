"""A landing in a local folder, read directly for speed.

Anyone who may write there can plant links, FIFOs and devices, and can swap a file at any moment. So each folder on the
way to a file is opened from its parent, and none of these opens follows a link.

Belongs here: listing, opening and creating files of a local folder. Does not belong here: other storages
(`remote_storage`), the layout of a landing (`landing`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from sync_pipelines.errors import ExportError
from sync_pipelines.exports.file_names import name_on_disk, shown_name
from sync_pipelines.exports.storage_interface import (
    EPOCH,
    ChangedWhileRead,
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

_GONE: Final = {errno.ENOENT, errno.ENOTDIR}
_OUT: Final = "that leads out of the landing"
_ON_THE_WAY: Final = {stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK}
_NOWHERE: Final = "whose target does not exist"
_BACK: Final = "to a folder above it"
_AGAIN: Final = "to a folder that another link already leads to"
# A folder that can be entered but not listed can be passed through.
_FOLDER: Final = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)
# A FIFO in a file's place must not block the open.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Identity = tuple[int, int]


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
            yield from _Walk(self, path, follow_links).below(folder)

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
        return cast(BinaryIO, io.BufferedReader(_Unchanged(descriptor, path)))

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
            raise link_refused(shown, _NOWHERE) from error
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


@dataclass
class _Walk:
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
            named = error if isinstance(error, ExportError) else link_refused(shown, _NOWHERE)
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


class _Unchanged(io.FileIO):
    """A file that raises at its end if its size, times or place on the disk changed since it was opened.

    A writer can set the modification time back, but not the change time.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(descriptor, "rb")
        self._path = path
        self._before = self._look()

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer)
        if not count:
            self._compare()
        return count

    def readall(self) -> bytes:
        content = super().readall()
        self._compare()
        return content

    def _compare(self) -> None:
        if self._look() != self._before:
            raise ChangedWhileRead(self._path)

    def _look(self) -> tuple[int, ...]:
        status = os.fstat(self.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


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
