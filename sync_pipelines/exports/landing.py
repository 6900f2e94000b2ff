"""The landing: the folder, bucket or server where partners drop exports.

    <landing>/<partner>/<tenant>/<stream>/**/<file>

Belongs here: listing exports with what tells a change (size, time, etag), opening them, adding one. Does not
belong here: which partners and tenants are known, what was loaded already, pulling from partners.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import BinaryIO

from sync_pipelines.exports.landing_storage import Found, open_storage
from sync_pipelines.exports.naming import is_export_name


@dataclass(frozen=True, slots=True)
class LandingFile:
    r"""An export in the landing.

    Attributes:
        path: relative to the landing, with `/` between the names. Bytes of a name that are not UTF-8 stand as `\\xff`.
        partner, tenant_folder, stream: the first three names of the path, as written.
        below: the path below `<stream>/`.
        size: bytes.
        modified_at: in UTC, as exactly as the storage tells, to the microsecond.
        etag: the storage's own mark of the content, where it has one.
    """

    path: str
    partner: str
    tenant_folder: str
    stream: str
    below: str
    size: int
    modified_at: datetime
    etag: str | None


class Landing:
    """Exports below a local folder or any fsspec URL; nothing is connected to before the first call.

    A local folder that is missing is made. All methods raise `LandingUnavailable` when the landing does not answer
    or may not be read, and `ConfigurationError` when its URL is wrong.
    """

    def __init__(self, url: str) -> None:
        self._storage = open_storage(url)

    def streams(self) -> Iterator[tuple[str, str, str]]:
        """Partner, tenant folder and stream of every third-level folder, by name."""
        for partner in self._folders():
            for tenant in self._folders(partner):
                for stream in self._folders(partner, tenant):
                    yield partner, tenant, stream

    def list(self, partner: str, stream: str, tenants: Iterable[str] | None = None) -> Iterator[LandingFile]:
        """The exports of a stream, a tenant's together; names that are no exports yet are left out.

        Args:
            partner: folder of the partner.
            stream: folder of the stream.
            tenants: folders of tenants to look into; all by default.
        """
        for tenant in self._folders(partner) if tenants is None else tenants:
            folder = f"{partner}/{tenant}/{stream}"
            for found in self._storage.files(folder):
                if is_export_name(found.below):
                    yield _landing_file(partner, tenant, stream, found)

    def open(self, path: str) -> BinaryIO:
        """Opens an export by its path relative to the landing.

        Raises:
            ExportError: `file_vanished` or `file_unreadable`.
        """
        return self._storage.open(path)

    def publish(self, path: str, content: BinaryIO) -> str:
        """Adds an export, whole or not at all, and returns its path: a name that is taken gets a number.

        Args:
            path: relative to the landing; its extension says the format.
            content: read from its beginning.

        Raises:
            ExportError: `landing_unwritable`.
        """
        stem, _, extension = path.rpartition(".")
        for number in count(1):
            free = path if number == 1 else f"{stem}_{number}.{extension}"
            if self._storage.create(free, content):
                return free
        raise AssertionError("numbers do not end")

    def _folders(self, *above: str) -> Sequence[str]:
        names = self._storage.folders("/".join(above))
        return sorted(name for name in names if not name.startswith((".", "_")))


def _landing_file(partner: str, tenant: str, stream: str, found: Found) -> LandingFile:
    path = f"{partner}/{tenant}/{stream}/{found.below}"
    return LandingFile(path, partner, tenant, stream, found.below, found.size, found.modified_at, found.etag)
