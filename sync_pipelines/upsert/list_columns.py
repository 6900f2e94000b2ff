"""Applies lists to many rows at once: `lists`, a column at a time (R6 to R8, T8, N7).

A list is certain if each element matches one stored row or certainly none, and if a replacing list keeps the order of
the stored rows. A new row's list has no stored rows.

Belongs here: the columns that change, the rows that are added and removed. Does not belong here: which row an element
matches (`list_matching`), lists that change their order (`lists`), the main rows (`columns`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sync_pipelines.contracts.streams import Children
from sync_pipelines.normalize.layout import ChildLayout
from sync_pipelines.normalize.list_duplicates import Codes, Mask, several_primaries
from sync_pipelines.upsert.column_changes import (
    ColumnChange,
    RowChanges,
    are_set,
    changed_json,
    changed_value,
    mask_of,
)
from sync_pipelines.upsert.copy_format import numbered
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.list_matching import DOUBTFUL, NEW, ListTreatment, matched_rows, struct_of
from sync_pipelines.upsert.stored_columns import ReadLists, no_lists

Columns = Mapping[str, Any]


class SentLists(NamedTuple):
    """The lists of one child table in some records, by owner.

    Attributes:
        declared, layout: declaration and layout of the table.
        sent: the lists.
        is_set: which records send the list.
        ids: ids of the owners' rows, if they exist.
        tops: the index of each owner's main row.
    """

    declared: Children
    layout: ChildLayout
    sent: Any
    is_set: Mask
    ids: Ids
    tops: Ids


class NewElements(NamedTuple):
    """Elements that become rows: the index of each one's owner and main row, its line, and the elements, a struct."""

    owners: Codes
    tops: Ids
    lines: Codes
    elements: Any

    def of(self, certain: Mask) -> NewElements:
        """Returns those of certain main rows."""
        chosen = certain[self.tops]
        if chosen.all():
            return self
        elements = self.elements.filter(pa.array(chosen))
        return NewElements(self.owners[chosen], self.tops[chosen], self.lines[chosen], elements)


class ResizedLists(NamedTuple):
    """Lists of one child table whose rows are added or removed.

    Attributes:
        declared, layout: declaration and layout of the table.
        ids: ids of the owners' rows, if they exist.
        gone: ids of the removed rows.
        gone_owners, gone_tops: the index of each one's owner and main row.
        new: the added rows.
    """

    declared: Children
    layout: ChildLayout
    ids: Ids
    gone: Ids
    gone_owners: Codes
    gone_tops: Ids
    new: NewElements

    @property
    def tops(self) -> Ids:
        """The main rows of added and removed rows."""
        return np.concatenate([self.gone_tops, self.new.tops])


@dataclass(frozen=True)
class ListAfter:
    """Rows of a child table after the change, by owner and line.

    Attributes:
        table: the table.
        parents: the index of each stored row's owner.
        changes: columns of the stored rows.
        goes: which of the stored rows are removed.
        come: elements that become rows.
    """

    table: str
    parents: Codes
    changes: Mapping[str, ColumnChange]
    goes: Mask
    come: NewElements

    @cached_property
    def _resized(self) -> Codes:
        """The owners whose rows are added or removed."""
        return np.concatenate([self.parents[self.goes], self.come.owners])

    @cached_property
    def _order(self) -> Ids:
        """The order of the remaining rows and the added ones after them."""
        return np.argsort(np.concatenate([self.parents[~self.goes], self.come.owners]), kind="stable")

    @property
    def owners(self) -> Codes:
        """The index of each row's owner."""
        if not len(self._resized):
            return self.parents
        return np.concatenate([self.parents[~self.goes], self.come.owners])[self._order]

    def column(self, name: str) -> Any:
        """Returns a column of the rows."""
        stored = one(self.changes[name].after)
        if not len(self._resized):
            return stored
        both = [stored.filter(pa.array(~self.goes)), self.come.elements.field(name)]
        return pa.concat_arrays(both).take(pa.array(self._order))

    def differing(self, name: str) -> Codes:
        """Returns the owners with rows in which a column differs."""
        return np.concatenate([self.parents[self.changes[name].differs], self._resized])


