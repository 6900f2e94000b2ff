"""Writes keys of which an export has several records, a column at a time.

The records of a key are collapsed into one (`collapse`), which takes the way of any single record: into a new row or
into the changes of an existing one. Keys whose collapsed record is not certain are passed to the fold.

Belongs here: reading the records key by key, the order of the steps, outcomes. Does not belong here: collapsing
(`collapse`), the rows (`new_rows`, `changed_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.keys import by_row, distinct
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.changed_rows import ChangedRowWriter
from sync_pipelines.upsert.collapse import Collapsed, Runs
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.history import Hashes
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
        for rows, chunk in self._chunks(kept, wanted):
            done[rows] = self._write(chunk, rows, outcomes)[chunk.runs.runs]
        return done

    def _chunks(self, kept: KeptRecords, wanted: Mask) -> Iterator[tuple[Ids, Collapsed]]:
        """Yields records of some keys at a time, key by key, with their rows in the export."""
        rows = np.flatnonzero(wanted)
        if not len(rows):
            return
        keys = by_row(kept.keys)[0][rows]
        by_key = np.argsort(keys, kind="stable")
        runs = Runs(_starts(keys[by_key]), len(rows))
        # Keys in the order of the file: its neighbors are read together.
        by_key = by_key[np.argsort(rows[by_key][runs.starts][runs.runs], kind="stable")]
        starts = _starts(keys[by_key])
        cuts = np.searchsorted(starts, np.arange(_AT_ONCE, len(rows), _AT_ONCE))
        for part in np.split(by_key, starts[distinct(cuts[cuts < len(starts)])]):
            ascending = np.sort(part)
            records = pa.concat_tables(chunk for _, chunk in chunks_of(kept, rows[ascending])).combine_chunks()
            runs = Runs(_starts(keys[part]), len(part))
            places = np.searchsorted(ascending, part)
            # In version order (X4): records of a log have times of their own.
            times = one(records.column("effective_at")).cast(pa.int64()).to_numpy()[places]
            order = np.lexsort((part, times, runs.runs))
            records = records.take(pa.array(places[order]))
            yield rows[part[order]], Collapsed(self._load.stream, self._load.layout, records, runs)

    def _write(self, chunk: Collapsed, rows: Ids, outcomes: Outcomes) -> Mask:
        """Writes keys. Returns which of them are done."""
        done = np.zeros(len(chunk.runs.starts), bool)
        # Every accepted record creates the rows that it refers to (X7).
        links = self._changed_rows.links_of(chunk.members)
        for are_new in (True, False):
            chosen = ~done & (chunk.certain(are_new=are_new) if not done.all() else done)
            if not chosen.any():
                continue
            some, members = chunk.of(chosen), chosen[chunk.runs.runs]
            own = {name: ids.filter(pa.array(members)) for name, ids in links.items()}
            way = self._create if are_new else self._change
            done[np.flatnonzero(chosen)[way(some, rows[members], own, outcomes)]] = True
        return done

    def _create(self, some: Collapsed, rows: Ids, links: Mapping[str, Any], outcomes: Outcomes) -> Mask:
        created = self._new_rows.write_records(some.records)
        if not created.any():
            return created
        self._load.effects.created += int(created.sum())
        new, members = some.of(created), created[some.runs.runs]
        moves = new.moves(None, {name: ids.filter(pa.array(members)) for name, ids in links.items()}, created[:0], {})
        first = np.zeros(new.runs.count, bool)
        first[new.runs.starts] = True
        outcomes.note(rows[members][first], "created")
        outcomes.note(rows[members][moves & ~first], "updated")
        outcomes.note(rows[members][~moves & ~first], "unchanged")
        return created

    def _change(self, some: Collapsed, rows: Ids, links: Mapping[str, Any], outcomes: Outcomes) -> Mask:
        last = {name: one(ids).take(_places(some.runs.last(some.is_set(name)))) for name, ids in links.items()}
        change = self._changed_rows.apply(some.records, last)
        done = np.zeros(len(some.runs.starts), bool)
        done[change.patched[change.folded.certain]] = True
        if not done.any():
            return done
        patched, members = some.of(done), done[some.runs.runs]
        stored = change.rows.filter(pa.array(change.folded.certain))
        ids = {name: column.filter(pa.array(members)) for name, column in links.items()}
        certain = pa.array(change.folded.certain)
        after = {name: one(column).filter(certain) for name, column in change.folded.main.columns.items()}
        moves = patched.moves(stored, ids, change.folded.lists_differ[change.folded.certain], after)
        outcomes.note(rows[members][moves], "updated")
        outcomes.note(rows[members][~moves], "unchanged")
        return done


def _places(places: Ids) -> Any:
    return pa.array(places, mask=places < 0)


def _starts(keys: Hashes) -> Ids:
    """Returns where another key begins."""
    return np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
