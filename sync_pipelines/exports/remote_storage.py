"""Opens a landing: a local folder, read directly for speed, or any storage that fsspec supports.

Belongs here: folders, files and their versions, and what a storage's errors mean. Does not belong here: the layout of a
landing (`landing`), the rules for names (`naming`).
"""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem

from sync_pipelines.errors import ConfigurationError, ExportError, SyncError
from sync_pipelines.exports.access import Access
from sync_pipelines.exports.connection import connection_to
from sync_pipelines.exports.local_storage import LocalStorage
from sync_pipelines.exports.reach import is_denial, reached
from sync_pipelines.exports.remote_walk import RemoteWalk, is_link, name_of
from sync_pipelines.exports.storage_interface import (
    EPOCH,
    FolderError,
    Found,
    Named,
    Reached,
    Storage,
    cannot_list,
    cannot_open,
    cannot_read,
    cannot_write,
    denied,
    link_refused,
    missing,
    not_regular,
    temporary_name,
    unavailable,
)
from sync_pipelines.exports.unchanged_files import UnchangedObject

Info = dict[str, Any]

_FOLDERS_AT_ONCE: Final = 32
_TIMES: Final = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created")


def open_storage(url: str, access: Access, *, creates_root: bool = True) -> Storage:
    """Returns the storage for a path or URL, without connecting. With `creates_root`, creates a missing folder."""
    if "://" not in url:
        return LocalStorage(Path(url).expanduser(), creates_root=creates_root)
    protocol, _, path = url.partition("://")
    if protocol in ("file", "local"):
        return LocalStorage(Path(path), creates_root=creates_root)
    return RemoteStorage(url, access)


