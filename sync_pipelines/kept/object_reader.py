"""Reads one export's part of an object: its footer, its sections, its Parquet.

Everything is verified with its checksum first.

Belongs here: bytes, arrays and Parquet of sections, and errors of reading them. Does not belong here: their meaning
(`kept_records`), writing them (`object_writer`).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd

from sync_pipelines.errors import ArchiveDamaged, ArchiveIncomplete
from sync_pipelines.kept.checksums import (
    AT_ONCE,
    ChecksumError,
    check_range,
    checked_footer,
    checksum_of,
    group_edges,
)
from sync_pipelines.kept.locations import Location
from sync_pipelines.kept.object_footer import Footer, Section, Summary, footer_checksum
from sync_pipelines.kept.object_store import ObjectStore
from sync_pipelines.kept.record_groups import RecordGroups
from sync_pipelines.privacy.untrusted_text import on_one_line

_DAMAGE: Final = (errno.EIO, errno.EISDIR, errno.ENOTDIR, None)
"""Error numbers of a damaged disk; Arrow's own errors have no number."""
_HINT: Final = "restore SYNC_HOME/archive from your backup, then sync again"


class ObjectReader:
    """A part of an object.

    Args:
        store: the store of the object.
        location: location of the part.
        kept: the ledger's text for the export that is read, for error messages.

    Raises:
        ArchiveIncomplete: (when anything is read) the object is missing.
        ArchiveDamaged: it is not what was written.
    """

    def __init__(self, store: ObjectStore, location: Location, kept: str) -> None:
        self._store = store
        self._location = location
        self._kept = kept
        self._checked: set[tuple[str, int]] = set()

    @cached_property
    def footer(self) -> Footer:
        """The footer."""
        with self.errors_of("footer"):
            content = self.footer_bytes()
            if footer_checksum(content) != self._location.checksum:
                raise ChecksumError
            return Footer.of_bytes(content)

    @property
    def summary(self) -> Summary:
        """The summary of normalizing."""
        return self.footer.summary

    @property
    def location(self) -> Location:
        """Its location."""
        return self._location

    def footer_bytes(self) -> bytes:
        """Returns the stored footer, damaged or not."""
        place = self._location
        return self._store.read(place.name, place.start + place.size - place.footer, place.footer)

    def has(self, name: str) -> bool:
        """Whether it has a section, damaged or not."""
        return name in self.footer.sections

    def array(self, name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
        """Returns a section as numbers; a large one is mapped."""
        section = self.footer.sections[name]
        with self.errors_of(name):
            if section.plain is not None or section.size <= AT_ONCE:
                return np.frombuffer(self._content(section), kind)
            self._check_once(name, section, 0, section.size)
            start = self._location.start + section.start
            return self._store.mapped(self._location.name, start, section.size).view(kind)

    def lines(self, name: str) -> Iterator[bytes]:
        """Yields the lines of a section, each of which ends with a newline."""
        section = self.footer.sections[name]
        if section.plain is not None or section.size <= AT_ONCE:
            yield from self._content(section).splitlines()
            return
        self._check_once(name, section, 0, section.size)
        begun = b""
        for start in range(0, section.size, AT_ONCE):
            *whole, begun = (begun + self._read(section, start, AT_ONCE)).split(b"\n")
            yield from whole

    @contextmanager
    def records(self, names: list[str] | None = None) -> Iterator[RecordGroups]:
        """Yields its Parquet, with only the given columns (None: all)."""
        section = self.footer.sections["records"]
        with self.errors_of("records"):
            if section.plain is not None:
                parquet = pq.ParquetFile(pa.BufferReader(self._content(section)))
            else:
                metadata = checked_footer(partial(self._read, section), section.size, section.checksums)
                # Pre-buffering would hold the file's compressed columns in memory (law 6).
                parquet = pq.ParquetFile(
                    self._store.source(self._location.name),
                    metadata=metadata,
                    pre_buffer=False,
                    page_checksum_verification=True,
                )
        with parquet:
            edges = [] if section.plain is not None else group_edges(parquet.metadata, section.size)

            @contextmanager
            def checked(groups: Iterable[int]) -> Iterator[None]:
                with self.errors_of("records"):
                    for group in groups if edges else ():
                        self._check_once("records", section, edges[group], edges[group + 1], group)
                    yield

            yield RecordGroups(parquet, names, checked)

    @property
    def can_move(self) -> bool:
        """Whether its content does not depend on its position."""
        return self.footer.sections["records"].plain is not None

    def verify(self) -> None:
        """Verifies every byte.

        Raises:
            ArchiveIncomplete, ArchiveDamaged: the part cannot be read.
        """
        for name, section in self.footer.sections.items():
            with self.errors_of(name):
                if section.plain is not None:
                    self._verify_packed(section)
                elif name != "records":
                    self._check_once(name, section, 0, section.size)
                else:
                    self._verify_parquet(section)
        with self.errors_of("padding"):
            self._verify_padding()

    def _verify_packed(self, section: Section) -> None:
        self._content(section)
        if section.stored is not None and checksum_of(self._read(section, 0, section.size)) != section.stored:
            raise ChecksumError

    def _verify_padding(self) -> None:
        """Verifies that there are only zeros between sections."""
        place, end = self._location, 0
        edges = sorted((section.start, section.start + section.size) for section in self.footer.sections.values())
        for start, after in [*edges, (place.size - place.footer, place.size)]:
            if any(self._store.read(place.name, place.start + end, start - end)):
                raise ChecksumError
            end = after

    def _verify_parquet(self, section: Section) -> None:
        metadata = checked_footer(partial(self._read, section), section.size, section.checksums)
        for group, (start, end) in enumerate(pairwise(group_edges(metadata, section.size))):
            self._check_once("records", section, start, end, group)

    def _read(self, section: Section, start: int, size: int) -> bytes:
        """Returns a range of a section."""
        size = min(size, section.size - start)
        return self._store.read(self._location.name, self._location.start + section.start + start, size)

    def _content(self, section: Section) -> bytes:
        """Returns a section that fits into memory."""
        content = self._read(section, 0, section.size)
        if section.plain is not None:
            # Damaged data may decompress to anything.
            content = zstd.ZstdDecompressor().decompress(content, section.plain)
        if checksum_of(content) != section.checksums[0]:
            raise ChecksumError
        return content

    def _check_once(self, name: str, section: Section, start: int, end: int, number: int = 0) -> None:
        if (name, number) not in self._checked:
            check_range(partial(self._read, section), start, end, section.checksums[number])
            self._checked.add((name, number))

    # -- damage ------------------------------------------------------------------------------------------------

    @contextmanager
    def errors_of(self, name: str) -> Iterator[None]:
        """Turns errors of reading a section into errors of the archive."""
        try:
            yield
        except FileNotFoundError as error:
            raise gone(self._location.path, self._kept) from error
        except OSError as error:
            if error.errno not in _DAMAGE:
                raise
            raise self._damaged(name, error) from error
        except (
            ChecksumError,
            pa.ArrowException,
            zstd.ZstdError,
            ValueError,
            LookupError,
            TypeError,
            EOFError,
        ) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> ArchiveDamaged:
        path = f"{self._location.path} ({name})"
        if isinstance(error, ChecksumError):
            return ArchiveDamaged(path, _HINT, self._kept)
        return ArchiveDamaged(path, _HINT, self._kept, on_one_line(f"it cannot be read ({error})"))


def gone(path: str, kept: str) -> ArchiveIncomplete:
    """Returns the error of a missing object."""
    return ArchiveIncomplete("archive_incomplete", f"the archive's {path} is missing", _HINT, kept)
