"""Records whose row is there, and only what they change of it.

A chunk of records at a time: their rows and lists are read as columns, compared with what the records make of them,
and what differs is updated. Left to the fold are records without a row of their own, and those of which it is not
certain by columns alone what it makes of their row (`revised`).

Belongs here: the order of the steps, and the updates. Does not belong here: what the rows come to (`revised`), new rows
(`direct`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.normalize.kept import KeptRecords
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.twins import Mask
from sync_pipelines.upsert.columns import RevisedRows
from sync_pipelines.upsert.copying import Copying, one
from sync_pipelines.upsert.direct import chunks_of
from sync_pipelines.upsert.history import Hashes
from sync_pipelines.upsert.referred import Referred, last_write
from sync_pipelines.upsert.revised import Revised, Reviser
from sync_pipelines.upsert.stage import ahead, csv_of
from sync_pipelines.upsert.standing import Standing
from sync_pipelines.upsert.write import update_rows


@dataclass
class Revisions:
    """What came of records.

    Attributes:
        updated, unchanged: records that changed their row, and those that did not.
        left: hashes of the keys whose records are left to the fold (sorted).
    """

    updated: int
    unchanged: int
    left: Hashes


class RevisionWay:
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
        self._standing = Standing(self._copying, stream, entry)
        self._reviser = Reviser(stream, layout, self._standing.lists)

    def write(self, kept: KeptRecords, chosen: Mask) -> Revisions:
        """Applies records to rows that are there.

        Args:
            kept: the export's records.
            chosen: by row, which of them; no other record of the export is known by what they are known by.
        """
        came = Revisions(0, 0, np.empty(0, np.uint64))
        left = [came.left]
        references = self._stream.references
        referred = Referred.searching(self._copying.connection, self._entry, self._run_id) if references else None
        for chunk in ahead(chunks_of(kept, np.flatnonzero(chosen))):
            links = {r.column: one(referred.ids(r, chunk)) for r in references if referred}
            found = self._standing.rows(chunk, links.get(self._stream.scope or ""))
            is_only = np.bincount(found.records, minlength=chunk.num_rows)[found.records] == 1
            mine = found.records[is_only]
            records = chunk.take(pa.array(mine))
            of_mine = {column: ids.take(pa.array(mine)) for column, ids in links.items()}
            revised = self._reviser.revise(records, found.rows.filter(pa.array(is_only)), of_mine)
            self._update(revised, records)
            came.updated += int(revised.differs.sum())
            came.unchanged += int((revised.certain & ~revised.differs).sum())
            left.append(np.delete(chunk.column("key_hash").to_numpy(), mine[revised.certain]))
        came.left = np.sort(np.concatenate(left))
        return came

    def _update(self, revised: Revised, records: pa.Table) -> None:
        last = last_write(self._entry, self._run_id, records)
        self._write(revised.main, revised.differs, last, touches=True)
        for rows in revised.children:
            self._write(rows, rows.differs & revised.certain[rows.tops], {}, touches=False)

    def _write(self, rows: RevisedRows, chosen: Mask, also: dict[str, Any], *, touches: bool) -> None:
        if not chosen.any():
            return
        places = pa.array(np.flatnonzero(chosen))
        columns = {name: one(c).take(places) for name, c in {**rows.keys, **rows.columns, **also}.items()}
        update_rows(
            self._copying.connection,
            rows.table,
            list(columns),
            list(rows.keys),
            lambda staged: self._copying.write(staged, list(columns), [csv_of(list(columns.values()))]),
            touches=touches,
        )
