"""Where a landing can be: a local folder, read directly because it is fast, or anything fsspec reaches.

Belongs here: folders, files and their marks, and what faults of a storage mean. Does not belong here: the layout of a
landing (`landing`), the rules for names (`naming`).
"""

from __future__ import annotations

import contextlib
import io
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem

from sync_pipelines.errors import ConfigurationError, ExportError, LandingUnavailable
from sync_pipelines.exports.local_storage import LocalStorage
from sync_pipelines.exports.storage import (
    EPOCH,
    ChangedWhileRead,
    FolderFault,
    Found,
    Storage,
    cannot_list,
    cannot_open,
    cannot_write,
    link_refused,
    not_regular,
    temporary_name,
    unavailable,
)
from sync_pipelines.redaction import redacted

Info = dict[str, Any]

_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created")


def open_storage(url: str) -> Storage:
    """The storage for a path or a URL; connects to nothing yet."""
    if "://" not in url:
        return LocalStorage(Path(url).expanduser())
    protocol, _, path = url.partition("://")
    return LocalStorage(Path(path)) if protocol in ("file", "local") else RemoteStorage(url)


class RemoteStorage:
    """Anything fsspec reaches, such as `s3://`, `gs://`, `abfs://`, `sftp://`, `memory://`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._shown_url = redacted(url)

    def folders(self, path: str, *, follow_links: bool = False) -> list[str]:
        """See `Storage`."""
        self._refuse_links(path, follow_links)
        infos = self._listing(self._real(path), path)
        return [_name(info) for info in infos if info["type"] == "directory" or _is_link(info)]

    def files(self, path: str, *, follow_links: bool = False) -> Iterator[Found]:
        """See `Storage`; object stores are listed by prefix, servers with real folders folder by folder."""
        if not self._lists_by_prefix:
            self._refuse_links(path, follow_links)
            yield from _RemoteWalk(self, path, follow_links).below(self._real(path))
            return
        folder = self._real(path)
        for info in self._objects(folder, path):
            below = info["name"].strip("/")[len(folder.strip("/")) + 1 :]
            if info["type"] == "file" and below and not info["name"].endswith("/"):
                yield self.found(below, info)

    def open(self, path: str, *, follow_links: bool = False) -> BinaryIO:
        """See `Storage`; a read to the end of a file that changed since it was opened raises `ChangedWhileRead`."""
        real = self._real(path)
        try:
            self._refuse_links(path, follow_links)
            if self._sftp is not None and not stat.S_ISREG(mode := self._sftp.stat(real).st_mode):
                raise not_regular(path, mode)
            before = self._mark(real)
            content = cast(BinaryIO, self._filesystem.open(real, "rb"))
            return cast(BinaryIO, _Unchanged(content, path, before, lambda: self._mark(real)))
        except (FileNotFoundError, PermissionError, IsADirectoryError) as fault:
            raise cannot_open(path, fault) from fault
        except (ExportError, LandingUnavailable):
            raise
        except Exception as fault:
            raise self._unreachable(fault) from fault

    def create(self, path: str, content: BinaryIO, *, follow_links: bool = False) -> bool:
        """See `Storage`; the name is looked up before, since few storages can refuse to overwrite."""
        real = self._real(path)
        folder, _, name = real.rpartition("/")
        unfinished = f"{folder}/{temporary_name(name)}"
        filesystem = self._filesystem
        try:
            filesystem.invalidate_cache(folder)
            if filesystem.exists(real):
                return False
            filesystem.makedirs(folder, exist_ok=True)
            self._refuse_links(path.rpartition("/")[0], follow_links)
            content.seek(0)
            with filesystem.open(unfinished, "wb") as copy:
                shutil.copyfileobj(content, copy)
            filesystem.mv(unfinished, real)
        except FolderFault:
            raise
        except Exception as fault:
            with contextlib.suppress(Exception):
                filesystem.rm(unfinished)
            raise cannot_write(path, fault) from fault
        return True

    @cached_property
    def _connection(self) -> tuple[AbstractFileSystem, str]:
        try:
            filesystem, root = fsspec.core.url_to_fs(self._url)
        except (ImportError, ValueError) as fault:
            hint = "correct SYNC_LANDING, or install what reads it: the extras s3, gcs, azure, sftp of this project"
            raise ConfigurationError("landing_invalid", f"{self._shown_url} cannot be used: {fault}", hint) from fault
        except Exception as fault:
            raise self._unreachable(fault) from fault
        return filesystem, str(root).rstrip("/")

    @property
    def _filesystem(self) -> AbstractFileSystem:
        return self._connection[0]

    @property
    def _lists_by_prefix(self) -> bool:
        own_find = type(self._filesystem).find is not AbstractFileSystem.find
        return own_find or isinstance(self._filesystem, AsyncFileSystem)

    def _real(self, path: str) -> str:
        root = self._connection[1]
        return f"{root}/{path}" if path else root

    @property
    def _sftp(self) -> Any:
        """The client of an SFTP server, which can tell what a path leads to; None for other storages."""
        client = getattr(self._filesystem, "ftp", None)
        return client if hasattr(client, "normalize") else None

    @cached_property
    def _resolved_root(self) -> str | None:
        return self.resolved(self._real(""))

    def resolved(self, real: str) -> str | None:
        """Where a path leads by all its links; None where the storage does not tell."""
        try:
            return None if self._sftp is None else str(self._sftp.normalize(real))
        except OSError:
            return None

    def target(self, real: str, shown: str) -> str:
        """What a link within the landing leads to.

        Raises:
            ExportError: `link_refused`.
        """
        there, root = self.resolved(real), self._resolved_root
        if there is None or root is None or not Path(there).is_relative_to(root):
            raise link_refused(shown, "that leads out of the landing, or to where cannot be told")
        return there

    def _mark(self, real: str) -> tuple[int, datetime, str | None]:
        """What the storage tells of a file now, never from fsspec's cache."""
        self._filesystem.invalidate_cache(real.rpartition("/")[0])
        info = dict(self._filesystem.info(real))
        return int(info["size"] or 0), self._modified_at(info), _etag(info)

    def info(self, real: str) -> Info:
        """What a link leads to."""
        return dict(self._filesystem.info(real))

    def _refuse_links(self, path: str, follow_links: bool) -> None:
        """A name of the path may have become a link since it was listed."""
        there, root = self.resolved(self._real(path)), self._resolved_root
        if not path or there is None or root is None or there == f"{root.rstrip('/')}/{path}":
            return
        try:
            if not follow_links:
                raise link_refused(path)
            self.target(self._real(path), path)
        except ExportError as fault:
            raise FolderFault(fault, path) from fault

    def _listing(self, folder: str, path: str) -> list[Info]:
        """What stands in a folder, never from fsspec's cache."""
        try:
            self._filesystem.invalidate_cache(folder)
            return sorted(self._filesystem.ls(folder, detail=True), key=lambda info: str(info["name"]))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as fault:
            raise self._folder_fault(fault, folder, path) from fault

    def _objects(self, folder: str, path: str) -> list[Info]:
        try:
            self._filesystem.invalidate_cache(folder)
            found = self._filesystem.find(folder, detail=True)
        except FileNotFoundError:
            return []
        except Exception as fault:
            raise self._folder_fault(fault, folder, path) from fault
        return [found[name] for name in sorted(found)]

    def _folder_fault(self, fault: Exception, folder: str, path: str) -> FolderFault | LandingUnavailable:
        """A folder's fault is its own only where the landing itself can be read."""
        if isinstance(fault, PermissionError) and path:
            with contextlib.suppress(Exception):
                self._filesystem.ls(self._real(""))
                return FolderFault(cannot_list(path, fault), path)
        return self._unreachable(fault, folder)

    def listing(self, folder: str, path: str) -> Iterator[Info]:
        """What stands in a folder, by name. Raises `FolderFault`."""
        return iter(self._listing(folder, path))

    def found(self, below: str, info: Info) -> Found:
        """A file as it is told."""
        return Found(below, int(info["size"] or 0), self._modified_at(info), _etag(info))

    def _modified_at(self, info: dict[str, Any]) -> datetime:
        told = next((info[key] for key in _TIMES if info.get(key) is not None), None)
        try:
            return _as_utc(self._filesystem.modified(info["name"]) if told is None else told)
        except (NotImplementedError, ValueError, TypeError) as fault:
            hint = "pull the exports to a storage that keeps modification times"
            message = f"{self._shown_url} does not tell when {info['name']} was modified"
            raise ConfigurationError("landing_invalid", message, hint) from fault

    def _unreachable(self, fault: Exception, folder: str = "") -> LandingUnavailable:
        what = f"{self._shown_url} ({folder})" if folder else self._shown_url
        return unavailable(what, fault)


