"""Kept records: what an export said, normalized, for the upsert now and for every fold of its keys later.

A folder per loaded export under the archive:

    records.parquet   one row a record: version, key, presence, columns, children as lists
    keys.npy          hashes of its keys, sorted: which keys the export knows, without reading it
    rows.npy          the row of each
    rejects.ndjson    what was refused, one object a line
    summary.json      counts, leniencies, unknown fields, and what it was read under

Presence (X1) is a bit a column in `present`; the file's own list of columns says which bit is whose, so that a
contract may grow. Belongs here: the format, written and read. Does not belong here: what the records mean.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import ARRAY, BigInteger, Boolean, DateTime, Integer, Numeric, Table
from sqlalchemy.dialects.postgresql import JSONB

from sync_pipelines.contracts.contract import Shape
from sync_pipelines.contracts.streams import Children, Identity, Stream
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.normalize.change import Change, Reject
from sync_pipelines.normalize.values import displayable, from_json, to_json
from sync_pipelines.tables.schema import SCHEMA, metadata

BLOCK: Final = 4096
"""Records a block: the unit of writing, reading and staging; memory is a multiple of it."""


class KeyList(NamedTuple):
    """Which keys an export knows.

    Attributes:
        hashes: of its keys, ascending; one as often as records have it.
        rows: the record's row, for each hash.
    """

    hashes: npt.NDArray[np.uint64]
    rows: npt.NDArray[np.uint32]

    def rows_of(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """The rows of records known by one of the given hashes, ascending."""
        first = np.searchsorted(self.hashes, hashes, side="left")
        last = np.searchsorted(self.hashes, hashes, side="right")
        found = [self.rows[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True) if a < b]
        return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)

    def knows(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """Those of the given hashes that are here, in the given order."""
        places = np.searchsorted(self.hashes, hashes)
        here = places < len(self.hashes)
        here[here] = self.hashes[places[here]] == hashes[here]
        return hashes[here]

    def repeated(self) -> npt.NDArray[np.uint64]:
        """The hashes of keys that stand more than once, ascending."""
        return np.unique(self.hashes[1:][self.hashes[1:] == self.hashes[:-1]])


def key_hash(key: str) -> int:
    """64 bits of a key's BLAKE2b; a collision costs a needless fold, never a wrong one."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def record_id_hash(record_id: str) -> int:
    """The same of a partner's own id, which no key can collide with by its text."""
    return key_hash(f"\x00{record_id}")


def hashes_of(change: Change) -> list[int]:
    """What a record is known by in key lists: its key, its own id, or both (P2)."""
    return hashes_of_row(change.key, change.record_id)


def hashes_of_row(key: str | None, record_id: str | None) -> list[int]:
    """The same of a row."""
    own = [] if record_id is None else [record_id_hash(record_id)]
    return own if key is None else [key_hash(key), *own]


@dataclass(frozen=True)
class ChildLayout:
    """How the rows of one child table stand in a record.

    Attributes:
        table: the child table.
        columns: its columns a record may speak of.
        is_patched: rows are patched in, so each says which columns it speaks of (a bit each, in this order; then
            the nested lists).
        nested: children of these rows.
    """

    table: str
    columns: tuple[str, ...]
    is_patched: bool
    nested: tuple[ChildLayout, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything a row may speak of, `extra` aside."""
        return self.columns + tuple(child.table for child in self.nested)


@dataclass(frozen=True)
class Layout:
    """Which columns a stream's kept records have, in order.

    Attributes:
        columns: of the main table, those a record may speak of.
        links: foreign key columns; each is kept as partner, tenant and external id.
        children: the child tables.
        bits: name -> its bit in `present`; columns, links and child tables share the numbering.
        json: columns that hold JSON, kept as text.
        arrow: the schema of `records.parquet`.
    """

    columns: tuple[str, ...]
    links: tuple[str, ...]
    children: tuple[ChildLayout, ...]
    bits: dict[str, int]
    json: frozenset[str]
    arrow: pa.Schema

    @property
    def everything(self) -> int:
        """The mask of a record that speaks of all there is."""
        return (1 << len(self.bits)) - 1


def layout_of(stream: Stream) -> Layout:
    """The layout of a stream's kept records, from its contract and tables."""
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
        *[pa.field(column, _arrow_type(main, column)) for column in stream.columns],
        *[pa.field(f"{link}_{part}", pa.string()) for link in links for part in Identity._fields],
        pa.field("extra", pa.string()),
        pa.field("modes", pa.string()),
        *[pa.field(child.table, pa.list_(_child_type(child))) for child in children],
    ]
    bits = {name: index for index, name in enumerate(names)}
    schema = pa.schema(fields, metadata={"bits": json.dumps(bits)})
    json_columns = frozenset(c for c in stream.columns if isinstance(main.c[c].type, JSONB))
    return Layout(stream.columns, links, children, bits, json_columns, schema)


