"""Columns of rows as they shall be, beside those that are stored.

Belongs here: the write rules of single columns (X1, R4, O3), and where values come to differ. Does not belong here:
which column has which rule (`columns`, `list_columns`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
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
_REMEMBERED: Final = 1_000
"""Pairs of objects of which is remembered what they come to."""


class ColumnChange(NamedTuple):
    """A column as it shall be, and where that differs from what is stored."""

    after: Any
    differs: Mask


@dataclass(frozen=True)
class RowChanges:
    """Rows of one table, a column each.

    Attributes:
        table: whose.
        keys: the columns that tell each row.
        tops: for each row the index of the main row it belongs to.
        columns: those that differ in some row.
        differs: which rows differ.
    """

    table: str
    keys: Mapping[str, Any]
    tops: Ids
    columns: Mapping[str, Any]
    differs: Mask

    @staticmethod
    def build(table: str, keys: Mapping[str, Any], tops: Ids, revisions: Mapping[str, ColumnChange]) -> RowChanges:
        """Rows whose columns are all revised."""
        columns = {name: revision.after for name, revision in revisions.items() if revision.differs.any()}
        differs = np.zeros(len(tops), bool)
        for revision in revisions.values():
            differs |= revision.differs
        return RowChanges(table, keys, tops, columns, differs)


def changed_value(sent: Any, stored: Any, spoken: Mask, default: Any = None) -> ColumnChange:
    """A column whose value is what was sent last; null clears it (X1).

    Args:
        sent: by record.
        stored: by record; None where no row is there.
        spoken: which records say anything of it.
        default: what a new row gets of those that do not (O3); None: null.
    """
    if stored is None:
        return _new(sent if default is None or spoken.all() else pc.if_else(pa.array(spoken), sent, default))
    if not spoken.any():
        return ColumnChange(stored, spoken)
    differs = spoken & are_distinct(sent, stored)
    return ColumnChange(_chosen(differs, sent, stored), differs)


def changed_json(sent: Any, stored: Any, spoken: Mask, *, merges: bool) -> ColumnChange:
    """The same of objects, which may be merged at their top level (R4); compared as JSONB compares."""
    if stored is None:
        return _new(sent)
    if not spoken.any():
        return ColumnChange(stored, spoken)
    differs = spoken & (mask_of(sent.is_valid()) != mask_of(stored.is_valid()))
    both = np.flatnonzero(spoken & mask_of(sent.is_valid()) & mask_of(stored.is_valid()))
    places = pa.array(both)
    # Many rows have the same.
    revised = lru_cache(_REMEMBERED)(partial(_revised_object, merges=merges))
    texts = map(revised, sent.take(places).to_pylist(), stored.take(places).to_pylist())
    changed = {index: text for index, text in zip(both.tolist(), texts, strict=True) if text is not None}
    column = _chosen(differs, sent, stored)
    mask = np.zeros(len(differs), bool)
    mask[np.array([*changed], np.int64)] = True
    return ColumnChange(
        pc.replace_with_mask(column, pa.array(mask), pa.array([*changed.values()], column.type)), differs | mask
    )


def remaining_names(bits: Mapping[str, int], present: Bits, stored: Any) -> ColumnChange:
    """Lists of names, without those that a record speaks of.

    Args:
        bits: name -> what it is in presence masks.
        present: masks of the records.
        stored: their lists; None where no row is there: all names.
    """
    if stored is None:
        # Few kinds of records speak of different columns.
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


def _revised_object(sent: str, stored: str, *, merges: bool) -> str | None:
    """What becomes of an object; None if nothing."""
    before, mine = from_json(stored), from_json(sent)
    after = {**before, **mine} if merges else mine
    return to_json(after) if are_unequal(before, after) else None


def are_distinct(column: Any, other: Any) -> Mask:
    """Where two columns differ; null equals null."""
    mine, theirs = one(column), one(other)
    if pa.types.is_list(mine.type):
        pairs = zip(mine.to_pylist(), theirs.to_pylist(), strict=True)
        return np.array([value != stored for value, stored in pairs], bool)
    differs: Mask = mask_of(mine.is_null()) != mask_of(theirs.is_null())
    return differs | mask_of(pc.fill_null(pc.not_equal(mine, theirs), False))


def are_spoken(present: Any, bit: int) -> Mask:
    """Which rows' presence masks have a bit."""
    return np.asarray(one(present).fill_null(0).to_numpy() >> bit & 1 == 1)


def dicts_of(columns: Mapping[str, Any], count: int) -> Iterator[dict[str, Any]]:
    """Rows as dictionaries without nulls; there are as many of no columns at all."""
    if not columns:
        return iter([{} for _ in range(count)])
    parts = [column.to_pylist() for column in columns.values()]
    return (without_nulls(dict(zip(columns, row, strict=True))) for row in zip(*parts, strict=True))


def mask_of(column: Any) -> Mask:
    """A column of booleans as a mask."""
    return np.asarray(one(column).to_numpy(zero_copy_only=False), bool)


def _chosen(mask: Mask, sent: Any, stored: Any) -> Any:
    if mask.all() or not mask.any():
        return sent if mask.any() else stored
    return pc.if_else(pa.array(mask), sent, stored)
