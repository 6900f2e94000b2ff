"""What any storage of a landing offers, and the faults of one path in it.

Belongs here: the interface, what is told of a file, the words of a fault. Does not belong here: the storages themselves
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
    """What stands directly in a folder.

    Attributes:
        name: its text, see `file_names`.
        kind: links, pipes and the like are `other`.
    """

    name: str
    kind: Literal["file", "folder", "other"]


class Found(NamedTuple):
    """What was found below a folder.

    Attributes:
        below: its path below the folder.
        size: bytes.
        modified_at: in UTC.
        etag: the storage's own mark of the content, where it has one.
        fault: why it is no export that can be read, or None.
        is_folder: whether it is a folder, or a link to one; only folders with a fault are told.
    """

    below: str
    size: int
    modified_at: datetime
    etag: str | None = None
    fault: ExportError | None = None
    is_folder: bool = False


@dataclass(frozen=True, slots=True)
class Reached:
    """A landing that is there.

    Attributes:
        server: which server answered; empty for a folder of this machine.
        user: whom it takes us for; empty where that is not known.
        is_empty: whether nothing at all is there.
        has_folders: whether a folder can be there and be empty.
    """

    server: str = ""
    user: str = ""
    is_empty: bool = False
    has_folders: bool = True


class FolderFault(ExportError):
    """A folder cannot be looked into.

    Attributes:
        path: of the folder, or of the one above it that is at fault.
        modified_at: when that was changed.
    """

    def __init__(self, fault: ExportError, path: str, modified_at: datetime = EPOCH) -> None:
        Exception.__init__(self, *fault.args)
        self.code, self.message, self.hint, self.position = fault.code, fault.message, fault.hint, fault.position
        self.path = path
        self.modified_at = modified_at


class ChangedWhileRead(ExportError):
    """A file changed while it was read: what was read may be a mixture, so the next look at the landing reads it."""

    def __init__(self, path: str) -> None:
        super().__init__("file_changed", f"{path} changed while it was read", "sync again once it is written")


class Storage(Protocol):
    """Folders and files below one root; paths are relative to it, with `/` between names.

    `follow_links` allows symbolic links that lead to a folder or a regular file within the root.
    """

    def reach(self) -> Reached:
        """Looks whether the landing is there.

        Raises:
            ConfigurationError: it is not there, or the server refuses us.
            LandingUnavailable: the storage does not answer.
        """

    @property
    def lists_by_prefix(self) -> bool:
        """Whether `files` lists everything below a folder at once: there are no folders that would be asked one by one.

        Raises:
            LandingUnavailable: the storage does not answer.
        """

    def folders(self, path: str, *, follow_links: bool = False) -> list[str]:
        """Names of the folders and links in a folder; none if it is not there.

        Raises:
            FolderFault: the folder may not be read, or is reached by a link.
            LandingUnavailable: the storage does not answer.
        """

    def names(self, paths: Sequence[str]) -> list[list[Named]]:
        """What stands directly in each of some folders; nothing where it is a link, is not there or may not be read.

        Raises:
            LandingUnavailable: the storage does not answer.
        """

    def files(self, path: str, *, follow_links: bool = False) -> Iterator[Found]:
        """Everything below a folder but its folders; none if it is not there. Raises as `folders` does."""

    def open(self, path: str, *, follow_links: bool = False) -> BinaryIO:
        """Opens a regular file for reading.

        Raises:
            ExportError: it is not there, is no regular file, or may not be read; or (when reading) it changed.
        """

    def create(self, path: str, content: BinaryIO, *, follow_links: bool = False) -> bool:
        """Makes a file under a temporary name, then renames it; False where the name is taken."""


def unavailable(what: object, fault: Exception) -> LandingUnavailable:
    """The whole landing cannot be read."""
    why = _why(fault)
    hint = "check that it is there and that this user may read it, or correct SYNC_LANDING"
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


def refused(what: object, fault: Exception) -> ConfigurationError:
    """The server of the landing does not let us in."""
    hint = "correct the credentials that docs/landings.md names for it, or SYNC_LANDING"
    return ConfigurationError("landing_refused", f"the landing {what} refuses this user: {_why(fault)}", hint)


def cannot_open(path: str, fault: OSError) -> ExportError:
    """One file cannot be opened."""
    if isinstance(fault, FileNotFoundError):
        return ExportError("file_vanished", f"{path} is no longer in the landing", "put it there again if it matters")
    return ExportError("file_unreadable", f"{path} cannot be read: {fault.strerror or fault}", "allow this user to")


def cannot_read(path: str, fault: Exception) -> ExportError:
    """Reading one file broke off."""
    return ExportError("file_unreadable", f"reading {path} failed: {_why(fault)}", "it is tried again")


def cannot_list(path: str, fault: OSError) -> ExportError:
    """One folder cannot be listed."""
    message = f"the folder {path} cannot be read: {fault.strerror or fault}"
    return ExportError("folder_unreadable", message, "let this user list and enter the folder")


def cannot_write(path: str, fault: Exception) -> ExportError:
    """A file cannot be made."""
    hint = "let this user write to the landing"
    return ExportError("landing_unwritable", f"{path} cannot be written: {_why(fault)}", hint)


def link_refused(path: str, why: str = "") -> ExportError:
    """A symbolic link that is not followed."""
    hint = "put the file itself there" + ("" if why else ", or allow links within the landing: follow_links")
    return ExportError("link_refused", f"{path} is a symbolic link{why and ' ' + why}", hint)


def not_regular(path: str, mode: int) -> ExportError:
    """Something that is no regular file and is never opened."""
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
    return ExportError("not_a_regular_file", f"{path} is {kind}, no regular file", "put a regular file there")


def temporary_name(name: str) -> str:
    """A name of its own for a file that is being written, which is no export (`naming`)."""
    return f".{name[:100]}.{uuid4().hex}.part"


def _why(fault: Exception) -> str:
    """What a storage's library says of a fault."""
    if said := getattr(fault, "strerror", None) or str(fault):
        return str(said)
    return "no answer in time" if isinstance(fault, TimeoutError) else type(fault).__name__