def _child_layout(declared: Children, parent: Shape) -> ChildLayout:
    shape = next(f.children for f in parent.nested if f.column == declared.column)
    assert shape is not None
    own = tuple(f.column for f in shape.scalars if f.column != declared.parent_key)
    nested = tuple(_child_layout(inner, shape) for inner in declared.nested)
    return ChildLayout(declared.table, own + tuple(shape.contract.derived), bool(declared.match), nested)


def _child_type(child: ChildLayout) -> pa.DataType:
    table = metadata.tables[f"{SCHEMA}.{child.table}"]
    fields = [pa.field(column, _arrow_type(table, column)) for column in child.columns]
    fields += [pa.field(inner.table, pa.list_(_child_type(inner))) for inner in child.nested]
    fields += [pa.field("present", pa.int64())] if child.is_patched else []
    return pa.struct([*fields, pa.field("extra", pa.string())])


def _arrow_type(table: Table, column: str) -> pa.DataType:
    match table.c[column].type:
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
        case JSONB():
            return pa.string()
        case _:
            return pa.string()


@dataclass
class Summary:
    """What normalizing one export came to.

    Attributes:
        read, rejected: records, and those refused.
        lines: lines of a flat file whose lines fold (O12), else None.
        leniencies, unknown_fields: code or name -> how often.
        effective_from, effective_to: the times of its accepted records, as ISO 8601.
        fingerprint: of the contract and settings it was read under.
        seconds: what it took.
        referred: foreign key, partner and tenant of the rows its records refer to.
    """

    read: int = 0
    rejected: int = 0
    lines: int | None = None
    leniencies: dict[str, int] = field(default_factory=dict)
    unknown_fields: dict[str, int] = field(default_factory=dict)
    effective_from: str | None = None
    effective_to: str | None = None
    fingerprint: str = ""
    seconds: float = 0.0
    referred: list[list[str]] = field(default_factory=list)

    @property
    def window(self) -> tuple[datetime, datetime] | None:
        """The first and last time of its records, None where it has none."""
        if self.effective_from is None or self.effective_to is None:
            return None
        return datetime.fromisoformat(self.effective_from), datetime.fromisoformat(self.effective_to)


