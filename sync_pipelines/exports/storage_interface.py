"""The interface of every landing storage, and the errors of one path in it.

Belongs here: the interface, what is known about a file, error messages. Does not belong here: the storages themselves
(`local_storage`, `remote_storage`).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple, Protocol
from uuid import uuid4

from sync_pipelines.contracts.near_names import near_name
from sync_pipelines.errors import ConfigurationError, ExportError, LandingUnavailable

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: Final = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


class Named(NamedTuple):
    """An entry of a folder.

    Attributes:
        name: its text, see `file_names`.
        kind: links, pipes and the like are `other`.
    """

    name: str
    kind: Literal["file", "folder", "other"]


class Found(NamedTuple):
    """An entry below a folder.

    Attributes:
        below: its path below the folder.
        size: bytes.
        modified_at: UTC.
        etag: the storage's version mark of the content, if it has one.
        error: why it is not a readable export, or None.
        is_folder: whether it is a folder or a link to one. Only folders with an error are listed.
    """

    below: str
    size: int
    modified_at: datetime
    etag: str | None = None
    error: ExportError | None = None
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A landing that exists.

    Attributes:
        server: the server that answered; empty for a local folder.
        user: the user that the server sees; empty if unknown.
        is_empty: whether the landing is empty.
        has_folders: whether the storage can have empty folders.
    """

    server: str = ""
    user: str = ""
    is_empty: bool = False
    has_folders: bool = True


class FolderError(ExportError):
    """A folder cannot be listed or entered.

    Attributes:
        path: path of the folder, or of the one above it that caused the error.
        modified_at: when that folder was modified.
    """

    def __init__(self, error: ExportError, path: str, modified_at: datetime = EPOCH) -> None:
        Exception.__init__(self, *error.args)
        self.code, self.message, self.hint, self.position = error.code, error.message, error.hint, error.position
        self.path = path
        self.modified_at = modified_at


class ChangedWhileRead(ExportError):
    """A file changed while it was read. The content may be mixed, so the next sync reads it again."""

    def __init__(self, path: str) -> None:
        super().__init__(
            "file_changed", f"{path} changed while it was read", "sync again when it is completely written"
        )


class Storage(Protocol):
    """Folders and files below one root. Paths are relative to it, with `/` between names.

    `follow_links` allows symbolic links to a folder or a regular file within the root.
    """

    def reach(self) -> Reached:
        """Checks that the landing exists.

        Raises:
            ConfigurationError: it does not exist, or the server denies access.
            LandingUnavailable: the storage does not answer.
        """

    @property
    def lists_by_prefix(self) -> bool:
        """Whether `files` lists everything below a folder at once, without a request per folder.

        Raises:
            LandingUnavailable: the storage does not answer.
        """

    def folders(self, path: str, *, follow_links: bool = False) -> list[str]:
        """Returns the names of the folders and links in a folder; none if it does not exist.

        Raises:
            FolderError: the folder is unreadable or is reached by a link.
            LandingUnavailable: the storage does not answer.
        """

    def names(self, paths: Sequence[str]) -> list[list[Named]]:
        """Returns the entries of each folder; none if it is a link, does not exist or is unreadable.

        Raises:
            LandingUnavailable: the storage does not answer.
        """

    def files(self, path: str, *, follow_links: bool = False) -> Iterator[Found]:
        """Yields everything below a folder except folders; nothing if it does not exist. Raises as `folders` does."""

    def open(self, path: str, *, follow_links: bool = False) -> BinaryIO:
        """Opens a regular file for reading.

        Raises:
            ExportError: it does not exist, is not a regular file, or is unreadable; or (when reading) it changed.
        """

    def create(self, path: str, content: BinaryIO, *, follow_links: bool = False) -> bool:
        """Creates a file under a temporary name, then renames it. Returns False if the name is taken."""


def unavailable(what: object, error: Exception) -> LandingUnavailable:
    """Returns the error of a landing that cannot be read."""
    why = _why(error)
    hint = "check that it exists and that this user can read it, or correct SYNC_LANDING"
    return LandingUnavailable("landing_unavailable", f"the landing cannot be read at {what}: {why}", hint)


def missing(what: object, why: str) -> ConfigurationError:
    """Returns the error of a landing on a server that does not exist."""
    hint = "correct SYNC_LANDING, or create the folder or bucket"
    return ConfigurationError("landing_missing", f"the landing {what} does not exist: {why}", hint)


def missing_folder(folder: Path) -> ConfigurationError:
    """Returns the error of a landing that is a folder and does not exist; the hint names the nearest one that does."""
    lacking = folder
    while not lacking.parent.is_dir() and lacking.parent != lacking:
        lacking = lacking.parent
    if near := near_name(lacking.name, _folders_in(lacking.parent)):
        found = lacking.parent / near
        whole = found / folder.relative_to(lacking)
        hint = f"did you mean {whole if whole.is_dir() else found}? Correct SYNC_LANDING, or create the folder"
    else:
        hint = f"the nearest existing folder is {lacking.parent}; correct SYNC_LANDING, or create the folder"
    return ConfigurationError("landing_missing", f"the landing {folder} does not exist", hint)


def _folders_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []


def denied(what: object, error: Exception) -> ConfigurationError:
    """Returns the error of a server that denies access."""
    hint = "correct its credentials (see docs/landings.md) or SYNC_LANDING"
    return ConfigurationError("landing_refused", f"access to the landing {what} was denied: {_why(error)}", hint)


def cannot_open(path: str, error: OSError) -> ExportError:
    """Returns the error of a file that cannot be opened."""
    if isinstance(error, FileNotFoundError):
        return ExportError("file_vanished", f"{path} is no longer in the landing", "put it back if you need it")
    return ExportError(
        "file_unreadable", f"{path} cannot be read: {error.strerror or error}", "give this user read permission"
    )


def cannot_read(path: str, error: Exception) -> ExportError:
    """Returns the error of a file that could not be read to its end."""
    return ExportError("file_unreadable", f"reading {path} failed: {_why(error)}", "the next sync tries again")


def cannot_list(path: str, error: OSError) -> ExportError:
    """Returns the error of a folder that cannot be listed."""
    message = f"the folder {path} cannot be read: {error.strerror or error}"
    return ExportError("folder_unreadable", message, "give this user permission to list and enter the folder")


def cannot_write(path: str, error: Exception) -> ExportError:
    """Returns the error of a file that cannot be created."""
    hint = "give this user write permission on the landing"
    return ExportError("landing_unwritable", f"{path} cannot be written: {_why(error)}", hint)


def link_refused(path: str, why: str = "") -> ExportError:
    """Returns the error of a symbolic link that is not followed."""
    hint = "put the file itself there" + (
        "" if why else ", or allow links within the landing with `follow_links: true`"
    )
    return ExportError("link_refused", f"{path} is a symbolic link{why and ' ' + why}", hint)


def not_regular(path: str, mode: int) -> ExportError:
    """Returns the error of a special file, which is never opened."""
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    return ExportError("not_a_regular_file", f"{path} is {kind}, not a regular file", "put a regular file there")


def temporary_name(name: str) -> str:
    """Returns a unique name for a file that is being written, which is not an export (`naming`)."""
    return f".{name[:100]}.{uuid4().hex}.part"


def _why(error: Exception) -> str:
    """Returns the reason in a storage library's error."""
    if reason := getattr(error, "strerror", None) or str(error):
        return str(reason)
    return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
