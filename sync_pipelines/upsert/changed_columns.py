"""What records make of rows that are there, a column at a time.

The same as the fold makes of them, for those records of which that is certain: the row they mean is defined and named
just as they name it, and so are their lists (`changed_lists`).

Belongs here: which records are certain, and the columns that come to differ. Does not belong here: reading the rows
(`stored_columns`), writing what differs (`changed_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.upsert.changed_lists import (
    ListChanges,
    ListReviser,
    ListTreatment,
    ReadLists,
    ResizedLists,
    SentLists,
)
from sync_pipelines.upsert.column_changes import (
    ColumnChange,
    RowChanges,
    are_distinct,
    are_spoken,
    changed_json,
    changed_value,
    mask_of,
    unchanged_column,
)
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.derived_columns import derived_columns
from sync_pipelines.upsert.fold import named_defaults, spoken_name
from sync_pipelines.upsert.list_rules import kinds_of

_PATCHES: Final = ("upsert", "create", "update", "touch")
"""What a record may ask for to patch a row that is live and defined."""


@dataclass(frozen=True)
class ChangedColumns:
    """What records make of rows, the n-th of the n-th.

    Attributes:
        certain: which records make just this.
        main: the rows.
        children: rows of their lists.
        resized: lists with other numbers of rows.
    """

    certain: Mask
    main: RowChanges
    children: Sequence[RowChanges]
    resized: Sequence[ResizedLists]

    @property
    def differs(self) -> Mask:
        """Which rows come to differ, be it in their lists alone."""
        found = self.main.differs.copy()
        for rows in self.children:
            found[rows.tops[rows.differs]] = True
        for lists in self.resized:
            found[lists.tops] = True
        return found & self.certain


class ColumnReviser:
    """Makes columns of records and the rows they mean.

    Args:
        stream: the declaration.
        layout: of its kept records.
        read: gives stored lists.
    """

    def __init__(self, stream: Stream, layout: Layout, read: ReadLists) -> None:
        self._stream = stream
        self._layout = layout
        self._read = read
        self._settles_lists = {name.partition(".")[0] for name in stream.settles if "." in name}

    def revise(self, records: pa.Table, rows: pa.Table, links: Mapping[str, Any]) -> ChangedColumns:
        """Records and the rows they mean, one each.

        Args:
            records: kept records, each the only one of its export that means its row.
            rows: their rows, as `Standing` reads them.
            links: reference column -> the ids of the rows that records refer to.
        """
        certain: Mask = mask_of(pc.is_in(records.column("operation"), pa.array(_PATCHES)))
        certain &= _are_defined(records, rows) & self._are_in_scope(rows, links)
        lists = ListReviser(self._read, certain)
        ids = one(rows.column("id")).to_numpy()
        tops = np.arange(len(ids))
        shown: list[ListChanges] = []
        for declared, child in zip(self._stream.children, self._layout.children, strict=True):
            spoken = self._spoken(child.table, records)
            sent = SentLists(declared, child, one(records.column(child.table)), spoken, ids, tops)
            shown += self._listed(lists, sent, records, certain)
        revisions = self._values(records, rows, links)
        revisions |= derived_columns(
            self._stream, revisions, [s for s in shown if s.table in self._settles_lists], rows
        )
        if self._stream.lists_defaults:
            revisions["defaulted_fields"] = self._defaulted(records, one(rows.column("defaulted_fields")))
        keys = {"id": rows.column("id")}
        main = RowChanges.build(self._stream.table, keys, tops, revisions)
        return ChangedColumns(certain, main, lists.found, lists.resized)

    def buried(self, records: pa.Table, rows: pa.Table) -> Mask:
        """Which records delete their row, certainly: nothing keeps it (T9), and no other row may be meant (P2, P5)."""
        if self._stream.blocked_by is not None or self._stream.scope is not None:
            return np.zeros(records.num_rows, bool)
        return mask_of(pc.equal(records.column("operation"), "delete")) & _are_defined(records, rows)

    def _defaulted(self, records: pa.Table, stored: Any) -> ColumnChange:
        """The fields that still hold their default (O3)."""
        bits = {
            alias: 1 << self._layout.bits[spoken_name(self._stream, d)] for d, alias in named_defaults(self._stream)
        }
        before = stored.to_pylist()
        masks = records.column("present").to_pylist()
        after = [
            None if names is None else [name for name in names if not present & bits.get(name, 0)]
            for names, present in zip(before, masks, strict=True)
        ]
        differs = np.array([mine != theirs for mine, theirs in zip(after, before, strict=True)], bool)
        return ColumnChange(pa.array(after, stored.type), differs)

    def _are_in_scope(self, rows: pa.Table, links: Mapping[str, Any]) -> Mask:
        """Which rows are in the scope that their record names (P5)."""
        scope = self._stream.scope
        if scope is None:
            return np.ones(rows.num_rows, bool)
        return mask_of(pc.fill_null(pc.equal(links[scope], one(rows.column(scope))), False))

    def _spoken(self, name: str, records: pa.Table) -> Mask:
        return are_spoken(records.column("present"), self._layout.bits[name])

    def _listed(self, lists: ListReviser, sent: SentLists, records: pa.Table, certain: Mask) -> Iterator[ListChanges]:
        """Compares the lists of one table with the stored ones, by how they are taken."""
        declared = sent.declared
        is_shown = declared.table in self._settles_lists
        for chosen, (mode, name) in kinds_of(records, declared):
            of_kind = np.zeros(len(certain), bool)
            of_kind[chosen] = True
            spoken = of_kind & certain & sent.spoken
            wanted = of_kind & certain if is_shown else spoken
            if wanted.any():
                ways = [match for match in declared.match if name is None or match.name == name]
                resizes = mode == "replace" and not (declared.match or declared.nested or is_shown)
                yield lists.revise(sent._replace(spoken=spoken), ListTreatment(mode, ways, resizes), wanted)

    def _values(self, records: pa.Table, rows: pa.Table, links: Mapping[str, Any]) -> dict[str, ColumnChange]:
        """The rows' own columns."""
        replaces = self._stream.replaces
        found = {name: unchanged_column(rows.column(name)) for name in self._stream.settled}
        every = np.ones(records.num_rows, bool)
        for name in self._layout.columns:
            spoken = every if replaces else self._spoken(name, records)
            sent, stored = one(records.column(name)), one(rows.column(name))
            if name in self._layout.json:
                found[name] = changed_json(sent, stored, spoken, merges=name in self._stream.merges)
            else:
                found[name] = changed_value(sent, stored, spoken)
        for name, ids in links.items():
            found[name] = changed_value(ids, one(rows.column(name)), self._spoken(name, records))
        extra = one(records.column("extra"))
        spoken = every if replaces else mask_of(extra.is_valid())
        return found | {"extra": changed_json(extra, one(rows.column("extra")), spoken, merges=not replaces)}


def _are_defined(records: pa.Table, rows: pa.Table) -> Mask:
    """Which rows are live, defined, and named just as the record that means them names itself (P2)."""
    defined: Mask = mask_of(rows.column("deleted_at").is_null()) & ~mask_of(rows.column("is_placeholder"))
    defined &= ~are_distinct(records.column("external_id"), rows.column("external_id"))
    return defined & ~are_distinct(records.column("record_id"), rows.column("partner_record_id"))
