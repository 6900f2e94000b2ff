"""Copies records of keys without a row straight into the tables.

Works on a chunk of records at a time: looks up which keys have rows, finds or creates the rows that records refer to,
draws ids, and copies rows and children with them. Records of keys with a row are passed to another path, and so are
those whose result is not certain from their columns alone (`columns`).

Belongs here: turning kept records into rows. Does not belong here: existing rows (`changed_rows`,
`folding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import starmap
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.sql import SQL, Identifier

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.layout import ChildLayout
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.columns import ColumnFold, FoldedRows
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copy_format import ahead, numbered
from sync_pipelines.upsert.copying import Copying, Ids, one
from sync_pipelines.upsert.empty_tables import DeferredIndexes, without_indexes
from sync_pipelines.upsert.list_columns import NewElements
from sync_pipelines.upsert.references import ReferenceIds, Referents, referents_of
from sync_pipelines.upsert.stored_columns import StoredColumns

CHUNK: Final = 4_096
"""Records that are looked up at once."""
MANY: Final = 20_000
"""Fewest records for which an empty table's indexes are dropped and restored."""

Before = Callable[[pa.Table, Mapping[str, list[Referents]]], None]
_NAMES: Final = ("external_id", "record_id")
"""Columns of kept records that identify a row."""


class _Ready(NamedTuple):
    """Records, and what is known about them without a query.

    Attributes:
        rows: their numbers in the export.
        folded: their results.
        referents: reference -> the rows they refer to.
    """

    rows: Ids
    records: pa.Table
    folded: FoldedRows
    referents: Mapping[str, list[Referents]]


