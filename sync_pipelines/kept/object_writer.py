"""Writes one export's object: sections, then the footer with their positions.

Sections start at multiples of eight bytes, so that numbers can be mapped. Small sections are compressed as a whole:
Parquet's metadata is larger than a few records. Large Parquet is at the beginning of the object and not compressed
again, since the positions of its columns count from the beginning of a file.

Belongs here: writing bytes into an object. Does not belong here: their meaning (`kept_writer`), reading
(`object_reader`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd
from xxhash import xxh3_64

from sync_pipelines.kept.checksums import AT_ONCE, checksum_of, parquet_checksums
from sync_pipelines.kept.locations import Location
from sync_pipelines.kept.object_footer import Footer, Section, Summary, footer_checksum
from sync_pipelines.kept.object_store import ObjectStore, new_name

PACKED: Final = 1 << 20
"""Bytes of the largest section that is compressed as a whole."""
ALIGNED: Final = 8
_LEVEL: Final = 3
_IN_MEMORY: Final = 1 << 18
"""Bytes from which a spool is on disk."""


class Spool:
    """Bytes that wait until the bytes before them are complete. Many are in an unnamed file on disk.

    Args:
        folder: a folder on that disk.
    """

    def __init__(self, folder: Path) -> None:
        spooled = SpooledTemporaryFile(_IN_MEMORY, "w+b", dir=str(folder))  # noqa: SIM115
        self._file = cast(BinaryIO, spooled)
        self.size = 0

    def add(self, data: Any) -> None:
        """Adds bytes."""
        self.size += memoryview(data).nbytes
        self._file.write(data)

    def parts(self) -> Iterable[bytes]:
        """Yields everything, part by part."""
        self._file.seek(0)
        return iter(lambda: self._file.read(AT_ONCE), b"")

    def close(self) -> None:
        """Discards everything."""
        self._file.close()


class Column(Spool):
    """An array that is spooled piece by piece, so that memory does not grow with it.

    Args:
        folder: a folder on the disk for the spool.
        kind: type of its numbers.
    """

    def __init__(self, folder: Path, kind: type[np.generic]) -> None:
        super().__init__(folder)
        self._kind = np.dtype(kind)
        self.holds_any = False

    def add(self, data: npt.NDArray[Any]) -> None:
        """Adds rows."""
        self.holds_any = self.holds_any or bool(data.any())
        super().add(np.ascontiguousarray(data, self._kind).data)

    def all_values(self) -> npt.NDArray[Any]:
        """Returns all of it."""
        return np.frombuffer(b"".join(self.parts()), self._kind)


class ObjectWriter:
    """Writes the object of one export. Nothing is visible before `finish`.

    Args:
        store: the store for the object.
        schema: schema of its records.
    """

    def __init__(self, store: ObjectStore, schema: pa.Schema) -> None:
        self._store = store
        self._schema = schema
        self._path = store.new_file()
        self._first: list[pa.Table] = []
        self._first_size = 0
        self._parquet: pq.ParquetWriter | None = None
        self._file: BinaryIO | None = None
        self._sections: dict[str, Section] = {}

    @property
    def folder(self) -> Path:
        """A folder for temporary files."""
        return self._path.parent

    def add_records(self, table: pa.Table) -> None:
        """Adds records. Must precede all sections."""
        if self._parquet is None:
            self._first.append(table)
            self._first_size += table.nbytes
            if self._first_size <= PACKED:
                return
            self._parquet = self._parquet_writer()
            tables, self._first = self._first, []
        else:
            tables = [table]
        for some in tables:
            self._parquet.write_table(some)

    def add_section(self, name: str, parts: Iterable[Any], size: int) -> None:
        """Adds a section.

        Args:
            name: name of the section.
            parts: its bytes, part by part.
            size: number of bytes.
        """
        self._complete_records()
        if size <= PACKED:
            self._add_packed(name, b"".join(parts))
            return
        start, digest = self._aligned(), xxh3_64()
        for part in parts:
            digest.update(part)
            self._open.write(part)
        self._sections[name] = Section(start, size, None, [digest.hexdigest()])

    def finish(self, summary: Summary) -> Location:
        """Completes the object and returns its location."""
        self._complete_records()
        footer = Footer(summary, self._sections).to_bytes()
        self._aligned()
        # Parts are aligned, so that another can follow.
        footer += b" " * (-len(footer) % ALIGNED)
        self._open.write(footer)
        size = self._open.tell()
        self._open.close()
        name = new_name()
        self._store.put(name, self._path)
        return Location(name, 0, size, len(footer), footer_checksum(footer))

    def discard(self) -> None:
        """Discards everything."""
        for file in (self._parquet, self._file):
            with suppress(OSError):  # the disk may be full
                if file is not None:
                    file.close()
        self._path.unlink(missing_ok=True)

    @property
    def _open(self) -> BinaryIO:
        self._file = self._file or self._path.open("r+b")
        return self._file

    def _parquet_writer(self) -> pq.ParquetWriter:
        # Most columns have distinct values: a dictionary would make the file larger and slower.
        return pq.ParquetWriter(
            self._path,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def _complete_records(self) -> None:
        if "records" in self._sections:
            return
        if self._parquet is None:
            self._add_packed("records", _small_parquet(self._schema, self._first))
            self._first = []
            return
        self._parquet.close()
        size = self._open.seek(0, io.SEEK_END)
        self._sections["records"] = Section(0, size, None, parquet_checksums(self._open, size))
        self._open.seek(0, io.SEEK_END)

    def _add_packed(self, name: str, content: bytes) -> None:
        packed = zstd.compress(content, _LEVEL)
        # Hashes cannot be compressed, and uncompressed content can be mapped.
        is_smaller = name == "records" or len(packed) < len(content) * 7 // 8
        stored, plain = (packed, len(content)) if is_smaller else (content, None)
        start = self._aligned()
        of_stored = None if plain is None else checksum_of(stored)
        self._sections[name] = Section(start, len(stored), plain, [checksum_of(content)], of_stored)
        self._open.write(stored)

    def _aligned(self) -> int:
        place = self._open.tell()
        self._open.write(bytes(-place % ALIGNED))
        return self._open.tell()


def _small_parquet(schema: pa.Schema, tables: list[pa.Table]) -> bytes:
    """Returns a few records as Parquet with little overhead; it is compressed as a whole."""
    content = io.BytesIO()
    with pq.ParquetWriter(
        content,
        schema,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        store_schema=False,
        use_compliant_nested_type=False,
    ) as writer:
        writer.write_table(pa.concat_tables(tables) if tables else schema.empty_table())
    return content.getvalue()
