"""The landing: the folder, bucket or server where partners drop exports.

    <landing>/<partner>/<tenant>/<stream>/**/<file>

Belongs here: listing exports with what identifies a change (size, time, etag), opening them, adding one. Does not
belong here: which partners and tenants are known, what is already loaded, pulling from partners.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, groupby
from typing import BinaryIO, Final, NamedTuple

from sync_pipelines.errors import ExportError
from sync_pipelines.exports.access import Access
from sync_pipelines.exports.file_dates import effective_time_in
from sync_pipelines.exports.naming import is_export_name
from sync_pipelines.exports.parts import Part, Parts, PartsRule, export_of, folder_of, is_of_parts, joined, mark_of
from sync_pipelines.exports.remote_storage import open_storage
from sync_pipelines.exports.storage_interface import FolderError, Found, Named, Reached


class LandingFile(NamedTuple):
    r"""An export in the landing.

    Attributes:
        path: relative to the landing, with `/` between the names. Bytes of a name that are not UTF-8 become `\\xff`.
        partner, tenant_folder, stream: the first three names of the path, as written.
        below: the path below `<stream>/`.
        size: bytes.
        modified_at: UTC, as exact as the storage reports it, to the microsecond.
        etag: the storage's version mark of the content, if it has one.
        error: why it cannot be read: a link, not a regular file, an unreadable folder, a path that is too long.
        is_folder: whether it is a folder or a link to one. Only folders with an error are listed.
        parts: the parts of an export that is a folder (`parts`). Its path and `below` end in `/`.
    """

    path: str
    partner: str
    tenant_folder: str
    stream: str
    below: str
    size: int
    modified_at: datetime
    etag: str | None
    error: ExportError | None = None
    is_folder: bool = False
    parts: Parts | None = None

    def dated_at(self, file_date: str | None) -> datetime | None:
        """Returns the date in its path, by the source's date pattern (X4)."""
        return self.parts.dated_at if self.parts is not None else effective_time_in(self.below, file_date)


class Unclaimed(NamedTuple):
    """A file or folder of the landing outside all streams' folders. Its path is relative to the landing."""

    path: str
    is_folder: bool = False


@dataclass
class _Beside:
    """What a partner's folder holds beside its streams.

    Attributes:
        files: paths of the files above the streams' folders.
        folders: (tenant folder, its folder), including the streams' own, in order.
    """

    files: list[str] = field(default_factory=list)
    folders: dict[tuple[str, str], None] = field(default_factory=dict)


LONGEST_PATH: Final = 1_200
"""Bytes. The ledger's index holds 2,700, including the tenant's name."""
_SHOWN_OF_LONGER: Final = 900
_BYTES_A_CHARACTER: Final = 10
"""Longest message; a character that is not UTF-8 is shown as its number."""

ANY_TENANT_FOLDER: Final = "*"
"""Tenant folder of an error in the partner's folder itself: no tenant is known."""

_HIDDEN: Final = (".", "_")
"""Folders with such names are not tenants or streams."""

FollowsLinks = Callable[[str, str | None, str], bool]
"""Whether links of a partner, tenant folder and stream are followed within the landing. A tenant of None is any."""


def _follows_none(partner: str, tenant: str | None, stream: str) -> bool:
    return False


PartsOf = Callable[[str, str, str], PartsRule | None]
"""Which files of a partner, tenant folder and stream are parts of one export; None if each is an export."""


def _no_parts(partner: str, tenant: str, stream: str) -> None:
    return None


