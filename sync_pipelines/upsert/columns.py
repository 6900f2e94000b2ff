"""Applies many records to their rows, a column at a time: the columnar form of `fold`.

A new row is an empty row that changes, so every rule here covers both. If a rule cannot be decided from columns, the
record is passed to the fold: each record is certain or not.

Belongs here: which records are certain, and the columns of main tables. Does not belong here: the rules of one column
(`column_changes`), lists (`list_columns`), reading rows (`stored_columns`), writing them (`new_rows`, `changed_rows`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import EFFECTIVE_TIME, Stream
from sync_pipelines.normalize.layout import Layout, arrow_type
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.column_changes import (
    ColumnChange,
    RowChanges,
    are_distinct,
    are_filled,
    are_set,
    changed_json,
    changed_value,
    mask_of,
    remaining_names,
)
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.derived_columns import derived_columns
from sync_pipelines.upsert.fold import Outcome, named_defaults, sent_name
from sync_pipelines.upsert.list_columns import ListAfter, ListFold, ResizedLists, SentLists
from sync_pipelines.upsert.list_matching import ListTreatment
from sync_pipelines.upsert.list_repeats import kinds_of
from sync_pipelines.upsert.stored_columns import ReadLists, no_lists

_MAKES: Final = ("upsert", "create", "insert", "touch")
"""Operations that may create a row."""
_PATCHES: Final = ("upsert", "create", "update", "touch")
"""Operations that may patch a live, defined row."""


@dataclass(frozen=True)
class FoldedRows:
    """The results of records, one row per record.

    Attributes:
        certain: which records have exactly this result.
        are_new: whether the rows are new.
        main: the rows.
        children: existing rows of their lists.
        resized: lists whose rows are added or removed.
    """

    certain: Mask
    are_new: bool
    main: RowChanges
    children: Sequence[RowChanges]
    resized: Sequence[ResizedLists]

    @property
    def differs(self) -> Mask:
        """Which rows change, even if only in their lists."""
        return (self.main.differs | self.lists_differ) & self.certain

    @property
    def lists_differ(self) -> Mask:
        """Which rows have lists that change."""
        found = np.zeros(len(self.certain), bool)
        for rows in self.children:
            found[rows.tops[rows.differs]] = True
        for lists in self.resized:
            found[lists.tops] = True
        return found

    @property
    def outcomes(self) -> dict[Outcome, Mask]:
        """Outcome -> the certain records with it (X11)."""
        if self.are_new:
            return {"created": self.certain}
        differs = self.differs
        return {"updated": differs, "unchanged": self.certain & ~differs}


class ColumnFold:
    """Applies records to their rows as columns.

    Args:
        stream: the declaration.
        layout: layout of its kept records.
        read: reads stored lists; needed for existing rows.
    """

    def __init__(self, stream: Stream, layout: Layout, read: ReadLists = no_lists) -> None:
        self._stream = stream
        self._layout = layout
        self._read = read
        self._computed_from = {name.partition(".")[0] for name in stream.computes if "." in name}

    def fold(self, records: pa.Table, rows: pa.Table | None) -> FoldedRows:
        """Applies records to their rows, one record per row.

        Args:
            records: kept records, with the ids of the rows that they refer to in a column for each reference; for new
                rows these may be added later. No two of an export have the same row.
            rows: their rows, as `StoredColumns` reads them; None if there are none.
        """
        certain = mask_of(pc.is_in(records.column("operation"), pa.array(_MAKES if rows is None else _PATCHES)))
        if rows is not None:
            certain &= self._may_patch(records, rows)
        lists = ListFold(no_lists if rows is None else self._read, certain)
        shown = self._fold_lists(lists, records, rows)
        changes = self._values(records, rows)
        changes |= derived_columns(self._stream, changes, shown, rows)
        if self._stream.lists_defaults:
            changes["defaulted_fields"] = self._defaulted(records, _stored(rows, "defaulted_fields"))
        if rows is None:
            certain &= sends_required(self._stream, records, changes)
        keys = {} if rows is None else {"id": rows.column("id")}
        main = RowChanges.build(self._stream.table, keys, np.arange(records.num_rows), changes)
        return FoldedRows(certain, rows is None, main, lists.found, lists.resized)

    # -- which records are certain -----------------------------------------------------------------------------

    def deletes(self, records: pa.Table, rows: pa.Table) -> Mask:
        """Returns which records surely delete their row: it is the only candidate (P2, P5), without references (T9)."""
        if self._stream.blocked_by is not None or self._stream.scope is not None:
            return np.zeros(records.num_rows, bool)
        return mask_of(pc.equal(records.column("operation"), "delete")) & _are_defined(records, rows)

    def _may_patch(self, records: pa.Table, rows: pa.Table) -> Mask:
        """Returns which rows are defined, and in the scope that their record names (P5)."""
        found = _are_defined(records, rows)
        scope = self._stream.scope
        if scope is not None:
            found &= mask_of(pc.fill_null(pc.equal(one(records.column(scope)), one(rows.column(scope))), False))
        return found

    # -- columns -----------------------------------------------------------------------------------------------

    def _values(self, records: pa.Table, rows: pa.Table | None) -> dict[str, ColumnChange]:
        """Returns the rows' own columns."""
        found: dict[str, ColumnChange] = {}
        replaces = self._stream.replaces and rows is not None
        for name in self._stream.computed:
            empty = pa.nulls(records.num_rows, arrow_type(self._stream.table, name))
            found[name] = changed_value(empty, _stored(rows, name), np.zeros(records.num_rows, bool))
        merged = {*self._stream.merges, *(() if self._stream.replaces else ("extra",))}
        links = [name for name in self._layout.links if name in records.column_names]
        for name in (*self._layout.columns, *links, "extra"):
            is_set = sets(name, records, self._layout, replaces=replaces)
            sent, stored = one(records.column(name)), _stored(rows, name)
            if name in self._layout.json or name == "extra":
                found[name] = changed_json(sent, stored, is_set, merges=name in merged)
            else:
                found[name] = changed_value(sent, stored, is_set, default_of(self._stream, name, records))
        return found

    def _defaulted(self, records: pa.Table, stored: Any) -> ColumnChange:
        """Returns the fields that still hold their default (O3)."""
        bits = {alias: 1 << self._layout.bits[sent_name(self._stream, d)] for d, alias in named_defaults(self._stream)}
        return remaining_names(bits, one(records.column("present")).fill_null(0).to_numpy(), stored)

    # -- lists -------------------------------------------------------------------------------------------------

    def _fold_lists(self, lists: ListFold, records: pa.Table, rows: pa.Table | None) -> list[ListAfter]:
        """Folds the lists of records. Returns those that `compute` reads."""
        count = records.num_rows
        ids = np.zeros(count, np.int64) if rows is None else one(rows.column("id")).to_numpy()
        shown: list[ListAfter] = []
        for declared, child in zip(self._stream.children, self._layout.children, strict=True):
            is_set = sets(child.table, records, self._layout) & lists.certain
            sent = SentLists(declared, child, one(records.column(child.table)), is_set, ids, np.arange(count))
            is_shown = declared.table in self._computed_from
            for chosen, (mode, name) in kinds_of(records, declared):
                of_kind = np.zeros(count, bool)
                of_kind[chosen] = lists.certain[chosen]
                wanted = of_kind if is_shown else of_kind & is_set
                if wanted.any():
                    ways = [match for match in declared.match if name is None or match.name == name]
                    after = lists.fold(sent._replace(is_set=is_set & of_kind), ListTreatment(mode, ways), wanted)
                    shown += [after] if is_shown else []
        return shown


