"""Values that everything needs that writes rows of one export.

Belongs here: those values, and the columns that name the export as the last writer. Does not belong here: the export's
records (`kept`), the order of a load (`load`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg
import pyarrow as pa

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.normalize.layout import Layout, layout_of
from sync_pipelines.upsert.row_effects import RowEffects


@dataclass(frozen=True)
class LoadContext:
    """One export that is being written.

    Attributes:
        connection: in the load's transaction, with the export's locks.
        stream: the declaration.
        entry: the export's ledger entry.
        run_id: the run id for written rows.
        withdrawn: paths of withdrawn exports, which no row may name as its last writer any more; None in other loads.
        note_rows: called with a main table and the ids of rows that are folded row by row and written.
        effects: counts what happens to rows; the paths of records fill it.
        blocked: for an export of a rebuild, the positions of its deletes that were blocked, with the reasons; None
            if the load decides.
    """

    connection: psycopg.Connection[Any]
    stream: Stream
    entry: LedgerFile
    run_id: str | None
    withdrawn: frozenset[str] | None = None
    note_rows: Callable[[str, Iterable[int]], None] = lambda table, ids: None
    effects: RowEffects = field(default_factory=RowEffects)
    blocked: Mapping[str, str] | None = None

    @cached_property
    def layout(self) -> Layout:
        """The layout of the stream's kept records."""
        return layout_of(self.stream)

    def last_write(self, records: pa.Table) -> dict[str, Any]:
        """Returns the columns that name records as the last writers of their rows."""
        return {
            "effective_at": records.column("effective_at"),
            "source_position": records.column("position"),
            **self._written(records.num_rows),
        }

    def last_write_of_export(self, records: pa.Table) -> dict[str, Any]:
        """Returns the columns that name the export as the last writer, with one row per record."""
        moment = pa.scalar(self.entry.effective_at, pa.timestamp("us", "UTC"))
        return {"effective_at": pa.repeat(moment, records.num_rows), **self._written(records.num_rows)}

    def _written(self, count: int) -> dict[str, Any]:
        run_id = pa.nulls(count, pa.string()) if self.run_id is None else pa.repeat(self.run_id, count)
        return {"source_file": pa.repeat(self.entry.path, count), "run_id": run_id}
