"""What lists make of lists that are there, of many rows at once (R6 to R8, T8, N7).

Certain are lists of which each element means one stored row, told by the first way that tells any of them, and lists
that are replaced by as many rows, each in the place of the one it means.

Belongs here: which row an element means, and the columns that come to differ. Does not belong here: lists that grow,
shrink or change their order (`lists`), the main rows (`changed_columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Children, Match
from sync_pipelines.normalize.layout import ChildLayout
from sync_pipelines.normalize.list_duplicates import Codes, Mask, codes_of, has_duplicate, several_primaries
from sync_pipelines.upsert.column_changes import (
    ColumnChange,
    RowChanges,
    are_spoken,
    changed_json,
    changed_value,
    mask_of,
)
from sync_pipelines.upsert.copy_format import numbered
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.stored_columns import StoredListColumns

ReadLists = Callable[[Children, ChildLayout, Ids], StoredListColumns]
"""Gives the rows of a child table that belong to the given parents."""


class ListTreatment(NamedTuple):
    """How lists are taken.

    Attributes:
        mode: see `ListMode`.
        ways: in which elements mean rows.
        resizes: whether a list may come to have another number of rows.
    """

    mode: str
    ways: Sequence[Match]
    resizes: bool = False


class SentLists(NamedTuple):
    """The lists of one child table that records send, by owner.

    Attributes:
        declared, layout: of the table.
        sent: the lists.
        spoken: whose list is sent at all.
        ids: of the owners' rows.
        tops: the index of the main row each owner belongs to.
    """

    declared: Children
    layout: ChildLayout
    sent: Any
    spoken: Mask
    ids: Ids
    tops: Ids


class ListChanges(NamedTuple):
    """Rows of a child table as they shall be: the index of each one's owner, and their columns."""

    table: str
    parents: Codes
    revisions: Mapping[str, ColumnChange]


class ResizedLists(NamedTuple):
    """Lists that come to have another number of rows.

    Attributes:
        declared: of the table.
        gone: parents' and own ids of the rows that go.
        new: columns of the rows that come.
    """

    declared: Children
    gone: RowsOf
    new: RowsOf

    @property
    def tops(self) -> Ids:
        """The main rows of rows that come or go."""
        return np.concatenate([self.gone.tops, self.new.tops])


class RowsOf(NamedTuple):
    """Rows of a child table, a column each, and the index of the main row that each belongs to."""

    tops: Ids
    columns: Mapping[str, Any]

    def of(self, certain: Mask) -> dict[str, Any]:
        """The columns of those that belong to certain main rows."""
        chosen = pa.array(np.flatnonzero(certain[self.tops]))
        return {name: one(column).take(chosen) for name, column in self.columns.items()}


