"""Kept records: the normalized records of an export, for the upsert and for every later fold of their keys.

One object per export holds everything, in sections (`object_writer`):

    records   Parquet, one row per record: version, key, presence, columns, children as lists
    keys      hashes of its keys, sorted: shows which keys the export has without reading it
    rows      the row of each
    texts     128 bits of each row's own text, if it has one: with equal settings, equal texts are equal records
    noted     which rows counted a leniency or an unknown field, if any did
    rejects   the rejects, one JSON object per line
    footer    counts, leniencies, unknown fields, settings, and checksums of the other sections

If lines repeat those of exports loaded before (`repeated_lines`), their records are not written again but referenced:

    files     by row, the number of the export whose object has its record (`locations`); 0 is this one
    places    by row, the record's index in that object
    lines     by row, the number of its line

Presence (X1) is one bit per column in `present`. The export's own list of columns defines the bits, so that a contract
may grow. Belongs here: the format, and reading it. Does not belong here: writing it (`kept_writer`), the meaning of
records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.kept.locations import NOWHERE, to_location
from sync_pipelines.kept.object_footer import Summary
from sync_pipelines.kept.object_reader import ObjectReader, gone
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.kept.record_groups import BLOCK, RecordGroups
from sync_pipelines.normalize.keys import Hashes, KeyList, Rows, distinct
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.values import from_json

__all__ = ["BLOCK", "Hashes", "KeptRecords", "Places", "Rows", "Summary"]

KINDS: Final[dict[str, type[np.generic]]] = {
    "keys": np.uint64,
    "rows": np.uint32,
    "texts": np.uint64,
    "noted": np.bool_,
    "files": np.uint8,
    "places": np.uint32,
    "lines": np.uint32,
}
"""The number type of each section."""


class Places(NamedTuple):
    """Where the records of some rows are.

    Attributes:
        files: the number of the export whose object has each record.
        places: the record's index in that object.
        lines: the number of its line, for rows whose record is in another export's object.
    """

    files: npt.NDArray[np.uint8]
    places: npt.NDArray[np.uint32]
    lines: npt.NDArray[np.uint32]

    def of(self, rows: Any) -> Places:
        """Returns those of some rows."""
        return Places(self.files[rows], self.places[rows], self.lines[rows])


class KeptRecords:
    """The kept records of one export, read back.

    Everything is verified with its checksum before it is read. Every read may raise.

    Args:
        root: the archive's folder.
        kept: their location, as in the ledger (`locations`).

    Raises:
        ArchiveIncomplete: an object is missing.
        ArchiveDamaged: an object is not what was written.
    """

    def __init__(self, root: Path, kept: str) -> None:
        store = open_store(root)
        locations = [to_location(part) for part in kept.split()]
        self._readers = [None if place is None else ObjectReader(store, place, kept) for place in locations]
        if not self._readers or self._readers[0] is None:
            raise gone(kept, kept)
        self._own = self._readers[0]
        self.summary: Summary = self._own.summary

    @cached_property
    def keys(self) -> KeyList:
        """The key list, mapped from disk."""
        return KeyList(self._array("keys"), self._array("rows"))

    @property
    def count(self) -> int:
        """The number of records."""
        return self.summary.read - self.summary.rejected

    def rows_known_by(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Returns, by row, whether the record has one of the given hashes (sorted)."""
        found = np.zeros(self.count, bool)
        found[self.keys.rows_of(hashes)] = True
        # The caller continues with the rows.
        self.let_go("keys")
        return found

    @cached_property
    def texts(self) -> Hashes | None:
        """Returns, by row, 128 bits of the record's text (zeros: none), as two columns; None if no record has one."""
        return self._array("texts").reshape(-1, 2) if self._own.has("texts") else None

    @cached_property
    def noted(self) -> npt.NDArray[np.bool_] | None:
        """Returns, by row, whether reading it counted a leniency or an unknown field; None if none did."""
        return self._array("noted") if self._own.has("noted") else None

    @cached_property
    def places(self) -> Places | None:
        """Returns, by row, where its record is; None if all are in its own object, in order."""
        if not self._own.has("places"):
            return None
        return Places(*(self._array(name) for name in Places._fields))

    def let_go(self, *names: str) -> None:
        """Unmaps mapped sections (by default all), which count as memory. They are mapped again when needed."""
        for name in names or ("keys", "texts", "noted", "places"):
            self.__dict__.pop(name, None)

    def location(self, number: int) -> str:
        """Returns the location of the records of a number (`Places.files`)."""
        return str(self._reader(number).location)

    def identity(self, number: int) -> str:
        """Returns an identity of such records that does not change when they are moved."""
        return self._reader(number).location.checksum

    @cached_property
    def _identities(self) -> dict[str, int]:
        return {self.identity(number): number for number, reader in enumerate(self._readers) if reader is not None}

    def are_shared(self, rows: Rows, other: KeptRecords, theirs: Rows) -> npt.NDArray[np.bool_]:
        """Returns which records of some rows are those of another export's rows, at the same place of an object."""
        if self.places is None:
            return np.zeros(len(rows), bool)
        same_file = np.full(256, -1, np.int64)
        for file, number in self._identities.items():
            same_file[number] = other._identities.get(file, -1)
        mine = self.places.of(rows)
        their = theirs if other.places is None else other.places.places[theirs]
        files = 0 if other.places is None else other.places.files[theirs]
        shared: npt.NDArray[np.bool_] = (same_file[mine.files] == files) & (mine.places == their)
        return shared

    def are_complete(self, rows: Rows, names: Collection[str]) -> npt.NDArray[np.bool_]:
        """Returns which records of some rows are known to be upserts with all of some columns, links and lists.

        Their lists apply as declared. Nothing is read of the records; others may be such upserts too.
        """
        files = np.zeros(len(rows), np.uint8) if self.places is None else self.places.files[rows]
        complete = np.zeros(256, bool)
        for number in distinct(files).tolist():
            complete[number] = self._reader(number).summary.has_complete(names)
        return complete[files]

    @property
    def bits(self) -> dict[str, int]:
        """The export's own presence bits: name -> bit of `present`."""
        return self.summary.bits

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yields all records in file order, block by block, with only the given columns (None: all)."""
        if self.places is not None:
            yield from (block for _, block in self.chosen(np.arange(self.count), columns))
            return
        with self._own.records(None if columns is None else list(columns)) as groups:
            yield from groups.blocks()

    def own_blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yields the records that are in its own object, block by block, with only the given columns (None: all)."""
        with self._own.records(None if columns is None else list(columns)) as groups:
            yield from groups.blocks()

    def chosen(self, rows: Rows, columns: Sequence[str] | None = None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Yields the given rows (ascending) with their records, by blocks; other blocks are not read."""
        names = None if columns is None else list(columns)
        if self.places is not None:
            yield from self._gathered(self.places, rows, names)
            return
        with self._own.records(names) as groups:
            bounds = np.searchsorted(rows, groups.edges)
            for group in np.flatnonzero(np.diff(bounds)).tolist():
                here = rows[bounds[group] : bounds[group + 1]]
                whole = groups.read(group)
                yield here, whole if len(here) == len(whole) else whole.take(pa.array(here - groups.edges[group]))

    def _gathered(self, places: Places, rows: Rows, names: list[str] | None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Does the same from several objects. Each record gets its position and time in this export."""
        at = pa.scalar(datetime.fromisoformat(self.summary.at), pa.timestamp("us", "UTC"))
        with ExitStack() as stack:
            files: dict[int, RecordGroups] = {}
            for start in range(0, len(rows), BLOCK):
                here = rows[start : start + BLOCK]
                wanted = places.of(here)
                pieces, order = [], []
                for number in distinct(wanted.files).tolist():
                    if number not in files:
                        files[number] = stack.enter_context(self._reader(number).records(names))
                    mine = np.flatnonzero(wanted.files == number)
                    pieces.append(files[number].take(wanted.places[mine].astype(np.int64)))
                    order.append(mine)
                table = pa.concat_tables(pieces)
                if len(pieces) > 1:
                    table = table.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))
                yield here, _placed(table, wanted, at).combine_chunks().to_batches()[0]

    @cached_property
    def operations(self) -> frozenset[str]:
        """The operations of its records, see `Operation`."""
        return frozenset(self.summary.operations)

    def read_columns(self, rows: Rows, columns: Sequence[str], layout: Layout) -> pa.Table:
        """Returns columns of the records in the given rows, in any order; a missing column is null."""
        ordered = distinct(rows)
        blocks = [block for _, block in self.chosen(ordered, columns)]
        found = pa.Table.from_batches(blocks) if blocks else layout.arrow.empty_table()
        for name in columns:
            if name not in found.column_names:
                found = found.append_column(
                    layout.arrow.field(name), pa.nulls(len(found), layout.arrow.field(name).type)
                )
        return found.select(list(columns)).combine_chunks().take(pa.array(np.searchsorted(ordered, rows)))

    def rejects(self) -> Iterator[dict[str, Any]]:
        """Yields the rejects, in file order."""
        with self._own.errors_of("rejects"):
            yield from map(from_json, self._own.lines("rejects"))

    def checksum(self, name: str) -> str:
        """Returns the checksum of a section that has one."""
        return self._own.footer.sections[name].checksums[0]

    def check_footers(self) -> None:
        """Verifies only where the records are.

        Raises:
            ArchiveIncomplete, ArchiveDamaged: there is something else, or nothing.
        """
        for reader in self._readers:
            if reader is not None:
                reader.footer  # noqa: B018

    def verify_all(self, verified: set[str]) -> None:
        """Verifies everything that its records need, also in the objects of other exports.

        Args:
            verified: locations that need no second look; those that are verified here are added.

        Raises:
            ArchiveIncomplete, ArchiveDamaged: some of it is missing or damaged.
        """
        for reader in self._readers:
            if reader is not None and str(reader.location) not in verified:
                reader.verify()
                verified.add(str(reader.location))

    def _reader(self, number: int) -> ObjectReader:
        reader = self._readers[number] if number < len(self._readers) else None
        if reader is None:
            raise gone(NOWHERE, " ".join("" if r is None else str(r.location) for r in self._readers))
        return reader

    def _array(self, name: str) -> npt.NDArray[Any]:
        return self._own.array(name, KINDS[name])


def stored_footer(root: Path, kept: str) -> bytes:
    """Returns the stored footer of kept records, damaged or not.

    Raises:
        ArchiveIncomplete: it is missing.
    """
    place = to_location(kept.split()[0])
    if place is None:
        raise gone(kept, kept)
    reader = ObjectReader(open_store(root), place, kept)
    with reader.errors_of("footer"):
        return reader.footer_bytes()


def remove_unnamed(root: Path, kept: str) -> None:
    """Removes kept records that were just written, if no ledger entry refers to them."""
    own = to_location(kept.split()[0])
    if own is not None:
        open_store(root).remove(own.name)


def _placed(table: pa.Table, places: Places, at: pa.Scalar) -> pa.Table:
    """Gives another export's records the position and time of this export."""
    own = pa.array(places.files == 0)
    here = {"position": pa.array(places.lines).cast(pa.string()), "effective_at": at}
    for name, value in here.items():
        index = table.schema.get_field_index(name)
        if index >= 0:
            table = table.set_column(index, table.field(index), pc.if_else(own, table.column(index), value))
    return table
