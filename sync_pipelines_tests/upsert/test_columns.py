"""Many records folded a column at a time come to what the definition makes of each (`fold.apply`), without a database.

Rows are made of a first export, new ones among them, and records of a second one are folded into them both ways. Where
columns are certain, rows, lists and outcomes are those of the definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.streams import Children, Stream
from sync_pipelines.kept.kept_records import KeptRecords
from sync_pipelines.normalize.change import Change
from sync_pipelines.normalize.layout import ChildLayout, Layout, arrow_type, layout_of
from sync_pipelines.normalize.values import from_json, to_json
from sync_pipelines.partners import find_stream
from sync_pipelines.testing.declared_records import keep
from sync_pipelines.upsert.columns import ColumnFold, FoldedRows
from sync_pipelines.upsert.copy_format import numbered
from sync_pipelines.upsert.copying import one
from sync_pipelines.upsert.fold import Applied, Row, apply, outcome
from sync_pipelines.upsert.history import to_change
from sync_pipelines.upsert.jsonb import Jsonb
from sync_pipelines.upsert.list_columns import NewElements
from sync_pipelines.upsert.lists import ChildRow
from sync_pipelines.upsert.stored_columns import StoredListColumns
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.upsert.test_changed_rows import STREAMS, exports_of

KEYS = 60


class Store:
    """Rows and their lists as columns, as the tables hold them; and those that come of them."""

    def __init__(self, stream: Stream, layout: Layout) -> None:
        self._stream = stream
        self._layout = layout
        self._ids = count(1)
        self.children: dict[tuple[str, int], dict[int, tuple[int, ChildRow]]] = {}
        """Table and parent's id -> id -> line and columns."""

    def rows(self, stored: Sequence[Row]) -> pa.Table:
        """Rows of the main table, their lists put down beside them."""
        ids = [self._put(row) for row in stored]
        columns = {
            "id": pa.array(ids, pa.int64()),
            "external_id": pa.array([row.external_id for row in stored], pa.string()),
            "partner_record_id": pa.array([row.record_id for row in stored], pa.string()),
            "is_placeholder": pa.array([row.is_placeholder for row in stored], pa.bool_()),
            "deleted_at": pa.array([row.deleted_at for row in stored], pa.timestamp("us", "UTC")),
            "extra": pa.array([to_json(row.extra) if row.extra else None for row in stored], pa.string()),
        }
        for name in self._stream.written:
            values = [row.values.get(name) for row in stored]
            texts = [to_json(v) if isinstance(v, dict) else v for v in values]
            columns[name] = pa.array(texts, arrow_type(self._stream.table, name))
        for reference in self._stream.references:
            columns[reference.column] = pa.array([row.links.get(reference.column) for row in stored], pa.int64())
        if self._stream.lists_defaults:
            defaulted = [list(row.defaulted) if row.is_live else None for row in stored]
            columns["defaulted_fields"] = pa.array(defaulted, pa.list_(pa.string()))
        return pa.table(columns)

    def _put(self, row: Row) -> int:
        row_id = next(self._ids)
        for declared in self._stream.children:
            self._put_list(declared, row_id, row.children.get(declared.table, []))
        return row_id

    def _put_list(self, declared: Children, parent: int, rows: Sequence[ChildRow]) -> None:
        nested = {inner.table for inner in declared.nested}
        for line, row in enumerate(rows, 1):
            own = next(self._ids)
            columns = {name: value for name, value in row.items() if name not in nested}
            self.children.setdefault((declared.table, parent), {})[own] = (line, columns)
            for inner in declared.nested:
                self._put_list(inner, own, row.get(inner.table, []))

    def read(self, declared: Children, child: ChildLayout, ids: Any) -> StoredListColumns:
        """As `StoredColumns.lists`."""
        names = (*child.columns, "extra")
        found = [
            (number, own, line, row)
            for number, parent in enumerate(ids.tolist())
            for own, (line, row) in sorted(self.children.get((declared.table, parent), {}).items(), key=_line)
        ]
        columns = {"id": pa.array([f[1] for f in found], pa.int64()), "line_no": pa.array([f[2] for f in found])}
        for name in names:
            values = [to_json(v) if isinstance(v := f[3].get(name), dict) else v for f in found]
            columns[name] = pa.array(values, arrow_type(child.table, name))
        table = pa.table(columns).cast(pa.schema({n: c.type for n, c in columns.items()} | {"line_no": pa.int64()}))
        return StoredListColumns(np.array([f[0] for f in found], np.int64), table)

    def write(self, folded: FoldedRows, records: int, ids: Sequence[int]) -> list[dict[str, Any]]:
        """What the columns of main rows come to; lists are written."""
        for rows in folded.children:
            parents = {own: key for key, lists in self.children.items() for own in lists if key[0] == rows.table}
            for place in np.flatnonzero(rows.differs & folded.certain[rows.tops]).tolist():
                own = one(rows.keys["id"])[place].as_py()
                line, row = self.children[parents[own]][own]
                after = {n: _plain(n, one(c)[place].as_py(), n == "extra") for n, c in rows.columns.items()}
                self.children[parents[own]][own] = (line, {n: v for n, v in {**row, **after}.items() if v is not None})
        for lists in folded.resized:
            for own in lists.gone[folded.certain[lists.gone_tops]].tolist():
                for key in [key for key in self.children if key[0] == lists.declared.table]:
                    self.children[key].pop(own, None)
            owners = np.array(ids, np.int64) if folded.are_new else lists.ids
            self._insert(lists.declared, lists.layout, lists.new.of(folded.certain), owners)
        columns = {n: one(c).to_pylist() for n, c in folded.main.columns.items()}
        return [{name: values[place] for name, values in columns.items()} for place in range(records)]

    def _insert(self, declared: Children, layout: ChildLayout, new: NewElements, ids: Any) -> None:
        names = (*layout.columns, "extra")
        own_ids = [next(self._ids) for _ in new.owners]
        for place, (owner, line) in enumerate(zip(new.owners.tolist(), new.lines.tolist(), strict=True)):
            values = {n: _plain(n, new.elements.field(n)[place].as_py(), n == "extra") for n in names}
            row = {n: v for n, v in values.items() if v is not None}
            self.children.setdefault((declared.table, int(ids[owner])), {})[own_ids[place]] = (line, row)
        for inner, child in zip(declared.nested, layout.nested, strict=True):
            owners, lines, elements = numbered(new.elements.field(child.table))
            self._insert(inner, child, NewElements(owners, owners, lines, elements), np.array(own_ids, np.int64))

    def lists_of(self, parent: int, children: Sequence[Children]) -> dict[str, list[ChildRow]]:
        """The lists of a row as the definition has them; lines follow one another."""
        found = {}
        for declared in children:
            stored = sorted(self.children.get((declared.table, parent), {}).items(), key=_line)
            assert [line for _, (line, _) in stored] == [*range(1, len(stored) + 1)]
            if stored:
                found[declared.table] = [{**row, **self.lists_of(own, declared.nested)} for own, (_, row) in stored]
        return found


