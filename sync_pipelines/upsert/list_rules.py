"""Lists of children, of many records at once: what is certain of them without a fold (R6, R7, R8, T8, N7).

Two questions are answered for each record, always no where in doubt:

    fresh     from no rows at all, the list as it is sent is what the fold makes of it
    steady    after a record with this list, the same list changes nothing

Where lists are merged, an element means the row that matches it, one sent just before it among them. A list of
elements that all mean rows of their own is fresh. It is steady, if its elements are also told by the same ways, or by
one way alone: else one element may give a row a name by which another one is told the next time.

Belongs here: those questions, as computations on columns. Does not belong here: merging (`lists`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.contract import Shape
from sync_pipelines.contracts.streams import Children, Match, Stream
from sync_pipelines.normalize.keys import distinct
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.normalize.list_duplicates import Codes, Mask, codes_of, has_duplicate, several_primaries

_PRIMARY = "is_primary"


class _Lists(NamedTuple):
    """The elements of many lists: how many lists, the index of each element's, and the elements, a struct."""

    size: int
    parents: Codes
    elements: Any


_Question = Callable[[Children, Sequence[Match], _Lists], Mask]


def are_fresh(stream: Stream, layout: Layout, records: pa.Table) -> Mask:
    """Which records' lists come to what they say where no row is there."""
    return _asked(stream, layout, records, _fresh, lambda declared: _merges_anywhere(declared))


def are_steady(stream: Stream, layout: Layout, records: pa.Table) -> Mask:
    """Which records' lists change nothing where they were just taken."""
    return _asked(stream, layout, records, _steady, lambda declared: not _always_steady(declared, stream.shape))


def undecided(stream: Stream) -> list[str]:
    """The child tables whose lists have to be looked at to know whether they are steady."""
    is_told = stream.listing is not None
    return [declared.table for declared in stream.children if is_told or not _always_steady(declared, stream.shape)]


def _asked(
    stream: Stream, layout: Layout, records: pa.Table, question: _Question, is_open: Callable[[Children], bool]
) -> Mask:
    found = np.ones(records.num_rows, bool)
    has_modes = records.column("modes").null_count < records.num_rows
    for declared, child in zip(stream.children, layout.children, strict=True):
        if not (has_modes or is_open(declared)):
            continue
        lists = _one(records.column(child.table))
        for chosen, (mode, name) in kinds_of(records, declared):
            ways = [match for match in declared.match if name is None or match.name == name]
            answer = _answered(declared, mode, ways, child, lists.take(pa.array(chosen)), question)
            found[chosen] &= answer
    return found


def kinds_of(records: pa.Table, declared: Children) -> Iterator[tuple[Codes, tuple[str, str | None]]]:
    """Rows that take a list in one way, and that way: its mode, and the name of the match they chose."""
    encoded = _one(records.column("modes")).dictionary_encode()
    kinds = pc.fill_null(encoded.indices, -1).to_numpy()
    for kind in distinct(kinds).tolist():
        told = json.loads(encoded.dictionary[kind].as_py()) if kind >= 0 else {}
        mode, name = told.get(declared.table, (None, None))
        yield np.flatnonzero(kinds == kind), (mode or declared.mode, name)


def _answered(
    declared: Children, mode: str, ways: Sequence[Match], child: ChildLayout, lists: Any, question: _Question
) -> Mask:
    """A question asked of lists, and of the lists in their elements."""
    if mode == "remove":
        return np.zeros(len(lists), bool)
    parents = pc.list_parent_indices(lists).to_numpy()
    found = _Lists(len(lists), parents, lists.flatten())
    answer = np.ones(len(lists), bool) if mode == "replace" else question(declared, ways, found)
    for inner, layout in zip(declared.nested, child.nested, strict=True):
        nested = found.elements.field(inner.table)
        _refuse(answer, parents, ~_answered(inner, inner.mode, inner.match, layout, nested, question))
    return answer


def _fresh(declared: Children, ways: Sequence[Match], lists: _Lists) -> Mask:
    answer = np.ones(lists.size, bool)
    for match in ways:
        codes = codes_of(match, lists.elements)
        if match.whole:
            codes[~_is_keyless(declared, lists.elements)] = -1
        _refuse(answer, lists.parents, has_duplicate(lists.parents, codes))
    if declared.primary is not None:
        _refuse(answer, lists.parents, several_primaries(declared.primary, lists.parents, lists.elements))
    return answer


def _steady(declared: Children, ways: Sequence[Match], lists: _Lists) -> Mask:
    parents = lists.parents
    keyed = [codes_of(match, lists.elements) for match in ways if not match.whole]
    told = np.array([codes >= 0 for codes in keyed]).reshape(len(keyed), len(parents))
    keyless = _is_keyless(declared, lists.elements)
    found_whole = keyless if any(match.whole for match in ways) else np.zeros(len(parents), bool)
    answer = np.ones(lists.size, bool)
    # What no way tells is added each time; a way by what another element changes tells the next time otherwise.
    lost = ~(told.any(axis=0) | found_whole)
    _refuse(answer, parents, lost | (declared.primary is not None and _tells_by_primary(ways)))
    used = np.zeros((len(keyed), lists.size), bool)
    for way, mask in enumerate(told):
        used[way, parents[mask]] = True
    by_one = used.sum(axis=0) <= 1
    for way, codes in enumerate(keyed):
        doubtful = used[way][parents] & ~keyless & (~told[way] | has_duplicate(parents, codes))
        _refuse(answer, parents, doubtful & ~by_one[parents])
    return answer


def _refuse(answer: Mask, parents: Codes, unfit: Mask) -> None:
    """Says no of the lists of unfit elements."""
    answer[parents[unfit]] = False


def _is_keyless(declared: Children, elements: Any) -> Mask:
    """Which elements have none of the columns that tell rows."""
    columns = [column for match in declared.match if not match.whole for column in match.columns]
    nulls = [elements.field(column).is_null().to_numpy(zero_copy_only=False) for column in columns]
    keyless: Mask = np.logical_and.reduce([np.ones(len(elements), bool), *nulls])
    return keyless


def _merges_anywhere(declared: Children) -> bool:
    return bool(declared.match) or any(map(_merges_anywhere, declared.nested))


def _always_steady(declared: Children, parent: Shape) -> bool:
    """Whether every list is: replaced as a whole, or told by one way that every element has."""
    shape = next(field.children for field in parent.nested if field.column == declared.column)
    assert shape is not None
    if (declared.match or declared.mode != "replace") and not _has_one_way(declared, shape):
        return False
    return all(_always_steady(inner, shape) for inner in declared.nested)


def _has_one_way(declared: Children, shape: Shape) -> bool:
    fields = shape.contract.model_fields
    columns = [column for match in declared.match for column in match.columns]
    is_one = len(declared.match) == 1 and not declared.match[0].whole and not _tells_by_primary(declared.match)
    return is_one and all(fields[column].is_required() for column in columns)


def _tells_by_primary(ways: Iterable[Match]) -> bool:
    return any(_PRIMARY in match.columns for match in ways)


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
