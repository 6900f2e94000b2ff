"""Finds lists that change nothing the second time, for many records at once (R6, R7, R8, T8, N7).

In a merged list, an element refers to the row that matches it. A list repeats if the same ways, or a single way, apply
to all of its elements. Otherwise one element may give a row values by which another element matches it the next time.

Belongs here: that question, computed on columns; "no" if in doubt. Does not belong here: merging (`lists`,
`list_columns`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.contract import Shape
from sync_pipelines.contracts.streams import Children, Match, Stream
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.normalize.list_duplicates import Codes, Mask, codes_of, has_duplicate
from sync_pipelines.upsert.copying import one

_PRIMARY = "is_primary"


def are_steady(stream: Stream, layout: Layout, records: pa.Table) -> Mask:
    """Returns which records' lists change nothing if they were just applied."""
    found = np.ones(records.num_rows, bool)
    has_modes = records.column("modes").null_count < records.num_rows
    for declared, child in zip(stream.children, layout.children, strict=True):
        if not has_modes and _always_steady(declared, stream.shape):
            continue
        lists = one(records.column(child.table))
        for chosen, (mode, name) in kinds_of(records, declared):
            ways = [match for match in declared.match if name is None or match.name == name]
            found[chosen] &= _are_steady(declared, mode, ways, child, lists.take(pa.array(chosen)))
    return found


def undecided(stream: Stream) -> list[str]:
    """Returns the child tables whose lists must be read to know whether they are steady."""
    has_own_modes = stream.listing is not None
    return [
        declared.table for declared in stream.children if has_own_modes or not _always_steady(declared, stream.shape)
    ]


def kinds_of(records: pa.Table, declared: Children) -> Iterator[tuple[Codes, tuple[str, str | None]]]:
    """Groups rows by how they apply a list: its mode, and the name of the chosen match."""
    encoded = one(records.column("modes")).dictionary_encode()
    kinds = pc.fill_null(encoded.indices, -1).to_numpy()
    for kind in distinct(kinds).tolist():
        applicable = json.loads(encoded.dictionary[kind].as_py()) if kind >= 0 else {}
        mode, name = applicable.get(declared.table, (None, None))
        yield np.flatnonzero(kinds == kind), (mode or declared.mode, name)


def are_keyless(declared: Children, elements: Any) -> Mask:
    """Returns which elements have none of the columns that identify rows."""
    columns = [column for match in declared.match if not match.whole for column in match.columns]
    nulls = [elements.field(column).is_null().to_numpy(zero_copy_only=False) for column in columns]
    keyless: Mask = np.logical_and.reduce([np.ones(len(elements), bool), *nulls])
    return keyless


def _are_steady(declared: Children, mode: str, ways: Sequence[Match], child: ChildLayout, lists: Any) -> Mask:
    """Returns which lists with one mode and match are steady, including the lists in their elements."""
    if mode == "remove":
        return np.zeros(len(lists), bool)
    parents, elements = pc.list_parent_indices(lists).to_numpy(), lists.flatten()
    answer = np.ones(len(lists), bool)
    if mode != "replace":
        answer[parents[_may_differ(declared, ways, parents, elements)]] = False
    for inner, layout in zip(declared.nested, child.nested, strict=True):
        nested = elements.field(inner.table)
        answer[parents[~_are_steady(inner, inner.mode, inner.match, layout, nested)]] = False
    return answer


def _may_differ(declared: Children, ways: Sequence[Match], parents: Codes, elements: Any) -> Mask:
    """Returns which elements may have another effect the next time."""
    keyed = [codes_of(match, elements) for match in ways if not match.whole]
    applicable = np.array([codes >= 0 for codes in keyed]).reshape(len(keyed), len(parents))
    keyless = are_keyless(declared, elements)
    found_whole = keyless if any(match.whole for match in ways) else np.zeros(len(parents), bool)
    # Elements without a match are added each time. A column that another element changes matches differently next time.
    doubtful: Mask = ~(applicable.any(axis=0) | found_whole)
    if declared.primary is not None and _matches_by_primary(ways):
        return np.ones(len(parents), bool)
    used = np.zeros((len(keyed), int(parents.max(initial=-1)) + 1), bool)
    for way, mask in enumerate(applicable):
        used[way, parents[mask]] = True
    by_one = used.sum(axis=0) <= 1
    for way, codes in enumerate(keyed):
        unsure = used[way][parents] & ~keyless & (~applicable[way] | has_duplicate(parents, codes))
        doubtful |= unsure & ~by_one[parents]
    return doubtful


def _always_steady(declared: Children, parent: Shape) -> bool:
    """Whether every list is steady: replaced as a whole, or matched by one way that applies to every element."""
    shape = next(field.children for field in parent.nested if field.column == declared.column)
    assert shape is not None
    if (declared.match or declared.mode != "replace") and not _has_one_way(declared, shape):
        return False
    return all(_always_steady(inner, shape) for inner in declared.nested)


def _has_one_way(declared: Children, shape: Shape) -> bool:
    fields = shape.contract.model_fields
    columns = [column for match in declared.match for column in match.columns]
    is_one = len(declared.match) == 1 and not declared.match[0].whole and not _matches_by_primary(declared.match)
    return is_one and all(fields[column].is_required() for column in columns)


def _matches_by_primary(ways: Iterable[Match]) -> bool:
    return any(_PRIMARY in match.columns for match in ways)
