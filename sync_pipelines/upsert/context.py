"""What everything that writes rows of one export needs.

Belongs here: those values, and the columns that name the export as the last write. Does not belong here: the export's
records (`kept`), the order of a load (`load`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import psycopg
import pyarrow as pa

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.normalize.layout import Layout, layout_of


@dataclass(frozen=True)
class LoadContext:
    """One export being written.

    Attributes:
        connection: inside the load's transaction, with the export's locks.
        stream: the declaration.
        entry: the export's ledger entry.
        run_id: named by the rows written.
    """

    connection: psycopg.Connection[Any]
    stream: Stream
    entry: LedgerFile
    run_id: str | None

    @cached_property
    def layout(self) -> Layout:
        """Of the stream's kept records."""
        return layout_of(self.stream)

    def last_write(self, records: pa.Table) -> dict[str, Any]:
        """The columns that name records as the last write of their rows."""
        return {
            "effective_at": records.column("effective_at"),
            "source_position": records.column("position"),
            **self._written(records.num_rows),
        }

    def last_write_of_export(self, records: pa.Table) -> dict[str, Any]:
        """The same of the export as a whole, as often as there are records."""
        moment = pa.scalar(self.entry.effective_at, pa.timestamp("us", "UTC"))
        return {"effective_at": pa.repeat(moment, records.num_rows), **self._written(records.num_rows)}

    def _written(self, count: int) -> dict[str, Any]:
        run_id = pa.nulls(count, pa.string()) if self.run_id is None else pa.repeat(self.run_id, count)
        return {"source_file": pa.repeat(self.entry.path, count), "run_id": run_id}
