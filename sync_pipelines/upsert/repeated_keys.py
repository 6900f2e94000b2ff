"""Writes keys of which an export has several records, a column at a time.

The records of a key are collapsed into one (`collapse`), which takes the way of any single record: into a new row or
into the changes of an existing one. Keys whose collapsed record is not certain are passed to the fold.

Belongs here: reading the records key by key, the order of the steps, outcomes. Does not belong here: collapsing
(`collapse`), the rows (`new_rows`, `changed_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import by_row, distinct
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.changed_rows import ChangedRowWriter
from sync_pipelines.upsert.collapse import Collapsed, Runs
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.new_rows import NewRowWriter, chunks_of
from sync_pipelines.upsert.record_outcomes import Outcomes

FEW: Final = 200
"""Records below which the fold is faster than the statements of this way."""
_AT_ONCE: Final = 65_536
"""Records that are collapsed at once, up to the end of a key."""


class RepeatedKeyWriter:
    """Writes the rows of keys with several records.

    Args:
        context: context of the load.
        new_rows, changed_rows: write single records.
    """

    def __init__(self, context: LoadContext, new_rows: NewRowWriter, changed_rows: ChangedRowWriter) -> None:
        self._load = context
        self._new_rows = new_rows
        self._changed_rows = changed_rows

    def write(self, kept: KeptRecords, wanted: Mask, outcomes: Outcomes) -> Mask:
        """Applies records to new and existing rows. No other record of the export shares a key or id with them.

        Returns, by row, which of them need no fold.

        Args:
            kept: the export's records.
            wanted: by row, which of them.
            outcomes: receives their outcomes.
        """
        done = np.zeros_like(wanted)
        for chunk in self._chunks(kept, wanted):
            done[chunk.rows] = self._write(chunk, outcomes)[chunk.runs.runs]
        return done

    def _chunks(self, kept: KeptRecords, wanted: Mask) -> Iterator[Collapsed]:
        """Yields records of some keys at a time, key by key."""
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return
        # Keys are numbered in the order of the file: its neighbors are read together.
        keys = pa.array(by_row(kept.keys)[0][rows]).dictionary_encode().indices.to_numpy()
        by_key = np.argsort(keys, kind="stable")
        starts = _starts(keys[by_key])
        cuts = np.searchsorted(starts, np.arange(_AT_ONCE, len(rows), _AT_ONCE))
        for chosen in np.split(by_key, starts[distinct(cuts[cuts < len(starts)])]):
            part = np.sort(chosen)
            records = pa.concat_tables(chunk for _, chunk in chunks_of(kept, rows[part])).combine_chunks()
            # In version order (X4): records of a log have times of their own.
            order = np.lexsort((one(records.column("effective_at")).cast(pa.int64()).to_numpy(), keys[part]))
            # Every accepted record creates the rows that it refers to (X7).
            records = self._changed_rows.with_links(records.take(pa.array(order)))
            runs = Runs(_starts(keys[part[order]]), len(part))
            yield Collapsed(self._load.stream, self._load.layout, records, rows[part[order]], runs)

    def _write(self, chunk: Collapsed, outcomes: Outcomes) -> Mask:
        """Writes keys. Returns which of them are done."""
        done = np.zeros(len(chunk.runs.starts), bool)
        for are_new, way in ((True, self._create), (False, self._change)):
            if done.all():
                break
            chosen = ~done & chunk.certain(are_new=are_new)
            if chosen.any():
                done[chosen] = way(chunk.of(chosen), outcomes)
        return done

    def _create(self, some: Collapsed, outcomes: Outcomes) -> Mask:
        created = self._new_rows.write_records(some.records)
        if not created.any():
            return created
        self._load.effects.created += int(created.sum())
        new = some.of(created)
        moves, first = new.moves(None, created[:0], {}), new.runs.are_first
        outcomes.note(new.rows[first], "created")
        outcomes.note(new.rows[moves & ~first], "updated")
        outcomes.note(new.rows[~moves & ~first], "unchanged")
        return created

    def _change(self, some: Collapsed, outcomes: Outcomes) -> Mask:
        change = self._changed_rows.apply(some.records)
        done = np.zeros(len(some.runs.starts), bool)
        done[change.patched[change.folded.certain]] = True
        if not done.any():
            return done
        patched, certain = some.of(done), pa.array(change.folded.certain)
        after = {name: one(column).filter(certain) for name, column in change.folded.main.columns.items()}
        moves = patched.moves(change.rows.filter(certain), change.folded.lists_differ[change.folded.certain], after)
        outcomes.note(patched.rows[moves], "updated")
        outcomes.note(patched.rows[~moves], "unchanged")
        return done


def _starts(keys: npt.NDArray[Any]) -> Ids:
    """Returns where another key begins."""
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