class _Unchanged(io.RawIOBase):
    """A file whose end is only reached if the storage still tells of it what it told when it was opened."""

    def __init__(self, content: BinaryIO, path: str, before: object, mark: Callable[[], object]) -> None:
        self._content = content
        self._path = path
        self._before = before
        self._mark = mark

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        try:
            data = self._content.read(size)
            is_changed = (not data or size < 0) and size != 0 and self._now() != self._before
        except Exception as fault:  # remote storages raise what their libraries raise
            why = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
            raise ExportError("file_unreadable", f"reading {self._path} failed: {why}", "it is tried again") from fault
        if is_changed:
            raise ChangedWhileRead(self._path)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._content.close()
        super().close()

    def _now(self) -> object:
        try:
            return self._mark()
        except FileNotFoundError:
            return None


@dataclass
class _RemoteWalk:
    """What stands below a folder of a server, depth first.

    Attributes:
        storage: whose folder.
        path: of the folder, for messages.
        follow_links: whether links within the root are followed, below a link to a folder only once.
    """

    storage: RemoteStorage
    path: str
    follow_links: bool
    _led_to: set[str] = field(default_factory=set)
    _outermost: int = 0
    """How many folders were open when a link was entered that is below no other; 0 outside of one."""

    def below(self, folder: str) -> Iterator[Found]:
        """Unlike fsspec's own walk it does not pass over folders it may not read."""
        way: list[tuple[Iterator[Info], str, str | None]]
        way = [(self.storage.listing(folder, self.path), "", self.storage.resolved(folder))]
        while way:
            if len(way) <= self._outermost:
                self._outermost = 0
                self._led_to.clear()
            infos, prefix, _ = way[-1]
            if (info := next(infos, None)) is None:
                way.pop()
                continue
            real, below = info["name"].rstrip("/"), prefix + _name(info)
            try:
                if _is_link(info):
                    info = self._followed(real, below, [resolved for _, _, resolved in way])
                if info["type"] == "file":
                    yield self.storage.found(below, info)
                elif info["type"] != "directory":
                    raise not_regular(f"{self.path}/{below}", info.get("mode") or 0)
                elif not _name(info).startswith((".", "_")):
                    listed = self.storage.listing(real, f"{self.path}/{below}")
                    way.append((listed, f"{below}/", self.storage.resolved(real) if self.follow_links else None))
            except FolderFault as fault:
                yield Found(below, 0, EPOCH, None, fault, is_folder=True)
            except ExportError as fault:
                yield Found(below, 0, EPOCH, None, fault)

    def _followed(self, real: str, below: str, above: list[str | None]) -> Info:
        """What a link leads to, under its own name."""
        shown = f"{self.path}/{below}"
        if not self.follow_links:
            raise link_refused(shown)
        target = self.storage.target(real, shown)
        if any(folder and Path(folder).is_relative_to(target) for folder in above):
            raise link_refused(shown, "that leads back to a folder above it")
        if target in self._led_to:
            raise link_refused(shown, "to a folder that another link led to")
        try:
            info = {**self.storage.info(real), "name": real}
        except FileNotFoundError:
            raise link_refused(shown, "that leads nowhere") from None
        if info["type"] == "directory":
            self._led_to.add(target)
            self._outermost = self._outermost or len(above)
        return info


def _name(info: Info) -> str:
    return str(info["name"]).rstrip("/").rsplit("/", 1)[-1]


def _is_link(info: Info) -> bool:
    return info["type"] == "link" or bool(info.get("islink"))


def _etag(info: dict[str, Any]) -> str | None:
    told = info.get("ETag") or info.get("etag")
    return str(told).strip('"') if told else None


def _as_utc(told: object) -> datetime:
    """The time a storage tells, whose forms differ: datetime, seconds, ISO text, FTP's digits."""
    if isinstance(told, int | float):
        return EPOCH + timedelta(seconds=told)
    if isinstance(told, str):
        told = datetime.strptime(told[:14], "%Y%m%d%H%M%S") if told[:14].isdigit() else datetime.fromisoformat(told)
    if not isinstance(told, datetime):
        raise TypeError(f"not a time: {told!r}")
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
