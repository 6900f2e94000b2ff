"""The landing: the folder, bucket or server where partners drop exports.

    <landing>/<partner>/<tenant>/<stream>/**/<file>

Belongs here: listing exports with what tells a change (size, time, etag), opening them, adding one. Does not
belong here: which partners and tenants are known, what was loaded already, pulling from partners.
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
from sync_pipelines.exports.local_storage import LocalStorage
from sync_pipelines.exports.naming import is_export_name
from sync_pipelines.exports.parts import Part, Parts, PartsRule, export_of, folder_of, is_of_parts, joined, mark_of
from sync_pipelines.exports.remote_storage import open_storage
from sync_pipelines.exports.storage_interface import FolderFault, Found, Named, Reached


class LandingFile(NamedTuple):
    r"""An export in the landing.

    Attributes:
        path: relative to the landing, with `/` between the names. Bytes of a name that are not UTF-8 stand as `\\xff`.
        partner, tenant_folder, stream: the first three names of the path, as written.
        below: the path below `<stream>/`.
        size: bytes.
        modified_at: in UTC, as exactly as the storage tells, to the microsecond.
        etag: the storage's own mark of the content, where it has one.
        fault: why it can't be read: a link, no regular file, a folder that may not be listed, a path too long.
        is_folder: whether it is a folder, or a link to one; only folders with a fault are told.
        parts: of an export that is the files of a folder (`parts`); its path and `below` end in `/`.
    """

    path: str
    partner: str
    tenant_folder: str
    stream: str
    below: str
    size: int
    modified_at: datetime
    etag: str | None
    fault: ExportError | None = None
    is_folder: bool = False
    parts: Parts | None = None

    def dated_at(self, file_date: str | None) -> datetime | None:
        """The date that its path carries, as the source says dates are written (X4)."""
        return self.parts.dated_at if self.parts is not None else effective_time_in(self.below, file_date)


class Unclaimed(NamedTuple):
    """A file or a folder of the landing that is in no stream's folder; its path is relative to the landing."""

    path: str
    is_folder: bool = False


@dataclass
class _Beside:
    """What stands beside the streams of a partner.

    Attributes:
        files: paths of the files that are above the streams' folders.
        folders: (tenant folder, its folder), the streams' own included, in order.
    """

    files: list[str] = field(default_factory=list)
    folders: dict[tuple[str, str], None] = field(default_factory=dict)


LONGEST_PATH: Final = 1_200
"""Bytes; the ledger's index holds 2,700, and the tenant's name stands in it beside the path."""
_SHOWN_OF_LONGER: Final = 900
_BYTES_A_CHARACTER: Final = 10
"""At most: one that UTF-8 lacks is spelled out as its number."""

ANY_TENANT_FOLDER: Final = "*"
"""As the tenant folder of a fault: the partner's folder itself is at fault, so no tenant of it is known."""

_HIDDEN: Final = (".", "_")
"""Folders whose names begin so are no tenants and no streams."""

FollowsLinks = Callable[[str, str | None, str], bool]
"""Whether links of a partner, tenant folder and stream are followed within the landing; a tenant of None is any."""


def _follows_none(partner: str, tenant: str | None, stream: str) -> bool:
    return False


PartsOf = Callable[[str, str, str], PartsRule | None]
"""Which files of a partner, tenant folder and stream are parts of one export; None where each is one itself."""


def _no_parts(partner: str, tenant: str, stream: str) -> None:
    return None