class ListReviser:
    """Compares lists with the stored ones.

    Args:
        read: gives stored lists.
        certain: by main row, whether all lists so far are certain; cleared where one is not.
    """

    def __init__(self, read: ReadLists, certain: Mask) -> None:
        self._read = read
        self._certain = certain
        self.found: list[RowChanges] = []
        self.resized: list[ResizedLists] = []

    def revise(self, lists: SentLists, taken: ListTreatment, wanted: Mask) -> ListChanges:
        """Notes the rows that lists make of the stored ones, and returns them.

        Args:
            lists: of one table.
            taken: how.
            wanted: of which owners the stored rows are read, those with a list among them.
        """
        owners = np.flatnonzero(wanted)
        standing = self._read(lists.declared, lists.layout, lists.ids[owners])
        parents = owners[standing.parents]
        tops = lists.tops[parents]
        places = self._places(lists, taken, parents, standing.rows)
        if taken.resizes:
            self._resize(lists, parents, standing.rows, places)
        elements = lists.sent.flatten()
        sent = {name: elements.field(name).take(places) for name in _names_of(lists.layout)}
        paired = mask_of(places.is_valid())
        revisions = _revisions(lists.layout, taken, sent, standing.rows, paired)
        self._certain[tops[_have_rivals(lists.declared, taken, parents, revisions)]] = False
        keys = {"id": standing.rows.column("id"), lists.declared.parent: pa.array(lists.ids[parents])}
        self.found.append(RowChanges.build(lists.declared.table, keys, tops, revisions))
        for inner, layout in zip(lists.declared.nested, lists.layout.nested, strict=True):
            spoken = _spoken(lists.layout, taken, sent, layout.table, paired) & self._certain[tops]
            if spoken.any():
                ids = one(standing.rows.column("id")).to_numpy()
                within = SentLists(inner, layout, sent[layout.table], spoken, ids, tops)
                self.revise(within, ListTreatment(inner.mode, inner.match), spoken)
        return ListChanges(lists.declared.table, parents, revisions)

    def _places(self, lists: SentLists, taken: ListTreatment, parents: Codes, rows: pa.Table) -> Any:
        """For each stored row the number of the sent element that means it, null where none does."""
        count, owners = len(lists.ids), pc.list_parent_indices(lists.sent).to_numpy()
        meant = _meant(lists, taken, owners, rows, parents)
        fits = np.full(count, taken.mode != "remove")
        if not taken.resizes:
            fits &= _all_of(count, owners, meant >= 0)
        if taken.mode == "replace" and not taken.resizes:
            fits &= np.bincount(parents, minlength=count) == np.bincount(owners, minlength=count)
        numbers = np.arange(len(parents)) - np.searchsorted(parents, parents) + 1
        fits &= _all_of(count, parents, one(rows.column("line_no")).to_numpy() == numbers)
        self._certain[lists.tops[lists.spoken & ~fits]] = False
        elements = np.flatnonzero((lists.spoken & fits)[owners] & (meant >= 0))
        places = np.full(len(parents), -1)
        places[meant[elements]] = elements
        return pa.array(places, mask=places < 0)

    def _resize(self, lists: SentLists, parents: Codes, rows: pa.Table, places: Any) -> None:
        """Notes the stored rows behind the end of the lists that replace them, and the elements behind theirs."""
        spoken = lists.spoken & self._certain[lists.tops]
        gone = np.flatnonzero(spoken[parents] & mask_of(places.is_null()))
        owners, numbers, elements = numbered(lists.sent)
        new = np.setdiff1d(np.flatnonzero(spoken[owners]), places.drop_null().to_numpy(), assume_unique=True)
        if not len(gone) + len(new):
            return
        parent, chosen = lists.declared.parent, pa.array(new)
        left = {parent: pa.array(lists.ids[parents[gone]]), "id": one(rows.column("id")).take(pa.array(gone))}
        come = {parent: pa.array(lists.ids[owners[new]]), "line_no": pa.array(numbers[new])}
        come |= {name: elements.field(name).take(chosen) for name in (*lists.layout.columns, "extra")}
        rows_gone, rows_new = RowsOf(lists.tops[parents[gone]], left), RowsOf(lists.tops[owners[new]], come)
        self.resized.append(ResizedLists(lists.declared, rows_gone, rows_new))


def _meant(lists: SentLists, taken: ListTreatment, owners: Codes, rows: pa.Table, parents: Codes) -> Codes:
    """For each sent element the stored row it means, -1 where that is not certain."""
    nothing = np.full(len(owners), -1)
    if not lists.declared.match:
        return _in_place(owners, parents) if taken.mode == "replace" else nothing
    found = _by_ways(taken.ways, lists.sent.flatten(), owners, rows, parents)
    return np.where(found == _in_place(owners, parents), found, nothing) if taken.mode == "replace" else found


def _in_place(owners: Codes, parents: Codes) -> Codes:
    """For each sent element the stored row of its line, -1 where there is none."""
    numbers = np.arange(len(owners)) - np.searchsorted(owners, owners)
    places = np.searchsorted(parents, owners) + numbers
    there = places < len(parents)
    there[there] = parents[places[there]] == owners[there]
    return np.where(there, places, -1)


