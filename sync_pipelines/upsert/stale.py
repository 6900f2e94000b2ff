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
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.normalize.keys import by_row, distinct
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.normalize.values import from_json
from sync_pipelines.upsert.column_changes import Bits, are_distinct, mask_of
from sync_pipelines.upsert.columns import sends_required
from sync_pipelines.upsert.copying import Ids
from sync_pipelines.upsert.history import Hashes, Knowing, KnownExport, looked_up, those_knowing
from sync_pipelines.upsert.list_repeats import are_steady, undecided
from sync_pipelines.upsert.record_columns import (
    ACCEPTED,
    IDENTITY,
    Purposes,
    RecordColumns,
    always_of,
    bits_of,
)

_PLAIN: Final = frozenset({*ACCEPTED, "delete"})


def stale_rows(
    stream: Stream, layout: Layout, mine: KnownExport, newer: Sequence[KnownExport], late: Mask, knowing: Knowing
) -> Mask:
    """Returns, by row, which late records are superseded; of a key with several, all are or none.

    Args:
        stream: the declaration.
        layout: layout of its kept records.
        mine: the export being loaded.
        newer: loaded exports with records that may be newer, the oldest first.
        late: by row, which records are late, without keys of which a record was ever rejected by their state.
        knowing: asks the index.
    """
    stale = np.zeros(len(late), bool)
    rows = np.flatnonzero(late & ~_barred(stream, mine, newer))
    if len(rows) and newer:
        stale[rows] = _are_repeated(stream, mine, newer[0], rows)
        rows = rows[~stale[rows]]
    if len(rows):
        found = _Late(stream, layout, mine, rows)
        for other in those_knowing(newer, found.open_keys, knowing, len(rows)):
            found.hold_against(other)
            other.kept.let_go()
        stale[rows[found.overruled]] = True
    return stale & ~mine.kept.rows_known_by(mine.kept.keys.of_rows(late & ~stale))


def _barred(stream: Stream, mine: KnownExport, newer: Sequence[KnownExport]) -> Mask:
    """Returns, by row, which records are passed to the fold: a newer record depends on whether the row exists.

    A late record may create the row, so the result may change.
    """
    # The newer record clears the defaults of a row that the late one creates.
    barred = np.full(mine.kept.count, stream.replaces and bool(stream.defaults))
    if not stream.operations <= _PLAIN:
        for other in newer:
            if not other.kept.operations <= _PLAIN:
                barred |= mine.kept.rows_known_by(other.knows(mine.kept.keys.distinct))
    return barred


def _are_repeated(stream: Stream, mine: KnownExport, other: KnownExport, rows: Ids) -> Mask:
    """Returns which records of some rows the next newer export repeats by reference; none of them is read.

    Such a record sets what the late one sets. Lists must be the same after they are applied a second time.
    """
    if undecided(stream) or not (mine.is_even and other.is_even):
        return np.zeros(len(rows), bool)
    needed = {*stream.required_new, *always_of(stream)}
    if stream.scope is not None:
        needed.add(stream.scope)
    hashes = by_row(mine.kept.keys)[0][rows]
    _, once, theirs = looked_up(other.kept.keys, hashes)
    repeated: Mask = once & mine.kept.are_shared(rows, other.kept, theirs)
    repeated[repeated] = mine.kept.are_complete(rows[repeated], needed)
    return repeated


