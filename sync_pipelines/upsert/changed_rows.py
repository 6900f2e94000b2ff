"""Records whose row is there, and only what they change of it.

A chunk of records at a time: their rows and lists are read as columns, compared with what the records make of them,
and what differs is updated. Left to the fold are records without a row of their own, and those of which it is not
certain by columns alone what it makes of their row (`changed_columns`).

Belongs here: the order of the steps, and the updates. Does not belong here: what the rows come to (`changed_columns`),
new rows (`new_rows`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.changed_columns import ChangedColumns, ColumnReviser
from sync_pipelines.upsert.column_changes import RowChanges, mask_of
from sync_pipelines.upsert.copy_format import ahead, csv_of
from sync_pipelines.upsert.copying import Copying, one
from sync_pipelines.upsert.fold import CREATE_OF_EXISTING
from sync_pipelines.upsert.history import Hashes
from sync_pipelines.upsert.new_rows import chunks_of, with_rows
from sync_pipelines.upsert.record_outcomes import Outcomes
from sync_pipelines.upsert.references import ReferenceIds, last_write
from sync_pipelines.upsert.stored_columns import StoredColumns
from sync_pipelines.upsert.write import delete_children, delete_rows, update_rows


@dataclass
class ChangedRowsResult:
    """What came of records.

    Attributes:
        leniencies: code -> how often.
        left: hashes of the keys whose records are left to the fold (sorted).
    """

    leniencies: Counter[str]
    left: Hashes


class ChangedRowWriter:
    """Revises the rows that records of one export mean.

    Args:
        connection: inside the load's transaction, with the export's locks.
        stream: the declaration.
        layout: of its kept records.
        entry: the export.
        run_id: named by the rows written.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        stream: Stream,
        layout: Layout,
        entry: LedgerFile,
        run_id: str | None,
    ) -> None:
        self._copying = Copying(connection)
        self._stream = stream
        self._entry = entry
        self._run_id = run_id
        self._standing = StoredColumns(self._copying, stream, entry)
        self._reviser = ColumnReviser(stream, layout, self._standing.lists)

    def write(self, kept: KeptRecords, chosen: Mask, outcomes: Outcomes) -> ChangedRowsResult:
        """Applies records to rows that are there.

        Args:
            kept: the export's records.
            chosen: by row, which of them; no other record of the export is known by what they are known by.
            outcomes: takes what they come to.
        """
        came = ChangedRowsResult(Counter(), np.empty(0, np.uint64))
        left = [came.left]
        references = self._stream.references
        referred = ReferenceIds.searching(self._copying.connection, self._entry, self._run_id) if references else None
        places = np.flatnonzero(chosen)
        for here, chunk in ahead(with_rows(chunks_of(kept, places), places)):
            links = {r.column: one(referred.ids(r, chunk)) for r in references if referred}
            found = self._standing.rows(chunk, links.get(self._stream.scope or ""))
            is_only = np.bincount(found.records, minlength=chunk.num_rows)[found.records] == 1
            mine = found.records[is_only]
            records, rows = chunk.take(pa.array(mine)), found.rows.filter(pa.array(is_only))
            done = self._buried(records, rows)
            outcomes.note(here[mine[done]], "deleted")
            others = pa.array(np.flatnonzero(~done))
            records, rows = records.take(others), rows.take(others)
            links_of = {column: ids.take(pa.array(mine)).take(others) for column, ids in links.items()}
            revised = self._reviser.revise(records, rows, links_of)
            self._update(revised, records)
            rest = here[mine[~done]]
            outcomes.note(rest[revised.differs], "updated")
            outcomes.note(rest[revised.certain & ~revised.differs], "unchanged")
            came.leniencies.update(_leniencies_of(revised, records))
            done[~done] = revised.certain
            left.append(np.delete(chunk.column("key_hash").to_numpy(), mine[done]))
        came.left = np.sort(np.concatenate(left))
        return came

    def _buried(self, records: pa.Table, rows: pa.Table) -> Mask:
        """Deletes rows: nothing of them stays but their names (X5). Returns which records did so."""
        buried = self._reviser.buried(records, rows)
        if not buried.any():
            return buried
        stream, dead = self._stream, records.filter(pa.array(buried))
        ids = one(rows.column("id")).filter(pa.array(buried))
        cleared = [*stream.written, *(reference.column for reference in stream.references), "extra"]
        cleared += ["defaulted_fields"] if stream.lists_defaults else []
        columns = {"id": ids, **{name: pa.nulls(len(ids), pa.string()) for name in cleared}}
        columns |= {"deleted_at": dead.column("effective_at"), **last_write(self._entry, self._run_id, dead)}
        self._update_rows(stream.table, {name: one(column) for name, column in columns.items()}, ["id"], touches=True)
        delete_children(self._copying.connection, stream.children, ids.to_pylist())
        return buried

    def _update(self, revised: ChangedColumns, records: pa.Table) -> None:
        last = last_write(self._entry, self._run_id, records)
        self._write(revised.main, revised.differs, last, touches=True)
        for rows in revised.children:
            self._write(rows, rows.differs & revised.certain[rows.tops], {}, touches=False)
        for lists in revised.resized:
            gone, new = lists.gone.of(revised.certain), lists.new.of(revised.certain)
            pairs = list(zip(*(gone[name].to_pylist() for name in (lists.declared.parent, "id")), strict=True))
            delete_rows(self._copying.connection, lists.declared, pairs)
            if len(new["line_no"]):
                self._copying.insert(lists.declared.table, new)

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


def _leniencies_of(revised: ChangedColumns, records: pa.Table) -> dict[str, int]:
    created = mask_of(pc.equal(records.column("operation"), "create")) & revised.certain
    return {CREATE_OF_EXISTING: int(created.sum())} if created.any() else {}
