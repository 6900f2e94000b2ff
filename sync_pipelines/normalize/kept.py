"""Kept records: what an export said, normalized, for the upsert now and for every fold of its keys later.

A folder per loaded export under the archive:

    records.parquet   one row a record: version, key, presence, columns, children as lists
    keys.npy          hashes of its keys, sorted: which keys the export knows, without reading it
    rows.npy          the row of each
    digests.npy       a digest of each row's own text, where it has one: equal digests under one way of reading are
                      equal records
    rejects.ndjson    what was refused, one object a line
    summary.json      counts, leniencies, unknown fields, and what it was read under

Presence (X1) is a bit a column in `present`; the file's own list of columns says which bit is whose, so that a
contract may grow. Belongs here: the format, written and read. Does not belong here: what the records mean.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sync_pipelines.contracts.streams import Identity
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.normalize.change import Change, Reject
from sync_pipelines.normalize.keys import KeyList, are_among, hashes_of
from sync_pipelines.normalize.layout import ChildLayout, Layout, child_type
from sync_pipelines.normalize.plain import PlainBlock
from sync_pipelines.normalize.values import displayable, from_json, to_json

Hashes = npt.NDArray[np.uint64]
_NONE: Final = np.empty(0, np.uint64)
BLOCK: Final = 4096
"""Records a block: the unit of writing, reading and staging; memory is a multiple of it."""


@dataclass
class Summary:
    """What normalizing one export came to.

    Attributes:
        read, rejected: records, and those refused.
        lines: lines of a flat file whose lines fold (O12), else None.
        leniencies, unknown_fields: code or name -> how often.
        effective_from, effective_to: the times of its accepted records, as ISO 8601.
        fingerprint: of the settings it was read under.
        contract: of the stream's declaration it was read by.
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
    contract: str = ""
    seconds: float = 0.0
    referred: list[list[str]] = field(default_factory=list)

    @property
    def reading(self) -> tuple[str, str]:
        """What two exports must have in common for equal texts to be equal records."""
        return self.fingerprint, self.contract

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
        # Most columns have as many values as rows: a dictionary makes the file larger and slower.
        self._parquet = pq.ParquetWriter(
            self._folder / "records.parquet",
            layout.arrow,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=False,
        )
        self._rejects = (self._folder / "rejects.ndjson").open("w", encoding="utf-8")
        self._block: list[Change] = []
        self._hashes: list[Hashes] = []
        self._second: list[Hashes] = []
        self._digests: list[Hashes] = []
        self._from: datetime | None = None
        self._to: datetime | None = None
        self._referred: set[tuple[str, str, str]] = set()
        self.accepted = 0
        self.rejected = 0

    def take(self, outcome: Change | Reject) -> None:
        """Keeps a record, accepted or refused."""
        if isinstance(outcome, Change):
            self.add(outcome)
        else:
            self.refuse(outcome)

    def add(self, change: Change) -> None:
        """Keeps an accepted record."""
        self.accepted += 1
        self._block.append(change)
        if len(self._block) >= BLOCK:
            self._flush()

    def add_block(self, block: PlainBlock, others: Sequence[tuple[int, Change]], digests: Hashes) -> None:
        """Keeps the records of a block of lines, in the order of the lines.

        Args:
            block: the plain ones.
            others: changes of the other lines, each with its line's index in the block.
            digests: by line, see `KeptRecords.digests`; 0 for none.
        """
        self._flush()
        changes = [change for _, change in others]
        lines = np.concatenate([block.lines, np.array([line for line, _ in others], np.int64)])
        order = np.argsort(lines, kind="stable")
        known = _known_by(changes)
        first = np.concatenate([block.hashes, known.first])[order]
        second = np.concatenate([_or_none(block.second, len(block.lines)), known.second])[order]
        batches = [block.batch] if block.batch is not None else []
        batches += [to_batch(self._layout, changes, known.first)] if changes else []
        if not batches:
            return
        table = pa.Table.from_batches(batches)
        self.accepted += len(order)
        self._referred |= block.referred | _referred(changes)
        self._write(table.take(pa.array(order)) if changes else table, first, second, digests[lines[order]])

    def refuse(self, reject: Reject) -> None:
        """Keeps a refused record."""
        self.rejected += 1
        shown = reject._replace(message=displayable(reject.message), field_path=displayable(reject.field_path))
        self._rejects.write(to_json(shown._asdict()) + "\n")

    def finish(self, summary: Summary) -> str:
        """Makes the folder visible under its final name and returns that name, relative to the archive."""
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
        if not block:
            return
        known = _known_by(block)
        self._referred |= _referred(block)
        table = pa.Table.from_batches([to_batch(self._layout, block, known.first)])
        self._write(table, known.first, known.second, np.zeros(len(block), np.uint64))

    def _write(self, table: pa.Table, first: Hashes, second: Hashes, digests: Hashes) -> None:
        """Writes records that are counted already."""
        span = pc.min_max(table.column("effective_at")).as_py()
        self._from = span["min"] if self._from is None else min(self._from, span["min"])
        self._to = span["max"] if self._to is None else max(self._to, span["max"])
        self._hashes.append(first)
        self._second.append(second)
        self._digests.append(digests)
        self._parquet.write_table(table)

    def _write_key_list(self) -> None:
        first, second, digests = (np.concatenate([_NONE, *s]) for s in (self._hashes, self._second, self._digests))
        self._hashes, self._second, self._digests = [], [], []
        also = np.flatnonzero(second)
        hashes = np.concatenate([first, second[also]])
        rows = np.concatenate([np.arange(len(first)), also])
        order = np.argsort(hashes, kind="stable")
        self._write_array("keys.npy", hashes[order])
        self._write_array("rows.npy", rows.astype(np.uint32)[order])
        if digests.any():
            self._write_array("digests.npy", digests)

    def _write_array(self, name: str, array: npt.NDArray[Any]) -> None:
        # numpy's own writing names no reason where the disk is full.
        with (self._folder / name).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)