def _by_ways(ways: Sequence[Match], elements: Any, owners: Codes, rows: pa.Table, parents: Codes) -> Codes:
    """The same by the first way that tells any element of a list; it must tell them all."""
    meant = np.full(len(owners), -1)
    count = int(owners.max(initial=-1)) + 1
    undecided = np.ones(count, bool)
    for match in ways:
        if match.whole:
            break
        both = {name: pa.chunked_array([elements.field(name), one(rows.column(name))]) for name in match.columns}
        codes, known = np.split(codes_of(match, _struct(both)), [len(owners)])
        found = _matches(owners, codes, parents, known)
        chosen = (undecided & _all_of(count, owners, found >= 0))[owners]
        meant[chosen] = found[chosen]
        if len(match.columns) > 1:
            # An element without all of them may still change one of them, and so what the row is told by.
            break
        undecided &= _all_of(count, owners, codes < 0)
    return meant


def _matches(owners: Codes, codes: Codes, parents: Codes, known: Codes) -> Codes:
    """For each element the one row of its owner that has its code, -1 where it is not one, or has another element."""
    base = max(codes.max(initial=-1), known.max(initial=-1)) + 1
    there = np.flatnonzero(known >= 0)
    stored = parents[there] * base + known[there]
    order = np.argsort(stored, kind="stable")
    wanted = owners * base + codes
    first = np.searchsorted(stored, wanted, "left", sorter=order)
    is_one = np.searchsorted(stored, wanted, "right", sorter=order) - first == 1
    found = np.full(len(owners), -1)
    fits = is_one & (codes >= 0) & ~has_duplicate(owners, codes)
    found[fits] = there[order[first[fits]]]
    return found


def _names_of(layout: ChildLayout) -> tuple[str, ...]:
    return (*layout.names, "extra", *(("present",) if layout.is_patched else ()))


def _spoken(layout: ChildLayout, taken: ListTreatment, sent: Mapping[str, Any], name: str, paired: Mask) -> Mask:
    """Which elements write a column or nested list of the row they mean."""
    match taken.mode:
        case "replace":
            return paired
        case "merge" if layout.is_patched:
            return paired & are_spoken(sent["present"], layout.names.index(name))
        case _:
            return np.zeros(len(paired), bool)


def _revisions(
    layout: ChildLayout, taken: ListTreatment, sent: Mapping[str, Any], rows: pa.Table, paired: Mask
) -> dict[str, ColumnChange]:
    found = {
        name: changed_value(sent[name], one(rows.column(name)), _spoken(layout, taken, sent, name, paired))
        for name in layout.columns
    }
    merges = taken.mode == "merge"
    spoken = paired & (mask_of(sent["extra"].is_valid()) if merges else taken.mode == "replace")
    return found | {"extra": changed_json(sent["extra"], one(rows.column("extra")), spoken, merges=merges)}


def _have_rivals(
    declared: Children, taken: ListTreatment, parents: Codes, revisions: Mapping[str, ColumnChange]
) -> Mask:
    """Which rows are primary beside another one: who is demoted depends on who was sent last (R7)."""
    if declared.primary is None or taken.mode == "replace":
        return np.zeros(len(parents), bool)
    groups = set(declared.primary)
    if groups and any(way.folds or not groups <= set(way.columns) for way in taken.ways):
        # A row may change the group in which it is, or is not, the only one.
        return np.ones(len(parents), bool)
    after = {name: revisions[name].after for name in (*declared.primary, "is_primary")}
    return several_primaries(declared.primary, parents, _struct(after))


def _struct(columns: Mapping[str, Any]) -> Any:
    return pa.StructArray.from_arrays([one(column) for column in columns.values()], list(columns))


def _all_of(owners: int, parents: Codes, fits: Mask) -> Mask:
    """Of which owners all elements fit."""
    answer = np.ones(owners, bool)
    answer[parents[~fits]] = False
    return answer
