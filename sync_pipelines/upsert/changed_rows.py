"""Updates existing rows with only the differences that records make.

Works on a chunk of records at a time: reads their rows and lists as columns, compares them with the results of the
records, and updates the differences. Records without a row of their own are passed to the fold, and so are those whose
result is not certain from columns alone (`columns`).

Belongs here: the order of the steps, and the updates. Does not belong here: the results (`columns`), new rows
(`new_rows`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.column_changes import RowChanges, mask_of
from sync_pipelines.upsert.columns import ColumnFold, FoldedRows
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copy_format import ahead, csv_of
from sync_pipelines.upsert.copying import Copying, Ids, one
from sync_pipelines.upsert.fold import CREATE_OF_EXISTING
from sync_pipelines.upsert.new_rows import chunks_of, insert_elements
from sync_pipelines.upsert.record_outcomes import Outcomes
from sync_pipelines.upsert.references import ReferenceIds
from sync_pipelines.upsert.stored_columns import StoredColumns
from sync_pipelines.upsert.write import delete_children, delete_rows, update_rows


class AppliedRecords(NamedTuple):
    """The result of some records.

    Attributes:
        deleted: the indexes of records that deleted their row.
        patched: the indexes of records with one live row.
        folded: the results of those.
        rows: their rows before.
    """

    deleted: Ids
    patched: Ids
    folded: FoldedRows
    rows: pa.Table

    @property
    def done(self) -> Ids:
        """The indexes of records that need no fold."""
        return np.concatenate([self.deleted, self.patched[self.folded.certain]])


class ChangedRowWriter:
    """Updates the rows of one export's records.

    Args:
        context: context of the load.

    Attributes:
        leniencies: code -> count, of all records so far.
    """

    def __init__(self, context: LoadContext) -> None:
        self.leniencies: Counter[str] = Counter()
        self._load = context
        self._copying = Copying(context.connection)
        self._stored = StoredColumns(self._copying, context)
        self._columns = ColumnFold(context.stream, context.layout, self._stored.lists)
        self._referred = ReferenceIds.searching(context)

    def write(self, kept: KeptRecords, wanted: Mask, outcomes: Outcomes) -> Mask:
        """Applies records to existing rows. Returns, by row, which of them need no fold.

        Args:
            kept: the export's records.
            wanted: by row, which of them; no other record of the export shares a key or id with them.
            outcomes: receives their outcomes.
        """
        done = np.zeros_like(wanted)
        for here, chunk in ahead(chunks_of(kept, np.flatnonzero(wanted))):
            change = self.apply(chunk)
            outcomes.note(here[change.deleted], "deleted")
            for outcome, chosen in change.folded.outcomes.items():
                outcomes.note(here[change.patched[chosen]], outcome)
            done[here[change.done]] = True
        return done

    def with_links(self, records: pa.Table) -> pa.Table:
        """Returns records with the ids of the rows that they refer to, which are created if they are missing."""
        for reference in self._load.stream.references:
            if reference.column not in records.column_names:
                records = records.append_column(reference.column, self._referred.ids(reference, records))
        return records

    def apply(self, records: pa.Table) -> AppliedRecords:
        """Applies kept records to their rows, one record per row, and writes what differs."""
        records = self.with_links(records)
        found = self._stored.rows(records)
        is_only = np.bincount(found.records, minlength=records.num_rows)[found.records] == 1
        mine, rows = found.records[is_only], found.rows.filter(pa.array(is_only))
        records = records.take(pa.array(mine))
        dead = self._delete(records, rows)
        self._load.effects.deleted += int(dead.sum())
        patched, others = mine[~dead], pa.array(np.flatnonzero(~dead))
        records, rows = records.take(others), rows.take(others)
        folded = self._columns.fold(records, rows)
        self._update(folded, records)
        self._load.effects.note_columns(self._load.stream, folded, rows)
        created = mask_of(pc.equal(records.column("operation"), "create")) & folded.certain
        self.leniencies += Counter({CREATE_OF_EXISTING: int(created.sum())})
        return AppliedRecords(mine[dead], patched, folded, rows)

    def _delete(self, records: pa.Table, rows: pa.Table) -> Mask:
        """Deletes rows: only their names remain (X5). Returns which records did so."""
        deleted = self._columns.deletes(records, rows)
        if not deleted.any():
            return deleted
        stream, dead = self._load.stream, records.filter(pa.array(deleted))
        ids = one(rows.column("id")).filter(pa.array(deleted))
        cleared = [*stream.written, *(reference.column for reference in stream.references), "extra"]
        cleared += ["defaulted_fields"] if stream.lists_defaults else []
        columns = {"id": ids, **{name: pa.nulls(len(ids), pa.string()) for name in cleared}}
        columns |= {"deleted_at": dead.column("effective_at"), **self._load.last_write(dead)}
        self._update_rows(stream.table, {name: one(column) for name, column in columns.items()}, ["id"], touches=True)
        delete_children(self._copying.connection, stream.children, ids.to_pylist())
        return deleted

    def _update(self, folded: FoldedRows, records: pa.Table) -> None:
        last = self._load.last_write(records)
        self._write(folded.main, folded.differs, last, touches=True)
        for rows in folded.children:
            self._write(rows, rows.differs & folded.certain[rows.tops], {}, touches=False)
        for lists in folded.resized:
            gone = folded.certain[lists.gone_tops]
            ids, parents = lists.gone[gone].tolist(), lists.ids[lists.gone_owners[gone]].tolist()
            delete_children(self._copying.connection, lists.declared.nested, ids)
            delete_rows(self._copying.connection, lists.declared, [*zip(parents, ids, strict=True)])
            insert_elements(self._copying, lists.declared, lists.layout, lists.new.of(folded.certain), lists.ids)

    def _write(self, rows: RowChanges, chosen: Mask, also: dict[str, Any], *, touches: bool) -> None:
        if not chosen.any():
            return
        places = pa.array(np.flatnonzero(chosen))
        columns = {name: one(c).take(places) for name, c in {**rows.keys, **rows.columns, **also}.items()}
        self._update_rows(rows.table, columns, list(rows.keys), touches=touches)

    def _update_rows(self, table: str, columns: dict[str, Any], keys: list[str], *, touches: bool) -> None:
        update_rows(
            self._copying.connection,
            table,
            list(columns),
            keys,
            lambda staged: self._copying.write(staged, list(columns), [csv_of(list(columns.values()))]),
            touches=touches,
        )
