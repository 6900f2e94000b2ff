"""The modes for the lists of many records, if the payload sets them (T6, T8).

Belongs here: calling a stream's `listing` once for each kind of record. Does not belong here: the content of lists
(`plain_columns`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.reading import RecordRejected
from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.normalize.list_duplicates import codes_of, has_duplicate
from sync_pipelines.normalize.plain_columns import PlainRows, is_null, mask_of

Members = Sequence[int]


def modes_of(stream: Stream, columns: Mapping[str, Any], rows: PlainRows) -> dict[str, Any]:
    """Returns the column `modes` of kept records. A record with duplicate list elements is not plain.

    Args:
        stream: the declaration.
        columns: contract attributes and child tables, as columns.
        rows: marks the records that are not plain.
    """
    if stream.listing is None or not stream.listing_fields:
        return {}
    modes = np.full(rows.count, None, object)
    for values, members in _kinds(stream, columns, rows.count):
        try:
            listing = stream.listing(values)
        except RecordRejected:
            rows.exclude(mask_of(members, rows.count))
            continue
        if listing:
            modes[members] = json.dumps({table: list(way) for table, way in listing.items()})
        for declared in stream.children:
            _, way = listing.get(declared.table, (None, None))
            if way is not None:
                rows.exclude(mask_of(_has_indistinct(declared, way, columns[declared.table], members), rows.count))
    return {"modes": pa.array(modes.tolist(), pa.string())}


def _kinds(stream: Stream, columns: Mapping[str, Any], count: int) -> Iterator[tuple[dict[str, Any], Members]]:
    """Yields groups of records with the same list settings: their fields, with each list empty, and their indexes."""
    texts = {name: columns[name].to_pylist() for name in stream.listing_fields if name in columns}
    sent = {c.column: (~is_null(columns.get(c.table), count)).tolist() for c in stream.children}
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for row, kind in enumerate(zip(*texts.values(), *sent.values(), strict=True)):
        kinds.setdefault(kind, []).append(row)
    for kind, members in kinds.items():
        listing, lists = kind[: len(texts)], kind[len(texts) :]
        values = {name: value for name, value in zip(texts, listing, strict=True) if value is not None}
        yield values | {name: [] for name, is_sent in zip(sent, lists, strict=True) if is_sent}, members


def _has_indistinct(declared: Children, way: str, lists: Any, members: Members) -> Any:
    """Returns which of some records have elements that the chosen way does not distinguish."""
    match = next((match for match in declared.match if match.name == way), None)
    if match is None:
        return members
    chosen = lists.take(pa.array(members))
    parents = pc.list_parent_indices(chosen).to_numpy()
    codes = codes_of(match, chosen.flatten())
    return np.array(members, np.int64)[parents[(codes < 0) | has_duplicate(parents, codes)]]