class ListFold:
    """Folds lists into the stored ones.

    Args:
        read: reads stored lists.
        certain: by main row, whether all lists so far are certain; cleared if one is not.

    Attributes:
        found: existing rows.
        resized: lists whose rows are added or removed.
    """

    def __init__(self, read: ReadLists, certain: Mask) -> None:
        self._read = read
        self.certain = certain
        self.found: list[RowChanges] = []
        self.resized: list[ResizedLists] = []

    def fold(self, lists: SentLists, how: ListTreatment, wanted: Mask) -> ListAfter:
        """Records the effect of lists on the stored rows.

        Args:
            lists: lists of one table.
            how: their mode and ways of matching.
            wanted: owners whose stored rows are read, including those with a list.
        """
        declared, layout, places = lists.declared, lists.layout, np.flatnonzero(wanted)
        stored = self._read(declared, layout, lists.ids[places])
        parents, rows = places[stored.parents], stored.rows
        owners, numbers, elements = numbered(lists.sent)
        matched = matched_rows(declared, how, owners, elements, parents, rows)
        self._doubt(lists, how, owners[matched == DOUBTFUL], parents, rows)
        is_set = lists.is_set & self.certain[lists.tops]
        pairs, new = np.flatnonzero(is_set[owners] & (matched >= 0)), np.flatnonzero(is_set[owners] & (matched == NEW))
        found = np.full(len(parents), -1)
        found[matched[pairs]] = pairs
        paired = found >= 0
        sent = {f.name: elements.field(f.name).take(pa.array(found, mask=~paired)) for f in elements.type}
        goes = is_set[parents] & ~paired if how.mode == "replace" else np.zeros(len(parents), bool)
        lines = numbers if how.mode == "replace" else _lines_after(parents, owners, matched == NEW)
        come = NewElements(owners[new], lists.tops[owners[new]], lines[new], _elements_at(elements, new))
        after = ListAfter(declared.table, parents, _changes(layout, how, sent, rows, paired), goes, come)
        self.certain[lists.tops[_rivals(declared, how, after, parents[paired])]] = False
        self._note(lists, rows, after)
        self._fold_nested(lists, how, rows, sent, paired, after)
        return after

    def _doubt(self, lists: SentLists, how: ListTreatment, doubtful: Codes, parents: Codes, rows: pa.Table) -> None:
        """Excludes lists with elements that match uncertainly, or with gaps in their lines."""
        fits = np.full(len(lists.is_set), how.mode != "remove")
        fits[doubtful] = False
        lines = np.arange(len(parents)) - np.searchsorted(parents, parents) + 1
        fits[parents[one(rows.column("line_no")).to_numpy() != lines]] = False
        self.certain[lists.tops[lists.is_set & ~fits]] = False

    def _note(self, lists: SentLists, rows: pa.Table, after: ListAfter) -> None:
        declared, parents, goes = lists.declared, after.parents, after.goes
        if len(parents):
            keys = {"id": rows.column("id"), declared.parent: pa.array(lists.ids[parents])}
            self.found.append(RowChanges.build(declared.table, keys, lists.tops[parents], after.changes))
        if len(after.come.owners) or goes.any():
            gone, owners = one(rows.column("id")).to_numpy()[goes], parents[goes]
            lost = ResizedLists(declared, lists.layout, lists.ids, gone, owners, lists.tops[owners], after.come)
            self.resized.append(lost)

    def _fold_nested(
        self, lists: SentLists, how: ListTreatment, rows: pa.Table, sent: Columns, paired: Mask, after: ListAfter
    ) -> None:
        """Folds the lists within elements: of stored rows, and of new ones, which are written together."""
        come, tops = after.come, lists.tops[after.parents]
        for inner, layout in zip(lists.declared.nested, lists.layout.nested, strict=True):
            treatment = ListTreatment(inner.mode, inner.match)
            if len(come.owners):
                every = np.ones(len(come.owners), bool)
                own = SentLists(inner, layout, come.elements.field(layout.table), every, come.owners, come.tops)
                ListFold(no_lists, self.certain).fold(own, treatment, every)
            is_set = _is_set(lists.layout, how, sent, layout.table, paired) & self.certain[tops]
            if is_set.any():
                ids = one(rows.column("id")).to_numpy()
                self.fold(SentLists(inner, layout, sent[layout.table], is_set, ids, tops), treatment, is_set)


def _lines_after(parents: Codes, owners: Codes, is_new: Mask) -> Codes:
    """Returns the lines of new elements after the existing rows."""
    stored = np.searchsorted(parents, owners, "right") - np.searchsorted(parents, owners)
    so_far = np.cumsum(is_new)
    first = np.searchsorted(owners, owners)
    before = np.concatenate([[0], so_far])[first] if len(owners) else so_far
    lines: Codes = stored + so_far - before
    return lines


def _is_set(layout: ChildLayout, how: ListTreatment, sent: Columns, name: str, paired: Mask) -> Mask:
    """Returns which elements write a column, the unknown fields or a nested list of their row."""
    if how.mode == "replace":
        return paired
    if how.mode == "merge" and name == "extra":
        return paired & mask_of(sent[name].is_valid())
    if how.mode == "merge" and layout.is_patched:
        return paired & are_set(sent["present"], layout.names.index(name))
    return np.zeros(len(paired), bool)


def _changes(
    layout: ChildLayout, how: ListTreatment, sent: Columns, rows: pa.Table, paired: Mask
) -> dict[str, ColumnChange]:
    is_set = {name: _is_set(layout, how, sent, name, paired) for name in (*layout.columns, "extra")}
    found = {name: changed_value(sent[name], one(rows.column(name)), is_set[name]) for name in layout.columns}
    extra = changed_json(sent["extra"], one(rows.column("extra")), is_set["extra"], merges=how.mode == "merge")
    return found | {"extra": extra}


def _rivals(declared: Children, how: ListTreatment, after: ListAfter, paired: Codes) -> Codes:
    """Returns owners with several primary rows: which one is demoted depends on the last sent one (R7)."""
    if declared.primary is None or how.mode == "replace":
        return np.empty(0, np.int64)
    groups = set(declared.primary)
    elements = struct_of({name: after.column(name) for name in (*groups, "is_primary")})
    several = after.owners[several_primaries(declared.primary, after.owners, elements)]
    if how.mode == "add" or (groups and any(way.folds or not groups <= set(way.columns) for way in how.ways)):
        # A row may change the group in which it is, or is not, the only one.
        return np.concatenate([several, paired])
    return several


def _elements_at(elements: Any, places: Codes) -> Any:
    return elements if len(places) == len(elements) else elements.take(pa.array(places))