class KeptWriter:
    """Writes the kept records of one export; nothing is visible before `finish`.

    Args:
        root: the archive's folder.
        layout: of the stream.
    """

    def __init__(self, root: Path, layout: Layout) -> None:
        self._layout = layout
        self._final = root / "records" / uuid.uuid4().hex
        self._folder = root / "tmp" / self._final.name
        self._folder.mkdir(parents=True)
        self._parquet = pq.ParquetWriter(
            self._folder / "records.parquet", layout.arrow, compression="zstd", compression_level=1
        )
        self._rejects = (self._folder / "rejects.ndjson").open("w", encoding="utf-8")
        self._block: list[Change] = []
        self._hashes: list[npt.NDArray[np.uint64]] = []
        self._second: list[tuple[int, int]] = []
        self._from: datetime | None = None
        self._to: datetime | None = None
        self._referred: set[tuple[str, str, str]] = set()
        self.accepted = 0
        self.rejected = 0

    def add(self, change: Change) -> None:
        """Keeps an accepted record."""
        self.accepted += 1
        self._block.append(change)
        if len(self._block) >= BLOCK:
            self._flush()

    def refuse(self, reject: Reject) -> None:
        """Keeps a refused record."""
        self.rejected += 1
        shown = reject._replace(message=displayable(reject.message), field_path=displayable(reject.field_path))
        self._rejects.write(to_json(shown._asdict()) + "\n")

    def finish(self, summary: Summary) -> str:
        """Makes the folder visible under its final name and returns that name, relative to the archive."""
        if self._block:
            self._flush()
        self._parquet.close()
        self._rejects.close()
        self._write_key_list()
        summary.effective_from = self._from.isoformat() if self._from else None
        summary.effective_to = self._to.isoformat() if self._to else None
        summary.referred = [list(target) for target in sorted(self._referred)]
        (self._folder / "summary.json").write_text(json.dumps(asdict(summary)))
        for path in self._folder.iterdir():
            _flush_to_disk(path)
        self._final.parent.mkdir(parents=True, exist_ok=True)
        self._folder.rename(self._final)
        return f"records/{self._final.name}"

    def discard(self) -> None:
        """Forgets everything."""
        self._parquet.close()
        self._rejects.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _flush(self) -> None:
        block, self._block = self._block, []
        known_by = [hashes_of(change) for change in block]
        hashes = np.fromiter((names[0] for names in known_by), np.uint64, len(block))
        first = self.accepted - len(block)
        self._hashes.append(hashes)
        self._second += [(names[1], first + row) for row, names in enumerate(known_by) if len(names) > 1]
        times = [change.effective_at for change in block]
        low, high = min(times), max(times)
        self._from = low if self._from is None else min(self._from, low)
        self._to = high if self._to is None else max(self._to, high)
        self._referred.update(
            (link, meant.partner, meant.tenant)
            for change in block
            for link, meant in change.links.items()
            if meant is not None
        )
        batch = to_batch(self._layout, block, hashes)
        self._parquet.write_table(pa.Table.from_batches([batch]))

    def _write_key_list(self) -> None:
        second = np.array([names for names, _ in self._second], np.uint64)
        hashes = np.concatenate([*self._hashes, second]) if self._hashes else second
        rows = np.concatenate([np.arange(len(hashes) - len(second)), [row for _, row in self._second]])
        self._hashes, self._second = [], []
        order = np.argsort(hashes, kind="stable")
        self._write_array("keys.npy", hashes[order])
        self._write_array("rows.npy", rows.astype(np.uint32)[order])

    def _write_array(self, name: str, array: npt.NDArray[Any]) -> None:
        # numpy's own writing names no reason where the disk is full.
        with (self._folder / name).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def to_batch(layout: Layout, changes: Sequence[Change], hashes: npt.NDArray[np.uint64]) -> pa.RecordBatch:
    """Changes as a block of `records.parquet`."""
    columns: list[Any] = [
        [change.position for change in changes],
        [change.effective_at for change in changes],
        [change.operation for change in changes],
        [change.key for change in changes],
        [change.record_id for change in changes],
        hashes,
        _presence(layout, changes),
    ]
    columns += [_column(column, [change.values for change in changes], layout.json) for column in layout.columns]
    for link in layout.links:
        identities = [change.links.get(link) for change in changes]
        columns += [[identity and identity[part] for identity in identities] for part in range(len(Identity._fields))]
    columns.append([to_json(change.extra) if change.extra else None for change in changes])
    columns.append([_modes(change) for change in changes])
    for child in layout.children:
        lists = [change.children.get(child.table) for change in changes]
        columns.append(_list_array(child, [None if sent is None else sent.rows for sent in lists]))
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
        for column, field in zip(columns, layout.arrow, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=layout.arrow)


def _column(name: str, rows: Sequence[Mapping[str, Any]], json_columns: frozenset[str]) -> list[Any]:
    values = [row.get(name) for row in rows]
    return [None if v is None else to_json(v) for v in values] if name in json_columns else values


