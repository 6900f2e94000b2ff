"""Kept records on their way into the stage, as CSV.

Belongs here: the form PostgreSQL's COPY takes. Does not belong here: which records go which way (`load`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from sync_pipelines.normalize.kept import KeptRecords
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.upsert.statements import Presence
from sync_pipelines.upsert.workers import Workers

T = TypeVar("T")
_WORKERS = Workers(3, "ahead")
_CSV = pyarrow.csv.WriteOptions(include_header=False, batch_size=8_192)
_MOMENT = pa.timestamp("us")


def ahead(parts: Iterable[T]) -> Iterator[T]:
    """The same parts, the first begun at once, each of the others while the one before it is used.

    The server works while the next is prepared.
    """
    source = iter(parts)
    return _following(source, _WORKERS.submit(next, source, None))


def _following(source: Iterator[T], begun: Future[T | None]) -> Iterator[T]:
    while (part := begun.result()) is not None:
        begun = _WORKERS.submit(next, source, None)
        yield part


def csv_of(columns: Sequence[Any]) -> bytes:
    """Columns as CSV without a header, in the form COPY takes."""
    table = pa.table([_writable(column) for column in columns], names=[str(n) for n in range(len(columns))])
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(table, buffer, _CSV)
    return buffer.getvalue()


def _writable(column: Any) -> Any:
    if pa.types.is_timestamp(column.type):
        # In UTC, all of them. With a time zone each would be looked up in the zone's rules, twenty times the work.
        return pc.binary_join_element_wise(column.cast(_MOMENT).cast(pa.string()), "Z", "")
    if pa.types.is_list(column.type):
        return pa.array([None if v is None else array_literal(v) for v in column.to_pylist()], pa.string())
    return column


def array_literal(texts: Sequence[str | None]) -> str:
    """Texts as PostgreSQL writes an array of them."""
    quoted = ("NULL" if t is None else '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"' for t in texts)
    return "{" + ",".join(quoted) + "}"


class StagedRecords:
    """The kept records of one export that are applied as they are to rows that are there, block by block.

    Args:
        kept: the export's records.
        keys: hashes of their keys (sorted).
    """

    def __init__(self, kept: KeptRecords, keys: npt.NDArray[np.uint64]) -> None:
        self._kept = kept
        self._rows = np.flatnonzero(kept.rows_known_by(keys))

    def _blocks(self, columns: Sequence[str]) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
        return self._kept.chosen(self._rows, columns)

    def presence(self, layout: Layout) -> Presence:
        """What the records speak of, all told; deletes speak of nothing and are left out."""
        always, ever = layout.everything, 0
        for _, block in self._blocks(["operation", "present"]):
            masks = block.column("present").filter(pc.equal(block.column("operation"), "upsert")).to_numpy()
            if len(masks):
                always &= int(np.bitwise_and.reduce(masks))
                ever |= int(np.bitwise_or.reduce(masks))
        return Presence(always, ever)

    def main_csv(self, columns: Sequence[str]) -> Iterator[bytes]:
        """The records' own rows as CSV in the order of `columns`, the first being `seq`."""
        for rows, block in self._blocks(columns[1:]):
            yield csv_of([pa.array(rows), *(block.column(name) for name in columns[1:])])

    def child_csv(self, child: ChildLayout) -> Iterator[bytes]:
        """The rows of one child table as CSV: parent's seq, line number, columns, extra."""
        names = ["seq", "line_no", *child.columns, "extra"]
        for rows, block in self._blocks([child.table]):
            parents, numbers, elements = numbered(block.column(child.table))
            if len(parents):
                fields = [elements.field(name) for name in names[2:]]
                yield csv_of([pa.array(rows[parents]), pa.array(numbers), *fields])


def numbered(lists: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any]:
    """The elements of lists: the index of each one's list, its number in there from 1, and the elements themselves."""
    parents = pc.list_parent_indices(lists).to_numpy()
    first = np.concatenate(([True], parents[1:] != parents[:-1])) if len(parents) else np.empty(0, bool)
    starts = np.maximum.accumulate(np.where(first, np.arange(len(parents)), 0))
    return parents, np.arange(len(parents)) - starts + 1, lists.flatten()