class RemoteStorage:
    """Any storage that fsspec supports, such as `s3://`, `gs://`, `abfs://`, `sftp://`, `memory://`."""

    def __init__(self, url: str, access: Access | None = None) -> None:
        self._connection = connection_to(url, access or Access())
        self._known_root: str | None = None

    def reach(self) -> Reached:
        """See `Storage`."""
        shown = self._connection.shown
        try:
            return self._connection.ask(lambda filesystem: reached(filesystem, self._connection.root))
        except FileNotFoundError as error:
            raise missing(shown, str(error) or "the server does not know this path") from error
        except SyncError:
            raise
        except Exception as error:
            raise self._unreachable(error) from error

    @property
    def lists_by_prefix(self) -> bool:
        """See `Storage`. True for object stores."""
        filesystem = self._connection.filesystem
        own_find = type(filesystem).find is not AbstractFileSystem.find
        return own_find or isinstance(filesystem, AsyncFileSystem)

    def folders(self, path: str, *, follow_links: bool = False) -> list[str]:
        """See `Storage`."""
        self._check_links(path, follow_links)
        infos = self._listing(self._real(path), path)
        return [name_of(info) for info in infos if info["type"] == "directory" or is_link(info)]

    def names(self, paths: Sequence[str]) -> list[list[Named]]:
        """See `Storage`. A server with folders is asked for several at once."""
        found: list[list[Named]] = []
        for start in range(0, len(paths), self.folders_at_once):
            folders = [(self._real(path), path) for path in paths[start : start + self.folders_at_once]]
            for (folder, _), infos in zip(folders, self.listings(folders), strict=True):
                if isinstance(infos, SyncError) and not isinstance(infos, FolderError):
                    raise infos
                # Object stores list a folder within itself if somebody created it as an object.
                found.append([] if isinstance(infos, SyncError) else [_named(i) for i in infos if _is_in(i, folder)])
        return found

    def files(self, path: str, *, follow_links: bool = False) -> Iterator[Found]:
        """See `Storage`. Object stores are listed by prefix, servers with real folders folder by folder."""
        if not self.lists_by_prefix:
            self._check_links(path, follow_links)
            yield from RemoteWalk(self, path, follow_links).below(self._real(path))
            return
        folder = self._real(path)
        for info in self._objects(folder, path):
            below = info["name"].strip("/")[len(folder.strip("/")) + 1 :]
            if info["type"] == "file" and below and not info["name"].endswith("/"):
                yield self.found(below, info)

    def open(self, path: str, *, follow_links: bool = False) -> BinaryIO:
        """See `Storage`. Reading to the end of a file that has changed raises `ChangedWhileRead`."""
        try:
            return self._connection.ask(lambda filesystem: self._opened(filesystem, path, follow_links))
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            raise cannot_open(path, error) from error
        except SyncError:
            raise
        except Exception as error:
            raise self._error_of_file(path, error) from error

    def create(self, path: str, content: BinaryIO, *, follow_links: bool = False) -> bool:
        """See `Storage`. Checks the name first, since few storages can prevent overwriting."""
        real = self._real(path)
        folder, _, name = real.rpartition("/")
        unfinished = f"{folder}/{temporary_name(name)}"
        filesystem = self._connection.filesystem
        try:
            if self._connection.ask(lambda filesystem: _exists(filesystem, folder, real)):
                return False
            filesystem = self._connection.filesystem
            filesystem.makedirs(folder, exist_ok=True)
            self._check_links(path.rpartition("/")[0], follow_links)
            content.seek(0)
            with filesystem.open(unfinished, "wb") as copy:
                shutil.copyfileobj(content, copy)
            filesystem.mv(unfinished, real)
        except FolderError:
            raise
        except Exception as error:
            self._connection.drop_if_ended(filesystem, error)
            with contextlib.suppress(Exception):
                filesystem.rm(unfinished)
            raise cannot_write(path, error) from error
        return True

    def _opened(self, filesystem: AbstractFileSystem, path: str, follow_links: bool) -> BinaryIO:
        real = self._real(path)
        self._check_links(path, follow_links)
        before, mode = self._mark(filesystem, real)
        if mode is not None and not stat.S_ISREG(mode):
            raise not_regular(path, mode)
        # An SFTP file is read up to the size it had when opened.
        content = filesystem.read(real, before[0]) if _is_sftp(filesystem) else filesystem.open(real, "rb")

        def is_same() -> bool:
            return self._mark(filesystem, real)[0] == before

        def error_of_file(error: Exception) -> SyncError:
            self._connection.drop_if_ended(filesystem, error)
            return self._error_of_file(path, error)

        return cast(BinaryIO, UnchangedObject(content, path, is_same, error_of_file))

    def _error_of_file(self, path: str, error: Exception) -> SyncError:
        """Returns a file's error; if the landing itself does not answer, its error."""
        try:
            self.reach()
        except SyncError as of_landing:
            return of_landing
        return cannot_read(path, error)

    def _real(self, path: str) -> str:
        root = self._connection.root
        return f"{root}/{path}" if path else root

    @property
    def _resolved_root(self) -> str | None:
        if self._known_root is None:
            self._known_root = self.resolved(self._real(""))
        return self._known_root

    def resolved(self, real: str) -> str | None:
        """Returns where a path leads by all its links; None if the storage does not report it."""
        try:
            return self._connection.ask(lambda filesystem: _resolved(filesystem, real))
        except SyncError:
            raise
        except Exception as error:
            if self._connection.is_ended or not isinstance(error, OSError):
                raise self._unreachable(error) from error
            return None

    def target(self, real: str, shown: str) -> str:
        """Returns the target of a link within the landing.

        Raises:
            ExportError: `link_refused`.
        """
        there, root = self.resolved(real), self._resolved_root
        if there is None or root is None or not Path(there).is_relative_to(root):
            raise link_refused(shown, "that leads out of the landing, or whose target is unknown")
        return there

    def _mark(self, filesystem: AbstractFileSystem, real: str) -> tuple[tuple[int, datetime, str | None], int | None]:
        """Returns what the storage reports about a file now, never from fsspec's cache, and its mode if known."""
        filesystem.invalidate_cache(real.rpartition("/")[0])
        info = dict(filesystem.info(real))
        mark = int(info["size"] or 0), self._modified_at(info), _etag(info)
        return mark, info["mode"] if _is_sftp(filesystem) else None

    def info(self, real: str) -> Info:
        """Returns the entry of a link's target."""
        return self._connection.ask(lambda filesystem: dict(filesystem.info(real)))

    def _check_links(self, path: str, follow_links: bool) -> None:
        """Raises if a name of the path has become a link since it was listed."""
        if not path:
            return
        there, root = self.resolved(self._real(path)), self._resolved_root
        if there is None or root is None or there == f"{root.rstrip('/')}/{path}":
            return
        try:
            if not follow_links:
                raise link_refused(path)
            self.target(self._real(path), path)
        except ExportError as error:
            raise FolderError(error, path) from error

    def _listing(self, folder: str, path: str) -> list[Info]:
        (found,) = self.listings([(folder, path)])
        if isinstance(found, SyncError):
            raise found
        return found

    @property
    def folders_at_once(self) -> int:
        """How many folders can be listed in the time of one."""
        return _FOLDERS_AT_ONCE if _is_sftp(self._connection.filesystem) else 1

    def listings(self, folders: Sequence[tuple[str, str]]) -> list[list[Info] | SyncError]:
        """Returns the entries of each folder, never from fsspec's cache; see `remote_walk.Folders`."""
        try:
            each = self._connection.ask(lambda filesystem: _listed(filesystem, [folder for folder, _ in folders]))
        except SyncError:
            raise
        except Exception as error:
            raise self._unreachable(error, folders[0][0]) from error
        return [self._in_order(found, *folder) for found, folder in zip(each, folders, strict=True)]

    def _in_order(self, found: list[Info] | OSError, folder: str, path: str) -> list[Info] | SyncError:
        if not isinstance(found, OSError):
            return sorted(found, key=lambda info: str(info["name"]))
        if isinstance(found, FileNotFoundError | NotADirectoryError):
            # A folder may be missing only if the landing exists.
            self.reach()
            return []
        return self._folder_error(found, folder, path)

    def _objects(self, folder: str, path: str) -> list[Info]:
        def found(filesystem: AbstractFileSystem) -> list[Info]:
            filesystem.invalidate_cache(folder)
            by_name = filesystem.find(folder, detail=True)
            return [by_name[name] for name in sorted(by_name)]

        try:
            objects = self._connection.ask(found)
        except FileNotFoundError:
            objects = []
        except SyncError:
            raise
        except Exception as error:
            raise self._folder_error(error, folder, path) from error
        if not objects:
            # A missing bucket has no objects either.
            self.reach()
        return objects

    def _folder_error(self, error: Exception, folder: str, path: str) -> SyncError:
        """Returns a folder's error; if the landing itself cannot be read, its error."""
        if isinstance(error, PermissionError) and path:
            with contextlib.suppress(Exception):
                self._connection.ask(lambda filesystem: filesystem.ls(self._real("")))
                return FolderError(cannot_list(path, error), path)
        return self._unreachable(error, folder)

    def found(self, below: str, info: Info) -> Found:
        """Returns a file as listed."""
        return Found(below, int(info["size"] or 0), self._modified_at(info), _etag(info))

    def _modified_at(self, info: Info) -> datetime:
        reported = next((info[key] for key in _TIMES if info.get(key) is not None), None)
        try:
            return _as_utc(self._connection.filesystem.modified(info["name"]) if reported is None else reported)
        except (NotImplementedError, ValueError, TypeError) as error:
            hint = "move the exports to a storage that keeps modification times"
            message = f"{self._connection.shown} does not report when {info['name']} was modified"
            raise ConfigurationError("landing_invalid", message, hint) from error

    def _unreachable(self, error: Exception, folder: str = "") -> SyncError:
        shown = self._connection.shown
        if is_denial(error):
            return denied(shown, error)
        return unavailable(f"{shown} ({folder})" if folder else shown, error)


