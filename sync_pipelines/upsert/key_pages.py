"""Pairs (key hash, export) as pages of bytes, and back.

Belongs here: the format of a page. Does not belong here: where pages are stored and which are read (`key_index`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

PAIRS_A_PAGE: Final = 128
"""A page of this size fits into a row that PostgreSQL keeps in one piece: a look-up reads one page per key and run."""

Hashes = npt.NDArray[np.uint64]
ExportIds = npt.NDArray[np.int64]

_HIGHEST_BIT: Final = np.uint64(1 << 63)
_WIDTHS: Final = (1, 2, 4)


class Pairs(NamedTuple):
    """Key hashes and, for each, an export that has it."""

    hashes: Hashes
    export_ids: ExportIds

    def __len__(self) -> int:
        return len(self.hashes)

    def of(self, chosen: npt.NDArray[np.bool_] | slice) -> Pairs:
        """Returns the chosen pairs."""
        return Pairs(self.hashes[chosen], self.export_ids[chosen])

    def ordered(self) -> Pairs:
        """Returns the distinct pairs, ascending."""
        order = np.lexsort((self.export_ids, self.hashes))
        hashes, export_ids = self.hashes[order], self.export_ids[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (hashes[1:] != hashes[:-1]) | (export_ids[1:] != export_ids[:-1])
        return Pairs(hashes[is_first], export_ids[is_first])


class Page(NamedTuple):
    """A part of a run; no hash is in two pages of one run.

    Attributes:
        first_hash, last_hash: as from `as_bigint`.
        first_export: the lowest export id.
        hashes: 8 bytes each, little-endian, ascending.
        exports: ids minus `first_export`, in as few bytes as the largest needs; empty if all are 0.
    """

    first_hash: int
    last_hash: int
    first_export: int
    hashes: bytes
    exports: bytes


def as_bigint(hashes: Hashes) -> npt.NDArray[np.int64]:
    """Returns hashes as PostgreSQL's signed numbers, in the same order."""
    return (np.asarray(hashes, np.uint64) ^ _HIGHEST_BIT).view(np.int64)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Concatenates the pairs of all parts."""
    if not parts:
        return Pairs(np.empty(0, np.uint64), np.empty(0, np.int64))
    return Pairs(np.concatenate([part.hashes for part in parts]), np.concatenate([part.export_ids for part in parts]))


def packed(pairs: Pairs) -> Iterator[Page]:
    """Yields the pages of ordered pairs."""
    numbers = as_bigint(pairs.hashes)
    for start, end in pairwise(_cuts(pairs.hashes)):
        export_ids = pairs.export_ids[start:end]
        first = int(export_ids.min())
        yield Page(
            int(numbers[start]),
            int(numbers[end - 1]),
            first,
            pairs.hashes[start:end].astype("<u8").tobytes(),
            _offsets(export_ids - first),
        )


def unpacked(pages: Iterable[Page]) -> Pairs:
    """Returns the pairs of pages; unordered across pages."""
    by_width: dict[int, list[Page]] = {}
    for page in pages:
        by_width.setdefault(len(page.exports) * 8 // len(page.hashes), []).append(page)
    return joined([_of_width(width, alike) for width, alike in by_width.items()])


def _of_width(width: int, pages: Sequence[Page]) -> Pairs:
    hashes = np.frombuffer(b"".join([page.hashes for page in pages]), "<u8")
    firsts = np.array([page.first_export for page in pages], np.int64)
    export_ids = np.repeat(firsts, [len(page.hashes) // 8 for page in pages])
    if width:
        export_ids += np.frombuffer(b"".join([page.exports for page in pages]), f"<u{width}").astype(np.int64)
    return Pairs(hashes.astype(np.uint64, copy=False), export_ids)


def _offsets(offsets: ExportIds) -> bytes:
    highest = int(offsets.max())
    if not highest:
        return b""
    width = next((width for width in _WIDTHS if highest < 1 << 8 * width), 8)
    return offsets.astype(f"<u{width}").tobytes()


def _cuts(hashes: Hashes) -> npt.NDArray[np.intp]:
    """Returns where pages begin, and the end: about `PAIRS_A_PAGE` apart, never between two pairs of one hash."""
    starts = np.concatenate(([0], np.flatnonzero(hashes[1:] != hashes[:-1]) + 1)) if len(hashes) else np.empty(0, int)
    chosen = np.searchsorted(starts, np.arange(0, len(hashes), PAIRS_A_PAGE))
    cuts = np.unique(starts[chosen[chosen < len(starts)]])
    return np.append(cuts, len(hashes)) if len(hashes) else cuts
