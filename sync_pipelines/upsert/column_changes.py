"""Columns of rows after a change, compared with the stored ones.

Belongs here: the write rules of single columns (X1, R4, O3), and where values change. Does not belong here:
which column has which rule (`columns`, `list_columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.normalize.values import from_json, to_json
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.jsonb import are_unequal
from sync_pipelines.upsert.lists import without_nulls

Bits = npt.NDArray[np.int64]
REMEMBERED: Final = 1_000
"""Cached results for pairs of objects."""


class ColumnChange(NamedTuple):
    """A column after the change, and where it differs from the stored one."""

    after: Any
    differs: Mask


@dataclass(frozen=True)
class RowChanges:
    """Changed rows of one table, as columns.

    Attributes:
        table: the table.
        keys: the columns that identify each row.
        tops: for each row, the index of its main row.
        columns: columns that change in some row.
        differs: which rows change.
    """

    table: str
    keys: Mapping[str, Any]
    tops: Ids
    columns: Mapping[str, Any]
    differs: Mask

    @staticmethod
    def build(table: str, keys: Mapping[str, Any], tops: Ids, revisions: Mapping[str, ColumnChange]) -> RowChanges:
        """Returns the changes of rows from the changes of all their columns."""
        columns = {name: revision.after for name, revision in revisions.items() if revision.differs.any()}
        differs = np.zeros(len(tops), bool)
        for revision in revisions.values():
            differs |= revision.differs
        return RowChanges(table, keys, tops, columns, differs)


def changed_value(sent: Any, stored: Any, is_set: Mask, default: Any = None) -> ColumnChange:
    """Returns a column with the last sent values; null clears (X1).

    Args:
        sent: by record.
        stored: by record; None if there is no row.
        is_set: which records set it.
        default: value for new rows of records that do not set it (O3); None is null.
    """
    if stored is None:
        return _new(sent if default is None or is_set.all() else pc.if_else(pa.array(is_set), sent, default))
    if not is_set.any():
        return ColumnChange(stored, is_set)
    differs = is_set & are_distinct(sent, stored)
    return ColumnChange(_chosen(differs, sent, stored), differs)


def changed_json(sent: Any, stored: Any, is_set: Mask, *, merges: bool) -> ColumnChange:
    """Returns a column of objects, which may be merged at their top level (R4). Compares as JSONB does."""
    if stored is None:
        return _new(sent)
    if not is_set.any():
        return ColumnChange(stored, is_set)
    differs = is_set & (mask_of(sent.is_valid()) != mask_of(stored.is_valid()))
    both = np.flatnonzero(is_set & mask_of(sent.is_valid()) & mask_of(stored.is_valid()))
    places = pa.array(both)
    texts = map(revising(merges=merges), sent.take(places).to_pylist(), stored.take(places).to_pylist())
    changed = {index: text for index, text in zip(both.tolist(), texts, strict=True) if text is not None}
    column = _chosen(differs, sent, stored)
    mask = np.zeros(len(differs), bool)
    mask[np.array([*changed], np.int64)] = True
    return ColumnChange(
        pc.replace_with_mask(column, pa.array(mask), pa.array([*changed.values()], column.type)), differs | mask
    )


def remaining_names(bits: Mapping[str, int], present: Bits, stored: Any) -> ColumnChange:
    """Returns lists of names without those that a record sets.

    Args:
        bits: name -> its bit in presence masks.
        present: presence masks of the records.
        stored: their lists; None if there is no row: all names.
    """
    if stored is None:
        # Few combinations of columns occur.
        masks, kinds = np.unique(present, return_inverse=True)
        lists = [_without(bits, [*bits], mask) for mask in masks.tolist()]
        return _new(pa.DictionaryArray.from_arrays(pa.array(kinds), pa.array(lists, pa.list_(pa.string()))))
    before = stored.to_pylist()
    after = [_without(bits, names, mask) for names, mask in zip(before, present.tolist(), strict=True)]
    differs = np.array([mine != theirs for mine, theirs in zip(after, before, strict=True)], bool)
    return ColumnChange(pa.array(after, stored.type), differs)


def _without(bits: Mapping[str, int], names: list[str] | None, mask: int) -> list[str] | None:
    return None if names is None else [name for name in names if not mask & bits.get(name, 0)]


def _new(column: Any) -> ColumnChange:
    return ColumnChange(column, np.ones(len(column), bool))


def revising(*, merges: bool) -> Callable[[str, str], str | None]:
    """Returns a function of a sent and a stored object that returns the new one; None if it does not change."""

    # Many rows have equal values.
    @lru_cache(REMEMBERED)
    def revised(sent: str, stored: str) -> str | None:
        before, mine = from_json(stored), from_json(sent)
        after = {**before, **mine} if merges else mine
        return to_json(after) if are_unequal(before, after) else None

    return revised


def are_distinct(column: Any, other: Any) -> Mask:
    """Returns where two columns differ; null equals null."""
    mine, theirs = one(column), one(other)
    if pa.types.is_list(mine.type):
        return _are_distinct_lists(mine, theirs)
    if pa.types.is_struct(mine.type):
        fields = range(mine.type.num_fields)
        found: Mask = np.logical_or.reduce([are_distinct(mine.field(i), theirs.field(i)) for i in fields])
        return found
    differs: Mask = mask_of(mine.is_null()) != mask_of(theirs.is_null())
    return differs | mask_of(pc.fill_null(pc.not_equal(mine, theirs), False))


def _are_distinct_lists(mine: Any, theirs: Any) -> Mask:
    lengths = [pc.fill_null(pc.list_value_length(lists), -1).to_numpy() for lists in (mine, theirs)]
    differs: Mask = lengths[0] != lengths[1]
    places = np.flatnonzero(~differs & (lengths[0] > 0))
    some = [lists.take(pa.array(places)) for lists in (mine, theirs)]
    parents = pc.list_parent_indices(some[0]).to_numpy()
    differs[places[parents[are_distinct(some[0].flatten(), some[1].flatten())]]] = True
    return differs


def are_filled(column: Any) -> Mask:
    """Returns which values are there: not null, and no empty list."""
    values = one(column)
    if pa.types.is_list(values.type):
        return mask_of(pc.fill_null(pc.greater(pc.list_value_length(values), 0), False))
    return mask_of(values.is_valid())


def are_set(present: Any, bit: int) -> Mask:
    """Returns which rows' presence masks have a bit."""
    return np.asarray(one(present).fill_null(0).to_numpy() >> bit & 1 == 1)


def dicts_of(columns: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Yields rows as dictionaries without nulls, even if there are no columns at all."""
    if not columns:
        return iter([{} for _ in range(count)])
    parts = [column.to_pylist() for column in columns.values()]
    return (without_nulls(dict(zip(columns, row, strict=True))) for row in zip(*parts, strict=True))


def mask_of(column: Any) -> Mask:
    """Returns a column of booleans as a mask."""
    return np.asarray(one(column).to_numpy(zero_copy_only=False), bool)


def _chosen(mask: Mask, sent: Any, stored: Any) -> Any:
    if mask.all() or not mask.any():
        return sent if mask.any() else stored
    return pc.if_else(pa.array(mask), sent, stored)