def _modes(change: Change) -> str | None:
    """How lists are to be taken, where a record says so itself."""
    chosen = {table: [sent.mode, sent.match] for table, sent in change.children.items() if sent.mode or sent.match}
    return json.dumps(chosen) if chosen else None


def _list_array(child: ChildLayout, lists: Sequence[list[dict[str, Any]] | None]) -> pa.Array:
    offsets: list[int | None] = []
    rows: list[dict[str, Any]] = []
    for elements in lists:
        offsets.append(None if elements is None else len(rows))
        rows.extend(elements or ())
    offsets.append(len(rows))
    struct = _child_type(child)
    arrays = [pa.array([row.get(name) for row in rows], type=struct.field(name).type) for name in child.columns]
    arrays += [_list_array(inner, [row.get(inner.table) for row in rows]) for inner in child.nested]
    if child.is_patched:
        bits = {name: 1 << bit for bit, name in enumerate(child.names)}
        arrays.append(pa.array([sum(bits[name] for name in row if name != "extra") for row in rows], pa.int64()))
    arrays.append(pa.array([to_json(row["extra"]) if row.get("extra") else None for row in rows], pa.string()))
    values = pa.StructArray.from_arrays(arrays, fields=list(struct))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _presence(layout: Layout, changes: Sequence[Change]) -> list[int]:
    masks: dict[tuple[str, ...], int] = {}
    present = []
    for change in changes:
        spoken = (*change.values, *change.links, *change.children)
        mask = masks.get(spoken)
        if mask is None:
            mask = masks[spoken] = sum(1 << layout.bits[name] for name in spoken)
        present.append(mask)
    return present


class KeptRecords:
    """The kept records of one export, read back.

    Raises:
        ArchiveIncomplete: the folder is gone or is not whole.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._folder = root / name
        if not (self._folder / "summary.json").exists():
            raise ArchiveIncomplete(
                "archive_incomplete",
                f"the kept records {self._folder} are gone",
                "restore the archive folder under SYNC_HOME from your backup, then sync again",
            )

    @property
    def summary(self) -> Summary:
        """What normalizing came to."""
        return Summary(**json.loads((self._folder / "summary.json").read_text()))

    @cached_property
    def keys(self) -> KeyList:
        """The key list, mapped from disk."""
        return KeyList(_mapped(self._folder / "keys.npy"), _mapped(self._folder / "rows.npy"))

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        # Pre-buffering would hold the file's compressed columns in memory (law 6).
        with pq.ParquetFile(self._folder / "records.parquet", pre_buffer=False) as parquet:
            yield parquet

    def blocks(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All records in file order, block by block, the given columns alone."""
        with self._open() as parquet:
            yield from parquet.iter_batches(batch_size=BLOCK, columns=list(columns))

    def rows(self, wanted: npt.NDArray[Any]) -> tuple[pa.Table, dict[str, int]]:
        """The records in the given rows (ascending), and the file's own presence bits."""
        with self._open() as parquet:
            groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
            edges = np.cumsum([0, *groups])
            tables = []
            for index in np.unique(np.searchsorted(edges, wanted, side="right") - 1):
                inside = wanted[(wanted >= edges[index]) & (wanted < edges[index + 1])] - edges[index]
                tables.append(parquet.read_row_group(int(index)).take(inside))
            bits = json.loads(parquet.schema_arrow.metadata[b"bits"])
            return pa.concat_tables(tables) if tables else parquet.schema_arrow.empty_table(), bits

    def rejects(self) -> Iterator[dict[str, Any]]:
        """The refused records, in file order."""
        with (self._folder / "rejects.ndjson").open(encoding="utf-8") as lines:
            for line in lines:
                yield from_json(line)


def _mapped(path: Path) -> npt.NDArray[Any]:
    # An empty array can't be mapped; a small one is read faster than it is mapped.
    mode: Literal["r"] | None = "r" if path.stat().st_size > 1 << 20 else None
    array: npt.NDArray[Any] = np.load(path, mmap_mode=mode)
    return array
