"""What `settle` leaves of rows that are revised (N3, N5, N6).

Belongs here: its columns, of the rows in which it looks at something that differs; of the others it changes nothing.
Does not belong here: what it does (`partners`), the same for new rows (`new_columns`).
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
from sync_pipelines.upsert.changed_lists import ListChanges
from sync_pipelines.upsert.column_changes import ColumnChange, are_distinct, dicts_of
from sync_pipelines.upsert.copying import Ids, one

_Lists = dict[str, list[dict[str, Any]]]


def derived_columns(
    stream: Stream, revisions: Mapping[str, ColumnChange], shown: Sequence[ListChanges], rows: pa.Table
) -> dict[str, ColumnChange]:
    """The columns that `settle` looks at, as it leaves them.

    Args:
        stream: the declaration.
        revisions: every column of the rows that a load writes.
        shown: the elements of the lists it looks at.
        rows: as stored.
    """
    names = [name for name in stream.settles if "." not in name]
    chosen = _differing(stream, [revisions[name] for name in names], shown)
    if stream.settle is None or not len(chosen):
        return {}
    places = pa.array(chosen)
    values = dicts_of({name: one(revisions[name].after).take(places) for name in names}, len(chosen))
    pairs = zip(values, _lists(stream, chosen, shown), strict=True)
    after = [stream.settle(row, lists) for row, lists in pairs]
    return {
        name: _revised(
            revisions[name],
            pa.array([row.get(name) for row in after], arrow_type(stream.table, name)),
            one(rows.column(name)).take(places),
            chosen,
        )
        for name in names
    }


def _revised(revision: ColumnChange, after: Any, stored: Any, chosen: Ids) -> ColumnChange:
    """A column with other values in the chosen rows; the others do not differ."""
    mask, differs = np.zeros(len(revision.differs), bool), np.zeros(len(revision.differs), bool)
    mask[chosen] = True
    differs[chosen] = are_distinct(after, stored)
    return ColumnChange(pc.replace_with_mask(one(revision.after), pa.array(mask), after), differs)


def _differing(stream: Stream, revisions: Sequence[ColumnChange], shown: Sequence[ListChanges]) -> Ids:
    """The rows in which something differs that is looked at."""
    found = [np.flatnonzero(revision.differs) for revision in revisions]
    for part in shown:
        found += [part.parents[part.revisions[name].differs] for name in _columns_of(stream, part.table)]
    return distinct(np.concatenate(found)) if found else np.empty(0, np.int64)


def _lists(stream: Stream, chosen: Ids, shown: Sequence[ListChanges]) -> Iterator[_Lists]:
    """The lists of chosen rows, of their elements only the columns that are looked at."""
    found: dict[int, _Lists] = {index: {} for index in chosen.tolist()}
    for part in shown:
        places = np.flatnonzero(np.isin(part.parents, chosen))
        names = _columns_of(stream, part.table)
        elements = dicts_of(
            {name: one(part.revisions[name].after).take(pa.array(places)) for name in names}, len(places)
        )
        for parent, element in zip(part.parents[places].tolist(), elements, strict=True):
            found[parent].setdefault(part.table, []).append(element)
    return iter(found.values())


def _columns_of(stream: Stream, table: str) -> list[str]:
    """The columns of a child table that `settle` looks at."""
    return [column for name, _, column in (looked_at.partition(".") for looked_at in stream.settles) if name == table]
