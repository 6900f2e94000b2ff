"""Columns that `compute` derives for changed rows (N3, N5, N6).

Belongs here: its columns, for rows in which one of its inputs changes; other rows keep theirs. Does not belong here:
what `compute` does (`partners`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.normalize.layout import arrow_type
from sync_pipelines.upsert.column_changes import ColumnChange, changed_value, dicts_of
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.list_columns import ListAfter

_Lists = dict[str, list[dict[str, Any]]]


def derived_columns(
    stream: Stream, changes: Mapping[str, ColumnChange], shown: Sequence[ListAfter], rows: pa.Table | None
) -> dict[str, ColumnChange]:
    """Returns the columns that `compute` reads, with its results.

    Args:
        stream: the declaration.
        changes: every column of the rows that a load writes.
        shown: the lists that `compute` reads.
        rows: as stored; None if there are none.
    """
    names = [name for name in stream.computes if "." not in name]
    chosen = _differing(stream, [changes[name] for name in names], shown)
    if stream.compute is None or not len(chosen):
        return {}
    places = pa.array(chosen)
    values = dicts_of({name: one(changes[name].after).take(places) for name in names}, len(chosen))
    pairs = zip(values, _lists(stream, chosen, shown), strict=True)
    after = [stream.compute(row, lists) for row, lists in pairs]
    found = {}
    for name in names:
        derived = pa.array([row.get(name) for row in after], arrow_type(stream.table, name))
        stored = None if rows is None else one(rows.column(name)).take(places)
        found[name] = _merged(changes[name], derived, stored, chosen)
    return found


def _merged(change: ColumnChange, derived: Any, stored: Any, chosen: Ids) -> ColumnChange:
    """Returns a column with new values in the chosen rows; other rows do not change."""
    mask, differs = np.zeros(len(change.differs), bool), np.zeros(len(change.differs), bool)
    mask[chosen] = True
    differs[chosen] = changed_value(derived, stored, np.ones(len(chosen), bool)).differs
    return ColumnChange(pc.replace_with_mask(one(change.after), pa.array(mask), derived), differs)


def _differing(stream: Stream, changes: Sequence[ColumnChange], shown: Sequence[ListAfter]) -> Ids:
    """Returns the rows in which an input of `compute` changes."""
    found = [np.flatnonzero(change.differs) for change in changes]
    for part in shown:
        found += [part.differing(name) for name in _columns_of(stream, part.table)]
    return distinct(np.concatenate(found)) if found else np.empty(0, np.int64)


def _lists(stream: Stream, chosen: Ids, shown: Sequence[ListAfter]) -> Iterator[_Lists]:
    """Yields the lists of chosen rows, with only the columns that `compute` reads."""
    found: dict[int, _Lists] = {index: {} for index in chosen.tolist()}
    for part in shown:
        places = np.flatnonzero(np.isin(part.owners, chosen))
        names = _columns_of(stream, part.table)
        elements = dicts_of({name: part.column(name).take(pa.array(places)) for name in names}, len(places))
        for owner, element in zip(part.owners[places].tolist(), elements, strict=True):
            found[owner].setdefault(part.table, []).append(element)
    return iter(found.values())


def _columns_of(stream: Stream, table: str) -> list[str]:
    """Returns the columns of a child table that `compute` reads."""
    return [column for name, _, column in (looked_at.partition(".") for looked_at in stream.computes) if name == table]
