"""Checksums of kept files: made when they are written, compared before they are read.

A file of records has one checksum for each row group and one for its footer, so that reading a few records costs the
check of a few. Any other file has one. `summary.json` lists them all; the name of the folder is its SHA-256, and the
ledger has that name.

Belongs here: bytes and their checksums. Does not belong here: what a mismatch means to whoever reads (`kept_records`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow.parquet as pq
from xxhash import xxh3_64, xxh3_64_hexdigest

_AT_ONCE: Final = 1 << 20
"""Bytes that are read at once."""
_TRAILER: Final = 8
"""Bytes at the end of a Parquet file: the length of its footer, and four letters."""
_SHA256: Final = 64
"""Digits of a folder's name that is a checksum. Folders made by earlier versions have random names of 32."""


class ChecksumError(Exception):
    """Bytes are not what they were when they were written."""


def summary_checksum(summary: bytes) -> str:
    """The checksum of a summary, and the name of its folder."""
    return hashlib.sha256(summary).hexdigest()


def check_summary(folder: str, summary: bytes) -> None:
    """Compares a summary with the name of its folder.

    Raises:
        ChecksumError: it is another one.
    """
    if len(folder) == _SHA256 and summary_checksum(summary) != folder:
        raise ChecksumError


def checksums_of(path: Path) -> list[str]:
    """The checksums of a file as it is now."""
    if path.suffix != ".parquet":
        return [_checksum(path, 0)]
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        edges = [*_group_edges(pq.read_metadata(file), size), size]
    return [_checksum(path, start, end) for start, end in pairwise(edges)]


def check_file(path: Path, expected: Sequence[str]) -> None:
    """Compares a file that is no Parquet file.

    Raises:
        ChecksumError: it has changed.
    """
    if [_checksum(path, 0)] != expected:
        raise ChecksumError


def check_footer(path: Path, expected: Sequence[str]) -> None:
    """Compares the footer of a Parquet file, without which no other part can be found.

    Raises:
        ChecksumError: it has changed.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        # A file without row groups has one checksum of everything.
        start = _footer(file, size) if len(expected) > 1 else 0
    if not expected or start < 0 or _checksum(path, start, size) != expected[-1]:
        raise ChecksumError


class GroupChecks:
    """Compares row groups of a Parquet file whose footer is as it was written.

    Args:
        path: of the file.
        metadata: its footer.
        expected: the checksums of its groups and footer.
    """

    def __init__(self, path: Path, metadata: Any, expected: Sequence[str]) -> None:
        self._path = path
        self._edges = _group_edges(metadata, path.stat().st_size)
        self._expected = expected

    def check(self, group: int) -> None:
        """Compares one group.

        Raises:
            ChecksumError: it has changed.
        """
        if _checksum(self._path, self._edges[group], self._edges[group + 1]) != self._expected[group]:
            raise ChecksumError


def _group_edges(metadata: Any, size: int) -> list[int]:
    """Where each row group starts, the first with the file, and where the footer does."""
    groups = metadata.num_row_groups
    if not groups:
        return [0]
    later = [_start(metadata.row_group(group)) for group in range(1, groups)]
    return [0, *later, size - _TRAILER - metadata.serialized_size]


def _start(group: Any) -> int:
    first = group.column(0)
    return int(first.dictionary_page_offset if first.has_dictionary_page else first.data_page_offset)


def _footer(file: BinaryIO, size: int) -> int:
    file.seek(max(size - _TRAILER, 0))
    return size - _TRAILER - int.from_bytes(file.read(4), "little")


def _checksum(path: Path, start: int, end: int | None = None) -> str:
    """The checksum of some bytes, to the end of the file where none is given."""
    # Most files are small: a file object would take longer than all the rest.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        left = (os.fstat(file).st_size if end is None else end) - start
        if left <= _AT_ONCE:
            return xxh3_64_hexdigest(os.pread(file, max(left, 0), start))
        digest = xxh3_64()
        while left > 0 and (data := os.pread(file, min(left, _AT_ONCE), start)):
            digest.update(data)
            start, left = start + len(data), left - len(data)
        return digest.hexdigest()
    finally:
        os.close(file)
