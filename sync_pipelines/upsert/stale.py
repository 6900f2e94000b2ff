"""Finds late records that newer ones supersede, by which columns they set (X5, X11).

A late record changes nothing if newer records of its key set every column that it sets: with it or without it, the
result is the same. The presence masks of the newer records decide this, without their values. Merged objects and lists
are superseded only by equal ones. Everything else is passed to the fold.

    need    what a late record sets, and what else depends on its presence
    over    what a newer record determines, whatever came before it

Belongs here: which records are stale. Does not belong here: which keys are late (`history`), folding (`folding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import EFFECTIVE_TIME, Children, Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.normalize.values import from_json
from sync_pipelines.upsert.column_changes import are_distinct, mask_of
from sync_pipelines.upsert.columns import sends_required
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.history import Hashes, Knowing, KnownExport, looked_up, those_knowing
from sync_pipelines.upsert.list_repeats import are_steady, kinds_of, undecided

Bits = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]
_IDENTITY: Final = ("external_id", "record_id")
_ACCEPTED: Final = ("upsert", "create", "update")
"""Effects of an accepted newer record when an older one turns up; other records may be rejected then."""
_PLAIN: Final = frozenset({*_ACCEPTED, "delete"})


class Stale:
    """Finds the late records of one export that change nothing.

    Args:
        stream: the declaration.
        layout: layout of its kept records.
    """

    def __init__(self, stream: Stream, layout: Layout) -> None:
        self._stream = stream
        self._layout = layout

    def rows(self, mine: KnownExport, newer: Sequence[KnownExport], late: Mask, knowing: Knowing) -> Mask:
        """Returns, by row, which late records are superseded; of a key with several, all are or none.

        Args:
            mine: the export being loaded.
            newer: loaded exports with records that may be newer, the oldest first.
            late: by row, which records are late, without keys of which a record was ever rejected by their state.
            knowing: asks the index.
        """
        stale = np.zeros(len(late), bool)
        rows = np.flatnonzero(late & ~self._barred(mine, newer))
        if len(rows) and newer:
            stale[rows] = self._are_repeated(mine, newer[0], rows)
            rows = rows[~stale[rows]]
        if len(rows):
            found = _Late(self._stream, self._layout, mine, rows)
            for other in those_knowing(newer, found.open_keys, knowing, len(rows)):
                found.hold_against(other)
                other.kept.let_go()
            stale[rows[found.overruled]] = True
        keys = mine.kept.keys
        return stale & ~mine.kept.rows_known_by(keys.of_rows(late & ~stale))

    def _barred(self, mine: KnownExport, newer: Sequence[KnownExport]) -> Mask:
        """Returns, by row, which records are passed to the fold: a newer operation depends on whether the row exists.

        A late record may create the row, so the result may change.
        """
        barred = np.zeros(mine.kept.count, bool)
        if not self._stream.operations <= _PLAIN:
            for other in newer:
                if not other.kept.operations <= _PLAIN:
                    barred |= mine.kept.rows_known_by(other.knows(mine.kept.keys.distinct))
        return barred

    def _are_repeated(self, mine: KnownExport, other: KnownExport, rows: Rows) -> Mask:
        """Returns which records of some rows the next newer export repeats by reference; none of them is read.

        Such a record sets what the late one sets. Lists must be the same after they are applied a second time.
        """
        if undecided(self._stream) or not (_is_even(mine) and _is_even(other)):
            return np.zeros(len(rows), bool)
        needed = {*self._stream.required_new, *_always(self._stream)}
        if self._stream.scope is not None:
            needed.add(self._stream.scope)
        hashes = _hash_of_rows(mine.kept)[rows]
        _, once, theirs = looked_up(other.kept.keys, hashes)
        repeated: Mask = once & mine.kept.are_shared(rows, other.kept, theirs)
        repeated[repeated] = mine.kept.are_complete(rows[repeated], needed)
        return repeated


@dataclass(frozen=True)
class _Columns:
    """The purpose of the bits in a stream's presence masks.

    Attributes:
        values: columns and links that a record sets, whatever was there.
        merged: columns whose objects are merged.
        lists: child tables.
        always: what must be set again whenever a record is removed: what `compute` carries on, and defaults that
            depend on which record created the row.
    """

    values: int
    merged: tuple[str, ...]
    lists: int
    always: int

    @staticmethod
    def of(stream: Stream, layout: Layout) -> _Columns:
        merged = () if stream.replaces else stream.merges
        lists = {child.table for child in layout.children}
        values = [name for name in layout.bits if name not in lists and name not in merged]
        return _Columns(_mask(layout, values), merged, _mask(layout, lists), _mask(layout, _always(stream)))


class _Late:
    """Late records of one export, and which of their bits are not superseded yet."""

    def __init__(self, stream: Stream, layout: Layout, mine: KnownExport, rows: Rows) -> None:
        self._stream = stream
        self._layout = layout
        self._bits = _Columns.of(stream, layout)
        self._mine = mine
        self._rows = rows
        self._hashes = _hash_of_rows(mine.kept)[rows]
        self._records = _Records.read(mine, rows, stream, layout, stream.required_new)
        present = self._records.present
        self._need = present & (self._bits.values | self._bits.lists) | self._bits.always
        if stream.replaces:
            self._need |= _mask(layout, layout.columns)
        self._open = self._records.is_upsert & sends_required(stream, self._records.table)
        self.overruled = np.zeros(len(rows), bool)

    def open_keys(self) -> Hashes:
        """Returns the keys of records that a further export may still decide (sorted)."""
        return distinct(self._hashes[self._open])

    def hold_against(self, other: KnownExport) -> None:
        """Compares with another export's records of the same keys."""
        wanted = np.flatnonzero(self._open)
        keys = other.kept.keys
        last = np.searchsorted(keys.hashes, self._hashes[wanted], side="right")
        known = last > np.searchsorted(keys.hashes, self._hashes[wanted], side="left")
        chosen, ends = wanted[known], last[known]
        if not len(chosen):
            return
        theirs = self._theirs(other, chosen, np.asarray(keys.rows)[ends - 1].astype(np.int64))
        is_one = ends < 2
        is_one |= keys.hashes[np.maximum(ends - 2, 0)] != self._hashes[chosen]
        self._compare(chosen, self._records.some(chosen), theirs, is_one)

    def _theirs(self, other: KnownExport, chosen: Rows, rows: Rows) -> _Records:
        """Returns another export's records in some rows. Those that it shares with this export are known already."""
        mine, kept = self._mine.kept, other.kept
        shared = mine.are_shared(self._rows[chosen], kept, rows)
        if mine.bits != kept.bits or other.window[0] != other.window[1]:
            shared[:] = False
        read = _Records.read(other, rows[~shared], self._stream, self._layout)
        if not shared.any():
            return read
        known = self._records.table.take(pa.array(chosen[shared])).select(read.table.column_names)
        at = pa.repeat(pa.scalar(other.window[0], known.schema.field("effective_at").type), len(known))
        known = known.set_column(known.schema.get_field_index("effective_at"), "effective_at", at)
        # The same order as `rows`: a stable sort puts the shared records back between the others.
        order = np.argsort(np.argsort(~shared, kind="stable"))
        table = pa.concat_tables([known, read.table]).combine_chunks().take(pa.array(order))
        return replace(read, numbers=np.arange(len(rows)), table=table)

    def _compare(self, chosen: Rows, mine: _Records, theirs: _Records, is_one: Mask) -> None:
        """Compares each record with another export's last record of the same key, pairwise.

        Args:
            chosen: the late records to compare.
            mine: those records.
            theirs: the other export's records.
            is_one: for which keys the other export has no further record.
        """
        fits = ~np.logical_or.reduce([are_distinct(mine.column(c), theirs.column(c)) for c in _IDENTITY])
        fits &= theirs.is_newer_than(mine)
        if self._stream.scope is not None:
            fits &= self._is_in_scope(mine, theirs)
        fits &= theirs.is_accepted
        left = self._need[chosen] & ~np.where(fits, theirs.over, 0)
        left = self._without_equal_lists(left, mine, theirs, fits, is_one)
        # A newer delete supersedes nothing by itself: which delete is the first since the row was live depends on what
        # came between (F13).
        is_overruled = fits & (left == 0) & self._are_merged_alike(mine, theirs, fits)
        if self._stream.compute is None:
            self._need[chosen] = left
        done = chosen[is_overruled]
        self.overruled[done] = True
        self._open[done] = False

    def _is_in_scope(self, mine: _Records, theirs: _Records) -> Mask:
        """Returns where both have one scope, under the same name (P5)."""
        scope = self._stream.scope
        parts = [f"{scope}_{part}" for part in ("partner", "tenant", "external_id", "record_id")]
        same: Mask = ~np.logical_or.reduce([are_distinct(mine.column(part), theirs.column(part)) for part in parts])
        same &= mask_of(mine.column(parts[0]).is_valid())
        return same

    def _without_equal_lists(self, left: Bits, mine: _Records, theirs: _Records, fits: Mask, is_one: Mask) -> Bits:
        """Removes the bits of lists that the next record to set them repeats.

        If it differs, the list is passed to the fold.
        """
        for child in self._layout.children:
            bit = 1 << self._layout.bits[child.table]
            speaks = fits & (left & bit != 0) & (theirs.present & bit != 0)
            if not speaks.any():
                continue
            places = np.flatnonzero(speaks)
            same = is_one[places] & mine.are_even(theirs)
            same[same] = self._are_equal(child, mine, theirs, places[same])
            left[places[same]] &= ~bit
            self._open[mine.numbers[places[~same]]] = False
        return left

    def _are_equal(self, child: ChildLayout, mine: _Records, theirs: _Records, places: Rows) -> Mask:
        """Returns which lists are equal, have the same mode, and change nothing the second time."""
        chosen = pa.array(places)
        lists = [records.column(child.table).take(chosen).to_pylist() for records in (mine, theirs)]
        same = np.array([one_list == other for one_list, other in zip(*lists, strict=True)], bool)
        same &= ~are_distinct(mine.column("modes").take(chosen), theirs.column("modes").take(chosen))
        if same.any():
            records = mine.table.take(chosen)
            same &= are_steady(self._stream, self._layout, records)
        return same

    def _are_merged_alike(self, mine: _Records, theirs: _Records, fits: Mask) -> Mask:
        """Returns which records have no merged object with a name that the newer one lacks."""
        found = fits.copy()
        for name in self._bits.merged:
            is_set = _has_bit(mine.present, self._layout.bits[name])
            again = _has_bit(theirs.present, self._layout.bits[name])
            found &= ~is_set | (again & self._is_within(mine.column(name), theirs.column(name), found & is_set))
        if not self._stream.replaces:
            extra = mine.column("extra")
            is_set = mask_of(extra.is_valid())
            found &= ~is_set | self._is_within(extra, theirs.column("extra"), found & is_set)
        return found

    def _is_within(self, mine: Any, theirs: Any, wanted: Mask) -> Mask:
        """Returns which wanted objects have no name that the newer one lacks; only null clears what null cleared."""
        found: Mask = ~are_distinct(mine, theirs)
        both = mask_of(mine.is_valid()) & mask_of(theirs.is_valid())
        places = np.flatnonzero(wanted & both & ~found)
        pairs = zip(mine.take(pa.array(places)).to_pylist(), theirs.take(pa.array(places)).to_pylist(), strict=True)
        found[places] = [from_json(sent).keys() <= from_json(again).keys() for sent, again in pairs]
        return found


