"""Blocks of plain JSON lines read a column at a time.

A line is plain where its record speaks of fields in one spelling, with values that the contract takes as they stand:
no null, no leniency, no unknown field. Such records come out as the record-by-record way makes them; every other line
is left to that way. Which columns there are and what is plain in them is derived from the contract.

Belongs here: telling plain lines from others, and their columns. Does not belong here: conditions of field types
(`contracts.vectors`), reading any record by itself (`record`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from sync_pipelines.contracts.contract import FieldShape, Shape
from sync_pipelines.contracts.fields import vector_of
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import Children, Identity, Stream
from sync_pipelines.contracts.vectors import Vector
from sync_pipelines.normalize.keys import hashes_of_bytes, hashes_of_row
from sync_pipelines.normalize.layout import ChildLayout, Layout, child_type
from sync_pipelines.normalize.linked import Linked, linked
from sync_pipelines.normalize.names import Names

_FEWEST: Final = 64
"""Lines of a block that is not looked at any further: they are read one by one."""
_ESCAPED_ASCII: Final = re.compile(rb"\\u00[0-7]")
"""A NUL, or a name or word that does not look like what it is."""

Rows = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class PlainBlock:
    """The plain records of a block of lines.

    Attributes:
        batch: the records as `records.parquet` has them; None where there is none.
        lines: the index of each one's line in the block, ascending.
        hashes, second: of their keys, or else of the partner's own ids; and of own ids beside keys (0: none), None
            where the stream has no own ids.
        leniencies: code -> how often.
        referred: link, partner and tenant of what they refer to.
    """

    batch: pa.RecordBatch | None
    lines: Rows
    hashes: Hashes
    second: Hashes | None
    leniencies: Counter[str]
    referred: frozenset[tuple[str, str, str]]


@dataclass(frozen=True)
class _Column:
    """A field as the file names it."""

    name: str
    field: FieldShape
    vector: Vector | None
    is_required: bool
    children: tuple[_Column, ...] = ()

    @property
    def arrow(self) -> pa.Field:
        """What the JSON is decoded to."""
        if self.vector is not None:
            return pa.field(self.name, self.vector.decoded)
        return pa.field(self.name, pa.list_(pa.struct([inner.arrow for inner in self.children])))


class PlainReader:
    """Reads blocks of lines of one source's stream.

    Args:
        stream: the declaration.
        layout: of its kept records.
        tenant: as stored.
        options: the partner's settings.
        reading: the source's conventions.
        names: how the file names fields.
        effective_at: of every record.
    """

    def __init__(
        self,
        stream: Stream,
        layout: Layout,
        tenant: str,
        options: Any,
        reading: Reading,
        names: Names,
        effective_at: datetime,
    ) -> None:
        self._stream = stream
        self._layout = layout
        self._tenant = tenant
        self._options = options
        self._reading = reading
        self._names = names
        self._effective_at = effective_at
        self._columns: tuple[_Column, ...] | None = None

    @property
    def is_able(self) -> bool:
        """Whether any record of the stream can be read this way."""
        return (
            (self._stream.prepare is None or self._stream.prepared is not None)
            and self._stream.links.keys() == self._stream.link_fields.keys()
            and self._reading.date_format is None
            and not self._names.is_mapped
        )

    def read(self, texts: Sequence[bytes], first: int) -> PlainBlock:
        """The plain records among lines.

        Args:
            texts: the lines in UTF-8, without white space at their ends.
            first: the number of the first line (X14).
        """
        candidates = _candidates(texts)
        if self._columns is None and len(candidates):
            self._columns = self._settled(texts[candidates[0]])
        tables = list(self._decoded(texts, candidates))
        if not tables:
            return PlainBlock(None, candidates[:0], np.empty(0, np.uint64), None, Counter(), frozenset())
        table = pa.concat_tables([found for found, _ in tables]).combine_chunks()
        return self._finished(table, np.concatenate([found for _, found in tables]), first)

    def _settled(self, text: bytes) -> tuple[_Column, ...]:
        """The columns, named as in a first record; a later record with other names is not plain."""
        try:
            sample = json.loads(text)
        except (ValueError, RecursionError):
            sample = {}
        stream = self._stream
        children = () if stream.listing else stream.children
        return _columns_of(stream.shape, self._names, sample, children, stream.prepared or frozenset())

    # -- decoding ----------------------------------------------------------------------------------------------

    def _decoded(self, texts: Sequence[bytes], rows: Rows) -> Iterable[tuple[pa.Table, Rows]]:
        """Decodes lines, leaving out those that are not of the expected types; halves a block to find them."""
        if not len(rows):
            return
        table = self._decode([texts[row] for row in rows])
        if table is not None:
            yield table, rows
        elif len(rows) > _FEWEST:
            half = len(rows) // 2
            yield from self._decoded(texts, rows[:half])
            yield from self._decoded(texts, rows[half:])

    def _decode(self, texts: Sequence[bytes]) -> pa.Table | None:
        assert self._columns is not None
        joined = b"\n".join(texts)
        try:
            table = pyarrow.json.read_json(
                pa.BufferReader(joined),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(joined) + 1),
                parse_options=pyarrow.json.ParseOptions(
                    explicit_schema=pa.schema([column.arrow for column in self._columns]),
                    unexpected_field_behavior="error",
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return None
        # Two values in a line, or a number given as text, which the decoder takes for a decimal.
        if table.num_rows != len(texts) or _quotes(joined) != _expected_quotes(table):
            return None
        return table

    # -- columns -----------------------------------------------------------------------------------------------

    def _finished(self, table: pa.Table, lines: Rows, first: int) -> PlainBlock:
        """The block's records; those with a value that is not plain are left out."""
        rows = _Rows(table.num_rows)
        columns = self._fields(table, rows)
        links = {link: self._linked(link, columns, rows) for link in self._stream.links}
        hashes, second = self._hashes(columns, rows)
        positions = pa.array(lines + first).cast(pa.string())
        batch = self._batch(columns, links, positions, hashes)
        if not rows.plain.all():
            chosen = np.flatnonzero(rows.plain)
            batch, lines, hashes = batch.take(pa.array(chosen)), lines[chosen], hashes[chosen]
            second = second[chosen] if second is not None else None
            links = {link: found.take(chosen) for link, found in links.items()}
        return PlainBlock(
            batch=batch,
            lines=lines,
            hashes=hashes,
            second=second,
            leniencies=sum((found.leniencies for found in links.values()), Counter()),
            referred=frozenset((link, *owner) for link, found in links.items() for owner in found.owners),
        )

    def _fields(self, table: pa.Table, rows: _Rows) -> dict[str, Any]:
        """Contract attribute, derived column or child table -> its finished column."""
        assert self._columns is not None
        children = {child.column: (child, layout) for child, layout in self._children}
        found: dict[str, Any] = {}
        for column in self._columns:
            values = _whole(table.column(column.name))
            if column.vector is None:
                child, layout = children[column.field.column]
                found[child.table] = self._listed(column, layout, values, rows)
            else:
                found[column.field.column] = rows.finish(column, values)
        _derive(self._stream.shape, found, self._layout.arrow)
        keys = [found.get(name) for name in (self._stream.key, self._stream.record_id) if name]
        rows.refuse(np.logical_and.reduce([_is_null(values, rows.count) for values in keys]))
        return found

    @property
    def _children(self) -> Iterable[tuple[Children, ChildLayout]]:
        return zip(self._stream.children, self._layout.children, strict=True)

    def _listed(self, column: _Column, layout: ChildLayout, values: Any, parents: _Rows) -> Any:
        """A list of children as the kept records have it."""
        elements = values.flatten()
        rows = _Rows(len(elements))
        found = {c.field.column: rows.finish(c, elements.field(c.name)) for c in column.children}
        kind = child_type(layout)
        assert column.field.children is not None
        _derive(column.field.children, found, kind)
        if layout.is_patched:
            spoken = [~_is_null(found.get(name), rows.count) for name in layout.names]
            found["present"] = pa.array(sum(s.astype(np.int64) << bit for bit, s in enumerate(spoken)))
        if not rows.plain.all():
            unfit = np.zeros(parents.count, bool)
            unfit[pc.list_parent_indices(values).to_numpy()[~rows.plain]] = True
            parents.refuse(unfit)
        arrays = [found.get(field.name) for field in kind]
        arrays = [pa.nulls(rows.count, f.type) if a is None else a for a, f in zip(arrays, kind, strict=True)]
        structs = pa.StructArray.from_arrays(arrays, fields=list(kind))
        # Offsets of a list that is null must be told apart from those of an empty one.
        return pa.ListArray.from_arrays(
            _offsets(values), structs, type=pa.list_(kind), mask=values.is_null() if values.null_count else None
        )

    def _linked(self, link: str, columns: Mapping[str, Any], rows: _Rows) -> Linked:
        """What the records say of a reference; one whose link would be refused or forgiven is not plain."""
        named = {name: columns[name] for name in self._stream.link_fields[link] if name in columns}
        found = linked(self._stream.links[link], named, rows.count, self._options, self._tenant)
        rows.refuse(found.is_too_long)
        if link == self._stream.scope:
            rows.refuse(~found.spoken)
        if self._reading.strict:
            rows.refuse(found.is_lenient)
        return found

    def _hashes(self, columns: Mapping[str, Any], rows: _Rows) -> tuple[Hashes, Hashes | None]:
        """Hashes by which records are known, and by their partner's own ids where they have a key too (0: none)."""
        keys = columns[self._stream.key].to_pylist() if self._stream.key in columns else [None] * rows.count
        if self._stream.record_id is None:
            hashes = hashes_of_bytes([b"" if key is None else key.encode() for key in keys])
            return np.where([key is not None for key in keys], hashes, np.uint64(0)), None
        ids = columns[self._stream.record_id].to_pylist()
        named = [hashes_of_row(key, record_id) for key, record_id in zip(keys, ids, strict=True)]
        first = np.array([found[0] if found else 0 for found in named], np.uint64)
        return first, np.array([found[1] if len(found) > 1 else 0 for found in named], np.uint64)

    def _batch(
        self, columns: Mapping[str, Any], links: Mapping[str, Linked], positions: Any, hashes: Hashes
    ) -> pa.RecordBatch:
        count = len(positions)
        named = {name: columns[name] for name in self._layout.bits if name in columns}
        named |= {
            "position": positions,
            "effective_at": pa.repeat(pa.scalar(self._effective_at, pa.timestamp("us", "UTC")), count),
            "operation": pa.repeat("upsert", count),
            "external_id": columns.get(self._stream.key),
            "record_id": columns.get(self._stream.record_id or ""),
            "key_hash": pa.array(hashes),
        }
        spoken = {name: ~_is_null(named.get(name), count) for name in self._layout.bits}
        for link, found in links.items():
            spoken[link] = found.spoken
            named |= {f"{link}_{part}": texts for part, texts in zip(Identity._fields, found.identity, strict=True)}
        bits = self._layout.bits
        named["present"] = pa.array(sum(mask.astype(np.int64) << bits[name] for name, mask in spoken.items()))
        arrays = [named.get(field.name) for field in self._layout.arrow]
        arrays = [pa.nulls(count, f.type) if a is None else a for a, f in zip(arrays, self._layout.arrow, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._layout.arrow)


class _Rows:
    """Which of some rows are plain so far."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.plain = np.ones(count, bool)

    def refuse(self, unfit: npt.NDArray[np.bool_]) -> None:
        """Marks rows as not plain."""
        self.plain &= ~unfit

    def finish(self, column: _Column, values: Any) -> Any:
        """A decoded column in its finished form."""
        assert column.vector is not None
        if values.null_count == len(values):
            finished, plain = column.vector.finish(values.slice(0, 0))[0], None
            finished = pa.nulls(len(values), finished.type)
        else:
            finished, plain = column.vector.finish(values)
        if plain is not None:
            self.refuse(~pc.fill_null(plain, True).to_numpy(zero_copy_only=False))
        if column.is_required and values.null_count:
            self.refuse(_is_null(values, self.count))
        return finished


def _columns_of(
    shape: Shape, names: Names, sample: Mapping[str, Any], children: Iterable[Children], left: frozenset[str]
) -> tuple[_Column, ...]:
    """The fields that can be read a column at a time, each under the name the file gives it in a sample."""
    named = {alias: name for name in sample for alias in names.aliases_of(name)}
    lists = {child.column: child for child in children}
    paired = {name for pair in shape.contract.pairs for name in pair}
    found = []
    for field in shape.fields:
        if field.column in shape.contract.not_columns | paired | left:
            continue
        name = named.get(field.alias, field.alias)
        vector = vector_of(field.annotation, field.metadata)
        if vector is not None:
            found.append(_Column(name, field, vector, shape.contract.model_fields[field.column].is_required()))
        elif field.column in lists and field.children is not None and _is_plain_list(lists[field.column]):
            elements = sample.get(name)
            element = elements[0] if isinstance(elements, list) and elements and isinstance(elements[0], dict) else {}
            inner = _columns_of(field.children, names.nested(field.alias), element, (), frozenset())
            found.append(_Column(name, field, None, False, inner))
    return tuple(found)


def _is_plain_list(children: Children) -> bool:
    return not (children.skips_empty or children.primary is not None or children.nested)


def _derive(shape: Shape, found: dict[str, Any], types: Iterable[pa.Field]) -> None:
    """Adds the columns that are made of others, once for each value there is."""
    kinds = {field.name: field.type for field in types}
    for name, (source, derive) in shape.contract.derived.items():
        if source in found:
            encoded = found[source].dictionary_encode()
            values = pa.array([derive(value) for value in encoded.dictionary.to_pylist()], kinds[name])
            found[name] = values.take(encoded.indices)


def _whole(column: pa.ChunkedArray) -> Any:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _is_null(values: Any, count: int) -> npt.NDArray[np.bool_]:
    if values is None:
        return np.ones(count, bool)
    found: npt.NDArray[np.bool_] = values.is_null().to_numpy(zero_copy_only=False)
    return found


def _offsets(values: Any) -> Any:
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    return pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())


def _quotes(text: bytes) -> int:
    """The quotes that begin or end a name or a text."""
    letters = np.frombuffer(text, np.uint8)
    quotes = letters == ord('"')
    escaped = np.count_nonzero(quotes[1:] & (letters[:-1] == ord("\\"))) if b"\\" in text else 0
    return int(np.count_nonzero(quotes) - escaped)


def _expected_quotes(table: pa.Table) -> int:
    """Two for each name and each text."""
    return 2 * sum(_names_and_texts(_whole(column)) for column in table.columns)


def _names_and_texts(values: Any) -> int:
    count: int = len(values) - values.null_count
    if pa.types.is_string(values.type):
        return 2 * count
    if pa.types.is_list(values.type):
        elements = values.flatten()
        return count + sum(_names_and_texts(elements.field(i)) for i in range(elements.type.num_fields))
    return count


def _candidates(texts: Sequence[bytes]) -> Rows:
    """The lines that may be plain; lines like most others are told all at once."""
    joined = b"\n".join(texts)
    between = joined.count(b"}\n{")
    if between == len(texts) - 1 and joined[:1] == b"{" and joined[-1:] == b"}" and b"null" not in joined:
        unfit = [row for row, text in enumerate(texts) if b"\\" in text and not _may_be_plain(text)]
        return np.delete(np.arange(len(texts)), unfit)
    return np.flatnonzero(np.fromiter(map(_may_be_plain, texts), bool, len(texts)))


def _may_be_plain(text: bytes) -> bool:
    r"""Whether a line is one object without null, and without escapes that hide what it says."""
    if text[:1] != b"{" or text[-1:] != b"}" or b"null" in text:
        return False
    return b"\\" not in text or not (b"\\\\" in text or (b"\\u" in text and _ESCAPED_ASCII.search(text)))
