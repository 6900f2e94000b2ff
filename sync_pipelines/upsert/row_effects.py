"""What a load does to rows, as numbers: the guards compare them with the rows that were there.

Counts rows, not records: a row that several records change is one row, and one that a file deletes and creates again is
no deleted row. Belongs here: counting. Does not belong here: limits (`guards`), outcomes of records
(`record_outcomes`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.column_changes import mask_of
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.fold import Row

if TYPE_CHECKING:
    # `columns` reads rows with the context, which has these numbers.
    from sync_pipelines.upsert.columns import FoldedRows


@dataclass
class RowEffects:
    """Numbers of rows of the stream's table; placeholders and tombstones are not live.

    Attributes:
        created: rows that are live and were not.
        deleted: rows that were live and are not.
        changed: rows that were live, still are, and differ.
        emptied: those of them of which a filled field or list is empty now.
    """

    created: int = 0
    deleted: int = 0
    changed: int = 0
    emptied: int = 0

    def note_row(self, before: Row | None, after: Row | None) -> None:
        """Counts a folded row."""
        was_live, is_live = _is_live(before), _is_live(after)
        self.created += is_live and not was_live
        self.deleted += was_live and not is_live
        if before is not None and after is not None and was_live and is_live and before != after:
            self.changed += 1
            self.emptied += bool(_filled(before) - _filled(after))

    def note_columns(self, stream: Stream, folded: FoldedRows, rows: pa.Table) -> None:
        """Counts existing live rows that were folded as columns; `rows` are they, as stored."""
        self.changed += int(folded.differs.sum())
        emptied = _emptied_lists(stream, folded, rows.num_rows)
        for name, after in folded.main.columns.items():
            if name != "defaulted_fields":
                emptied |= _are_empty(one(after)) & ~_are_empty(one(rows.column(name)))
        self.emptied += int((emptied & folded.differs).sum())


def _is_live(row: Row | None) -> bool:
    return row is not None and row.is_live and not row.is_placeholder


def _filled(row: Row) -> set[str]:
    """Returns the fields, links and lists of a row that are filled."""
    values = {name for name, value in row.values.items() if value not in (None, "", [], {})}
    values |= {name for name, link in row.links.items() if link is not None}
    return values | {table for table, rows in row.children.items() if rows} | ({"extra"} if row.extra else set())


def _are_empty(column: Any) -> Mask:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return mask_of(pc.is_in(column, pa.array([None, "", "{}", "[]"], column.type)))
    if pa.types.is_list(column.type):
        return mask_of(pc.fill_null(pc.equal(pc.list_value_length(column), 0), True))
    return mask_of(column.is_null())


def _emptied_lists(stream: Stream, folded: FoldedRows, count: int) -> Mask:
    """Returns the main rows with a list of which every stored row goes and no other comes."""
    emptied = np.zeros(count, bool)
    for declared in stream.children:
        gone, new, stored = (np.zeros(count, np.int64) for _ in range(3))
        for lists in folded.resized:
            if lists.declared.table == declared.table:
                gone += np.bincount(lists.gone_tops, minlength=count)
                new += np.bincount(lists.new.tops, minlength=count)
        for rows in folded.children:
            if rows.table == declared.table:
                stored += np.bincount(rows.tops, minlength=count)
        emptied |= (stored > 0) & (stored == gone) & (new == 0)
    return emptied
