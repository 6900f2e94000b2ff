"""Columns of kept records of some rows, as loads compare them.

Belongs here: reading them, and what follows from one record alone. Does not belong here: what follows from a comparison
(`stale`, `late_patches`), reading records as changes (`history`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.column_changes import Bits, mask_of
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.history import KnownExport
from sync_pipelines.upsert.list_repeats import kinds_of

IDENTITY: Final = ("external_id", "record_id")
ACCEPTED: Final = ("upsert", "create", "update")
"""Effects of an accepted newer record when an older one turns up; other records may be rejected then."""


@dataclass(frozen=True)
class RecordColumns:
    """Columns of kept records in some rows, one each, in any order.

    Attributes:
        export, stream, layout: the export, its stream and its layout.
        table: their columns.
    """

    export: KnownExport
    stream: Stream
    layout: Layout
    table: pa.Table

    @staticmethod
    def read(export: KnownExport, rows: Ids, stream: Stream, layout: Layout, names: Iterable[str]) -> RecordColumns:
        """Reads the records in some rows of an export: version, identity, what they set, and further columns."""
        names = ["effective_at", "operation", *IDENTITY, "present", "modes", "extra", *names]
        table = export.kept.read_columns(rows, list(dict.fromkeys(names)), layout)
        return RecordColumns(export, stream, layout, table)

    def some(self, places: Ids) -> RecordColumns:
        """Returns some of the records."""
        return replace(self, table=self.table.take(pa.array(places)))

    def column(self, name: str) -> Any:
        """Returns a column, in one piece."""
        return one(self.table.column(name))

    @cached_property
    def present(self) -> Bits:
        """What they set, in the layout's bits."""
        masks = self.column("present").fill_null(0).to_numpy()
        bits = self.export.kept.bits
        return masks if bits == self.layout.bits else _translated(masks, bits, self.layout.bits)

    @property
    def is_upsert(self) -> Mask:
        """Which records create or write a row."""
        return mask_of(pc.equal(self.column("operation"), "upsert"))

    @property
    def is_accepted(self) -> Mask:
        """Which records write their row, whatever was there."""
        return mask_of(pc.is_in(self.column("operation"), pa.array(ACCEPTED)))

    @property
    def replaced_lists(self) -> Bits:
        """The lists that they replace."""
        found = np.zeros(len(self.present), np.int64)
        for declared in self.stream.children:
            bit = 1 << self.layout.bits[declared.table]
            for rows, (mode, _) in kinds_of(self.table, declared):
                if mode == "replace":
                    found[rows] |= self.present[rows] & bit
        return found

    @property
    def over(self) -> Bits:
        """What they determine: columns and links that they set, and lists that they replace."""
        found = self.present & Purposes.of(self.stream, self.layout).values | self.replaced_lists
        return found | bits_of(self.layout, self.layout.columns) if self.stream.replaces else found

    def sets(self, name: str) -> Mask:
        """Returns which records set a column, link or list, or unknown fields (`extra`)."""
        if name == "extra":
            return mask_of(self.column(name).is_valid())
        return np.asarray(self.present >> self.layout.bits[name] & 1 == 1)

    def is_newer_than(self, other: RecordColumns) -> Mask:
        """Returns which records follow another export's records in version order (X4)."""
        mine, theirs = self.column("effective_at"), other.column("effective_at")
        later = mask_of(pc.greater(mine, theirs))
        if self.export.follows(other.export):
            later |= mask_of(pc.equal(mine, theirs))
        return later


@dataclass(frozen=True)
class Purposes:
    """The purpose of the bits in a stream's presence masks.

    Attributes:
        values: columns and links that a record sets, whatever was there.
        merged: columns whose objects are merged, among them `extra`.
        lists: child tables.
        always: what must be set again whenever a record is removed: what `compute` carries on, and defaults that
            depend on which record created the row.
    """

    values: int
    merged: tuple[str, ...]
    lists: int
    always: int

    @staticmethod
    def of(stream: Stream, layout: Layout) -> Purposes:
        """Returns the purposes of a layout's bits."""
        merged = () if stream.replaces else (*stream.merges, "extra")
        lists = {child.table for child in layout.children}
        values = [name for name in layout.bits if name not in lists and name not in merged]
        return Purposes(bits_of(layout, values), merged, bits_of(layout, lists), bits_of(layout, always_of(stream)))


def always_of(stream: Stream) -> list[str]:
    """Returns what `Purposes.always` says, by name."""
    return [*stream.carries, *stream.timed_defaults]


def bits_of(layout: Layout, names: Any) -> int:
    """Returns the mask of some columns, links or child tables."""
    return sum(1 << layout.bits[name] for name in set(names))


def _translated(masks: Bits, bits: dict[str, int], wanted: dict[str, int]) -> Bits:
    """Returns presence masks in other bits; few combinations of columns occur."""
    kinds, places = np.unique(masks, return_inverse=True)
    found = [
        sum(1 << wanted[name] for name, bit in bits.items() if name in wanted and kind >> bit & 1)
        for kind in kinds.tolist()
    ]
    return np.array(found, np.int64)[places]
