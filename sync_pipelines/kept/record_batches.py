"""Changes as Arrow columns, in the form of kept records.

Belongs here: values into columns. Does not belong here: writing them (`kept_writer`), the list of columns
(`normalize.layout`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sync_pipelines.contracts.streams import Identity
from sync_pipelines.normalize.change import Change
from sync_pipelines.normalize.layout import ChildLayout, Layout, child_type
from sync_pipelines.normalize.values import to_json


def to_batch(layout: Layout, changes: Sequence[Change], hashes: npt.NDArray[np.uint64]) -> pa.RecordBatch:
    """Returns changes as a block of kept records."""
    columns: list[Any] = [
        [change.position for change in changes],
        [change.effective_at for change in changes],
        [change.operation for change in changes],
        [change.key for change in changes],
        [change.record_id for change in changes],
        hashes,
        _presence(layout, changes),
    ]
    columns += [_column(column, [change.values for change in changes], layout.json) for column in layout.columns]
    for link in layout.links:
        identities = [change.links.get(link) for change in changes]
        columns += [[identity and identity[part] for identity in identities] for part in range(len(Identity._fields))]
    columns.append([to_json(change.extra) if change.extra else None for change in changes])
    columns.append([_modes(change) for change in changes])
    for child in layout.children:
        lists = [change.children.get(child.table) for change in changes]
        columns.append(_list_array(child, [None if sent is None else sent.rows for sent in lists]))
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
        for column, field in zip(columns, layout.arrow, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=layout.arrow)


def _column(name: str, rows: Sequence[Mapping[str, Any]], json_columns: frozenset[str]) -> list[Any]:
    values = [row.get(name) for row in rows]
    return [None if v is None else to_json(v) for v in values] if name in json_columns else values


def _modes(change: Change) -> str | None:
    """Returns the modes for lists that a record sets itself."""
    chosen = {table: [sent.mode, sent.match] for table, sent in change.children.items() if sent.mode or sent.match}
    return json.dumps(chosen) if chosen else None


def _list_array(child: ChildLayout, lists: Sequence[list[dict[str, Any]] | None]) -> pa.Array:
    offsets: list[int | None] = []
    rows: list[dict[str, Any]] = []
    for elements in lists:
        offsets.append(None if elements is None else len(rows))
        rows.extend(elements or ())
    offsets.append(len(rows))
    struct = child_type(child)
    arrays = [pa.array([row.get(name) for row in rows], type=struct.field(name).type) for name in child.columns]
    arrays += [_list_array(inner, [row.get(inner.table) for row in rows]) for inner in child.nested]
    if child.is_patched:
        bits = {name: 1 << bit for bit, name in enumerate(child.names)}
        arrays.append(pa.array([sum(bits[name] for name in row if name != "extra") for row in rows], pa.int64()))
    arrays.append(pa.array([to_json(row["extra"]) if row.get("extra") else None for row in rows], pa.string()))
    values = pa.StructArray.from_arrays(arrays, fields=list(struct))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _presence(layout: Layout, changes: Sequence[Change]) -> list[int]:
    masks: dict[tuple[str, ...], int] = {}
    present = []
    for change in changes:
        names = (*change.values, *change.links, *change.children)
        mask = masks.get(names)
        if mask is None:
            mask = masks[names] = sum(1 << layout.bits[name] for name in names)
        present.append(mask)
    return present