class _KnownBy(NamedTuple):
    """What records are known by: their first hash, and their second (0: none)."""

    first: Hashes
    second: Hashes


def _known_by(changes: Sequence[Change]) -> _KnownBy:
    named = [hashes_of(change) for change in changes]
    second = [found[1] if len(found) > 1 else 0 for found in named]
    return _KnownBy(np.array([found[0] for found in named], np.uint64), np.array(second, np.uint64))


def _or_none(hashes: Hashes | None, count: int) -> Hashes:
    return np.zeros(count, np.uint64) if hashes is None else hashes


def _referred(changes: Iterable[Change]) -> set[tuple[str, str, str]]:
    return {
        (link, meant.partner, meant.tenant)
        for change in changes
        for link, meant in change.links.items()
        if meant is not None
    }


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
    struct = child_type(child)
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

    @cached_property
    def summary(self) -> Summary:
        """What normalizing came to."""
        return Summary(**json.loads((self._folder / "summary.json").read_text()))

    @cached_property
    def keys(self) -> KeyList:
        """The key list, mapped from disk."""
        return KeyList(_mapped(self._folder / "keys.npy"), _mapped(self._folder / "rows.npy"))

    def rows_known_by(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """By row, whether the record is known by one of the given hashes (sorted)."""
        found = np.zeros(self.summary.read - self.summary.rejected, bool)
        found[self.keys.rows[are_among(self.keys.hashes, hashes)]] = True
        return found

    @cached_property
    def digests(self) -> Hashes | None:
        """By row, a digest of the record's text (0: none); None where no record has one."""
        path = self._folder / "digests.npy"
        return _mapped(path) if path.exists() else None

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        # Pre-buffering would hold the file's compressed columns in memory (law 6).
        with pq.ParquetFile(self._folder / "records.parquet", pre_buffer=False) as parquet:
            yield parquet

    @cached_property
    def bits(self) -> dict[str, int]:
        """The file's own presence bits: which bit of `present` is whose."""
        with self._open() as parquet:
            return _bits(parquet)

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All records in file order, block by block, the given columns alone (None: all)."""
        with self._open() as parquet:
            yield from parquet.iter_batches(batch_size=BLOCK, columns=None if columns is None else list(columns))

    def chosen(
        self, rows: npt.NDArray[np.int64], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[npt.NDArray[np.int64], pa.RecordBatch]]:
        """The records in the given rows (ascending), with them, by blocks; blocks without any are not read."""
        with self._open() as parquet:
            start = 0
            for index in range(parquet.num_row_groups):
                end = start + parquet.metadata.row_group(index).num_rows
                here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)]
                if len(here):
                    table = parquet.read_row_group(index, columns=None if columns is None else list(columns))
                    whole = table.combine_chunks().to_batches()[0]
                    yield here, whole if len(here) == len(whole) else whole.take(pa.array(here - start))
                start = end

    def rows(self, wanted: npt.NDArray[Any]) -> tuple[pa.Table, dict[str, int]]:
        """The records in the given rows (ascending), and the file's own presence bits."""
        with self._open() as parquet:
            groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
            edges = np.cumsum([0, *groups])
            tables = []
            for index in np.unique(np.searchsorted(edges, wanted, side="right") - 1):
                inside = wanted[(wanted >= edges[index]) & (wanted < edges[index + 1])] - edges[index]
                tables.append(parquet.read_row_group(int(index)).take(inside))
            return pa.concat_tables(tables) if tables else parquet.schema_arrow.empty_table(), _bits(parquet)

    def rejects(self) -> Iterator[dict[str, Any]]:
        """The refused records, in file order."""
        with (self._folder / "rejects.ndjson").open(encoding="utf-8") as lines:
            for line in lines:
                yield from_json(line)


def _bits(parquet: pq.ParquetFile) -> dict[str, int]:
    bits: dict[str, int] = json.loads(parquet.schema_arrow.metadata[b"bits"])
    return bits


def _mapped(path: Path) -> npt.NDArray[Any]:
    # An empty array can't be mapped; a small one is read faster than it is mapped.
    mode: Literal["r"] | None = "r" if path.stat().st_size > 1 << 20 else None
    array: npt.NDArray[Any] = np.load(path, mmap_mode=mode)
    return array
