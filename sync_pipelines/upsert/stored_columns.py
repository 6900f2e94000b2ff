"""Reads the current rows of the tables, a column at a time.

Statistics do not include rows that the transaction created. So look-ups are forced to go key by key: `offset 0` keeps
the planner from reversing them.

Belongs here: reading the rows of records, and their lists. Does not belong here: the changes by records
(`columns`), the same row by row (`stored_rows`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
from psycopg.sql import SQL, Composed, Identifier

from sync_pipelines.contracts.streams import Children
from sync_pipelines.normalize.layout import ChildLayout, arrow_type
from sync_pipelines.normalize.list_duplicates import Mask
from sync_pipelines.normalize.values import from_json
from sync_pipelines.tables.schema import SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.copying import Copying, Ids, one, values
from sync_pipelines.upsert.stored_rows import without_scope

_BLOCK: Final = 1 << 30
_PARSE: Final = pyarrow.csv.ParseOptions(newlines_in_values=True)


class StoredRowColumns(NamedTuple):
    """Rows of a main table.

    Attributes:
        records: the index of each row's record, ascending; repeated if several rows match it.
        rows: identity, state and the columns that a load writes.
    """

    records: Ids
    rows: pa.Table


class StoredListColumns(NamedTuple):
    """Rows of a child table.

    Attributes:
        parents: the index of each row's parent, ascending.
        rows: `id`, `line_no`, the columns of the layout and `extra`, in the order of the lines.
    """

    parents: Ids
    rows: pa.Table


ReadLists = Callable[[Children, ChildLayout, Ids], StoredListColumns]
"""Reads the rows of a child table that belong to the given parents."""


def no_lists(declared: Children, child: ChildLayout, ids: Ids) -> StoredListColumns:
    """Returns the lists of new rows, of which nothing is stored."""
    return StoredListColumns(ids[:0], pa.schema(_kinds_of(child)).empty_table())


class StoredColumns:
    """Reads existing rows.

    Args:
        copying: in the load's transaction, with the export's locks.
        context: context of the load.
    """

    def __init__(self, copying: Copying, context: LoadContext) -> None:
        self._copying = copying
        self._load = context

    def rows(self, records: pa.Table) -> StoredRowColumns:
        """Returns the rows with a record's key in its scope (P5), or with its partner's own id."""
        kinds = self._kinds()
        found = self._read(self._query(records, kinds), {"number": pa.int64(), **kinds})
        return StoredRowColumns(found.column("number").to_numpy(), found)

    def are_there(self, records: pa.Table) -> Mask:
        """Returns which records have such a row."""
        found = np.zeros(records.num_rows, bool)
        found[self._copying.numbers(self._query(records, {"id": pa.int64()}), "number")] = True
        return found

    def lists(self, declared: Children, child: ChildLayout, ids: Ids) -> StoredListColumns:
        """Returns the rows of one child table that belong to the given parents."""
        parents = {"number": pa.array(np.arange(len(ids))), "scope": pa.array(ids)}
        kinds = _kinds_of(child)
        query = SQL(
            "select s.number, t.* from {sought} cross join lateral (select {columns} from {t} t"
            " where t.{parent} = s.scope offset 0) t order by s.number, t.line_no"
        ).format(
            sought=values("s", parents),
            columns=_columns(kinds),
            t=Identifier(SCHEMA, child.table),
            parent=Identifier(declared.parent),
        )
        found = self._read(query, {"number": pa.int64(), **kinds})
        return StoredListColumns(found.column("number").to_numpy(), found)

    def _kinds(self) -> dict[str, pa.DataType]:
        """Returns the columns of a row and their types."""
        stream = self._load.stream
        kinds = {"id": pa.int64(), "external_id": pa.string(), "partner_record_id": pa.string()}
        kinds |= {"is_placeholder": pa.bool_(), "deleted_at": pa.timestamp("us", "UTC"), "extra": pa.string()}
        defaulted = ("defaulted_fields",) if stream.lists_defaults else ()
        kinds |= {name: arrow_type(stream.table, name) for name in (*stream.written, *defaulted)}
        return kinds | {reference.column: pa.int64() for reference in stream.references}

    def _query(self, records: pa.Table, kinds: Mapping[str, pa.DataType]) -> Composed:
        stream = self._load.stream
        sought = {"number": pa.array(np.arange(records.num_rows)), "key": records.column("external_id")}
        sought |= {"own": records.column("record_id")}
        sought |= {} if stream.scope is None else {"scope": records.column(stream.scope)}
        row = Identifier("t")
        by_key = SQL("t.external_id = s.key{}").format(without_scope(stream, row))
        if stream.scope is not None:
            by_key += SQL(" and t.{} = s.scope").format(Identifier(stream.scope))
        ways = [by_key]
        if stream.has_record_ids:
            ways.append(SQL("t.partner_record_id = s.own and ({}) is not true").format(by_key))
        select = SQL("select {columns} from {main} t where t.tenant = {tenant} and t.partner = {partner} and {way}")
        fields = {"columns": _columns(kinds), "main": Identifier(SCHEMA, stream.table)}
        names = {"tenant": self._load.entry.tenant, "partner": stream.partner}
        found = SQL(" union all ").join(select.format(way=way, **fields, **names) for way in ways)
        return SQL("select s.number, t.* from {} cross join lateral ({} offset 0) t order by s.number").format(
            values("s", sought), found
        )

    def _read(self, query: Composed, kinds: Mapping[str, pa.DataType]) -> pa.Table:
        with self._copying.connection.cursor().copy(SQL("copy ({}) to stdout (format csv)").format(query)) as copy:
            text = b"".join(bytes(block) for block in copy)
        read = {name: pa.string() if pa.types.is_list(kind) else kind for name, kind in kinds.items()}
        if not text:
            return pa.schema(kinds).empty_table()
        found = pyarrow.csv.read_csv(
            pa.py_buffer(text),
            pyarrow.csv.ReadOptions(column_names=list(kinds), block_size=min(len(text), _BLOCK)),
            _PARSE,
            _converting(read),
        )
        return pa.table({name: _lists(one(found.column(name)), kind) for name, kind in kinds.items()})


def _kinds_of(child: ChildLayout) -> dict[str, pa.DataType]:
    kinds = {name: arrow_type(child.table, name) for name in (*child.columns, "extra")}
    return {"id": pa.int64(), "line_no": pa.int64(), **kinds}


def _columns(kinds: Mapping[str, pa.DataType]) -> Composed:
    return SQL(", ").join(_spelling(kind).format(c=Identifier(name)) for name, kind in kinds.items())


def _spelling(kind: pa.DataType) -> SQL:
    """Returns SQL that reads a column: lists and instants as JSON, which does not depend on the server's settings."""
    if pa.types.is_list(kind):
        return SQL("to_json(t.{c}) as {c}")
    return SQL("to_json(t.{c}) #>> '{{}}' as {c}" if pa.types.is_timestamp(kind) else "t.{c}")


def _converting(kinds: Mapping[str, pa.DataType]) -> pyarrow.csv.ConvertOptions:
    """Returns options for COPY's format: null is empty, an empty text is quoted."""
    return pyarrow.csv.ConvertOptions(
        column_types=dict(kinds),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["t"],
        false_values=["f"],
    )


def _lists(column: Any, kind: pa.DataType) -> Any:
    if not pa.types.is_list(kind):
        return column
    return pa.array([None if text is None else from_json(text) for text in column.to_pylist()], kind)
