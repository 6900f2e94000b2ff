"""Late records as patches of the stored row: what they set and no newer record sets (X5, X11).

The last record that sets a column decides it. So a late record changes its row only where no newer record speaks, and
there its value is the row's: the rest of the record is left out, and what remains is applied like a new record. This
holds if the record was accepted in its place, and if no newer record depends on it.

Belongs here: which late records are such patches, what remains of them, and their outcomes. Does not belong here: late
records of which nothing remains, as newer ones show without being read whole (`stale`), writing patches
(`changed_rows`), all others (`folding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.keys import are_among, by_row, distinct
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.normalize.values import from_json, to_json
from sync_pipelines.upsert.changed_rows import ChangedRowWriter
from sync_pipelines.upsert.column_changes import REMEMBERED, mask_of
from sync_pipelines.upsert.columns import sends_required
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Ids
from sync_pipelines.upsert.history import Hashes, Knowing, KnownExport, those_knowing
from sync_pipelines.upsert.new_rows import chunks_of
from sync_pipelines.upsert.record_columns import (
    ACCEPTED,
    Purposes,
    RecordColumns,
    bits_of,
)
from sync_pipelines.upsert.record_outcomes import Outcomes

FEW: Final = 200
"""Records below which the fold is faster than the statements of this way."""
_CREATING: Final = frozenset({"upsert", "create"})
_HARMLESS: Final = frozenset(ACCEPTED)
"""Operations that a late record of the key does not affect."""


class LatePatchWriter:
    """Applies what newer records leave of late ones.

    Args:
        context: context of the load.
        changed_rows: writes the patches.
    """

    def __init__(self, context: LoadContext, changed_rows: ChangedRowWriter) -> None:
        self._load = context
        self._changed_rows = changed_rows

    def write(
        self,
        mine: KnownExport,
        others: Sequence[KnownExport],
        newer: Sequence[KnownExport],
        late: Mask,
        knowing: Knowing,
        outcomes: Outcomes,
    ) -> Mask:
        """Patches the rows of late records that are certain. Returns, by row, which they are.

        Args:
            mine: the export being loaded.
            others: every loaded export that knows one of its keys.
            newer: those with records that may be newer, the oldest first.
            late: by row, which records are late: each the only one of its key in the export, with an identity that
                all others name alike, and without keys of which a record was ever rejected by their state.
            knowing: asks the index.
            outcomes: receives their outcomes.
        """
        done = np.zeros_like(late)
        found = _Found(self._load.stream, self._load.layout, mine, np.flatnonzero(late))
        found.bar(others)
        found.look_for_older(others)
        for other in those_knowing(newer, found.open_keys, knowing, mine.kept.count):
            found.hold_against(other)
            other.kept.let_go()
        for rows, chunk in chunks_of(mine.kept, found.rows[found.certain]):
            here = np.searchsorted(found.rows, rows)
            change = self._changed_rows.apply(found.remains(here, chunk))
            same = change.patched[change.folded.outcomes["unchanged"]]
            is_older = found.are_older[here][same]
            outcomes.note(rows[change.patched[change.folded.outcomes["updated"]]], "updated")
            outcomes.note(rows[same[is_older]], "stale")
            outcomes.note(rows[same[~is_older]], "unchanged")
            done[rows[change.done]] = True
        return done


class _Found:
    """Late records, and what newer ones leave of them.

    Attributes:
        rows: their rows in the export.
        are_older: which have a newer record of their key. An export that may be newer need not have one of each.
    """

    def __init__(self, stream: Stream, layout: Layout, mine: KnownExport, rows: Ids) -> None:
        self._stream = stream
        self._layout = layout
        self._mine = mine
        self.rows = rows
        self._hashes = by_row(mine.kept.keys)[0][rows]
        self._merged = Purposes.of(stream, layout).merged
        self._records = RecordColumns.read(mine, rows, stream, layout, [*self._merged, *stream.required_new])
        self._objects = {name: self._records.column(name).to_pylist() for name in self._merged}
        self._spoken = np.zeros(len(rows), np.int64)
        # `compute` may keep something of a replaced value.
        fed = bits_of(layout, [name for name in layout.bits if name in stream.computed_from])
        self._open: Mask = self._records.is_upsert & (self._records.present & fed == 0)
        self._has_older = np.zeros(len(rows), bool)
        self.are_older = np.zeros(len(rows), bool)

    def open_keys(self) -> Hashes:
        """Returns the keys of records that are not passed to the fold yet (sorted)."""
        return distinct(self._hashes[self._open])

    def remains(self, places: Ids, records: pa.Table) -> pa.Table:
        """Returns the records in some places with only what they set and no newer one does."""
        left: dict[str, Any] = {"present": (self._records.present & ~self._spoken)[places]}
        left |= {name: pa.array(texts, pa.string()).take(pa.array(places)) for name, texts in self._objects.items()}
        for name, column in left.items():
            records = records.set_column(records.schema.get_field_index(name), name, pa.array(column))
        return records

    @property
    def certain(self) -> Mask:
        """Which records are patches, if every newer export was looked at."""
        # The record that creates a row gives its own time to such a default.
        own = bits_of(self._layout, self._stream.timed_defaults) & ~(self._records.present | self._spoken)
        may_create: Mask = sends_required(self._stream, self._records.table) & (own == 0)
        found: Mask = self._open & (self._has_older | may_create)
        return found

    def bar(self, others: Sequence[KnownExport]) -> None:
        """Passes records to the fold if another record of their key may delete the row or ask whether it exists."""
        for other in others:
            if not other.kept.operations <= _HARMLESS:
                self._open &= ~are_among(self._hashes, other.kept.keys.hashes)

    def look_for_older(self, others: Sequence[KnownExport]) -> None:
        """Finds the records before which the row existed: they are accepted whatever they send."""
        for other in others:
            if other.window[1] < self._mine.window[0] and other.kept.operations <= _CREATING:
                self._has_older |= are_among(self._hashes, other.kept.keys.hashes)

    def hold_against(self, other: KnownExport) -> None:
        """Notes what another export's newer records of the same keys set."""
        wanted, keys = np.flatnonzero(self._open), other.kept.keys
        indexes, places = keys.pairs_of(self._hashes[wanted])
        if not len(places):
            return
        owners, rows = wanted[indexes], np.asarray(keys.rows)[places].astype(np.int64)
        theirs = RecordColumns.read(other, rows, self._stream, self._layout, self._merged)
        mine = self._records.some(owners)
        is_newer = theirs.is_newer_than(mine)
        self.are_older[owners[is_newer]] = True
        self._open[owners[is_newer & self._meet(mine, theirs)]] = False
        for name in self._merged:
            self._reduce(name, owners, mine, theirs, is_newer)
        np.bitwise_or.at(self._spoken, owners, np.where(is_newer, theirs.over, 0))

    def _meet(self, mine: RecordColumns, theirs: RecordColumns) -> Mask:
        """Returns where both send a list that is merged, or the newer one clears what it does not send (P3)."""
        merged = Purposes.of(self._stream, self._layout).lists & ~theirs.replaced_lists
        found: Mask = mine.present & theirs.present & merged != 0
        return found | self._stream.replaces

    def _reduce(self, name: str, owners: Ids, mine: RecordColumns, theirs: RecordColumns, is_newer: Mask) -> None:
        """Removes the names that newer objects have from those of the late records (R4)."""
        both = is_newer & mine.sets(name) & theirs.sets(name)
        # Null clears what older records made of the object.
        self._open[owners[both & mask_of(mine.column(name).is_null())]] = False
        places, left = np.flatnonzero(both), self._objects[name]
        texts = theirs.column(name).take(pa.array(places)).to_pylist()
        for owner, text in zip(owners[places].tolist(), texts, strict=True):
            left[owner] = None if text is None or left[owner] is None else _rest(left[owner], text)
            if left[owner] is None and name in self._layout.bits:
                self._spoken[owner] |= 1 << self._layout.bits[name]


@lru_cache(REMEMBERED)
def _rest(text: str, newer: str) -> str | None:
    """Returns an object without the names of a newer one; None if no other is left."""
    names = from_json(newer).keys()
    rest = {name: value for name, value in from_json(text).items() if name not in names}
    return to_json(rest) if rest else None
