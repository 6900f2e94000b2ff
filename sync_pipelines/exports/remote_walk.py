"""A walk through the folders of a server that has real ones.

Belongs here: the order, and which links are followed. Does not belong here: asking the server (`remote_storage`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol

from sync_pipelines.errors import ExportError, SyncError
from sync_pipelines.exports.storage_interface import EPOCH, FolderFault, Found, link_refused, not_regular

Info = dict[str, Any]

_MOST_AT_ONCE: Final = 32
_MOST_AHEAD: Final = 5_000
"""Entries of folders that were listed before they are entered, if all are as large as the one before."""


class Folders(Protocol):
    """What a walk asks for; paths are the server's."""

    @property
    def folders_at_once(self) -> int:
        """How many folders are listed as fast as one."""

    def listings(self, folders: Sequence[tuple[str, str]]) -> list[list[Info] | SyncError]:
        """What stands in each of some folders, by name, or its fault; a folder is its path and what it is called."""

    def found(self, below: str, info: Info) -> Found:
        """A file as it is told."""

    def info(self, real: str) -> Info:
        """What a link leads to."""

    def resolved(self, real: str) -> str | None:
        """Where a path leads by all its links; None where the storage does not tell."""

    def target(self, real: str, shown: str) -> str:
        """What a link within the landing leads to. Raises `ExportError`: `link_refused`."""


class _Entered:
    """A folder that is walked through.

    Attributes:
        infos: what is left of it.
        prefix: its path below the folder that the walk began with, and a slash.
        resolved: where its path leads by all links, where that is needed.
    """

    def __init__(self, infos: list[Info], prefix: str, resolved: str | None) -> None:
        self.infos = iter(infos)
        self.prefix = prefix
        self.resolved = resolved
        self._later = deque(
            info["name"].rstrip("/") for info in infos if info["type"] == "directory" and _is_entered(info)
        )

    def later(self, real: str) -> Iterable[str]:
        """The folders that are entered after one of them; none after a link."""
        if not self._later or self._later[0] != real:
            return ()
        self._later.popleft()
        return self._later


def _is_entered(info: Info) -> bool:
    return not name_of(info).startswith((".", "_"))


@dataclass
class RemoteWalk:
    """What stands below a folder of a server, depth first.

    Attributes:
        storage: whose folder.
        path: of the folder, for messages.
        follow_links: whether links within the root are followed, below a link to a folder only once.
    """

    storage: Folders
    path: str
    follow_links: bool
    _led_to: set[str] = field(default_factory=set)
    _outermost: int = 0
    """How many folders were open when a link was entered that is below no other; 0 outside of one."""
    _ahead: dict[str, list[Info] | SyncError] = field(default_factory=dict)
    """Folders that were listed together with one before them."""
    _at_once: int = 4

    def below(self, folder: str) -> Iterator[Found]:
        """Unlike fsspec's own walk it does not pass over folders it may not read."""
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
            except FolderFault as fault:
                yield Found(below, 0, EPOCH, None, fault, is_folder=True)
            except ExportError as fault:
                yield Found(below, 0, EPOCH, None, fault)

    def _enter(self, real: str, prefix: str, later: Iterable[str]) -> _Entered:
        """A folder; those that are entered after it are listed with it, where that takes no longer."""
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


def name_of(info: Info) -> str:
    """The last name of a path."""
    return str(info["name"]).rstrip("/").rsplit("/", 1)[-1]


def is_link(info: Info) -> bool:
    """Whether it is a symbolic link."""
    return info["type"] == "link" or bool(info.get("islink"))
