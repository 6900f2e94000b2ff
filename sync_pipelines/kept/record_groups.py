"""Row groups of Parquet with kept records.

Belongs here: finding records by index. Does not belong here: the location of the Parquet (`object_reader`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipelines.normalize.keys import Rows, distinct

Checked = Callable[[Iterable[int]], AbstractContextManager[None]]
"""Verifies the checksums of row groups, which may be read within the context."""
BLOCK: Final = 4096
"""Records per block: the unit of writing, reading and staging; memory is a multiple of it."""
_FEW: Final = 1024
"""Records for which other threads cost more than they save."""


class RecordGroups:
    """The row groups of a file. The last one that was read is cached.

    Args:
        parquet: the file.
        names: columns to read, None for all.
        checked: see `Checked`.
    """

    def __init__(self, parquet: pq.ParquetFile, names: list[str] | None, checked: Checked) -> None:
        self._parquet = parquet
        self._names = names
        self._checked = checked
        sizes = [parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups)]
        self.edges = np.cumsum([0, *sizes])
        self._last: tuple[int, pa.RecordBatch] | None = None

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """Yields all records, by blocks that may span groups."""
        done, count = 0, int(self.edges[-1])
        batches = self._parquet.iter_batches(batch_size=BLOCK, columns=self._names, use_threads=count > _FEW)
        while done < count:
            first, last = self.of(np.array([done, min(done + BLOCK, count) - 1])).tolist()
            with self._checked(range(first, last + 1)):
                block = next(batches)
            done += block.num_rows
            yield block

    def of(self, places: Rows) -> Rows:
        """Returns the group of each record."""
        found: Rows = np.searchsorted(self.edges, places, side="right") - 1
        return found

    def read(self, group: int) -> pa.RecordBatch:
        """Returns a whole group."""
        if self._last is None or self._last[0] != group:
            with self._checked([group]):
                size = int(self.edges[group + 1] - self.edges[group])
                table = self._parquet.read_row_group(group, columns=self._names, use_threads=size > _FEW)
            self._last = group, table.combine_chunks().to_batches()[0]
        return self._last[1]

    def take(self, places: Rows) -> pa.Table:
        """Returns the records with some indexes, in their order."""
        groups = self.of(places)
        pieces, order = [], []
        for group in distinct(groups).tolist():
            mine = np.flatnonzero(groups == group)
            pieces.append(self.read(group).take(pa.array(places[mine] - self.edges[group])))
            order.append(mine)
        table = pa.Table.from_batches(pieces)
        return table if len(pieces) == 1 else table.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))
