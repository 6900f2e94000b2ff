"""Where a landing can be: a local folder, read directly because it is fast, or anything fsspec reaches.

Belongs here: folders, files and their marks, and what faults of a storage mean. Does not belong here: the layout of a
landing (`landing`), the rules for names (`naming`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from uuid import uuid4

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractFileSystem

from sync_pipelines.errors import ConfigurationError, ExportError, LandingUnavailable
from sync_pipelines.redaction import redacted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "modify", "created")
_GONE = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}
_ESCAPED_BYTE = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Found:
    """A file below a folder: its path below it, and what tells a change."""

    below: str
    size: int
    modified_at: datetime
    etag: str | None = None


class Storage(Protocol):
    """Folders and files below one root; paths are relative to it, with `/` between names."""

    def folders(self, path: str) -> list[str]:
        """Names of the folders in a folder; none if it is not there."""

    def files(self, path: str) -> Iterator[Found]:
        """Every file below a folder, symbolic links followed; none if it is not there."""

    def open(self, path: str) -> BinaryIO:
        """Opens a file for reading."""

    def create(self, path: str, content: BinaryIO) -> bool:
        """Makes a file under a temporary name, then renames it; False where the name is taken."""


def open_storage(url: str) -> Storage:
    """The storage for a path or a URL; connects to nothing yet."""
    if "://" not in url:
        return LocalStorage(Path(url).expanduser())
    protocol, _, path = url.partition("://")
    return LocalStorage(Path(path)) if protocol in ("file", "local") else RemoteStorage(url)


class LocalStorage:
    """A folder of this machine; made if it is missing."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folders(self, path: str) -> list[str]:
        """See `Storage`."""
        self._make_root()
        return [_shown(entry.name) for entry in self._entries(self._real(path)) if self._is_folder(entry)]

    def files(self, path: str) -> Iterator[Found]:
        """See `Storage`; in the order of names, folders that begin with `.` or `_` left out."""
        yield from self._below(self._real(path), "", frozenset())

    def open(self, path: str) -> BinaryIO:
        """See `Storage`."""
        try:
            return self._real(path).open("rb")
        except OSError as fault:
            raise _cannot_open(path, fault) from fault

    def create(self, path: str, content: BinaryIO) -> bool:
        """See `Storage`; of two processes with one name, one is told that it is taken."""
        target = self._root / path
        unfinished = target.with_name(_temporary(target.name))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(target):
                return False
            try:
                content.seek(0)
                with unfinished.open("xb") as copy:
                    shutil.copyfileobj(content, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
                return _renamed(unfinished, target)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as fault:
            raise _cannot_write(path, fault) from fault

    def _below(self, folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Found]:
        """Walks depth first; `above` holds the folders on the way, against links that lead back to them."""
        identity = self._identity(folder)
        if identity is None or identity in above:
            return
        for entry in self._entries(folder):
            if self._is_folder(entry):
                if not entry.name.startswith((".", "_")):
                    yield from self._below(Path(entry.path), f"{prefix}{entry.name}/", above | {identity})
            elif (found := self._found(entry, prefix)) is not None:
                yield found

    def _found(self, entry: os.DirEntry[str], prefix: str) -> Found | None:
        try:
            if not entry.is_file():
                return None
            status = entry.stat()
        except OSError as fault:
            self._refuse_unless_gone(entry.path, fault)
            return None
        modified_at = _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000)
        return Found(_shown(prefix + entry.name), status.st_size, modified_at)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as fault:
            if fault.errno == errno.ENOTDIR and folder == self._root:
                raise _unavailable(folder, fault) from fault
            self._refuse_unless_gone(folder, fault)
            return []

    def _is_folder(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError as fault:
            self._refuse_unless_gone(entry.path, fault)
            return False

    def _identity(self, folder: Path) -> tuple[int, int] | None:
        try:
            status = folder.stat()
        except OSError as fault:
            self._refuse_unless_gone(folder, fault)
            return None
        return status.st_dev, status.st_ino

    def _refuse_unless_gone(self, path: object, fault: OSError) -> None:
        if fault.errno not in _GONE:
            raise _unavailable(path, fault) from fault

    def _make_root(self) -> None:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise _unavailable(self._root, fault) from fault

    def _real(self, path: str) -> Path:
        """The path on the disk; names that are not UTF-8 are found by their escaped form."""
        real = self._root / path
        if "\\x" in path and not real.exists():
            unescaped = _ESCAPED_BYTE.sub(lambda byte: chr(0xDC00 + int(byte[1], 16)), path)
            return self._root / unescaped
        return real


class RemoteStorage:
    """Anything fsspec reaches, such as `s3://`, `gs://`, `abfs://`, `sftp://`, `memory://`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._shown_url = redacted(url)

    def folders(self, path: str) -> list[str]:
        """See `Storage`."""
        infos = self._listing(self._real(path))
        return [info["name"].rstrip("/").rsplit("/", 1)[-1] for info in infos if info["type"] == "directory"]

    def files(self, path: str) -> Iterator[Found]:
        """See `Storage`; object stores are listed by prefix, servers with real folders folder by folder."""
        folder = self._real(path)
        infos = self._objects(folder) if self._lists_by_prefix else self._below(folder)
        for info in infos:
            below = info["name"].strip("/")[len(folder.strip("/")) + 1 :]
            if info["type"] == "file" and below and not info["name"].endswith("/"):
                yield Found(below, int(info["size"] or 0), self._modified_at(info), _etag(info))

    def open(self, path: str) -> BinaryIO:
        """See `Storage`."""
        real = self._real(path)
        try:
            return cast(BinaryIO, self._filesystem.open(real, "rb"))
        except (FileNotFoundError, PermissionError, IsADirectoryError) as fault:
            raise _cannot_open(path, fault) from fault
        except Exception as fault:
            raise self._unreachable(fault) from fault

    def create(self, path: str, content: BinaryIO) -> bool:
        """See `Storage`; the name is looked up before, since few storages can refuse to overwrite."""
        real = self._real(path)
        folder, _, name = real.rpartition("/")
        unfinished = f"{folder}/{_temporary(name)}"
        filesystem = self._filesystem
        try:
            filesystem.invalidate_cache(folder)
            if filesystem.exists(real):
                return False
            filesystem.makedirs(folder, exist_ok=True)
            content.seek(0)
            with filesystem.open(unfinished, "wb") as copy:
                shutil.copyfileobj(content, copy)
            filesystem.mv(unfinished, real)
        except Exception as fault:
            with contextlib.suppress(Exception):
                filesystem.rm(unfinished)
            raise _cannot_write(path, fault) from fault
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

    def _listing(self, folder: str) -> list[dict[str, Any]]:
        """What stands in a folder, never from fsspec's cache; links as what they lead to."""
        try:
            self._filesystem.invalidate_cache(folder)
            infos = self._filesystem.ls(folder, detail=True)
            return sorted(map(self._followed, infos), key=lambda info: str(info["name"]))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as fault:
            raise self._unreachable(fault, folder) from fault

    def _followed(self, info: dict[str, Any]) -> dict[str, Any]:
        if info["type"] != "link":
            return info
        try:
            return {**self._filesystem.info(info["name"]), "name": info["name"]}
        except FileNotFoundError:
            return info

    def _objects(self, folder: str) -> list[dict[str, Any]]:
        try:
            self._filesystem.invalidate_cache(folder)
            found = self._filesystem.find(folder, detail=True)
        except FileNotFoundError:
            return []
        except Exception as fault:
            raise self._unreachable(fault, folder) from fault
        return [found[name] for name in sorted(found)]

    def _below(self, folder: str) -> Iterator[dict[str, Any]]:
        """Walks folder by folder; unlike fsspec's own walk it does not pass over folders it may not read."""
        for info in self._listing(folder):
            name = info["name"].rstrip("/")
            if info["type"] != "directory":
                yield info
            elif not name.rsplit("/", 1)[-1].startswith((".", "_")):
                yield from self._below(name)

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
        return _unavailable(what, fault)


def _unavailable(what: object, fault: Exception) -> LandingUnavailable:
    why = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    hint = "check that it is there and that this user may read it, or correct SYNC_LANDING"
    return LandingUnavailable("landing_unavailable", f"the landing cannot be read at {what}: {why}", hint)


def _cannot_open(path: str, fault: OSError) -> ExportError:
    if isinstance(fault, FileNotFoundError):
        return ExportError("file_vanished", f"{path} is no longer in the landing", "put it there again if it matters")
    return ExportError("file_unreadable", f"{path} cannot be read: {fault.strerror or fault}", "allow this user to")


def _cannot_write(path: str, fault: Exception) -> ExportError:
    why = getattr(fault, "strerror", None) or str(fault) or type(fault).__name__
    return ExportError("landing_unwritable", f"{path} cannot be written: {why}", "let this user write to the landing")


def _temporary(name: str) -> str:
    """A name of its own for a file that is being written, which is no export (`naming`)."""
    return f".{name}.{uuid4().hex}.part"


def _renamed(unfinished: Path, target: Path) -> bool:
    """Gives a file its name, False where that is taken; a link refuses to overwrite, a rename does not."""
    try:
        os.link(unfinished, target)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no links.
        unfinished.rename(target)
    return True


def _etag(info: dict[str, Any]) -> str | None:
    told = info.get("ETag") or info.get("etag")
    return str(told).strip('"') if told else None


def _as_utc(told: object) -> datetime:
    """The time a storage tells, whose forms differ: datetime, seconds, ISO text, FTP's digits."""
    if isinstance(told, int | float):
        return _EPOCH + timedelta(seconds=told)
    if isinstance(told, str):
        told = datetime.strptime(told[:14], "%Y%m%d%H%M%S") if told[:14].isdigit() else datetime.fromisoformat(told)
    if not isinstance(told, datetime):
        raise TypeError(f"not a time: {told!r}")
    return told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)


def _shown(name: str) -> str:
    """A name that is no UTF-8 text with its bytes escaped, so that it can be printed and stored."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")
