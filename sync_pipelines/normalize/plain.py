"""Reads blocks of plain JSON lines a column at a time.

A line is plain if its record has each field in one spelling, with values that the contract accepts unchanged: no null,
no leniency, no unknown field. The results equal those of the record-by-record path, which reads every other line.
The columns, and what is plain in them, are derived from the contract.

Belongs here: separating plain lines from others, and their columns. Does not belong here: conditions of field types
(`contracts.vectors`), reading single records (`record`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from sync_pipelines.contracts.fields import vector_of
from sync_pipelines.contracts.streams import Children, Identity
from sync_pipelines.contracts.vectors import OBJECT
from sync_pipelines.normalize.keys import Hashes, Rows, hashes_of_bytes, record_id_bytes
from sync_pipelines.normalize.layout import ChildLayout, layout_of
from sync_pipelines.normalize.link_columns import LinkColumns, LinkReader
from sync_pipelines.normalize.list_modes import modes_of
from sync_pipelines.normalize.objects import ObjectCutter, ObjectValues
from sync_pipelines.normalize.plain_columns import (
    Column,
    PlainRows,
    columns_of,
    derive,
    half_pairs,
    is_null,
    listed,
)
from sync_pipelines.normalize.plain_text import Texts, candidates, expected_quotes, quotes_in, whole
from sync_pipelines.normalize.record_source import RecordSource

_FEWEST: Final = 64
"""Blocks with fewer lines are read line by line."""


@dataclass(frozen=True)
class PlainBlock:
    """The plain records of a block of lines.

    Attributes:
        batch: the records as in `records.parquet`; None if there are none.
        lines: the index of each record's line in the block, ascending.
        hashes, second: the hashes of their keys, or else of the partner's own ids; and of own ids beside keys (0:
            none).
        noted: which of them have a leniency.
        leniencies: code -> count.
    """

    batch: pa.RecordBatch | None
    lines: Rows
    hashes: Hashes
    second: Hashes
    noted: npt.NDArray[np.bool_]
    leniencies: Counter[str]


class PlainReader:
    """Reads blocks of lines of one source's stream.

    Args:
        source: where they come from.
    """

    def __init__(self, source: RecordSource) -> None:
        self._source = source
        self._stream = stream = source.stream
        self._layout = layout_of(stream)
        self._links = {name: LinkReader(link, source.options, source.tenant) for name, link in stream.links.items()}
        self._columns: tuple[Column, ...] | None = None
        self._cutter: ObjectCutter | None = None

    @property
    def is_able(self) -> bool:
        """Whether any record of the stream can be read this way."""
        return (
            (self._stream.prepare is None or self._stream.prepared is not None)
            and self._stream.links.keys() == self._stream.link_fields.keys()
            and not self._source.reading.date_formats
            and not self._source.names.is_mapped
        )

    @property
    def is_named(self) -> bool:
        """Whether a line has shown how the file names its fields. Before that, blocks are read one at a time."""
        return self._columns is not None

    def read(self, texts: Texts, numbers: Rows) -> PlainBlock:
        """Returns the plain records among lines.

        Args:
            texts: the lines.
            numbers: numbers of the lines (X14).
        """
        chosen = candidates(texts)
        if self._columns is None and len(chosen):
            self._columns = self._named_columns(texts.lines[chosen[0]])
            self._cutter = self._object_cutter(self._columns)
        texts, object_values = texts.some(chosen), None
        if self._cutter is not None:
            places, texts, object_values = self._cutter.cut(texts)
            chosen = chosen[places]
        tables = list(self._decoded(texts, np.arange(len(texts))))
        if not tables:
            nothing = np.empty(0, np.uint64)
            return PlainBlock(None, chosen[:0], nothing, nothing, np.empty(0, bool), Counter())
        table = pa.concat_tables([found for found, _ in tables]).combine_chunks()
        places = np.concatenate([found for _, found in tables])
        if object_values is not None and len(places) < len(texts):
            object_values = [object_values[place] for place in places.tolist()]
        return self._finished(table, chosen[places], numbers, object_values)

    def _named_columns(self, text: bytes) -> tuple[Column, ...]:
        """Returns the columns, named as in the first record. A later record with other names is not plain."""
        try:
            sample = json.loads(text)
        except (ValueError, RecursionError):
            sample = {}
        stream = self._stream
        children = stream.children if stream.listing is None or stream.listing_fields else ()
        also = {*stream.listing_fields, *(name for names in stream.link_fields.values() for name in names)}
        return columns_of(stream.shape, self._source.names, sample, children, stream.prepared or frozenset(), also)

    def _object_cutter(self, columns: tuple[Column, ...]) -> ObjectCutter | None:
        names = {column.name: column.field.alias for column in columns if column.vector is OBJECT}
        kept = frozenset(f.alias for f in self._stream.shape.fields if f.column in self._layout.json)
        return ObjectCutter(self._source, names, kept) if names else None

    # -- decoding ----------------------------------------------------------------------------------------------

    def _decoded(self, texts: Texts, places: Rows) -> Iterable[tuple[pa.Table, Rows]]:
        """Decodes lines, except those of unexpected types; halves a block to find them.

        Args:
            texts: the lines.
            places: the index of each line.
        """
        if not len(texts):
            return
        table = self._decode(texts.joined, len(texts))
        if table is not None:
            yield table, places
        elif len(texts) > _FEWEST:
            for half in np.split(np.arange(len(texts)), [len(texts) // 2]):
                yield from self._decoded(texts.some(half), places[half])

    def _decode(self, joined: bytes, count: int) -> pa.Table | None:
        assert self._columns is not None
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
        # Two values in a line, or a number written as text, which the decoder reads as a decimal.
        if table.num_rows != count or quotes_in(joined) != expected_quotes(table):
            return None
        return table

    # -- columns -----------------------------------------------------------------------------------------------

    def _finished(
        self, table: pa.Table, lines: Rows, numbers: Rows, object_values: Sequence[ObjectValues] | None
    ) -> PlainBlock:
        """Returns the block's records, without those that have a value that is not plain."""
        rows = PlainRows(table.num_rows)
        columns = self._fields(table, rows, object_values)
        links = {link: self._linked(link, columns, rows) for link in self._stream.links}
        hashes, second = self._hashes(columns, rows)
        positions = pa.array(numbers[lines]).cast(pa.string())
        batch = self._batch(columns | modes_of(self._stream, columns, rows), links, positions, hashes, rows.is_set)
        if not rows.plain.all():
            chosen = np.flatnonzero(rows.plain)
            batch, lines = batch.take(pa.array(chosen)), lines[chosen]
            hashes, second = hashes[chosen], second[chosen]
            links = {link: found.take(chosen) for link, found in links.items()}
        return PlainBlock(
            batch=batch,
            lines=lines,
            hashes=hashes,
            second=second,
            noted=np.logical_or.reduce([np.zeros(len(lines), bool), *(found.is_lenient for found in links.values())]),
            leniencies=sum((found.leniencies for found in links.values()), Counter()),
        )

    def _fields(self, table: pa.Table, rows: PlainRows, object_values: Sequence[ObjectValues] | None) -> dict[str, Any]:
        """Returns contract attribute, derived column or child table -> its finished column."""
        assert self._columns is not None
        children = {child.column: (child, layout) for child, layout in self._children}
        found: dict[str, Any] = {}
        for column in self._columns:
            values = whole(table.column(column.name))
            if column.vector is None:
                child, layout = children[column.field.column]
                found[child.table] = listed(column, child, layout, values, rows)
            elif column.vector is not OBJECT:
                found[column.field.column] = rows.finish(column, values)
        found |= dict(self._objects(object_values, found, rows))
        rows.exclude(half_pairs(self._stream.shape, found, rows.count))
        derive(self._stream.shape, found, self._layout.arrow)
        keys = [found.get(name) for name in (self._stream.key, self._stream.record_id) if name]
        rows.exclude(np.logical_and.reduce([is_null(values, rows.count) for values in keys]))
        return found

    @property
    def _children(self) -> Iterable[tuple[Children, ChildLayout]]:
        return zip(self._stream.children, self._layout.children, strict=True)

    def _objects(
        self, object_values: Sequence[ObjectValues] | None, columns: Mapping[str, Any], rows: PlainRows
    ) -> Iterator[tuple[str, Any]]:
        """Returns the columns of objects: JSON, or fields that `prepare` derives from them."""
        fields = {field.alias: field for field in self._stream.shape.fields if field.column in self._layout.bits}
        for alias in dict.fromkeys(name for record in object_values or () for name in record):
            is_set = np.array([alias in record for record in object_values or ()], bool)
            values = [record.get(alias) for record in object_values or ()]
            if alias not in fields or not all(value is None or type(value) is str for value in values):
                rows.exclude(is_set)
                continue
            field, derived = fields[alias], pa.array(values, pa.string())
            vector = vector_of(field.annotation, field.metadata)
            if vector is not OBJECT:
                sent = columns.get(field.column)
                rows.exclude(is_set & ~is_null(sent, rows.count))
                if vector is None or vector.decoded != derived.type:
                    rows.exclude(is_set)
                    continue
                derived = rows.finish(Column(alias, field, vector, False), derived)
                derived = derived if sent is None else pc.coalesce(sent, derived)
            rows.is_set[field.column] = is_set
            yield field.column, derived

    def _linked(self, link: str, columns: Mapping[str, Any], rows: PlainRows) -> LinkColumns:
        """Returns the records' reference. A record whose link needs a reject or leniency is not plain."""
        named = {name: columns[name] for name in self._stream.link_fields[link] if name in columns}
        found = self._links[link].read(named, rows.count)
        rows.exclude(found.is_too_long)
        if link == self._stream.scope:
            rows.exclude(~found.is_set)
        if self._source.reading.strict:
            rows.exclude(found.is_lenient)
        return found

    def _hashes(self, columns: Mapping[str, Any], rows: PlainRows) -> tuple[Hashes, Hashes]:
        """Returns the hashes of the records' keys, and of their partner's own ids beside keys (0: none)."""
        key = columns.get(self._stream.key)
        none, has_key = np.uint64(0), ~is_null(key, rows.count)
        by_key = hashes_of_bytes(_bytes_of(key)) if key is not None else none
        if self._stream.record_id is None:
            return np.where(has_key, by_key, none), np.zeros(rows.count, np.uint64)
        own = columns[self._stream.record_id]
        has_own = ~is_null(own, rows.count)
        by_own = hashes_of_bytes(map(record_id_bytes, _bytes_of(own)))
        return np.where(has_key, by_key, np.where(has_own, by_own, none)), np.where(has_key & has_own, by_own, none)

    def _batch(
        self,
        columns: Mapping[str, Any],
        links: Mapping[str, LinkColumns],
        positions: Any,
        hashes: Hashes,
        also_set: Mapping[str, npt.NDArray[np.bool_]],
    ) -> pa.RecordBatch:
        count = len(positions)
        named = {name: columns[name] for name in self._layout.bits if name in columns}
        named |= {
            "position": positions,
            "effective_at": pa.repeat(pa.scalar(self._source.effective_at, pa.timestamp("us", "UTC")), count),
            "operation": pa.repeat("upsert", count),
            "external_id": columns.get(self._stream.key),
            "record_id": columns.get(self._stream.record_id or ""),
            "key_hash": pa.array(hashes),
            "modes": columns.get("modes"),
        }
        is_set = {name: ~is_null(named.get(name), count) for name in self._layout.bits}
        is_set |= {name: is_set[name] | mask for name, mask in also_set.items()}
        for link, found in links.items():
            is_set[link] = found.is_set
            named |= {f"{link}_{part}": texts for part, texts in zip(Identity._fields, found.identity, strict=True)}
        bits = self._layout.bits
        named["present"] = pa.array(sum(mask.astype(np.int64) << bits[name] for name, mask in is_set.items()))
        arrays = [named.get(field.name) for field in self._layout.arrow]
        arrays = [pa.nulls(count, f.type) if a is None else a for a, f in zip(arrays, self._layout.arrow, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=self._layout.arrow)


def _bytes_of(texts: Any) -> list[bytes]:
    """Returns texts as UTF-8; null becomes empty."""
    found: list[bytes] = pc.fill_null(texts.cast(pa.binary()), b"").to_pylist()
    return found