class _Late:
    """Late records of one export, and which of their bits are not superseded yet."""

    def __init__(self, stream: Stream, layout: Layout, mine: KnownExport, rows: Ids) -> None:
        self._stream = stream
        self._layout = layout
        self._bits = Purposes.of(stream, layout)
        self._mine = mine
        self._rows = rows
        self._hashes = by_row(mine.kept.keys)[0][rows]
        self._records = RecordColumns.read(mine, rows, stream, layout, [*_names(stream), *stream.required_new])
        present = self._records.present
        self._need = present & (self._bits.values | self._bits.lists) | self._bits.always
        if stream.replaces:
            self._need |= bits_of(layout, layout.columns)
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

    def _theirs(self, other: KnownExport, chosen: Ids, rows: Ids) -> RecordColumns:
        """Returns another export's records in some rows. Those that it shares with this export are known already."""
        mine, kept = self._mine.kept, other.kept
        shared = mine.are_shared(self._rows[chosen], kept, rows)
        if mine.bits != kept.bits or not other.is_even:
            shared[:] = False
        read = RecordColumns.read(other, rows[~shared], self._stream, self._layout, _names(self._stream))
        if not shared.any():
            return read
        known = self._records.table.take(pa.array(chosen[shared])).select(read.table.column_names)
        at = pa.repeat(pa.scalar(other.window[0], known.schema.field("effective_at").type), len(known))
        known = known.set_column(known.schema.get_field_index("effective_at"), "effective_at", at)
        # The same order as `rows`: a stable sort puts the shared records back between the others.
        order = np.argsort(np.argsort(~shared, kind="stable"))
        table = pa.concat_tables([known, read.table]).combine_chunks().take(pa.array(order))
        return replace(read, table=table)

    def _compare(self, chosen: Ids, mine: RecordColumns, theirs: RecordColumns, is_one: Mask) -> None:
        """Compares each record with another export's last record of the same key, pairwise.

        Args:
            chosen: the late records to compare.
            mine: those records.
            theirs: the other export's records.
            is_one: for which keys the other export has no further record.
        """
        fits = ~np.logical_or.reduce([are_distinct(mine.column(c), theirs.column(c)) for c in IDENTITY])
        fits &= theirs.is_newer_than(mine)
        if self._stream.scope is not None:
            fits &= self._is_in_scope(mine, theirs)
        fits &= theirs.is_accepted
        left = self._need[chosen] & ~np.where(fits, theirs.over, 0)
        left = self._without_equal_lists(chosen, left, mine, theirs, fits, is_one)
        # A newer delete supersedes nothing by itself: which delete is the first since the row was live depends on what
        # came between (F13).
        is_overruled = fits & (left == 0) & self._are_merged_alike(mine, theirs, fits)
        if self._stream.compute is None:
            self._need[chosen] = left
        done = chosen[is_overruled]
        self.overruled[done] = True
        self._open[done] = False

    def _is_in_scope(self, mine: RecordColumns, theirs: RecordColumns) -> Mask:
        """Returns where both have one scope, under the same name (P5)."""
        scope = self._stream.scope
        parts = [f"{scope}_{part}" for part in ("partner", "tenant", "external_id", "record_id")]
        same: Mask = ~np.logical_or.reduce([are_distinct(mine.column(part), theirs.column(part)) for part in parts])
        same &= mask_of(mine.column(parts[0]).is_valid())
        return same

    def _without_equal_lists(
        self, chosen: Ids, left: Bits, mine: RecordColumns, theirs: RecordColumns, fits: Mask, is_one: Mask
    ) -> Bits:
        """Removes the bits of lists that the next record to set them repeats.

        If it differs, the list is passed to the fold.
        """
        for child in self._layout.children:
            bit = 1 << self._layout.bits[child.table]
            speaks = fits & (left & bit != 0) & (theirs.present & bit != 0)
            if not speaks.any():
                continue
            places = np.flatnonzero(speaks)
            same = is_one[places] & (mine.export.is_even and theirs.export.is_even)
            same[same] = self._are_equal(child, mine, theirs, places[same])
            left[places[same]] &= ~bit
            self._open[chosen[places[~same]]] = False
        return left

    def _are_equal(self, child: ChildLayout, mine: RecordColumns, theirs: RecordColumns, places: Ids) -> Mask:
        """Returns which lists are equal, have the same mode, and change nothing the second time."""
        chosen = pa.array(places)
        pairs = [[records.column(name).take(chosen) for records in (mine, theirs)] for name in (child.table, "modes")]
        same: Mask = ~np.logical_or.reduce([are_distinct(*pair) for pair in pairs])
        if same.any():
            records = mine.table.take(chosen)
            same &= are_steady(self._stream, self._layout, records)
        return same

    def _are_merged_alike(self, mine: RecordColumns, theirs: RecordColumns, fits: Mask) -> Mask:
        """Returns which records have no merged object with a name that the newer one lacks."""
        found = fits.copy()
        for name in self._bits.merged:
            is_set = mine.sets(name)
            again = theirs.sets(name)
            found &= ~is_set | (again & self._is_within(mine.column(name), theirs.column(name), found & is_set))
        return found

    def _is_within(self, mine: Any, theirs: Any, wanted: Mask) -> Mask:
        """Returns which wanted objects have no name that the newer one lacks; only null clears what null cleared."""
        found: Mask = ~are_distinct(mine, theirs)
        both = mask_of(mine.is_valid()) & mask_of(theirs.is_valid())
        places = np.flatnonzero(wanted & both & ~found)
        pairs = zip(mine.take(pa.array(places)).to_pylist(), theirs.take(pa.array(places)).to_pylist(), strict=True)
        found[places] = [from_json(sent).keys() <= from_json(again).keys() for sent, again in pairs]
        return found


def _names(stream: Stream) -> list[str]:
    """Returns the columns to compare, besides those of any record."""
    names = [*stream.merges]
    if stream.scope is not None:
        names += [f"{stream.scope}_{part}" for part in ("partner", "tenant", "external_id", "record_id")]
    return names + [declared.table for declared in stream.children if _is_looked_at(stream, declared)]


def _is_looked_at(stream: Stream, declared: Children) -> bool:
    """Whether the elements of a list must be read: it may be merged."""
    return stream.listing is not None or declared.mode != "replace" or bool(declared.match)