@dataclass(frozen=True)
class _Records:
    """Columns of kept records in some rows, one each, in any order.

    Attributes:
        export, stream, layout: the export, its stream and its layout.
        numbers: indexes among the records that were read.
        table: their columns.
    """

    export: KnownExport
    stream: Stream
    layout: Layout
    numbers: Rows
    table: pa.Table

    @staticmethod
    def read(export: KnownExport, rows: Rows, stream: Stream, layout: Layout, also: Sequence[str] = ()) -> _Records:
        """Reads the records in some rows of an export, with further columns."""
        names = ["effective_at", "operation", *_IDENTITY, "present", "modes", "extra", *stream.merges, *also]
        if stream.scope is not None:
            names += [f"{stream.scope}_{part}" for part in ("partner", "tenant", "external_id", "record_id")]
        names += [declared.table for declared in stream.children if _is_looked_at(stream, declared)]
        table = export.kept.read_columns(rows, list(dict.fromkeys(names)), layout)
        return _Records(export, stream, layout, np.arange(len(rows)), table)

    def some(self, places: Rows) -> _Records:
        """Returns some of the records."""
        return replace(self, numbers=self.numbers[places], table=self.table.take(pa.array(places)))

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
        return mask_of(pc.is_in(self.column("operation"), pa.array(_ACCEPTED)))

    @property
    def over(self) -> Bits:
        """What they determine: columns that they set, and lists that they replace."""
        columns = _Columns.of(self.stream, self.layout)
        found = self.present & columns.values
        if self.stream.replaces:
            found = found | _mask(self.layout, self.layout.columns)
        for declared in self.stream.children:
            bit = 1 << self.layout.bits[declared.table]
            for rows, (mode, _) in kinds_of(self.table, declared):
                if mode == "replace":
                    found[rows] |= self.present[rows] & bit
        return found

    def is_newer_than(self, other: _Records) -> Mask:
        """Returns which records follow another export's records in version order (X4)."""
        mine, theirs = self.column("effective_at"), other.column("effective_at")
        later = mask_of(pc.greater(mine, theirs))
        if self.export.follows(other.export):
            later |= mask_of(pc.equal(mine, theirs))
        return later

    def are_even(self, other: _Records) -> bool:
        """Whether all records of each export have one time, so that exports are in the order of their records."""
        return _is_even(self.export) and _is_even(other.export)


