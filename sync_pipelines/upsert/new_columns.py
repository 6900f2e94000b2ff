"""What records make where no row is there, a column at a time.

The same as the fold makes from an empty row, for those records of which that is certain.

Belongs here: defaults, what settles, which records are certain. Does not belong here: whether there is a row, and
writing one (`new_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import EFFECTIVE_TIME, Stream
from sync_pipelines.normalize.layout import Layout, arrow_type
from sync_pipelines.upsert.column_changes import are_spoken, dicts_of
from sync_pipelines.upsert.copy_format import array_literal
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.fold import named_defaults, spoken_name
from sync_pipelines.upsert.list_rules import are_fresh

Mask = npt.NDArray[np.bool_]
Columns = dict[str, Any]


class NewColumns:
    """Columns of new rows.

    Args:
        stream: the declaration.
        layout: of its kept records.
    """

    def __init__(self, stream: Stream, layout: Layout) -> None:
        self._stream = stream
        self._layout = layout

    def columns(self, records: pa.Table) -> Columns:
        """The columns that a load writes, links and `extra` aside, and `defaulted_fields` where the table has them."""
        found = {name: self._value(name, records) for name in self._layout.columns}
        if self._stream.settle is not None:
            found |= self._settled(found, records)
        if self._stream.lists_defaults:
            found["defaulted_fields"] = self._defaulted(records)
        return found

    def is_certain(self, records: pa.Table, columns: Columns) -> Mask:
        """Which records make just these columns and their lists as sent, and are not refused (N4, T3)."""
        certain = np.array(pc.equal(records.column("operation"), "upsert"), bool)
        certain &= are_fresh(self._stream, self._layout, records)
        for name in self._stream.required_new:
            if name in columns:
                there = pc.is_valid(columns[name])
            else:
                there = pc.fill_null(pc.greater(pc.list_value_length(records.column(name)), 0), False)
            certain &= np.array(there, bool)
        return certain

    def _spoken(self, name: str, records: pa.Table) -> Mask:
        return are_spoken(records.column("present"), self._layout.bits[name])

    def _value(self, name: str, records: pa.Table) -> Any:
        """A column as sent, else its default (O3)."""
        sent = records.column(name)
        default = next((d for d in self._stream.defaults if d.column == name), None)
        if default is None:
            return sent
        fallback = (
            records.column("effective_at") if default.value is EFFECTIVE_TIME else pa.scalar(default.value, sent.type)
        )
        spoken = self._spoken(name, records)
        return sent if spoken.all() else pc.if_else(pa.array(spoken), sent, fallback)

    def _defaulted(self, records: pa.Table) -> Any:
        """The fields that hold their default, as array literals; few kinds of records speak of different fields."""
        named = [(alias, spoken_name(self._stream, default)) for default, alias in named_defaults(self._stream)]
        masks, kinds = np.unique(records.column("present").to_numpy(), return_inverse=True)
        literals = [
            array_literal([alias for alias, name in named if not mask >> self._layout.bits[name] & 1])
            for mask in masks.tolist()
        ]
        return pa.array(literals, pa.string()).take(pa.array(kinds))

    # -- what settles ------------------------------------------------------------------------------------------

    def _settled(self, columns: Mapping[str, Any], records: pa.Table) -> Columns:
        """The columns that `settle` looks at, as it leaves them."""
        settle = self._stream.settle
        assert settle is not None
        names = [name for name in self._stream.settles if "." not in name]
        values = dicts_of({name: one(columns[name]) for name in names if name in columns}, records.num_rows)
        settled = [settle(row, lists) for row, lists in zip(values, self._lists(records), strict=True)]
        kinds = {name: arrow_type(self._stream.table, name) for name in names}
        return {name: pa.array([row.get(name) for row in settled], kinds[name]) for name in names}

    def _lists(self, records: pa.Table) -> Iterator[dict[str, list[dict[str, Any]]]]:
        """The lists that `settle` looks at, by record, in their elements only the columns it names."""
        wanted: dict[str, list[str]] = {}
        for table, _, column in (name.partition(".") for name in self._stream.settles):
            if column:
                wanted.setdefault(table, []).append(column)
        found: list[dict[str, list[dict[str, Any]]]] = [{} for _ in range(records.num_rows)]
        for table, names in wanted.items():
            lists = one(records.column(table))
            elements = lists.flatten()
            rows = dicts_of({name: elements.field(name) for name in names}, len(elements))
            for parent, row in zip(pc.list_parent_indices(lists).to_pylist(), rows, strict=True):
                found[parent].setdefault(table, []).append(row)
        return iter(found)
