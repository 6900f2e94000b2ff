"""Fields of a contract as columns of decoded JSON: which exist, their finished form, which rows are plain.

Belongs here: one level of a record, and its lists. Does not belong here: other parts of a record (`plain`),
conditions of field types (`contracts.vectors`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.contracts.contract import FieldShape, Shape
from sync_pipelines.contracts.fields import vector_of
from sync_pipelines.contracts.streams import Children
from sync_pipelines.contracts.vectors import OBJECT, Vector
from sync_pipelines.normalize.field_names import Names
from sync_pipelines.normalize.layout import ChildLayout, child_type
from sync_pipelines.normalize.list_duplicates import Mask, by_distinct, several_primaries


@dataclass(frozen=True)
class Column:
    """A field with its name in the file."""

    name: str
    field: FieldShape
    vector: Vector | None
    is_required: bool
    children: tuple[Column, ...] = ()

    @property
    def arrow(self) -> pa.Field:
        """The type that the JSON is decoded to."""
        if self.vector is not None:
            return pa.field(self.name, self.vector.decoded)
        return pa.field(self.name, pa.list_(pa.struct([inner.arrow for inner in self.children])))


class PlainRows:
    """Which rows are plain so far, and which set a column to null."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.is_set: dict[str, Mask] = {}
        self.plain = np.ones(count, bool)

    def exclude(self, unfit: Mask) -> None:
        """Marks rows as not plain."""
        self.plain &= ~unfit

    def finish(self, column: Column, values: Any) -> Any:
        """Returns a decoded column in its finished form."""
        assert column.vector is not None
        if values.null_count == len(values):
            finished, plain = column.vector.finish(values.slice(0, 0))[0], None
            finished = pa.nulls(len(values), finished.type)
        else:
            finished, plain = column.vector.finish(values)
        if plain is not None:
            self.exclude(~pc.fill_null(plain, True).to_numpy(zero_copy_only=False))
        if column.is_required and values.null_count:
            self.exclude(is_null(values, self.count))
        return finished


def columns_of(
    shape: Shape,
    names: Names,
    sample: Mapping[str, Any],
    children: Iterable[Children],
    prepared: frozenset[str] | None,
    also: Iterable[str] = (),
) -> tuple[Column, ...]:
    """Returns the fields that can be read a column at a time, each with its name in a sample.

    Args:
        shape: the contract.
        names: how the file names its fields.
        sample: a record.
        children: the lists that can be read.
        prepared: fields that can be read if they hold only objects; None if no objects can be read.
        also: fields that can be read although they are not columns.
    """
    named = {alias: name for name in sample for alias in names.aliases_of(name)}
    lists = {child.column: child for child in children}
    nested = {field.alias for list_field in shape.nested if list_field.children for field in list_field.children.fields}
    found = []
    for field in shape.fields:
        name = named.get(field.alias, field.alias)
        vector = vector_of(field.annotation, field.metadata)
        if vector is OBJECT:
            if prepared is not None and name not in nested:
                found.append(Column(name, field, vector, False))
        elif field.column in (shape.contract.not_columns - {*also}) | (prepared or frozenset()):
            continue
        elif vector is not None:
            found.append(Column(name, field, vector, shape.contract.model_fields[field.column].is_required()))
        elif field.column in lists and field.children is not None:
            elements = sample.get(name)
            element = elements[0] if isinstance(elements, list) and elements and isinstance(elements[0], dict) else {}
            of_list = lists[field.column].nested
            inner = columns_of(field.children, names.nested(field.alias), element, of_list, None)
            found.append(Column(name, field, None, False, inner))
    return tuple(found)


def half_pairs(shape: Shape, found: Mapping[str, Any], count: int) -> Mask:
    """Returns which rows have only one field of a pair (X9)."""
    halves = np.zeros(count, bool)
    for one, other in shape.contract.pairs:
        halves |= is_null(found.get(one), count) != is_null(found.get(other), count)
    return halves


def mask_of(rows: Any, count: int) -> Mask:
    """Returns rows as a mask."""
    mask = np.zeros(count, bool)
    mask[rows] = True
    return mask


def derive(shape: Shape, found: dict[str, Any], types: Iterable[pa.Field]) -> None:
    """Adds the derived columns, computed once for each distinct value."""
    kinds = {field.name: field.type for field in types}
    for name, (source, derive_one) in shape.contract.derived.items():
        if source in found:
            found[name] = by_distinct(derive_one, found[source], kinds[name])


def is_null(values: Any, count: int) -> Mask:
    """Returns which values are null; all of them if the column is missing."""
    if values is None:
        return np.ones(count, bool)
    found: Mask = values.is_null().to_numpy(zero_copy_only=False)
    return found


def _offsets(values: Any) -> Any:
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())


def listed(column: Column, declared: Children, layout: ChildLayout, values: Any, parents: PlainRows) -> Any:
    """Returns a list of children as in the kept records."""
    elements = values.flatten()
    rows = PlainRows(len(elements))
    found = {c.field.column: rows.finish(c, elements.field(c.name)) for c in column.children if c.vector}
    kind = child_type(layout)
    shape = column.field.children
    assert shape is not None
    inner = {child.column: (child, of) for child, of in zip(declared.nested, layout.nested, strict=True)}
    for c in column.children:
        if c.vector is None:
            child, of = inner[c.field.column]
            found[of.table] = listed(c, child, of, elements.field(c.name), rows)
    rows.exclude(half_pairs(shape, found, rows.count))
    if declared.skips_empty:
        rows.exclude(np.logical_and.reduce([is_null(v, rows.count) for v in found.values()]))
    derive(shape, found, kind)
    if layout.is_patched:
        is_set = [~is_null(found.get(name), rows.count) for name in layout.names]
        found["present"] = pa.array(sum(s.astype(np.int64) << bit for bit, s in enumerate(is_set)))
    if not rows.plain.all():
        parents.exclude(mask_of(pc.list_parent_indices(values).to_numpy()[~rows.plain], parents.count))
    arrays = [found.get(field.name) for field in kind]
    arrays = [pa.nulls(rows.count, f.type) if a is None else a for a, f in zip(arrays, kind, strict=True)]
    structs = pa.StructArray.from_arrays(arrays, fields=list(kind))
    if declared.primary is not None:
        of_list = pc.list_parent_indices(values).to_numpy()
        several = several_primaries(declared.primary, of_list, structs)
        parents.exclude(mask_of(of_list[several], parents.count))
    # The offsets of a null list must differ from those of an empty one.
    return pa.ListArray.from_arrays(
        _offsets(values), structs, type=pa.list_(kind), mask=values.is_null() if values.null_count else None
    )
