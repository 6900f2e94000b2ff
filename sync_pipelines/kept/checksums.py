"""Checksums of kept records: computed when they are written, verified before they are read.

Parquet has a checksum for each row group and one for its footer, so that reading a few records only checks a few. Any
other section has one. The footer of the export's part lists them all, and the ledger has the checksum of that footer.

Belongs here: bytes and their checksums. Does not belong here: handling a mismatch (`object_reader`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, BinaryIO, Final

import pyarrow.parquet as pq
from xxhash import xxh3_64, xxh3_64_hexdigest

Read = Callable[[int, int], bytes]
"""Start and size -> those bytes, or fewer if the object ends before."""
AT_ONCE: Final = 1 << 20
"""Bytes that are read at once."""
_TRAILER: Final = 8
"""Bytes at the end of Parquet: the length of its footer, and four letters."""


class ChecksumError(Exception):
    """Bytes differ from what was written."""


def checksum_of(content: Any) -> str:
    """Returns the checksum of some bytes."""
    return xxh3_64_hexdigest(content)


def parquet_checksums(file: BinaryIO, size: int) -> list[str]:
    """Returns the checksums of the Parquet at the start of a file: of each row group, and of the footer."""

    def read(start: int, size: int) -> bytes:
        file.seek(start)
        return file.read(size)

    metadata = pq.read_metadata(io.BytesIO(footer_bytes(read, size)))
    return [checksum_of_range(read, start, end) for start, end in pairwise([*group_edges(metadata, size), size])]


def checked_footer(read: Read, size: int, expected: Sequence[str]) -> Any:
    """Returns the metadata of Parquet after verifying its footer.

    Args:
        read: reads the Parquet.
        size: its size.
        expected: its checksums.

    Raises:
        ChecksumError: it has changed.
    """
    footer = footer_bytes(read, size)
    if checksum_of(footer) != expected[-1]:
        raise ChecksumError
    return pq.read_metadata(io.BytesIO(footer))


def check_range(read: Read, start: int, end: int, expected: str) -> None:
    """Verifies some bytes.

    Raises:
        ChecksumError: they have changed.
    """
    if checksum_of_range(read, start, end) != expected:
        raise ChecksumError


def group_edges(metadata: Any, size: int) -> list[int]:
    """Returns where each row group of Parquet starts (the first at 0), and where the footer starts."""
    later = [_start(metadata.row_group(group)) for group in range(1, metadata.num_row_groups)]
    return [0, *later, size - _TRAILER - metadata.serialized_size]


def checksum_of_range(read: Read, start: int, end: int) -> str:
    """Returns the checksum of a range, reading a part at a time."""
    if end - start <= AT_ONCE:
        return checksum_of(read(start, max(end - start, 0)))
    digest = xxh3_64()
    while start < end and (data := read(start, min(end - start, AT_ONCE))):
        digest.update(data)
        start += len(data)
    return digest.hexdigest()


def footer_bytes(read: Read, size: int) -> bytes:
    """Returns the footer of Parquet, to its end."""
    length = int.from_bytes(read(max(size - _TRAILER, 0), 4), "little")
    # A damaged length may be any number.
    start = max(size - _TRAILER - length, 0)
    return read(start, size - start)


def _start(group: Any) -> int:
    first = group.column(0)
    return int(first.dictionary_page_offset if first.has_dictionary_page else first.data_page_offset)
