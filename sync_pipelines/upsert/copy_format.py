"""Columns as CSV, for the server.

Belongs here: the format of PostgreSQL's COPY. Does not belong here: what is copied (`copying`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

T = TypeVar("T")
# Kept: starting and ending threads leaks memory.
_WORKERS = ThreadPoolExecutor(3, "ahead")
_CSV = pyarrow.csv.WriteOptions(include_header=False, batch_size=8_192)
_MOMENT = pa.timestamp("us")


def ahead(parts: Iterable[T]) -> Iterator[T]:
    """Prepares each part in another thread while the previous one is used.

    The server works meanwhile.
    """
    source = iter(parts)
    return _following(source, _WORKERS.submit(next, source, None))


def _following(source: Iterator[T], started: Future[T | None]) -> Iterator[T]:
    while (part := started.result()) is not None:
        started = _WORKERS.submit(next, source, None)
        yield part


def csv_of(columns: Sequence[Any]) -> bytes:
    """Returns columns as CSV without a header, in the format of COPY."""
    table = pa.table([_writable(column) for column in columns], names=[str(n) for n in range(len(columns))])
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(table, buffer, _CSV)
    return buffer.getvalue()


def _writable(column: Any) -> Any:
    if pa.types.is_timestamp(column.type):
        # All in UTC: with a time zone each would be looked up in its rules, twenty times the work.
        return pc.binary_join_element_wise(column.cast(_MOMENT).cast(pa.string()), "Z", "")
    if pa.types.is_dictionary(column.type):
        return _writable(column.dictionary).take(column.indices)
    if pa.types.is_list(column.type):
        return pa.array([None if v is None else array_literal(v) for v in column.to_pylist()], pa.string())
    return column


def array_literal(texts: Sequence[str | None]) -> str:
    """Returns texts as a PostgreSQL array literal."""
    quoted = ("NULL" if t is None else '"' + t.replace("\\", "\\\\").replace('"', '\\"') + '"' for t in texts)
    return "{" + ",".join(quoted) + "}"


def array_of(column: Any) -> str:
    """Returns a column of integers or texts as a PostgreSQL array literal."""
    texts = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).cast(pa.string())
    if not pa.types.is_integer(column.type):
        escaped = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
        texts = pc.binary_join_element_wise('"', escaped, '"', "")
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(texts)], pc.fill_null(texts, "NULL")), ",")
    return f"{{{joined[0].as_py()}}}"


def numbered(lists: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Any]:
    """Flattens lists: returns each element's list index, its number in the list from 1, and the elements."""
    parents = pc.list_parent_indices(lists).to_numpy()
    first = np.concatenate(([True], parents[1:] != parents[:-1])) if len(parents) else np.empty(0, bool)
    starts = np.maximum.accumulate(np.where(first, np.arange(len(parents)), 0))
    return parents, np.arange(len(parents)) - starts + 1, lists.flatten()
