"""Key lists: the keys of an export, as small sorted arrays of hashes (X5).

Belongs here: hashing and searching. Does not belong here: storing the lists (`kept.kept_records`).
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128_digest

from sync_pipelines.normalize.change import Change

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]
Number = TypeVar("Number", bound=np.generic)


class KeyList(NamedTuple):
    """The keys of an export.

    Attributes:
        hashes: the hashes of its keys, ascending; one for each record.
        rows: the record's row for each hash.
    """

    hashes: Hashes
    rows: npt.NDArray[np.uint32]

    @property
    def distinct(self) -> Hashes:
        """Its hashes, each once, ascending."""
        return distinct(np.asarray(self.hashes))

    def rows_of(self, hashes: Hashes) -> Rows:
        """Returns the rows of records with one of the given hashes, ascending."""
        return distinct(self.rows[self.places_of(hashes)]).astype(np.int64)

    def places_of(self, hashes: Hashes) -> Rows:
        """Returns where the given hashes are in the list; ascending if they are."""
        return self.pairs_of(hashes)[1]

    def pairs_of(self, hashes: Hashes) -> tuple[Rows, Rows]:
        """Returns where the given hashes are in the list, and before it the index of the hash that is there."""
        first = np.searchsorted(self.hashes, hashes, side="left")
        counts = np.searchsorted(self.hashes, hashes, side="right") - first
        # Equal hashes are adjacent, so each has a first position and a count.
        starts = np.repeat(first - np.concatenate(([0], np.cumsum(counts)[:-1])), counts) if len(counts) else first
        found: Rows = starts + np.arange(len(starts))
        return np.repeat(np.arange(len(hashes)), counts), found

    def knows(self, hashes: Hashes) -> Hashes:
        """Returns those of the given hashes that are in the list, in the given order."""
        return hashes[are_among(hashes, self.hashes)]

    def of_rows(self, chosen: npt.NDArray[np.bool_]) -> Hashes:
        """Returns the hashes of the chosen rows (a mask), ascending."""
        return distinct(np.asarray(self.hashes)[chosen[self.rows]])

    def repeated(self) -> Hashes:
        """Returns the hashes that appear more than once, ascending."""
        return distinct(self.hashes[1:][self.hashes[1:] == self.hashes[:-1]])


def distinct(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Returns the distinct values, ascending."""
    # `np.unique` does the same, but imports masked arrays: 15 milliseconds in every process.
    ordered = np.sort(values)
    is_first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]


def are_among(hashes: Hashes, known: Hashes) -> npt.NDArray[np.bool_]:
    """Returns a mask of the hashes that are among known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(hashes), bool)
    places = np.searchsorted(known, hashes)
    here = places < len(known)
    here[here] = known[places[here]] == hashes[here]
    return here


def by_row(keys: KeyList) -> tuple[Hashes, Hashes]:
    """Returns, by row, the lowest hash of its record, and the highest if it has two (else 0)."""
    hashes, rows = np.asarray(keys.hashes), np.asarray(keys.rows)
    count = int(rows.max()) + 1 if len(rows) else 0
    first, last, is_there = np.zeros(count, np.uint64), np.zeros(count, np.uint64), np.zeros(count, bool)
    # The list is sorted by hash; of several writes to one place the last wins.
    last[rows], first[rows[::-1]], is_there[rows] = hashes, hashes[::-1], True
    if len(rows) == count and is_there.all():
        return first, np.broadcast_to(np.uint64(0), len(first))
    return first[is_there], np.where(first == last, np.uint64(0), last)[is_there]


def key_hash(key: str) -> int:
    """Returns 64 bits of a key's BLAKE2b. A collision costs a needless fold, never a wrong one."""
    return int(hashes_of_bytes([key.encode()])[0])


def hashes_of_bytes(texts: Iterable[bytes]) -> Hashes:
    """Returns 64 bits of the BLAKE2b of each text."""
    return np.frombuffer(b"".join([blake2b(text, digest_size=8).digest() for text in texts]), "<u8")


def texts_of(lines: Iterable[bytes]) -> Hashes:
    """Returns 128 bits of the XXH3 of each line, as two columns; the first is never 0."""
    digests = b"".join(map(xxh3_128_digest, lines))
    texts = np.frombuffer(digests, "<u8").reshape(-1, 2).copy()
    np.maximum(texts[:, 0], 1, out=texts[:, 0])
    return texts


def record_id_hash(record_id: str) -> int:
    """Returns the hash of a partner's own id."""
    return int(hashes_of_bytes([record_id_bytes(record_id.encode())])[0])


def record_id_bytes(record_id: bytes) -> bytes:
    """Returns the bytes to hash for a partner's own id; no key equals them, since a NUL in a key is rejected."""
    return b"\x00" + record_id


def named_by(key: str | None, record_id: str | None) -> int:
    """Returns the hash by which a rejected record is found: of its key, or of its own id if it has no key."""
    return key_hash(key) if key is not None else record_id_hash(record_id or "")


def hashes_of(change: Change) -> list[int]:
    """Returns a record's hashes in key lists: of its key, its own id, or both (P2)."""
    return hashes_of_row(change.key, change.record_id)


def hashes_of_row(key: str | None, record_id: str | None) -> list[int]:
    """Returns a row's hashes in key lists."""
    own = [] if record_id is None else [record_id_hash(record_id)]
    return own if key is None else [key_hash(key), *own]
