"""Verifies many rows at once: those that equal the columns of their records.

A row is verified here if its key has one record, or several with equal texts, and if everything in it, in its lists and
in its links is what that record makes of an empty row. That says nothing of the other rows: the definition decides
about them (`verified_rows`).

All of it is one snapshot of tables and ledger, without locks. Rows are read in the order of their ids, some at a time:
rows that one export created are neighbors there as they are in its kept records. Memory holds eight bytes for each row
that is equal; everything else is of some rows.

Belongs here: which rows are equal. Does not belong here: what a record makes of a row (`columns`), differences
(`audit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.contracts.streams import Children, Identity, Stream
from sync_pipelines.normalize.keys import are_among, distinct
from sync_pipelines.normalize.layout import ChildLayout, arrow_type, layout_of
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.column_changes import are_distinct, are_set, mask_of
from sync_pipelines.upsert.columns import ColumnFold, FoldedRows
from sync_pipelines.upsert.copy_format import ahead, numbered
from sync_pipelines.upsert.copying import Ids, one
from sync_pipelines.upsert.history import Hashes, decided_keys
from sync_pipelines.upsert.list_columns import NewElements
from sync_pipelines.upsert.list_repeats import are_steady, undecided
from sync_pipelines.upsert.stored_rows import NOT_DERIVED, Source
from sync_pipelines.verification.archived_exports import ArchivedExports, Span, hashes_in
from sync_pipelines.verification.copy_out import Result, columns_of, fetch, table_of
from sync_pipelines.verification.equal_columns import differing
from sync_pipelines.verification.referrers import Group
from sync_pipelines.verification.tenant_rows import NamedRows, hashes_of_names, joined, named_parts, named_rows

ROWS_AT_ONCE: Final = 16_384
_PARTS_AT_ONCE: Final = 4
"""Parts of the rows whose names and records are known at a time."""
_KEYS_AT_ONCE: Final = 1 << 20
_KEYS: Final = {"id", "external_id", "partner_record_id", "deleted_at", "is_placeholder"}


class VerifiedKeys(NamedTuple):
    """What was verified.

    Attributes:
        compared: the number of keys.
        left: hashes of those whose rows are not surely equal (sorted).
        rows: the tenant's rows that are not surely equal.
        referred: rows that records refer to.
    """

    compared: int
    left: Hashes
    rows: NamedRows
    referred: Mapping[Group, NamedRows]


class _Index(NamedTuple):
    """The records of some keys, by hash and version.

    Attributes:
        keys: the distinct hashes that have records.
        exports, rows: export number and row of the first record of each key.
        is_single: which keys have one record, or several with equal texts.
    """

    keys: Hashes
    exports: Ids
    rows: Ids
    is_single: Mask


class ColumnVerification:
    """Verifies rows of one tenant's stream by columns.

    Args:
        connection: in a transaction that sees one snapshot.
        stream: the declaration; one whose records are found by their keys alone.
        tenant: the tenant.
        exports: the loaded exports, as of the snapshot.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], stream: Stream, tenant: str, exports: ArchivedExports
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._tenant = tenant
        self._exports = exports.all
        self._layout = layout_of(stream)
        self._fold = ColumnFold(stream, self._layout)
        self._paths = {path: n for n, path in enumerate(dict.fromkeys(e.entry.path for e in self._exports))}
        self._groups: dict[Group, NamedRows] = {}

    def verify(self, span: Span) -> VerifiedKeys:
        """Verifies the keys of a range."""
        group = Group(self._stream.table, self._stream.partner, self._tenant)
        equal, others = [np.empty(0, np.uint64)], list[NamedRows]()
        parts = named_parts(self._connection, group)
        while pieces := list(islice(parts, _PARTS_AT_ONCE)):
            rows = joined(pieces)
            is_equal = np.zeros(len(rows.ids), bool)
            mine = np.flatnonzero(span.has(rows.keys))
            is_equal[mine] = self._are_equal(rows.chosen(mine))
            equal.append(rows.keys[is_equal])
            others.append(rows.chosen(~is_equal))
        done = np.concatenate(equal)
        equal.clear()
        done.sort()
        return self._verified(span, done, joined(others))

    def _verified(self, span: Span, equal: Hashes, others: NamedRows) -> VerifiedKeys:
        """Returns the result, given the hashes of all keys with equal rows (sorted)."""
        compared, left = 0, [equal[:0]]
        parts = 1 + sum(len(export.kept.keys.hashes) for export in self._exports) // _KEYS_AT_ONCE
        for number in range(parts):
            part = span.part(number, parts)
            hashes = hashes_in(self._exports, part)
            compared += len(hashes)
            left.append(hashes[~are_among(hashes, part.of(equal))])
        return VerifiedKeys(compared, np.concatenate(left), others, self._groups)

    def _are_equal(self, rows: NamedRows) -> Mask:
        """Returns which rows equal their records."""
        index = self._index(distinct(rows.keys))
        chosen = np.flatnonzero(are_among(rows.keys, index.keys[index.is_single]))
        ids, places = rows.ids[chosen], np.searchsorted(index.keys, rows.keys[chosen])
        chunks = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(ids), ROWS_AT_ONCE)]
        # The server answers the next query while these rows are compared.
        fetched = ahead(self._fetched(ids[chunk]) for chunk in chunks)
        stored = ahead(self._stored(ids[chunk], results) for chunk, results in zip(chunks, fetched, strict=True))
        found = np.zeros(len(rows.ids), bool)
        for chunk, tables in zip(chunks, stored, strict=True):
            at = places[chunk]
            found[chosen[chunk]] = self._equal(tables, index.exports[at], index.rows[at])
        return found

    # -- records -------------------------------------------------------------------------------------------------

    def _index(self, wanted: Hashes) -> _Index:
        hashes, exports, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int32)], [np.empty(0, np.uint32)]
        for number, export in enumerate(self._exports):
            known = export.kept.keys
            is_shorter = len(known.hashes) < len(wanted)
            at = np.flatnonzero(are_among(known.hashes, wanted)) if is_shorter else known.places_of(wanted)
            hashes.append(known.hashes[at])
            rows.append(known.rows[at])
            exports.append(np.full(len(at), number, np.int32))
            export.kept.let_go("keys")
        every = np.concatenate(hashes)
        order = np.argsort(every, kind="stable") if len(self._exports) > 1 else np.arange(len(every))
        every = every[order]
        export_of, row_of = np.concatenate(exports)[order], np.concatenate(rows)[order]
        is_first = np.ones(len(every), bool)
        np.not_equal(every[1:], every[:-1], out=is_first[1:])
        starts = np.flatnonzero(is_first)
        keys = every[starts]
        counts = np.diff(np.append(starts, len(every)))
        is_single = counts == 1
        if not is_single.all() and self._stream.is_repeatable:
            is_single |= self._are_repeats(np.repeat(np.arange(len(keys)), counts), export_of, row_of, ~is_single)
        if self._exports:
            # Presence bits of other contracts mean other columns.
            is_alike = np.array([export.kept.bits == self._layout.bits for export in self._exports])
            is_single &= is_alike[export_of[starts]]
            is_single &= ~are_among(keys, self._decided)
        return _Index(keys, export_of[starts].astype(np.int64), row_of[starts].astype(np.int64), is_single)

    @cached_property
    def _decided(self) -> Hashes:
        return decided_keys(self._connection, self._exports[-1].entry)

    def _are_repeats(self, keys: Ids, exports: Any, rows: Any, several: Mask) -> Mask:
        """Returns, by key, whether all its records have equal texts, in exports whose records have one time."""
        chosen = np.flatnonzero(several[keys])
        keys, exports, rows = keys[chosen], exports[chosen], rows[chosen]
        texts = np.zeros((len(chosen), 2), np.uint64)
        for number in distinct(exports).tolist():
            export = self._exports[number]
            mine = np.flatnonzero(exports == number)
            if export.kept.texts is not None and export.is_even:
                texts[mine] = export.kept.texts[rows[mine]]
                if export.kept.summary.reading != self._exports[int(exports[0])].kept.summary.reading:
                    texts[mine] = 0
            export.kept.let_go("texts")
        is_first = np.ones(len(keys), bool)
        np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
        same = texts[:, 0] != 0
        same[1:] &= is_first[1:] | (texts[1:] == texts[:-1]).all(axis=1)
        found = several.copy()
        found[keys[~same]] = False
        return found

    def _records(self, exports: Ids, rows: Ids) -> pa.Table:
        """Returns the records of some rows of exports, in their order."""
        pieces, places = [], []
        for number in distinct(exports).tolist():
            mine = np.flatnonzero(exports == number)
            mine = mine[np.argsort(rows[mine], kind="stable")]
            for here, block in self._exports[number].kept.chosen(rows[mine]):
                pieces.append(pa.Table.from_batches([block]))
                places.append(mine[: len(here)])
                mine = mine[len(here) :]
        table = pa.concat_tables(pieces).combine_chunks()
        order = np.argsort(np.concatenate(places), kind="stable")
        return table if (order == np.arange(len(order))).all() else table.take(pa.array(order))

    # -- stored rows ---------------------------------------------------------------------------------------------

    def _fetched(self, ids: Ids) -> list[Result]:
        """Returns rows in the order of their ids, and the rows of their lists, as the server writes them."""
        table = metadata.tables[f"{SCHEMA}.{self._stream.table}"]
        names = [c.name for c in table.columns if c.name not in {*NOT_DERIVED, "tenant", "partner"}]
        main = self._fetch(self._stream.table, names, _among("id", ids), "id")
        return [main, *(self._children(child, ids) for child in self._stream.children)]

    def _stored(self, ids: Ids, results: list[Result]) -> tuple[pa.Table, list[pa.Table]]:
        columns = ["id", *(child.parent for child in self._stream.children)]
        main, *children = (self._of(ids, column, result) for column, result in zip(columns, results, strict=True))
        return main, children

    def _children(self, declared: Children, ids: Ids) -> Result:
        table = metadata.tables[f"{SCHEMA}.{declared.table}"]
        names = [c.name for c in table.columns if c.name != "id" or declared.nested]
        return self._fetch(declared.table, names, _among(declared.parent, ids), f"{declared.parent}, line_no")

    def _fetch(self, table: str, names: Sequence[str], among: Composed, order: str) -> Result:
        kinds = {name: arrow_type(table, name) for name in names}
        query = SQL("select {columns} from {t} t where {among} order by {order}").format(
            columns=columns_of(kinds), t=Identifier(SCHEMA, table), among=among, order=SQL(order)
        )  # fmt: skip
        return fetch(self._connection, query, kinds)

    def _of(self, ids: Ids, column: str, result: Result) -> pa.Table:
        """Returns the rows of a result that belong to some main rows."""
        rows = table_of(self._connection, result)
        mine = np.isin(one(rows.column(column)).to_numpy(), ids)
        return rows if mine.all() else rows.filter(pa.array(mine))

    # -- comparing -----------------------------------------------------------------------------------------------

    def _equal(self, stored: tuple[pa.Table, list[pa.Table]], exports: Ids, rows: Ids) -> Mask:
        main, children = stored
        records = self._records(exports, rows)
        folded = self._fold.fold(records, None)
        equal = folded.certain & self._has_steady_lists(records)
        equal &= self._is_main_equal(main, records, folded)
        equal &= self._is_source_equal(main, records, exports)
        for reference in self._stream.references:
            equal &= self._is_link_equal(reference.column, reference.table, main, records)
        ids = one(main.column("id")).to_numpy()
        sent = {lists.declared.table: lists.new for lists in folded.resized}
        for declared, layout, found in zip(self._stream.children, self._layout.children, children, strict=True):
            wrong = self._wrong_owners(declared, layout, ids, sent.get(declared.table), found)
            equal[wrong] = False
        return equal

    def _has_steady_lists(self, records: pa.Table) -> Mask:
        if not undecided(self._stream):
            return np.ones(records.num_rows, bool)
        return are_steady(self._stream, self._layout, records)

    def _is_main_equal(self, main: pa.Table, records: pa.Table, folded: FoldedRows) -> Mask:
        wrong: Mask = are_distinct(records.column("external_id"), main.column("external_id"))
        wrong |= mask_of(main.column("partner_record_id").is_valid()) | mask_of(main.column("deleted_at").is_valid())
        wrong |= mask_of(main.column("is_placeholder"))
        links = {reference.column for reference in self._stream.references}
        for name in main.column_names:
            if name not in _KEYS and name not in links and name not in Source._fields:
                wrong |= differing(self._stream.table, name, folded.main.columns.get(name), main.column(name))
        return ~wrong

    def _is_source_equal(self, main: pa.Table, records: pa.Table, exports: Ids) -> Mask:
        wrong = are_distinct(records.column("effective_at"), main.column("effective_at"))
        wrong |= are_distinct(records.column("position"), main.column("source_position"))
        files = one(main.column("source_file")).dictionary_encode()
        known = np.array([*(self._paths.get(path, -1) for path in files.dictionary.to_pylist()), -1])
        stored = known[pc.fill_null(files.indices, len(known) - 1).to_numpy()]
        path_of = np.array([self._paths[export.entry.path] for export in self._exports])
        equal: Mask = ~(wrong | (stored != path_of[exports]))
        return equal

    def _is_link_equal(self, column: str, table: str, main: pa.Table, records: pa.Table) -> Mask:
        stored = one(main.column(column))
        partners, tenants, external, own = (one(records.column(f"{column}_{part}")) for part in Identity._fields)
        is_sent = are_set(records.column("present"), self._layout.bits[column])
        is_named = is_sent & (mask_of(external.is_valid()) | mask_of(own.is_valid()))
        equal: Mask = mask_of(stored.is_valid()) == is_named
        owners = pc.binary_join_element_wise(partners, tenants, "\x1f").dictionary_encode()
        codes = pc.fill_null(owners.indices, -1).to_numpy()
        for code, owner in enumerate(owners.dictionary.to_pylist()):
            rows = self._group(Group(table, *owner.split("\x1f")))
            mine = np.flatnonzero(is_named & (codes == code) & equal)
            if len(mine):
                at = pa.array(mine)
                equal[mine] = _are_named(rows, stored.take(at).to_numpy(), external.take(at), own.take(at))
        return equal

    def _group(self, group: Group) -> NamedRows:
        """Returns the rows of a group to which a reference may lead, by id."""
        if group not in self._groups:
            self._groups[group] = named_rows(self._connection, group, as_keys=False)
        return self._groups[group]

    def _wrong_owners(
        self, declared: Children, layout: ChildLayout, ids: Ids, sent: NewElements | None, stored: pa.Table
    ) -> Ids:
        """Returns the main rows (by index) whose lists of one table differ."""
        nothing = np.empty(0, np.int64)
        owners, lines = (nothing, nothing) if sent is None else (sent.owners, sent.lines)
        owner_of = np.searchsorted(ids, one(stored.column(declared.parent)).to_numpy())
        count = len(ids)
        wrong = np.bincount(owners, minlength=count) != np.bincount(owner_of, minlength=count)
        mine, theirs = np.flatnonzero(~wrong[owners]), np.flatnonzero(~wrong[owner_of])
        if sent is None or not len(mine):
            return np.flatnonzero(wrong)
        if not (np.diff(owners[mine]) >= 0).all():
            mine = mine[np.lexsort((lines[mine], owners[mine]))]
        rows, elements = _taken(stored, theirs), _taken(sent.elements, mine)
        differs = lines[mine] != one(rows.column("line_no")).to_numpy()
        for name in rows.column_names:
            if name not in ("id", "line_no", declared.parent):
                field = elements.field(name) if name in (*layout.columns, "extra") else None
                differs |= differing(declared.table, name, field, rows.column(name))
        wrong[owners[mine[differs]]] = True
        for inner, inner_layout in zip(declared.nested, layout.nested, strict=True):
            parents = one(rows.column("id")).to_numpy()
            order = np.argsort(parents, kind="stable")
            found = self._of(parents[order], inner.parent, self._children(inner, parents[order]))
            within, numbers, nested = numbered(elements.take(pa.array(order)).field(inner.table))
            new = NewElements(within, within, numbers, nested)
            bad = self._wrong_owners(inner, inner_layout, parents[order], new, found)
            wrong[owners[mine[order[bad]]]] = True
        return np.flatnonzero(wrong)