def _named(info: Info) -> Named:
    if is_link(info):
        return Named(name_of(info), "other")
    return Named(name_of(info), "folder" if info["type"] == "directory" else "file")


def _is_in(info: Info, folder: str) -> bool:
    return str(info["name"]).strip("/") != folder.strip("/")


def _exists(filesystem: AbstractFileSystem, folder: str, real: str) -> bool:
    filesystem.invalidate_cache(folder)
    return bool(filesystem.exists(real))


def _listed(filesystem: AbstractFileSystem, folders: Sequence[str]) -> list[list[Info] | OSError]:
    """Returns the entries of each folder, or its error."""
    if _is_sftp(filesystem):
        return cast(list[list[Info] | OSError], filesystem.ls_each(folders))
    return [_listed_alone(filesystem, folder) for folder in folders]


def _listed_alone(filesystem: AbstractFileSystem, folder: str) -> list[Info] | OSError:
    filesystem.invalidate_cache(folder)
    try:
        return cast(list[Info], filesystem.ls(folder, detail=True))
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        return error


def _is_sftp(filesystem: AbstractFileSystem) -> bool:
    """Whether it is a server that can resolve links."""
    return hasattr(getattr(filesystem, "ftp", None), "normalize")


def _resolved(filesystem: AbstractFileSystem, real: str) -> str | None:
    return str(filesystem.ftp.normalize(real)) if _is_sftp(filesystem) else None


def _etag(info: dict[str, Any]) -> str | None:
    reported = info.get("ETag") or info.get("etag")
    return str(reported).strip('"') if reported else None


def _as_utc(reported: object) -> datetime:
    """Returns the time that a storage reports as a datetime, seconds, ISO text or FTP's digits."""
    if isinstance(reported, int | float):
        return EPOCH + timedelta(seconds=reported)
    if isinstance(reported, str):
        reported = (
            datetime.strptime(reported[:14], "%Y%m%d%H%M%S")
            if reported[:14].isdigit()
            else datetime.fromisoformat(reported)
        )
    if not isinstance(reported, datetime):
        raise TypeError(f"not a time: {reported!r}")
    return reported.replace(tzinfo=UTC) if reported.tzinfo is None else reported.astimezone(UTC)