class Landing:
    """Exports below a local folder or any fsspec URL; nothing is connected to before the first call.

    A local folder that is missing is made, where it may be. All methods raise `LandingUnavailable` when the landing
    does not answer or may not be read, and `ConfigurationError` when its URL is wrong or nothing is there.

    Args:
        url: of the landing.
        follows_links: which links are followed; none by default, and none ever out of the landing.
        access: how a server is reached.
        parts_of: which files are parts of one export; none by default.
        is_made: whether a local folder that is missing is made.
    """

    def __init__(
        self,
        url: str,
        follows_links: FollowsLinks = _follows_none,
        access: Access | None = None,
        parts_of: PartsOf = _no_parts,
        *,
        is_made: bool = True,
    ) -> None:
        self._parts_of = parts_of
        self._storage = open_storage(url, access or Access(), is_made=is_made)
        self._follows_links = follows_links
        self._seen: dict[str, _Beside] = {}

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, which is reached without a connection."""
        return isinstance(self._storage, LocalStorage)

    def reach(self) -> Reached:
        """Looks whether it is there; which server and user that is by, and whether it is empty."""
        return self._storage.reach()

    def streams(self) -> Iterator[tuple[str, str, str]]:
        """Partner, tenant folder and stream of every third-level folder, by name; faults are left to `list`."""
        for partner in self._folders(""):
            with suppress(FolderFault):
                if self._storage.lists_by_prefix:
                    yield from sorted({(partner, tenant, stream) for tenant, stream, _ in self._objects(partner)})
                    continue
                for tenant in self._folders(partner):
                    with suppress(FolderFault):
                        for stream in self._folders(f"{partner}/{tenant}"):
                            yield partner, tenant, stream

    def list(self, partner: str, stream: str) -> Iterator[LandingFile]:
        """The exports of a stream, a tenant's together; names that are no exports yet are left out.

        Object stores are asked once for everything of the partner, servers with folders tenant by tenant.

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
        except FolderFault as fault:
            yield _faulty(partner, ANY_TENANT_FOLDER, stream, fault)
            return
        for tenant in tenants:
            try:
                yield from self._of_tenant(partner, tenant, stream)
            except FolderFault as fault:
                yield _faulty(partner, tenant, stream, fault)

    def _objects(self, partner: str) -> Iterator[tuple[str, str, Found]]:
        """What an object store has of a partner: tenant folder, stream, and the object below that."""
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
        """What lies in no stream's folder; a folder is told once, without what is in it.

        Links, and names that are no exports, are left out. A folder of this machine or of a server is looked into down
        to the tenants' folders; what an object store listed a moment ago is used once more.

        Args:
            streams: partner -> its streams.
            partner: of one partner alone.

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
        """What a partner's folder and its tenants' hold."""
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
            ExportError: `file_vanished`, `file_unreadable`, `link_refused` or `not_a_regular_file`; when a local file
                is read to its end, `file_changed` (`ChangedWhileRead`).
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
                "file_vanished", f"{path} is an export no more", "its source says `parts: folder` no more"
            )
        folder = folder_of(below)
        root = f"{partner}/{tenant}/{stream}/{folder}".rstrip("/")
        parts = []
        for found in self._storage.files(root, follow_links=self._follows(path)):
            found = found._replace(below=f"{folder}/{found.below}".lstrip("/"))
            export = export_of(found.below, rule) if is_export_name(found.below) else None
            if export is None or export[0] != (below or "/"):
                continue
            if found.fault is not None:
                raise found.fault
            parts.append(_part(_landing_file(partner, tenant, stream, found), export[1]))
        if not parts:
            raise ExportError("file_vanished", f"{path} has no parts any more", "put them there again if it matters")
        return joined(parts, self._open)

    def publish(self, path: str, content: BinaryIO) -> str:
        """Adds an export, whole or not at all, and returns its path: a name that is taken gets a number.

        Args:
            path: relative to the landing; its extension says the format.
            content: read from its beginning.

        Raises:
            ExportError: `landing_unwritable`, or `link_refused`: a folder on the way is a link.
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
    """The exports that the files of one tenant's stream are parts of; the folders at fault among them as they are."""
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
            exports[export[0]] = first._replace(modified_at=newest, fault=first.fault or file.fault), parts
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
        found.fault,
        found.is_folder,
    )
    return _of_storable_path(file)


def _faulty(partner: str, tenant: str, stream: str, fault: FolderFault) -> LandingFile:
    folder = tenant if "/" in fault.path else ANY_TENANT_FOLDER
    file = LandingFile(fault.path, partner, folder, stream, "", 0, fault.modified_at, None, fault, is_folder=True)
    return _of_storable_path(file)


def _of_storable_path(file: LandingFile) -> LandingFile:
    """The file; one whose path the ledger cannot hold has a fault, and the path's beginning with a hash as its path."""
    if len(file.path) <= LONGEST_PATH // _BYTES_A_CHARACTER:
        return file
    path = file.path.encode("utf-8", "backslashreplace")
    if len(path) <= LONGEST_PATH:
        return file
    shown = f"{path[:_SHOWN_OF_LONGER].decode(errors='ignore')}...{hashlib.sha256(path).hexdigest()[:16]}"
    message = f"the path of {len(path):,} bytes is longer than {LONGEST_PATH:,}"
    fault = ExportError("path_too_long", message, "move the file up, or shorten its name and those of its folders")
    return file._replace(path=shown, fault=file.fault or fault, size=0, etag=None)
