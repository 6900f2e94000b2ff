"""Several records of one key as one record that says what they all say (X1, X6).

Where no rule depends on the steps between, the last record that sets a column decides it, and the collapsed record has
the same effect on a row as the records one after the other. A record moves the row where it sets a column to another
value than the last record before it that sets it, or than the row itself.

Belongs here: the collapsed records, which of them are certain, the outcome of each record. Does not belong here: their
effect on rows (`columns`), reading and writing (`repeated_keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.column_changes import are_distinct, are_filled, mask_of, revising
from sync_pipelines.upsert.columns import default_of, sends_required, sets
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.fold import named_defaults, sent_name
from sync_pipelines.upsert.list_repeats import are_steady

_NEXT: Final = ("upsert", "update", "touch")
"""Operations that only patch a live, defined row."""
_FIRST: Final = (*_NEXT, "create", "insert")
"""Operations of the first record of a key, after which there is such a row."""


@dataclass(frozen=True)
class Runs:
    """Records of one key each, one run after the other, in version order.

    Attributes:
        starts: the index of each run's first record.
        count: records in all.
    """

    starts: Ids
    count: int

    @cached_property
    def ends(self) -> Ids:
        """The index of each run's last record."""
        return np.append(self.starts[1:], self.count)[: len(self.starts)] - 1

    @cached_property
    def runs(self) -> Ids:
        """The run of each record."""
        return np.repeat(np.arange(len(self.starts)), self.ends - self.starts + 1)

    @property
    def are_first(self) -> Mask:
        """Which records are the first of their run."""
        return np.isin(np.arange(self.count), self.starts)

    def last(self, is_set: Mask) -> Ids:
        """Returns the last record of each run that sets something, or -1."""
        found = self._so_far(is_set)[self.ends]
        return np.where(found < self.starts, -1, found)

    def previous(self, is_set: Mask) -> Ids:
        """Returns for each record the last one before it in its run that sets something, or -1."""
        found = np.concatenate([[-1], self._so_far(is_set)[:-1]])
        return np.where(found < self.starts[self.runs], -1, found)

    def every(self, mask: Mask) -> Mask:
        """Returns for which runs something is true of all records."""
        return np.logical_and.reduceat(mask, self.starts) if len(self.starts) else np.zeros(0, bool)

    def some(self, mask: Mask) -> Mask:
        """Returns for which runs something is true of a record."""
        return ~self.every(~mask)

    @staticmethod
    def _so_far(is_set: Mask) -> Ids:
        return np.maximum.accumulate(np.where(is_set, np.arange(len(is_set)), -1))


