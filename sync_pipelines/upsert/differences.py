"""Compares stored rows with folded ones: which rows of which tables to insert, update and delete.

Pure except for the ids of new rows. Belongs here: comparing. Does not belong here: SQL (`write`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.normalize.values import to_json
from sync_pipelines.tables.schema import SCHEMA, metadata
from sync_pipelines.upsert.audit import Audit, has_gaps
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.fold import Row
from sync_pipelines.upsert.lists import ChildRow, aligned
from sync_pipelines.upsert.stored_rows import Source, StoredChild, StoredRow, is_jsonb

NewId = Callable[[str], int]
"""Returns the next id of a table."""


class Retired(NamedTuple):
    """A main row that no record produces any more (P2).

    Attributes:
        id: the row's id.
        heir: id of the row that now has its identity and takes over its references; or None.
        external_id, record_id: identity of the placeholder that remains if the row is still referred to.
    """

    id: int
    heir: int | None
    external_id: str | None
    record_id: str | None


@dataclass
class Writes:
    """Rows to write, by table.

    Attributes:
        inserts, updates: table -> rows in the order of `columns_of`.
        deletes: table -> (parent id, id).
        freed_keys: ids of main rows whose external id another row may use.
        retired: main rows that no record produces any more.
    """

    inserts: dict[str, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    updates: dict[str, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    deletes: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    freed_keys: list[int] = field(default_factory=list)
    retired: list[Retired] = field(default_factory=list)

    def written(self, table: str) -> list[int]:
        """Returns the ids of the rows of a main table that are written."""
        rows = [row[0] for kind in (self.inserts, self.updates) for row in kind.get(table, [])]
        return [*rows, *self.freed_keys, *(row.id for row in self.retired)]


def main_columns(stream: Stream) -> list[str]:
    """Returns the columns of the main table that a fold writes, in the order of its rows."""
    links = [reference.column for reference in stream.references]
    defaulted = ["defaulted_fields"] if stream.lists_defaults else []
    head = ["id", "external_id", "partner_record_id"]
    life = ["extra", "is_placeholder", "deleted_at", "effective_at", "source_file", "source_position", "run_id"]
    return [*head, *stream.written, *links, *life, *defaulted]


def child_columns(declared: Children) -> list[str]:
    """Returns the columns of a child table, in the order of its rows."""
    return ["id", declared.parent, "line_no", *(name for name, _ in _content(declared.table, declared.parent))]


class Differences:
    """Collects the writes of folded rows.

    Args:
        context: context of the load.
        new_id: returns ids for new rows.
        audit: compares the rows cell by cell, if they are verified.
    """

    def __init__(self, context: LoadContext, new_id: NewId, audit: Audit | None = None) -> None:
        self._load = context
        self._stream = context.stream
        self._new_id = new_id
        self._audit = audit
        self._json = {c for c in (*self._stream.written, "extra") if is_jsonb(self._stream.table, c)}
        self.writes = Writes()

    def take(
        self,
        stored: StoredRow | None,
        row: Row,
        source: Source,
        ways: Mapping[str, str] | None = None,
        sources: Collection[Source] = (),
        *,
        is_disowned: bool = False,
    ) -> int:
        """Records the difference between a stored row (or none) and the folded one. Returns its id.

        Args:
            stored: the row as stored.
            row: the row as it should be.
            source: the record that determines the row.
            ways: child table -> how its rows are matched, if the payload chose (T8).
            sources: the records that a verified row may name as its source.
            is_disowned: whether the stored row names a withdrawn export as its last writer; then it is written even if
                equal.
        """
        differs = self._audit.compare(stored, row, sources) if self._audit is not None else is_disowned
        if stored is not None and stored.row == row and not differs:
            return stored.id
        self._load.effects.note_row(None if stored is None else stored.row, row)
        row_id = self._new_id(self._stream.table) if stored is None else stored.id
        kind = self.writes.inserts if stored is None else self.writes.updates
        kind[self._stream.table].append(self._main(row_id, row, source))
        if stored is not None and self._is_key_freed(stored.row, row):
            self.writes.freed_keys.append(row_id)
        for declared in self._stream.children:
            before = stored.children.get(declared.table, []) if stored else []
            if self._audit is not None and has_gaps({declared.table: before}):
                # Lines that were renumbered by hand may be taken while others move.
                self._children(declared, row_id, before, [])
                before = []
            way = (ways or {}).get(declared.table)
            self._children(declared, row_id, before, row.children.get(declared.table, []), way)
        return row_id

    def _is_key_freed(self, before: Row, after: Row) -> bool:
        """Whether another row may use a row's external id: it gets another one, or moves (F04)."""
        if before.external_id is None:
            return False
        return before.external_id != after.external_id or before.scope_of(self._stream) != after.scope_of(self._stream)

    def retire(self, stored: StoredRow, heir: int | None, identity: tuple[str | None, str | None]) -> None:
        """Records that no record produces a stored row any more; see `Retired`."""
        if self._audit is not None:
            self._audit.superfluous(stored)
        self.writes.retired.append(Retired(stored.id, heir, *identity))
        if heir is None:
            self._load.effects.note_row(stored.row, None)
        for declared in self._stream.children:
            self._children(declared, stored.id, stored.children.get(declared.table, []), [])

    def _main(self, row_id: int, row: Row, source: Source) -> list[Any]:
        links = [row.links.get(reference.column) for reference in self._stream.references]
        return [
            row_id,
            row.external_id,
            row.record_id,
            *(self._value(column, row.values.get(column)) for column in self._stream.written),
            *links,
            to_json(row.extra) if row.extra else None,
            row.is_placeholder,
            row.deleted_at,
            *source,
            self._load.run_id,
            *([list(row.defaulted) if row.is_live else None] if self._stream.lists_defaults else []),
        ]

    def _value(self, column: str, value: Any) -> Any:
        return to_json(value) if value is not None and column in self._json else value

    def _children(
        self,
        declared: Children,
        parent: int,
        stored: Sequence[StoredChild],
        rows: Sequence[ChildRow],
        way: str | None = None,
    ) -> None:
        pairs = list(aligned(declared, [child.row for child in stored], rows, way))
        kept = set(pairs)
        for place, child in enumerate(stored):
            if place not in kept:
                self._delete(declared, parent, child)
        for number, (index, row) in enumerate(zip(pairs, rows, strict=True), start=1):
            self._child(declared, parent, number, None if index is None else stored[index], row)

    def _child(self, declared: Children, parent: int, number: int, stored: StoredChild | None, row: ChildRow) -> None:
        child_id = self._new_id(declared.table) if stored is None else stored.id
        if stored is None or stored.row != row or stored.line_no != number:
            kind = self.writes.inserts if stored is None else self.writes.updates
            kind[declared.table].append([child_id, parent, number, *_child_values(declared, row)])
        for inner in declared.nested:
            before = stored.nested.get(inner.table, []) if stored else []
            self._children(inner, child_id, before, row.get(inner.table, []))

    def _delete(self, declared: Children, parent: int, child: StoredChild) -> None:
        self.writes.deletes[declared.table].append((parent, child.id))
        for inner in declared.nested:
            for nested in child.nested.get(inner.table, []):
                self._delete(inner, child.id, nested)


def _child_values(declared: Children, row: ChildRow) -> list[Any]:
    values = [(row.get(column), is_json) for column, is_json in _content(declared.table, declared.parent)]
    return [to_json(value) if is_json and value is not None else value for value, is_json in values]


@cache
def _content(table: str, parent: str) -> tuple[tuple[str, bool], ...]:
    """Returns the columns of a child table after its keys, and whether each holds JSON."""
    names = [c.name for c in metadata.tables[f"{SCHEMA}.{table}"].columns]
    return tuple((name, is_jsonb(table, name)) for name in names if name not in ("id", parent, "line_no"))