class Landing:
    """Exports below a local folder or any fsspec URL. Connects at the first call.

    A missing local folder is created if `creates_root` is set. All methods raise `LandingUnavailable` if the landing
    does not answer or is not readable, and `ConfigurationError` if its URL is wrong or does not exist.

    Args:
        url: URL of the landing.
        follows_links: which links are followed; by default none. Links out of the landing are never followed.
        access: timeouts and credentials of a server.
        parts_of: which files are parts of one export; by default none.
        creates_root: whether a missing local folder is created.
    """

    def __init__(
        self,
        url: str,
        follows_links: FollowsLinks = _follows_none,
        access: Access | None = None,
        parts_of: PartsOf = _no_parts,
        *,
        creates_root: bool = True,
    ) -> None:
        self._parts_of = parts_of
        self._storage = open_storage(url, access or Access(), creates_root=creates_root)
        self._follows_links = follows_links
        self._seen: dict[str, _Beside] = {}

    def reach(self) -> Reached:
        """Checks that the landing exists. Returns its server and user, and whether it is empty."""
        return self._storage.reach()

    def streams(self) -> Iterator[tuple[str, str, str]]:
        """Yields partner, tenant folder and stream of every third-level folder, by name. `list` reports errors."""
        for partner in self._folders(""):
            with suppress(FolderError):
                if self._storage.lists_by_prefix:
                    yield from sorted({(partner, tenant, stream) for tenant, stream, _ in self._objects(partner)})
                    continue
                for tenant in self._folders(partner):
                    with suppress(FolderError):
                        for stream in self._folders(f"{partner}/{tenant}"):
                            yield partner, tenant, stream

    def list(self, partner: str, stream: str) -> Iterator[LandingFile]:
        """Yields the exports of a stream, grouped by tenant. Skips files that are not exports yet.

        Object stores are asked once for all of the partner's objects, servers with folders tenant by tenant.

        Args:
            partner: folder of the partner.
            stream: folder of the stream.
        """
        for tenant, files in groupby(self._files(partner, stream), key=lambda file: file.tenant_folder):
            rule = self._parts_of(partner, tenant, stream)
            if rule is None:
                yield from files
            else:
                yield from _with_parts_joined([*files], rule)

    def _files(self, partner: str, stream: str) -> Iterator[LandingFile]:
        try:
            if self._storage.lists_by_prefix:
                for tenant, found_stream, found in self._objects(partner):
                    if found_stream == stream and is_export_name(found.below):
                        yield _landing_file(partner, tenant, stream, found)
                return
            tenants = self._folders(partner, follow_links=self._follows_links(partner, None, stream))
        except FolderError as error:
            yield _unreadable(partner, ANY_TENANT_FOLDER, stream, error)
            return
        for tenant in tenants:
            try:
                yield from self._of_tenant(partner, tenant, stream)
            except FolderError as error:
                yield _unreadable(partner, tenant, stream, error)

    def _objects(self, partner: str) -> Iterator[tuple[str, str, Found]]:
        """Yields a partner's objects in an object store: tenant folder, stream, and the object below them."""
        seen = _Beside()
        for found in self._storage.files(partner):
            names = found.below.split("/", 2)
            if len(names) < 3:
                seen.files.append(f"{partner}/{found.below}")
            elif not names[0].startswith(_HIDDEN) and not names[1].startswith(_HIDDEN):
                seen.folders[names[0], names[1]] = None
                yield names[0], names[1], found._replace(below=names[2])
        self._seen[partner] = seen

    def unclaimed(self, streams: Mapping[str, Collection[str]], partner: str | None = None) -> Iterator[Unclaimed]:
        """Yields what is in no stream's folder. A folder is yielded once, without its content.

        Skips links and files that are not exports. Folders are searched down to the tenants' folders. An object
        store's recent listing is reused.

        Args:
            streams: partner -> its streams.
            partner: only this partner.

        Raises:
            LandingUnavailable: the landing does not answer.
        """
        (top,) = self._storage.names([""])
        if partner is None:
            yield from _misfits(top, streams)
        for name in (named.name for named in top if named.name in streams and named.kind == "folder"):
            if partner in (None, name):
                beside = self._beside(name)
                yield from (Unclaimed(path) for path in beside.files if is_export_name(path.partition("/")[2]))
                for tenant, folder in beside.folders:
                    if folder not in streams[name]:
                        yield Unclaimed(f"{name}/{tenant}/{folder}", is_folder=True)

    def _beside(self, partner: str) -> _Beside:
        """Returns what a partner's folder and its tenants' folders hold."""
        if self._storage.lists_by_prefix:
            if partner not in self._seen:
                for _ in self._objects(partner):
                    pass
            return self._seen.pop(partner)
        (here,) = self._storage.names([partner])
        tenants = [n.name for n in here if n.kind == "folder" and not n.name.startswith(_HIDDEN)]
        below = self._storage.names([f"{partner}/{tenant}" for tenant in tenants])
        seen = _Beside([f"{partner}/{named.name}" for named in here if named.kind == "file"])
        for tenant, names in zip(tenants, below, strict=True):
            seen.files += [f"{partner}/{tenant}/{named.name}" for named in names if named.kind == "file"]
            folders = (n.name for n in names if n.kind == "folder" and not n.name.startswith(_HIDDEN))
            seen.folders |= {(tenant, folder): None for folder in folders}
        return seen

    def _of_tenant(self, partner: str, tenant: str, stream: str) -> Iterator[LandingFile]:
        follow_links = self._follows_links(partner, tenant, stream)
        for found in self._storage.files(f"{partner}/{tenant}/{stream}", follow_links=follow_links):
            if is_export_name(found.below):
                yield _landing_file(partner, tenant, stream, found)

    def open(self, path: str) -> BinaryIO:
        """Opens an export by its path relative to the landing.

        Raises:
            ExportError: `file_vanished`, `file_unreadable`, `link_refused` or `not_a_regular_file`; also
                `file_changed` (`ChangedWhileRead`) at the end of a local file.
        """
        if is_of_parts(path):
            return self._open_parts(path)
        return self._open(path)

    def _open(self, path: str) -> BinaryIO:
        return self._storage.open(path, follow_links=self._follows(path))

    def _open_parts(self, path: str) -> BinaryIO:
        partner, tenant, stream, below = path.split("/", 3)
        rule = self._parts_of(partner, tenant, stream)
        if rule is None:
            raise ExportError(
                "file_vanished", f"{path} is no longer an export", "its source no longer sets `parts: folder`"
            )
        folder = folder_of(below)
        root = f"{partner}/{tenant}/{stream}/{folder}".rstrip("/")
        parts = []
        for found in self._storage.files(root, follow_links=self._follows(path)):
            found = found._replace(below=f"{folder}/{found.below}".lstrip("/"))
            export = export_of(found.below, rule) if is_export_name(found.below) else None
            if export is None or export[0] != (below or "/"):
                continue
            if found.error is not None:
                raise found.error
            parts.append(_part(_landing_file(partner, tenant, stream, found), export[1]))
        if not parts:
            raise ExportError("file_vanished", f"{path} no longer has any parts", "put them back if you need them")
        return joined(parts, self._open)

    def publish(self, path: str, content: BinaryIO) -> str:
        """Adds an export atomically and returns its path. If the name is taken, a number is added.

        Args:
            path: relative to the landing; its extension is the format.
            content: read from its beginning.

        Raises:
            ExportError: `landing_unwritable`, or `link_refused` if a folder on the way is a link.
        """
        stem, _, extension = path.rpartition(".")
        for number in count(1):
            free = path if number == 1 else f"{stem}_{number}.{extension}"
            if self._storage.create(free, content, follow_links=self._follows(path)):
                return free
        raise AssertionError("numbers do not end")

    def _follows(self, path: str) -> bool:
        partner, tenant, stream, *_ = [*path.split("/"), "", ""]
        return self._follows_links(partner, tenant, stream)

    def _folders(self, path: str, *, follow_links: bool = False) -> Sequence[str]:
        names = self._storage.folders(path, follow_links=follow_links)
        return sorted(name for name in names if not name.startswith(_HIDDEN))


