"""The columns of a stream's kept records, from its contract and its tables.

Belongs here: names, types and presence bits. Does not belong here: writing and reading records (`kept.kept_records`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa
from sqlalchemy import ARRAY, BigInteger, Boolean, DateTime, Integer, Numeric
from sqlalchemy.dialects.postgresql import JSONB

from sync_pipelines.contracts.contract import Shape
from sync_pipelines.contracts.streams import Children, Identity, Stream
from sync_pipelines.tables.schema import SCHEMA, metadata


@dataclass(frozen=True)
class ChildLayout:
    """How a record holds the rows of one child table.

    Attributes:
        table: the child table.
        columns: its columns that a record may set.
        is_patched: whether rows are patched; then each row has a bit for every column that it sets (in this order,
            then the nested lists).
        nested: children of these rows.
    """

    table: str
    columns: tuple[str, ...]
    is_patched: bool
    nested: tuple[ChildLayout, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that a row may set, except `extra`."""
        return self.columns + tuple(child.table for child in self.nested)


@dataclass(frozen=True)
class Layout:
    """The columns of a stream's kept records, in order.

    Attributes:
        columns: columns of the main table that a record may set.
        links: foreign key columns; each is kept as partner, tenant and external id.
        children: the child tables.
        bits: name -> its bit in `present`; columns, links and child tables share the numbering.
        json: columns that hold JSON, kept as text.
        arrow: the schema of kept records.
    """

    columns: tuple[str, ...]
    links: tuple[str, ...]
    children: tuple[ChildLayout, ...]
    bits: dict[str, int]
    json: frozenset[str]
    arrow: pa.Schema

    @property
    def everything(self) -> int:
        """The mask of a record that sets everything."""
        return (1 << len(self.bits)) - 1


def layout_of(stream: Stream) -> Layout:
    """Returns the layout of a stream's kept records, from its contract and tables."""
    main = metadata.tables[f"{SCHEMA}.{stream.table}"]
    links = tuple(reference.column for reference in stream.references)
    children = tuple(_child_layout(declared, stream.shape) for declared in stream.children)
    names = [*stream.columns, *links, *(child.table for child in children)]
    fields = [
        pa.field("position", pa.string()),
        pa.field("effective_at", pa.timestamp("us", "UTC")),
        pa.field("operation", pa.string()),
        pa.field("external_id", pa.string()),
        pa.field("record_id", pa.string()),
        pa.field("key_hash", pa.uint64()),
        pa.field("present", pa.int64()),
        *[pa.field(column, arrow_type(stream.table, column)) for column in stream.columns],
        *[pa.field(f"{link}_{part}", pa.string()) for link in links for part in Identity._fields],
        pa.field("extra", pa.string()),
        pa.field("modes", pa.string()),
        *[pa.field(child.table, pa.list_(child_type(child))) for child in children],
    ]
    bits = {name: index for index, name in enumerate(names)}
    schema = pa.schema(fields, metadata={"bits": json.dumps(bits)})
    json_columns = frozenset(c for c in stream.columns if isinstance(main.c[c].type, JSONB))
    return Layout(stream.columns, links, children, bits, json_columns, schema)


def _child_layout(declared: Children, parent: Shape) -> ChildLayout:
    shape = next(f.children for f in parent.nested if f.column == declared.column)
    assert shape is not None
    own = tuple(f.column for f in shape.scalars)
    nested = tuple(_child_layout(inner, shape) for inner in declared.nested)
    return ChildLayout(declared.table, own + tuple(shape.contract.derived), bool(declared.match), nested)


def child_type(child: ChildLayout) -> pa.DataType:
    """Returns the struct type for a row of a child table."""
    fields = [pa.field(column, arrow_type(child.table, column)) for column in child.columns]
    fields += [pa.field(inner.table, pa.list_(child_type(inner))) for inner in child.nested]
    fields += [pa.field("present", pa.int64())] if child.is_patched else []
    return pa.struct([*fields, pa.field("extra", pa.string())])


def arrow_type(table: str, column: str) -> pa.DataType:
    """Returns the type of a table's column in kept records."""
    match metadata.tables[f"{SCHEMA}.{table}"].c[column].type:
        case Numeric() as numeric:
            return pa.decimal128(numeric.precision, numeric.scale)
        case BigInteger():
            return pa.int64()
        case Integer():
            return pa.int32()
        case Boolean():
            return pa.bool_()
        case DateTime():
            return pa.timestamp("us", "UTC")
        case ARRAY():
            return pa.list_(pa.string())
        case _:
            return pa.string()