def _is_even(export: KnownExport) -> bool:
    """Whether all records of an export have its own time."""
    return export.window[0] == export.window[1]


def _always(stream: Stream) -> list[str]:
    """Returns what `_Columns.always` says, by name."""
    return [*stream.carries, *(d.column for d in stream.defaults if d.value is EFFECTIVE_TIME)]


def _is_looked_at(stream: Stream, declared: Children) -> bool:
    """Whether the elements of a list must be read: it may be merged."""
    return stream.listing is not None or declared.mode != "replace" or bool(declared.match)


def _hash_of_rows(kept: KeptRecords) -> Hashes:
    """Returns, by row, one of the hashes of its record."""
    found = np.zeros(kept.count, np.uint64)
    found[kept.keys.rows] = kept.keys.hashes
    return found


def _mask(layout: Layout, names: Any) -> int:
    return sum(1 << layout.bits[name] for name in set(names))


def _has_bit(masks: Bits, bit: int) -> Mask:
    return np.asarray(masks >> bit & 1 == 1)


def _translated(masks: Bits, bits: dict[str, int], wanted: dict[str, int]) -> Bits:
    """Returns presence masks in other bits; few combinations of columns occur."""
    kinds, places = np.unique(masks, return_inverse=True)
    found = [
        sum(1 << wanted[name] for name, bit in bits.items() if name in wanted and kind >> bit & 1)
        for kind in kinds.tolist()
    ]
    return np.array(found, np.int64)[places]