class NewRowWriter:
    """Writes the new rows of one export.

    If keys are unique in a scope, no written record has a key that any loaded export knows.

    Args:
        context: context of the load.
    """

    def __init__(self, context: LoadContext) -> None:
        self._load = context
        self._copying = Copying(context.connection)
        self._stored = StoredColumns(self._copying, context)
        self._columns = ColumnFold(context.stream, context.layout)

    def write(self, kept: KeptRecords, aside: Mask) -> Mask:
        """Writes records of keys without a row. Returns, by row, which they are.

        Args:
            kept: the export's records.
            aside: by row, which records take another path.
        """
        wanted = np.flatnonzero(~aside)
        if self._has_rows():
            return self._written(self._searched(kept, wanted), DeferredIndexes(self.connection), kept.count)
        records = ahead(starmap(self._ready, chunks_of(kept, wanted)))
        if len(wanted) < MANY:
            return self._written(records, DeferredIndexes(self.connection), kept.count)
        with self._without_indexes() as unindexed:
            return self._written(records, unindexed, kept.count)

    def write_records(self, records: pa.Table) -> Mask:
        """Writes records without a row, with different keys. Returns which they are."""
        new = np.flatnonzero(~self._stored.are_there(records)) if self._has_rows() else np.arange(records.num_rows)
        ready = [self._ready(new, records.take(pa.array(new)))] if len(new) else []
        return self._written(ready, DeferredIndexes(self.connection), records.num_rows)

    def write_first(self, records: Iterable[pa.Table], before: Before) -> Mask | None:
        """Writes the first records of a tenant as they come, without waiting for a table. None if there are rows.

        Returns which records, by row, created one.

        Args:
            records: all records of the export, with different keys.
            before: called with the records that are written next, and what they refer to.

        Raises:
            psycopg.errors.LockNotAvailable: another transaction has locked a table.
        """
        self.connection.execute(
            SQL("lock table {} in row exclusive mode nowait").format(
                SQL(", ").join(Identifier(SCHEMA, table) for table in (*self._tables, *self._referred))
            )
        )
        if self._has_rows():
            return None
        with self._without_indexes() as unindexed:
            ready = ahead(starmap(self._ready, _chunked(_numbered(records))))
            return self._written(_announced(ready, before), unindexed)

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The connection of the load."""
        return self._copying.connection

    @property
    def _tables(self) -> list[str]:
        return [self._load.stream.table, *_tables_of(self._load.layout.children)]

    @property
    def _referred(self) -> set[str]:
        return {reference.table for reference in self._load.stream.references}

    def _without_indexes(self) -> AbstractContextManager[DeferredIndexes]:
        run = {} if self._load.run_id is None else {"run_id": self._load.run_id}
        written = {"source_file": self._load.entry.path, **run}
        common = {table: written for table in self._referred}
        common[self._load.stream.table] = {
            "tenant": self._load.entry.tenant,
            "partner": self._load.stream.partner,
            **written,
        }
        return without_indexes(self.connection, self._tables, self._referred, common)

    def _searched(self, kept: KeptRecords, wanted: Ids) -> Iterator[_Ready]:
        """Yields those of some records that have no row."""
        for rows, chunk in ahead(chunks_of(kept, wanted, _NAMES)):
            yield from starmap(self._ready, chunks_of(kept, rows[~self._stored.are_there(chunk)]))

    def _written(self, records: Iterable[_Ready], unindexed: DeferredIndexes, count: int = 0) -> Mask:
        """Writes rows. Returns, by row, which records created one.

        `count` is 0 for an export that is still being read.
        """
        referred = ReferenceIds(self._copying, self._load.last_write, unindexed)
        created = np.zeros(count, bool)
        for ready in records:
            chosen = np.flatnonzero(ready.folded.outcomes["created"])
            self._insert(ready, chosen, referred, unindexed)
            if (missing := int(ready.rows.max(initial=-1)) + 1 - len(created)) > 0:
                created = np.pad(created, (0, missing))
            created[ready.rows[chosen]] = True
        return created

    def _ready(self, rows: Ids, records: pa.Table) -> _Ready:
        return _Ready(rows, records, self._columns.fold(records, None), _referents_of(self._load.stream, records))

    def _has_rows(self) -> bool:
        """Whether some record may have a row already. Nobody else creates one while the load holds its locks."""
        if self._load.stream.scope is not None:
            return False
        row = self.connection.execute(
            SQL("select exists (select from {} where tenant = %s and partner = %s)").format(
                Identifier(SCHEMA, self._load.stream.table)
            ),
            [self._load.entry.tenant, self._load.stream.partner],
        ).fetchone()
        return row == (True,)

    # -- writing -----------------------------------------------------------------------------------------------

    def _insert(self, ready: _Ready, chosen: Ids, referred: ReferenceIds, unindexed: DeferredIndexes) -> None:
        """Writes the rows of chosen records, and their children."""
        if not len(chosen):
            return
        stream, new, folded, referents = self._load.stream, ready.records, ready.folded, ready.referents
        columns = folded.main.columns
        if len(chosen) < new.num_rows:
            places = pa.array(chosen)
            new, columns = new.take(places), {name: one(column).take(places) for name, column in columns.items()}
            referents = _referents_of(stream, new)
        references = [reference for reference in stream.references if reference.column not in columns]
        links = {r.column: referred.ids(r, new, referents[r.column]) for r in references}
        ids = self._copying.new_ids(stream.table, new.num_rows)
        own = {"partner_record_id": new.column("record_id")} if stream.has_record_ids else {}
        rows = {
            "id": pa.array(ids),
            "tenant": pa.repeat(self._load.entry.tenant, new.num_rows),
            "partner": pa.repeat(stream.partner, new.num_rows),
            "external_id": new.column("external_id"),
            **own,
            **self._load.last_write(new),
            **columns,
            **links,
        }
        self._copying.insert(stream.table, unindexed.without_defaults(stream.table, rows))
        ids_of = np.zeros(ready.records.num_rows, np.int64)
        ids_of[chosen] = ids
        for lists in folded.resized:
            insert_elements(self._copying, lists.declared, lists.layout, lists.new.of(folded.certain), ids_of)


def insert_elements(copying: Copying, declared: Children, child: ChildLayout, new: NewElements, ids: Ids) -> None:
    """Writes elements as rows of a child table, including the lists within them.

    Args:
        copying: in the load's transaction.
        declared: the table.
        child: its columns in kept records.
        new: the elements.
        ids: ids of the rows that own them.
    """
    if not len(new.owners):
        return
    columns = {declared.parent: pa.array(ids[new.owners]), "line_no": pa.array(new.lines)}
    columns |= {name: new.elements.field(name) for name in (*child.columns, "extra")}
    own = ids[:0]
    if declared.nested:
        own = copying.new_ids(child.table, len(new.owners))
        columns["id"] = pa.array(own)
    copying.insert(child.table, columns)
    for inner, layout in zip(declared.nested, child.nested, strict=True):
        owners, lines, elements = numbered(new.elements.field(layout.table))
        insert_elements(copying, inner, layout, NewElements(owners, owners, lines, elements), own)


def _referents_of(stream: Stream, records: pa.Table) -> dict[str, list[Referents]]:
    return {reference.column: referents_of(reference, records) for reference in stream.references}


def _tables_of(children: Iterable[ChildLayout]) -> Iterator[str]:
    """Yields the child tables, including those of nested lists."""
    for child in children:
        yield child.table
        yield from _tables_of(child.nested)


def chunks_of(kept: KeptRecords, wanted: Ids, columns: Sequence[str] | None = None) -> Iterator[tuple[Ids, pa.Table]]:
    """Yields the given rows with their records, some blocks at a time, with only the given columns (None: all)."""
    return _chunked((rows, pa.Table.from_batches([block])) for rows, block in kept.chosen(wanted, columns))


def _numbered(blocks: Iterable[pa.Table]) -> Iterator[tuple[Ids, pa.Table]]:
    """Yields blocks of all records of an export, with the rows of each."""
    start = 0
    for block in blocks:
        yield np.arange(start, start + block.num_rows), block
        start += block.num_rows


def _chunked(blocks: Iterable[tuple[Ids, pa.Table]]) -> Iterator[tuple[Ids, pa.Table]]:
    """Yields rows and their records, some blocks at a time."""
    waiting: list[tuple[Ids, pa.Table]] = []
    for block in blocks:
        waiting.append(block)
        if sum(len(rows) for rows, _ in waiting) >= CHUNK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(blocks: Iterable[tuple[Ids, pa.Table]]) -> tuple[Ids, pa.Table]:
    rows, tables = zip(*blocks, strict=True)
    return np.concatenate(rows), pa.concat_tables(tables).combine_chunks()


def _announced(records: Iterable[_Ready], before: Before) -> Iterator[_Ready]:
    for ready in records:
        before(ready.records, ready.referents)
        yield ready