def is_verifiable(stream: Stream) -> bool:
    """Whether rows of a stream can be verified by columns: its records are found by their keys alone."""
    return not stream.has_record_ids and stream.scope is None


def _are_named(rows: NamedRows, ids: Ids, external: Any, own: Any) -> Mask:
    """Returns which ids are those of rows with the given names: the partner's own id, or else the external id."""
    places = np.minimum(np.searchsorted(rows.ids, ids), max(len(rows.ids) - 1, 0))
    if not len(rows.ids):
        return np.zeros(len(ids), bool)
    by_own = mask_of(own.is_valid())
    is_right: Mask = (rows.ids[places] == ids) & ~rows.are_scoped[places]
    is_right &= np.where(
        by_own, rows.record_ids[places] == hashes_of_names(own, is_record_id=True, as_keys=False), True
    )
    is_right &= np.where(
        by_own, True, rows.keys[places] == hashes_of_names(external, is_record_id=False, as_keys=False)
    )
    return is_right


def _taken(rows: Any, places: Ids) -> Any:
    """Returns the rows at some places."""
    is_all = len(places) == len(rows) and bool((places == np.arange(len(rows))).all())
    return rows if is_all else rows.take(pa.array(places))


def _among(column: str, ids: Ids) -> Composed:
    """Returns the condition that a column is one of some ids, which are ascending; also true for ids between them."""
    if not len(ids):
        return SQL("false").format()
    first, last = int(ids[0]), int(ids[-1])
    if last - first < 2 * len(ids):
        return SQL("t.{c} between {first} and {last}").format(c=Identifier(column), first=first, last=last)
    return SQL("t.{c} = any({ids}::bigint[])").format(c=Identifier(column), ids=str(set(ids.tolist())))
