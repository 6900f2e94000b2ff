"""Kept records: what an export said, normalized, for the upsert now and for every fold of its keys later.

A folder per loaded export under the archive:

    records.parquet   one row a record: version, key, presence, columns, children as lists
    keys.npy          (hash of the key, row), sorted: which keys the export knows, without reading it
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import ARRAY, BigInteger, Boolean, DateTime, Integer, Numeric, Table
from sqlalchemy.dialects.postgresql import JSONB

from sync_pipelines.contracts.streams import Identity, Stream
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.normalize.change import Change, Reject
from sync_pipelines.normalize.values import displayable, to_json
from sync_pipelines.tables.schema import SCHEMA, metadata

BLOCK: Final = 4096
"""Records a block: the unit of writing, reading and staging; memory is a multiple of it."""

KEY_LIST: Final = np.dtype([("hash", "<u8"), ("row", "<u4")])


def key_hash(key: str) -> int:
    """64 bits of a key's BLAKE2b; a collision costs a needless fold, never a wrong one."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class ChildLayout:
    """How the rows of one child table stand in a record."""

    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Which columns a stream's kept records have, in order.

    Attributes:
        columns: of the main table, those a record may speak of.
        links: foreign key columns; each is kept as partner, tenant and external id.
        children: the child tables.
        bits: name -> its bit in `present`; columns, links and child tables share the numbering.
        arrow: the schema of `records.parquet`.
    """

    columns: tuple[str, ...]
    links: tuple[str, ...]
    children: tuple[ChildLayout, ...]
    bits: dict[str, int]
    arrow: pa.Schema

    @property
    def everything(self) -> int:
        """The mask of a record that speaks of all there is."""
        return (1 << len(self.bits)) - 1


def layout_of(stream: Stream) -> Layout:
    """The layout of a stream's kept records, from its contract and tables."""
    main = metadata.tables[f"{SCHEMA}.{stream.table}"]
    links = tuple(reference.column for reference in stream.references)
    children = tuple(_child_layout(stream, index) for index in range(len(stream.children)))
    names = [*stream.columns, *links, *(child.table for child in children)]
    fields = [
        pa.field("position", pa.string()),
        pa.field("effective_at", pa.timestamp("us", "UTC")),
        pa.field("operation", pa.string()),
        pa.field("external_id", pa.string()),
        pa.field("key_hash", pa.uint64()),
        pa.field("present", pa.int64()),
        *[pa.field(column, _arrow_type(main, column)) for column in stream.columns],
        *[pa.field(f"{link}_{part}", pa.string()) for link in links for part in Identity._fields],
        pa.field("extra", pa.string()),
        *[pa.field(child.table, pa.list_(_child_type(child))) for child in children],
    ]
    bits = {name: index for index, name in enumerate(names)}
    schema = pa.schema(fields, metadata={"bits": json.dumps(bits)})
    return Layout(stream.columns, links, children, bits, schema)


def _child_layout(stream: Stream, index: int) -> ChildLayout:
    children = stream.children[index]
    shape = next(f.children for f in stream.shape.nested if f.column == children.column)
    assert shape is not None
    own = tuple(f.column for f in shape.scalars if f.column != children.parent_key)
    return ChildLayout(children.table, own + tuple(shape.contract.derived))


def _child_type(child: ChildLayout) -> pa.DataType:
    table = metadata.tables[f"{SCHEMA}.{child.table}"]
    columns = [pa.field(column, _arrow_type(table, column)) for column in child.columns]
    return pa.struct([*columns, pa.field("extra", pa.string())])


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
        np.save(self._folder / "keys.npy", self._key_list())
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
        hashes = np.fromiter((key_hash(change.key) for change in block), np.uint64, len(block))
        self._hashes.append(hashes)
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

    def _key_list(self) -> npt.NDArray[Any]:
        hashes = np.concatenate(self._hashes) if self._hashes else np.empty(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        keys = np.empty(len(hashes), KEY_LIST)
        keys["hash"], keys["row"] = hashes[order], order
        return keys


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
        hashes,
        _presence(layout, changes),
    ]
    columns += [[change.values.get(column) for change in changes] for column in layout.columns]
    for link in layout.links:
        identities = [change.links.get(link) for change in changes]
        columns += [[identity and identity[part] for identity in identities] for part in range(3)]
    columns.append([to_json(change.extra) if change.extra else None for change in changes])
    columns += [_child_column(child, changes) for child in layout.children]
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
        for column, field in zip(columns, layout.arrow, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=layout.arrow)


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


def _child_column(child: ChildLayout, changes: Sequence[Change]) -> pa.Array:
    lists = [change.children.get(child.table) for change in changes]
    offsets: list[int | None] = []
    rows: list[dict[str, Any]] = []
    for elements in lists:
        offsets.append(None if elements is None else len(rows))
        rows.extend(elements or ())
    offsets.append(len(rows))
    struct = _child_type(child)
    arrays = [pa.array([row.get(name) for row in rows], type=struct.field(name).type) for name in child.columns]
    extras = [to_json(row["extra"]) if row.get("extra") else None for row in rows]
    arrays.append(pa.array(extras, pa.string()))
    values = pa.StructArray.from_arrays(arrays, fields=list(struct))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


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

    @property
    def keys(self) -> npt.NDArray[Any]:
        """The sorted key list, mapped from disk."""
        path = self._folder / "keys.npy"
        return np.load(path, mmap_mode="r") if path.stat().st_size > 256 else np.load(path)  # type: ignore[no-any-return]

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with pq.ParquetFile(self._folder / "records.parquet") as parquet:
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
                yield json.loads(line)