def _line(item: tuple[int, tuple[int, ChildRow]]) -> int:
    return item[1][0]


def _plain(name: str, value: Any, is_json: bool) -> Any:
    return Jsonb(from_json(value)) if is_json and value is not None else value


def changes_of(records: pa.Table, layout: Layout, links: Mapping[Any, int]) -> Iterator[Change]:
    """Records as the definition takes them, with numbers for the rows they refer to."""
    for record in records.to_pylist():
        change = to_change(record, layout, layout.bits)
        numbers = {name: None if meant is None else links[meant] for name, meant in change.links.items()}
        yield change._replace(links=numbers)


def link_ids(records: pa.Table, layout: Layout) -> tuple[dict[Any, int], dict[str, Any]]:
    """A number for each row that records refer to, and the same as columns."""
    links: dict[Any, int] = {}
    columns: dict[str, list[int | None]] = {name: [] for name in layout.links}
    for record in records.to_pylist():
        meant = to_change(record, layout, layout.bits).links
        for name, numbers in columns.items():
            identity = meant.get(name)
            numbers.append(None if identity is None else links.setdefault(identity, hash(identity) % 10**9))
    return links, {name: pa.array(numbers, pa.int64()) for name, numbers in columns.items()}


def check(stream: Stream, layout: Layout, records: pa.Table, stored: Sequence[Row] | None) -> tuple[list[Applied], int]:
    """What the definition makes of records, and of how many columns are certain; there both come to the same."""
    links, ids = link_ids(records, layout)
    changes = [*changes_of(records, layout, links)]
    applied = [apply(stream, () if stored is None else (stored[n],), change) for n, change in enumerate(changes)]
    store = Store(stream, layout)
    rows = None if stored is None else store.rows(stored)
    own = range(1, records.num_rows + 1) if rows is None else one(rows.column("id")).to_pylist()
    if rows is None:
        store._ids = count(records.num_rows + 1)
    for name, column in ids.items():
        records = records.append_column(name, column)
    folded = ColumnFold(stream, layout, store.read).fold(records, rows)
    after = store.write(folded, records.num_rows, own)
    outcomes = {n: name for name, mask in folded.outcomes.items() for n in np.flatnonzero(mask).tolist()}
    for n in np.flatnonzero(folded.certain).tolist():
        law, before = applied[n].after, None if stored is None else stored[n]
        assert applied[n].rejection is None and law is not None and not law.is_placeholder, changes[n]
        assert store.lists_of(own[n], stream.children) == law.children, changes[n]
        expected = {**{c: law.values.get(c) for c in stream.written}, **dict.fromkeys(layout.links), **law.links}
        expected["extra"] = law.extra or None
        if stream.lists_defaults:
            expected["defaulted_fields"] = list(law.defaulted)
        found = {k: _plain(k, v, k in layout.json or k == "extra") for k, v in after[n].items()}
        assert {k: v or None if k == "extra" else v for k, v in found.items()} == {k: expected[k] for k in found}
        unwritten = {k: v for k, v in expected.items() if k not in found}
        assert before is not None or not unwritten
        if before is not None:
            was = {**before.values, **before.links, "extra": before.extra or None}
            was["defaulted_fields"] = list(before.defaulted)
            assert unwritten == {k: was.get(k) for k in unwritten}
        assert outcomes[n] == outcome(before, law, changes[n], is_older=False), changes[n]
    return applied, int(folded.certain.sum())


@pytest.mark.parametrize("folder", list(STREAMS))
@examples(25)
@given(seed=st.integers(0, 10**9))
def test_columns_come_to_what_the_definition_makes(
    tmp_path_factory: pytest.TempPathFactory, folder: str, seed: int
) -> None:
    partner, _, name = folder.split("/")
    stream = find_stream(partner, name)
    assert stream is not None
    layout = layout_of(stream)
    (_, first), (_, second), *_ = exports_of(Random(seed), folder, KEYS)
    tables = [_table(stream, records, tmp_path_factory.mktemp("kept")) for records in (first, second)]
    applied, certain = check(stream, layout, tables[0], None)
    assert certain > 0
    made = {a.after.external_id: a.after for a in applied if a.after is not None}
    is_known = [key in made for key in tables[1].column("external_id").to_pylist()]
    records = tables[1].filter(pa.array(is_known))
    assert check(stream, layout, records, [made[k] for k in records.column("external_id").to_pylist()])[1] > 0


def _table(stream: Stream, records: list[Any], folder: Path) -> pa.Table:
    kept: KeptRecords = keep(stream, records, folder / "kept")
    return pa.Table.from_batches([*kept.blocks()]).combine_chunks()