def sets(name: str, records: pa.Table, layout: Layout, *, replaces: bool = False) -> Mask:
    """Returns which records set a column, link or list, or unknown fields (`extra`); all if they replace rows (P3)."""
    if replaces and (name == "extra" or name in layout.columns):
        return np.ones(records.num_rows, bool)
    if name == "extra":
        return mask_of(records.column(name).is_valid())
    return are_set(records.column("present"), layout.bits[name])


def _stored(rows: pa.Table | None, name: str) -> Any:
    return None if rows is None else one(rows.column(name))


def _are_defined(records: pa.Table, rows: pa.Table) -> Mask:
    """Returns which rows are live, defined, and named exactly as in their record (P2)."""
    defined: Mask = mask_of(rows.column("deleted_at").is_null()) & ~mask_of(rows.column("is_placeholder"))
    defined &= ~are_distinct(records.column("external_id"), rows.column("external_id"))
    return defined & ~are_distinct(records.column("record_id"), rows.column("partner_record_id"))


def default_of(stream: Stream, name: str, records: pa.Table) -> Any:
    """Returns a column's default for the new rows of records (O3), or None for null."""
    default = next((d for d in stream.defaults if d.column == name), None)
    if default is None:
        return None
    if default.value is EFFECTIVE_TIME:
        return one(records.column("effective_at"))
    return pa.scalar(default.value, records.column(name).type)


def sends_required(stream: Stream, records: pa.Table, changes: Mapping[str, ColumnChange] | None = None) -> Mask:
    """Returns which records send everything that a new row needs (N4, T3); others are rejects or placeholders.

    Args:
        stream: the declaration.
        records: kept records.
        changes: columns of their new rows that count instead of theirs.
    """
    columns = [
        changes[name].after if changes and name in changes else records.column(name) for name in stream.required_new
    ]
    found: Mask = np.logical_and.reduce([np.ones(records.num_rows, bool), *map(are_filled, columns)])
    return found
