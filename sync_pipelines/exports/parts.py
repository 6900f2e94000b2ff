"""Files of one date in one folder that are one export, as Spark, UNLOAD and other chunked writers produce them.

Such an export is handled as one stream of bytes: a tar with the names and contents of its parts, in natural order. So
it is archived, compared, read again and undone like any file. Its path ends in `/`, which no file's path does.

Belongs here: which files belong together, writing and reading that stream. Does not belong here: the content of a part
(`formats`), listing (`landing`).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any, BinaryIO, Final, NamedTuple, cast

from sync_pipelines.contracts.characters import matches
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.file_dates import effective_time_in
from sync_pipelines.exports.naming import natural_order
from sync_pipelines.exports.storage_interface import ChangedWhileRead

_BLOCK: Final = 1 << 20
_FORMAT: Final = tarfile.PAX_FORMAT


class PartsRule(NamedTuple):
    """Which files of a stream are parts.

    Attributes:
        path: glob below `<stream>/`; None matches all.
        file_date: pattern of dates in paths, see `effective_time_in`.
    """

    path: str | None = None
    file_date: str | None = None


class Part(NamedTuple):
    """One file of an export of several.

    Attributes:
        path: relative to the landing.
        size: bytes.
        look: changes with the content; known without reading it.
        dated_at: the date in its path, if it has one.
    """

    path: str
    size: int
    look: str
    dated_at: datetime | None

    @property
    def name(self) -> str:
        """Its file name."""
        return self.path.rpartition("/")[2]


class Parts(NamedTuple):
    """What is known about an export's parts before they are read.

    Attributes:
        number: how many there are.
        dated_at: the latest date in their paths, or None.
    """

    number: int
    dated_at: datetime | None


def is_of_parts(path: str) -> bool:
    """Whether the export at a path is the files of a folder."""
    return path.endswith("/")


def export_of(below: str, rule: PartsRule) -> tuple[str, datetime | None] | None:
    """Returns the export that a file is part of, by its path below `<stream>/`, and its date; None if it is no part.

    Files with dates in their names are grouped by day. Their export is `<folder>/[2024-03-01]/`, others `<folder>/`.
    """
    if rule.path is not None and not matches(below, rule.path):
        return None
    folder, slash, name = below.rpartition("/")
    dated_at = effective_time_in(below, rule.file_date)
    if dated_at is not None and effective_time_in(name, rule.file_date) is not None:
        return f"{folder}{slash}[{dated_at.date()}]/", dated_at
    return f"{folder}{slash}" or "/", dated_at


def folder_of(export: str) -> str:
    """Returns the folder below `<stream>/` that holds the parts of an export."""
    folder = export.rstrip("/")
    above, _, name = folder.rpartition("/")
    return above if name.startswith("[") and name.endswith("]") else folder


def in_order(parts: Sequence[Part]) -> list[Part]:
    """Returns the parts in the order in which they are read."""
    return sorted(parts, key=lambda part: natural_order(part.path))


def mark_of(parts: Sequence[Part]) -> str:
    """Returns a mark that changes with the set of parts or with one of them; known without reading them."""
    looks = "\n".join(f"{part.name} {part.size} {part.look}" for part in in_order(parts))
    return hashlib.sha256(looks.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def joined(parts: Sequence[Part], open_part: Callable[[str], BinaryIO]) -> BinaryIO:
    """Returns the bytes of an export of several parts.

    Args:
        parts: in any order.
        open_part: opens one by its path.
    """
    return cast(BinaryIO, io.BufferedReader(_Joined(_pieces(in_order(parts), open_part)), _BLOCK))


def _pieces(parts: Sequence[Part], open_part: Callable[[str], BinaryIO]) -> Iterator[bytes]:
    for part in parts:
        header = tarfile.TarInfo(part.name)
        header.size = part.size
        yield header.tobuf(_FORMAT, "utf-8", "surrogateescape")
        read = 0
        with open_part(part.path) as content:
            while block := content.read(_BLOCK):
                read += len(block)
                if read > part.size:
                    break
                yield block
        if read != part.size:
            raise ChangedWhileRead(part.path)
        yield b"\0" * (-read % tarfile.BLOCKSIZE)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


class _Joined(io.RawIOBase):
    """Pieces of bytes as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        cast(Any, self._pieces).close()
        super().close()


def separated(stream: BinaryIO) -> Iterator[tuple[str, BinaryIO]]:
    """Yields name and content of each non-empty part, to be read before the next one.

    Raises:
        ExportError: `empty_file`: all parts are empty.
    """
    found = False
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.size else None
            if content is not None:
                found = True
                with closing(content):
                    yield member.name, cast(BinaryIO, io.BufferedReader(_Forward(content), _BLOCK))
    if not found:
        raise ExportError("empty_file", "all parts are empty", "send a header line if there are no records")


class _Forward(io.RawIOBase):
    """A part, read from beginning to end: seeking in it would seek in the whole stream."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._content.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
