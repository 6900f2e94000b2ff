"""Records of keys that no row has yet, by COPY straight into the tables.

A chunk of records at a time: which keys have rows is asked, rows that records refer to are found or made, ids are
drawn, and rows and children are copied with them. Records of keys that have a row are left to the staged way.

Statistics know nothing of rows that this transaction made, so questions are put key by key (`offset 0` keeps the
planner from turning them round).

Belongs here: rows as the tables take them, made of kept records. Does not belong here: rows that exist (`statements`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.contracts.streams import EFFECTIVE_TIME, Identity, Reference, Stream
from sync_pipelines.ledger import LedgerFile
from sync_pipelines.normalize.kept import KeptRecords
from sync_pipelines.normalize.layout import ChildLayout, Layout
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.fold import named_defaults, spoken_name
from sync_pipelines.upsert.history import Hashes
from sync_pipelines.upsert.stage import ahead, array_literal, csv_of, numbered
from sync_pipelines.upsert.statements import unscoped

CHUNK: Final = 8_192
"""Records that are looked up at once."""

Ids = npt.NDArray[np.int64]
_PROVENANCE: Final = ("effective_at", "source_file", "source_position", "run_id")


@dataclass(frozen=True)
class Direct:
    """What came of the direct way.

    Attributes:
        created: rows made.
        left: hashes of the keys whose records are left to the staged way (sorted).
    """

    created: int
    left: Hashes


class DirectWay:
    """Writes the new rows of one export.

    Args:
        connection: inside the load's transaction, with the export's locks.
        stream: the declaration, of a stream that is set-based.
        layout: of its kept records.
        entry: the export.
        run_id: named by the rows written.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        stream: Stream,
        layout: Layout,
        entry: LedgerFile,
        run_id: str | None,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._layout = layout
        self._entry = entry
        self._run_id = run_id

    def write(self, kept: KeptRecords, aside: Hashes) -> Direct:
        """Writes records of keys without a row.

        Args:
            kept: the export's records.
            aside: hashes of keys that go another way (sorted).
        """
        connection = self._connection
        connection.execute("create temp table wanted (number bigint, key text) on commit drop")
        connection.execute(
            "create temp table meant (number bigint, partner text, tenant text, key text) on commit drop"
        )
        created, left = 0, [np.empty(0, np.uint64)]
        has_rows = self._has_rows()
        for chunk in ahead(_chunks(kept, aside)):
            has_row = self._has_row(chunk, looks=has_rows)
            left.append(chunk.column("key_hash").to_numpy()[has_row])
            new = chunk if not has_row.any() else chunk.filter(pa.array(~has_row))
            if new.num_rows:
                self._insert(new)
                created += new.num_rows
        return Direct(created, np.sort(np.concatenate(left)))

    # -- looking up --------------------------------------------------------------------------------------------

    def _has_rows(self) -> bool:
        """Whether the tenant has any row yet; nobody else makes one while the load holds its locks."""
        row = self._connection.execute(
            SQL("select exists (select from {} where tenant = %s and partner = %s)").format(
                Identifier(SCHEMA, self._stream.table)
            ),
            [self._entry.tenant, self._stream.partner],
        ).fetchone()
        return row == (True,)

    def _has_row(self, chunk: pa.Table, *, looks: bool) -> npt.NDArray[np.bool_]:
        """Which records have a row already; deletes count as such, since there is no row to make."""
        found = np.array(pc.not_equal(chunk.column("operation"), "upsert"), bool)
        if not looks:
            return found
        numbers = np.arange(chunk.num_rows)
        self._connection.execute("truncate wanted")
        self._copy("wanted", ["number", "key"], [csv_of([pa.array(numbers), chunk.column("external_id")])])
        known = self._numbers(
            SQL(
                "select w.number from wanted w cross join lateral (select from {main} t where t.tenant = {tenant}"
                " and t.partner = {partner} and t.external_id = w.key offset 0) found"
            ).format(
                main=Identifier(SCHEMA, self._stream.table), tenant=self._entry.tenant, partner=self._stream.partner
            )
        )
        found[known] = True
        return found

    def _referred(self, reference: Reference, chunk: pa.Table) -> pa.Array:
        """The ids of the rows that records refer to; missing ones are made as placeholders (X7)."""
        parts = {part: _one(chunk.column(f"{reference.column}_{part}")) for part in Identity._fields}
        joined = pc.binary_join_element_wise(parts["partner"], parts["tenant"], parts["external_id"], "\x1f")
        encoded = joined.dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        _, first = np.unique(codes[~np.isnan(codes)] if codes.dtype.kind == "f" else codes, return_index=True)
        spoken = np.flatnonzero(parts["external_id"].is_valid().to_numpy(zero_copy_only=False))
        first = pa.array(spoken[first])
        named = [parts[part].take(first) for part in ("partner", "tenant", "external_id")]
        count = len(first)
        self._connection.execute("truncate meant")
        # Keys in their order find their neighbours' pages of the index in memory.
        ordered = pc.sort_indices(named[2])
        self._copy(
            "meant",
            ["number", "partner", "tenant", "key"],
            [csv_of([ordered, *(part.take(ordered) for part in named)])],
        )
        statement = SQL(
            "select m.number, found.id from meant m cross join lateral (select t.id from {t} t"
            " where t.tenant = m.tenant and t.partner = m.partner and t.external_id = m.key{unscoped} offset 0) found"
        ).format(t=Identifier(SCHEMA, reference.table), unscoped=unscoped(reference, Identifier("t")))
        ids = np.zeros(count, np.int64)
        known = self._numbers(statement).reshape(-1, 2)
        ids[known[:, 0]] = known[:, 1]
        missing = ordered.to_numpy()[ids[ordered.to_numpy()] == 0]
        if len(missing):
            ids[missing] = self._new_ids(reference.table, len(missing))
            rows = pa.array(missing)
            provenance = self._provenance(chunk.take(first.take(rows)))
            columns: dict[str, Any] = {
                "id": pa.array(ids[missing]),
                "partner": named[0].take(rows),
                "tenant": named[1].take(rows),
                "external_id": named[2].take(rows),
                "is_placeholder": pa.repeat(True, len(missing)),
                **provenance,
            }
            self._copy_columns(reference.table, columns)
        return pa.array(ids).take(encoded.indices)

    def _new_ids(self, table: str, count: int) -> Ids:
        # The sequence is looked up once, not for every number.
        sequence = SQL("select pg_get_serial_sequence({}, 'id')::regclass as name offset 0").format(f"{SCHEMA}.{table}")
        return self._numbers(SQL("select nextval(s.name) from ({}) s, generate_series(1, {})").format(sequence, count))

    def _numbers(self, query: Composed) -> Ids:
        """All integers of an answer, row by row; thousands of Python rows would cost more than the query."""
        with self._connection.cursor().copy(SQL("copy ({}) to stdout").format(query)) as copy:
            text = b"".join(bytes(block) for block in copy)
        return np.array(text.split(), np.int64)

    # -- writing -----------------------------------------------------------------------------------------------

    def _insert(self, new: pa.Table) -> None:
        stream = self._stream
        ids = self._new_ids(stream.table, new.num_rows)
        # Children are the most of the work: they are made ready while the server takes in the rows before them.
        children = [ahead(self._children_of(child, new, ids)) for child in self._layout.children]
        columns: dict[str, Any] = {
            "id": pa.array(ids),
            "tenant": pa.repeat(self._entry.tenant, new.num_rows),
            "partner": pa.repeat(stream.partner, new.num_rows),
            "external_id": new.column("external_id"),
            **self._provenance(new),
            **{name: self._value(name, new) for name in self._layout.columns},
            **{reference.column: self._referred(reference, new) for reference in stream.references},
            "extra": new.column("extra"),
        }
        if stream.lists_defaults:
            columns["defaulted_fields"] = self._defaulted(new)
        self._copy_columns(stream.table, columns)
        for declared, child, rows in zip(stream.children, self._layout.children, children, strict=True):
            self._copy(f"{SCHEMA}.{child.table}", [declared.parent, "line_no", *child.columns, "extra"], rows)

    def _children_of(self, child: ChildLayout, new: pa.Table, ids: Ids) -> Iterator[bytes]:
        for start, block in _blocks(new):
            yield _child_rows(block, ids[start : start + block.num_rows], child)

    def _provenance(self, records: pa.Table) -> dict[str, Any]:
        values = (
            records.column("effective_at"),
            pa.repeat(self._entry.path, records.num_rows),
            records.column("position"),
            pa.nulls(records.num_rows, pa.string())
            if self._run_id is None
            else pa.repeat(self._run_id, records.num_rows),
        )
        return dict(zip(_PROVENANCE, values, strict=True))

    def _spoken(self, name: str, records: pa.Table) -> npt.NDArray[np.bool_]:
        spoken: npt.NDArray[np.bool_] = records.column("present").to_numpy() >> self._layout.bits[name] & 1 == 1
        return spoken

    def _value(self, name: str, records: pa.Table) -> Any:
        """A column as sent, else its default (O3)."""
        sent = records.column(name)
        default = next((d for d in self._stream.defaults if d.column == name), None)
        if default is None:
            return sent
        fallback = (
            records.column("effective_at") if default.value is EFFECTIVE_TIME else pa.scalar(default.value, sent.type)
        )
        spoken = self._spoken(name, records)
        return sent if spoken.all() else pc.if_else(pa.array(spoken), sent, fallback)

    def _defaulted(self, records: pa.Table) -> Any:
        """The fields that hold their default, as array literals; few kinds of records speak of different fields."""
        named = [(alias, spoken_name(self._stream, default)) for default, alias in named_defaults(self._stream)]
        masks, kinds = np.unique(records.column("present").to_numpy(), return_inverse=True)
        literals = [
            array_literal([alias for alias, name in named if not mask >> self._layout.bits[name] & 1])
            for mask in masks.tolist()
        ]
        return pa.array(literals, pa.string()).take(pa.array(kinds))

    def _copy_columns(self, table: str, columns: Mapping[str, Any]) -> None:
        rows = pa.table({name: _one(column) for name, column in columns.items()})
        self._copy(f"{SCHEMA}.{table}", rows.column_names, ahead(csv_of(block.columns) for _, block in _blocks(rows)))

    def _copy(self, table: str, columns: Sequence[str], blocks: Iterable[bytes]) -> None:
        statement = SQL("copy {table} ({columns}) from stdin (format csv)").format(
            table=Identifier(*table.split(".")), columns=SQL(", ").join(map(Identifier, columns))
        )
        with self._connection.cursor().copy(statement) as copy:
            for block in blocks:
                copy.write(block)


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _chunks(kept: KeptRecords, aside: Hashes) -> Iterator[pa.Table]:
    """The records that are not set aside, some blocks at a time."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for rows, block in kept.chosen(kept.keys.rows_among(aside, but=True)):
        waiting.append(block)
        count += len(rows)
        if count >= CHUNK:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _blocks(rows: pa.Table, size: int = 8192) -> Iterator[tuple[int, pa.Table]]:
    for start in range(0, rows.num_rows, size):
        yield start, rows.slice(start, size)


def _child_rows(records: pa.Table, ids: Ids, child: ChildLayout) -> bytes:
    """The children of some records as CSV: parent's id, line number, columns, extra."""
    parents, numbers, elements = numbered(_one(records.column(child.table)))
    fields = [elements.field(name) for name in (*child.columns, "extra")]
    return csv_of([pa.array(ids[parents]), pa.array(numbers), *fields])