@dataclass(frozen=True)
class Collapsed:
    """Records of some keys, and one record for each key.

    Attributes:
        stream, layout: declaration and layout of the records.
        members: the records, run by run, with the ids of the rows that they refer to.
        rows: their rows in the export.
        runs: their runs.
    """

    stream: Stream
    layout: Layout
    members: pa.Table
    rows: Ids
    runs: Runs

    @cached_property
    def records(self) -> pa.Table:
        """The collapsed records; each has the version of the last one of its run."""
        last = self.members.take(pa.array(self.runs.ends))
        places = {name: self.runs.last(self.is_set(name)) for name in self.layout.bits}
        names = {name: [name] for name in self.layout.bits}
        names |= {link: [link, *(f"{link}_{part}" for part in Identity._fields)] for link in self.layout.links}
        found = {column: self._at(column, places[name]) for name in places for column in names[name]}
        found["modes"] = self._at("modes", self.runs.last(self._set_some(self._lists)))
        for name in (*self.layout.json, "extra"):
            found[name] = pa.array(self._objects(name, None)[0], pa.string())
        found["operation"] = self._column("operation").take(pa.array(self.runs.starts))
        present = self._column("present").fill_null(0).to_numpy()
        found["present"] = pa.array(np.bitwise_or.reduceat(present, self.runs.starts))
        return pa.table({name: found.get(name, one(last.column(name))) for name in last.column_names})

    def of(self, chosen: Mask) -> Collapsed:
        """Returns those of some keys."""
        members = chosen[self.runs.runs]
        lengths = (self.runs.ends - self.runs.starts + 1)[chosen]
        starts = np.cumsum(lengths) - lengths
        runs = Runs(starts, int(lengths.sum()))
        return replace(self, members=self.members.filter(pa.array(members)), rows=self.rows[members], runs=runs)

    def is_set(self, name: str) -> Mask:
        """Returns which members set a column, link or list, or unknown fields (`extra`)."""
        return sets(name, self.members, self.layout, replaces=self.stream.replaces)

    # -- which are certain -------------------------------------------------------------------------------------

    def certain(self, *, are_new: bool) -> Mask:
        """Returns which collapsed records have the effect of their members, on a row or on none."""
        found = self._are_plain()
        for name in () if self.stream.replaces else self.stream.merges:
            # Null clears the object into which the next one is merged.
            clears = self.is_set(name) & mask_of(self._column(name).is_null())
            found &= self._agree(name, self.is_set(name)) | ~self.runs.some(clears)
        found &= self._lists_are_certain(are_new=are_new)
        # What `compute` makes of two changes may differ from what it makes of both at once.
        for name in self._computed_from:
            found &= self._agree(name, self.is_set(name))
        found &= self._has_one_author(self._computed_from)
        return found & self._may_be_new() if are_new else found

    def _are_plain(self) -> Mask:
        """Returns which keys have only members of one identity, whose operations apply whatever they find."""
        operations = self._column("operation")
        plain = np.where(
            self.runs.are_first,
            mask_of(pc.is_in(operations, pa.array(_FIRST))),
            mask_of(pc.is_in(operations, pa.array(_NEXT))),
        )
        starts = pa.array(self.runs.starts[self.runs.runs])
        for name in ("external_id", "record_id"):
            plain &= ~are_distinct(self._column(name), self._column(name).take(starts))
        return self.runs.every(plain)

    def _agree(self, name: str, is_set: Mask) -> Mask:
        """Returns for which keys all members that set a column send the same."""
        return self.runs.every(~self._differ(name, is_set))

    def _differ(self, name: str, is_set: Mask) -> Mask:
        """Returns which members set a column to another value than the member before that sets it."""
        previous = self.runs.previous(is_set)
        both = np.flatnonzero(is_set & (previous >= 0))
        column, found = self._column(name), np.zeros(self.runs.count, bool)
        found[both] = are_distinct(column.take(pa.array(both)), column.take(pa.array(previous[both])))
        return found

    def _lists_are_certain(self, *, are_new: bool) -> Mask:
        """Returns which keys have lists whose last one decides: all are equal and steady, or they replace from none."""
        found = np.ones(len(self.runs.starts), bool)
        if not self.layout.children:
            return found
        sends = self._set_some(self._lists)
        found &= self._agree("modes", sends)
        steady = np.ones(self.runs.count, bool)
        repeated = np.flatnonzero(sends & (self.runs.previous(sends) >= 0))
        steady[repeated] = are_steady(self.stream, self.layout, self.members.take(pa.array(repeated)))
        found &= self.runs.every(steady)
        for declared, child in zip(self.stream.children, self.layout.children, strict=True):
            changes = self._differ(child.table, self.is_set(child.table))
            if not are_new or declared.mode != "replace" or declared.match:
                found &= self.runs.every(~changes)
            elif changes.any():
                # A call may set another mode; objects may be equal for JSONB though their texts differ.
                doubtful = mask_of(self._column("modes").is_valid()) | self._has_nested_extra(child.table)
                found &= ~self.runs.some(changes & doubtful)
        return found if are_new else found & self._has_one_author(self._lists)

    def _has_nested_extra(self, table: str) -> Mask:
        lists = self._column(table)
        found = np.zeros(self.runs.count, bool)
        extra = mask_of(lists.flatten().field("extra").is_valid())
        found[pc.list_parent_indices(lists).to_numpy()[extra]] = True
        return found

    def _has_one_author(self, names: Iterable[str]) -> Mask:
        """Returns for which keys one member is the first to set all of some columns that are set."""
        found, first = np.ones(len(self.runs.starts), bool), np.full(len(self.runs.starts), -1)
        for name in names:
            own = self.runs.last(self._is_first(self.is_set(name)))
            found &= (own < 0) | (first < 0) | (own == first)
            first = np.maximum(first, own)
        return found

    def _may_be_new(self) -> Mask:
        """Returns which keys have a first member that may create the row, and defaults that no other one decides."""
        found = sends_required(self.stream, self.members.take(pa.array(self.runs.starts)))
        if self.stream.replaces and self.stream.defaults:
            # The second record clears the default that the first one leaves.
            return np.zeros_like(found)
        for name in self.stream.timed_defaults:
            at = self._column("effective_at")
            is_one = ~are_distinct(at.take(pa.array(self.runs.starts)), at.take(pa.array(self.runs.ends)))
            found &= is_one | self.runs.some(self.is_set(name))
        return found

    # -- outcomes ----------------------------------------------------------------------------------------------

    def moves(self, rows: pa.Table | None, lists: Mask, after: Mapping[str, Any]) -> Mask:
        """Returns which members change the row that they find; of new rows, the first member creates it.

        Args:
            rows: the rows of the keys before all of them, as `StoredColumns` reads them; None if there are none.
            lists: by key, whether the lists of the row change.
            after: columns of the rows after all of them, without those that do not change.
        """
        found = np.zeros(self.runs.count, bool)
        for name in (*self.layout.columns, *self.layout.links, "extra"):
            if name in self._computed_from and rows is not None:
                # `compute` may restore what a record changes.
                if name in after:
                    found |= self._is_author & are_distinct(after[name], rows.column(name))[self.runs.runs]
            elif name in self.layout.json or name == "extra":
                found |= self._objects(name, rows)[1]
            else:
                is_set = self.is_set(name)
                found |= is_set & are_distinct(self._column(name), self._before(name, is_set, rows))
        for name in self._lists:
            is_set = self.is_set(name)
            found |= self._differ(name, is_set)
            filled = are_filled(self._column(name)) if rows is None else lists[self.runs.runs]
            found |= self._is_first(is_set) & filled
        return found | self._move_defaults(rows)

    @property
    def _computed_from(self) -> list[str]:
        """The columns and lists that `compute` reads or writes and records set."""
        return [name for name in self.layout.bits if name in self.stream.computed_from]

    @property
    def _is_author(self) -> Mask:
        """Which members are the first of their key to set something of `_computed_from`."""
        return self._is_first(self._set_some(self._computed_from))

    def _before(self, name: str, is_set: Mask, rows: pa.Table | None) -> Any:
        """Returns a column of the rows that the members find."""
        column = self._column(name)
        if rows is not None:
            base = one(rows.column(name)).take(pa.array(self.runs.runs))
        else:
            base = default_of(self.stream, name, self._creators)
            base = pa.nulls(self.runs.count, column.type) if base is None else base
        previous = self.runs.previous(is_set)
        return pc.if_else(pa.array(previous >= 0), column.take(pa.array(np.maximum(previous, 0))), base)

    @cached_property
    def _creators(self) -> pa.Table:
        """For each member, the one that creates its row."""
        return self.members.take(pa.array(self.runs.starts[self.runs.runs]))

    def _objects(self, name: str, rows: pa.Table | None) -> tuple[list[str | None], Mask]:
        """Applies objects one after the other to those of the rows. Returns them, and which members change theirs."""
        merges = not self.stream.replaces and (name == "extra" or name in self.stream.merges)
        revised, places = revising(merges=merges), np.flatnonzero(self.is_set(name))
        after: list[str | None] = [None] * len(self.runs.starts) if rows is None else rows.column(name).to_pylist()
        moves = np.zeros(self.runs.count, bool)
        sent = self._column(name).take(pa.array(places)).to_pylist()
        for member, run, text in zip(places.tolist(), self.runs.runs[places].tolist(), sent, strict=True):
            before = after[run]
            if text is not None and before is not None:
                text = revised(text, before) or before
            moves[member] = text is not before
            after[run] = text
        return after, moves

    def _move_defaults(self, rows: pa.Table | None) -> Mask:
        """Returns which members set a field that holds its default (O3): it no longer does."""
        found = np.zeros(self.runs.count, bool)
        for default, alias in named_defaults(self.stream):
            first = self._is_first(sets(sent_name(self.stream, default), self.members, self.layout))
            if rows is not None and first.any():
                stored = [names is not None and alias in names for names in rows.column("defaulted_fields").to_pylist()]
                first &= np.array(stored, bool)[self.runs.runs]
            found |= first
        return found

    # -- columns of the members --------------------------------------------------------------------------------

    @property
    def _lists(self) -> list[str]:
        return [child.table for child in self.layout.children]

    def _set_some(self, names: Iterable[str]) -> Mask:
        """Returns which members set one of some columns or lists."""
        found: Mask = np.logical_or.reduce([np.zeros(self.runs.count, bool), *map(self.is_set, names)])
        return found

    def _is_first(self, is_set: Mask) -> Mask:
        """Returns which members are the first of their key to set something."""
        return is_set & (self.runs.previous(is_set) < 0)

    def _column(self, name: str) -> Any:
        return one(self.members.column(name))

    def _at(self, name: str, places: Ids) -> Any:
        """Returns a column of some members; null where there is none."""
        return self._column(name).take(pa.array(places, mask=places < 0))
