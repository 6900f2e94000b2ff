"""Walks the folders of a server that has real ones.

Belongs here: the order, and which links are followed. Does not belong here: requests to the server (`remote_storage`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from sync_pipelines.errors import ExportError, SyncError
from sync_pipelines.exports.storage_interface import EPOCH, FolderError, Found, link_refused, not_regular

Info = dict[str, Any]

_MOST_AT_ONCE: Final = 32
_MOST_AHEAD: Final = 5_000
"""Most entries of folders that are listed before they are entered, assuming that all are as large as the last."""


class Folders(Protocol):
    """What a walk needs; paths are the server's."""

    @property
    def folders_at_once(self) -> int:
        """How many folders can be listed in the time of one."""

    def listings(self, folders: Sequence[tuple[str, str]]) -> list[list[Info] | SyncError]:
        """Returns the entries of each folder, by name, or its error. A folder is its path and its displayed name."""

    def found(self, below: str, info: Info) -> Found:
        """Returns a file as listed."""

    def info(self, real: str) -> Info:
        """Returns the entry of a link's target."""

    def resolved(self, real: str) -> str | None:
        """Returns where a path leads by all its links; None if the storage does not report it."""

    def target(self, real: str, shown: str) -> str:
        """Returns the target of a link within the landing. Raises `ExportError`: `link_refused`."""


class _Entered:
    """A folder during the walk.

    Attributes:
        infos: its remaining entries.
        prefix: its path below the start of the walk, with a trailing slash.
        resolved: where its path leads by all links, if needed.
    """

    def __init__(self, infos: list[Info], prefix: str, resolved: str | None) -> None:
        self.infos = iter(infos)
        self.prefix = prefix
        self.resolved = resolved
        self._later = deque(
            info["name"].rstrip("/") for info in infos if info["type"] == "directory" and _is_entered(info)
        )

    def later(self, real: str) -> Iterable[str]:
        """Yields the folders that are entered after this one; none after a link."""
        if not self._later or self._later[0] != real:
            return ()
        self._later.popleft()
        return self._later


def _is_entered(info: Info) -> bool:
    return not name_of(info).startswith((".", "_"))


@dataclass
class RemoteWalk:
    """What is below a folder of a server, depth first.

    Attributes:
        storage: the storage of the folder.
        path: the folder's path, for messages.
        follow_links: whether links within the root are followed. Below a link to a folder, only one more is followed.
    """

    storage: Folders
    path: str
    follow_links: bool
    _led_to: set[str] = field(default_factory=set)
    _outermost: int = 0
    """How many folders were open when the outermost link was entered; 0 outside of one."""
    _ahead: dict[str, list[Info] | SyncError] = field(default_factory=dict)
    """Folders that were listed together with an earlier one."""
    _at_once: int = 4

    def below(self, folder: str) -> Iterator[Found]:
        """Yields the files. Unlike fsspec's walk, it reports unreadable folders."""
        way = [self._enter(folder, "", ())]
        while way:
            if len(way) <= self._outermost:
                self._outermost = 0
                self._led_to.clear()
            here = way[-1]
            if (info := next(here.infos, None)) is None:
                way.pop()
                continue
            real, below = info["name"].rstrip("/"), here.prefix + name_of(info)
            try:
                if is_link(info):
                    info = self._followed(real, below, [entered.resolved for entered in way])
                if info["type"] == "file":
                    yield self.storage.found(below, info)
                elif info["type"] != "directory":
                    raise not_regular(f"{self.path}/{below}", info.get("mode") or 0)
                elif _is_entered(info):
                    way.append(self._enter(real, f"{below}/", here.later(real)))
            except FolderError as error:
                yield Found(below, 0, EPOCH, None, error, is_folder=True)
            except ExportError as error:
                yield Found(below, 0, EPOCH, None, error)

    def _enter(self, real: str, prefix: str, later: Iterable[str]) -> _Entered:
        """Enters a folder. The next folders are listed with it if that takes no longer."""
        if real not in self._ahead:
            folders = [real, *islice(later, self._at_once - 1)][: self.storage.folders_at_once]
            shown = f"{self.path}/{prefix}".rstrip("/")
            above = shown.rpartition("/")[0]
            names = [shown, *(f"{above}/{folder.rsplit('/', 1)[-1]}" for folder in folders[1:])]
            self._ahead.update(zip(folders, self.storage.listings(list(zip(folders, names, strict=True))), strict=True))
        found = self._ahead.pop(real)
        if isinstance(found, SyncError):
            raise found
        self._at_once = max(1, min(_MOST_AT_ONCE, _MOST_AHEAD // (len(found) + 1)))
        return _Entered(found, prefix, self.storage.resolved(real) if self.follow_links else None)

    def _followed(self, real: str, below: str, above: list[str | None]) -> Info:
        """Returns the target of a link, under the link's name."""
        shown = f"{self.path}/{below}"
        if not self.follow_links:
            raise link_refused(shown)
        target = self.storage.target(real, shown)
        if any(folder and Path(folder).is_relative_to(target) for folder in above):
            raise link_refused(shown, "to a folder above it")
        if target in self._led_to:
            raise link_refused(shown, "to a folder that another link already leads to")
        try:
            info = {**self.storage.info(real), "name": real}
        except FileNotFoundError:
            raise link_refused(shown, "whose target does not exist") from None
        if info["type"] == "directory":
            self._led_to.add(target)
            self._outermost = self._outermost or len(above)
        return info


def name_of(info: Info) -> str:
    """Returns the last name of a path."""
    return str(info["name"]).rstrip("/").rsplit("/", 1)[-1]


def is_link(info: Info) -> bool:
    """Whether it is a symbolic link."""
    return info["type"] == "link" or bool(info.get("islink"))