def _with_parts_joined(files: Iterable[LandingFile], rule: PartsRule) -> Iterator[LandingFile]:
    """Yields a tenant's exports with parts joined; folders with errors stay as they are."""
    exports: dict[str, tuple[LandingFile, list[Part]]] = {}
    for file in files:
        if file.is_folder:
            yield file
            continue
        export = export_of(file.below, rule)
        if export is not None:
            exports.setdefault(export[0], (file, []))
            first, parts = exports[export[0]]
            parts.append(_part(file, export[1]))
            newest = max(first.modified_at, file.modified_at)
            exports[export[0]] = first._replace(modified_at=newest, error=first.error or file.error), parts
    for below, (first, parts) in exports.items():
        dates = [part.dated_at for part in parts if part.dated_at is not None]
        yield _of_storable_path(
            first._replace(
                path=f"{first.partner}/{first.tenant_folder}/{first.stream}/{below.lstrip('/')}",
                below=below,
                size=sum(part.size for part in parts),
                etag=mark_of(parts),
                parts=Parts(len(parts), max(dates, default=None)),
            )
        )


def _part(file: LandingFile, dated_at: datetime | None) -> Part:
    return Part(file.path, file.size, f"{file.modified_at.timestamp()} {file.etag or ''}", dated_at)


def _misfits(names: Iterable[Named], known: Collection[str]) -> Iterator[Unclaimed]:
    for name, kind in names:
        if kind == "file" and is_export_name(name):
            yield Unclaimed(name)
        elif kind == "folder" and name not in known and not name.startswith(_HIDDEN):
            yield Unclaimed(name, is_folder=True)


def _landing_file(partner: str, tenant: str, stream: str, found: Found) -> LandingFile:
    file = LandingFile(
        f"{partner}/{tenant}/{stream}/{found.below}".rstrip("/"),
        partner,
        tenant,
        stream,
        found.below,
        found.size,
        found.modified_at,
        found.etag,
        found.error,
        found.is_folder,
    )
    return _of_storable_path(file)


def _unreadable(partner: str, tenant: str, stream: str, error: FolderError) -> LandingFile:
    folder = tenant if "/" in error.path else ANY_TENANT_FOLDER
    file = LandingFile(error.path, partner, folder, stream, "", 0, error.modified_at, None, error, is_folder=True)
    return _of_storable_path(file)


def _of_storable_path(file: LandingFile) -> LandingFile:
    """Returns the file. If its path is too long for the ledger, it gets an error and a shortened path with a hash."""
    if len(file.path) <= LONGEST_PATH // _BYTES_A_CHARACTER:
        return file
    path = file.path.encode("utf-8", "backslashreplace")
    if len(path) <= LONGEST_PATH:
        return file
    shown = f"{path[:_SHOWN_OF_LONGER].decode(errors='ignore')}...{hashlib.sha256(path).hexdigest()[:16]}"
    message = f"the path has {len(path):,} bytes, more than the limit of {LONGEST_PATH:,}"
    error = ExportError("path_too_long", message, "move the file up, or shorten its name and those of its folders")
    return file._replace(path=shown, error=file.error or error, size=0, etag=None)
