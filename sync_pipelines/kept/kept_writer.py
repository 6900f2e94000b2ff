"""Kept records, written: block by block, in the order of the export, visible when they are whole.

Belongs here: changes, blocks and repeated lines into the folder that `kept_records` describes. Does not belong here:
reading it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sync_pipelines.contracts.streams import Identity
from sync_pipelines.kept.checksums import checksums_of, summary_checksum
from sync_pipelines.kept.kept_records import BLOCK, Hashes, RecordFile, Summary
from sync_pipelines.kept.repeated_lines import Repeats
from sync_pipelines.normalize.change import Change, Reject
from sync_pipelines.normalize.keys import distinct, hashes_of
from sync_pipelines.normalize.layout import ChildLayout, Layout, child_type
from sync_pipelines.normalize.plain import PlainBlock
from sync_pipelines.normalize.values import displayable, to_json

Beside = Callable[[pa.Table], None]
_AT_ONCE: Final = 65_536
"""Keys that are written at once."""
_REJECTS_SIZE: Final = 256 << 20
"""Characters of refused records that are kept of an export, about."""
_FILES: Final = 200
"""Files of other exports at most; their numbers are bytes."""


class Lines(NamedTuple):
    """What is told of the lines of a block.

    Attributes:
        first: the number of the first.
        texts: by line, see `KeptRecords.texts`.
        noted: by line, see `KeptRecords.noted`.
    """

    first: int
    texts: Hashes
    noted: npt.NDArray[np.bool_]


class _Column:
    """An array that is written piece by piece, so that memory does not grow with it.

    Args:
        path: of the file.
        kind: of its numbers.
        width: numbers of each row, where it has several.
    """

    def __init__(self, path: Path, kind: type[np.generic], width: int | None = None) -> None:
        self._kind = np.dtype(kind)
        self._width = () if width is None else (width,)
        self._count = 0
        self._file = path.open("wb")
        self._write_head()
        self.path = path
        self.holds_any = False

    def add(self, piece: npt.NDArray[Any]) -> None:
        """Writes further rows."""
        self._count += len(piece)
        self.holds_any = self.holds_any or bool(piece.any())
        self._file.write(np.ascontiguousarray(piece, self._kind).data)

    def close(self) -> None:
        """Completes the file; once is enough."""
        if not self._file.closed:
            try:
                self._file.seek(0)
                self._write_head()
            finally:
                self._file.close()

    def taken(self) -> npt.NDArray[Any]:
        """All of it, once it is closed; the file is gone then."""
        array: npt.NDArray[Any] = np.load(self.path)
        self.path.unlink()
        return array

    def _write_head(self) -> None:
        # numpy leaves room in it for any number of rows.
        shape = (self._count, *self._width)
        head = {"descr": self._kind.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, head)


class KeptWriter:
    """Writes the kept records of one export; nothing is visible before `finish`.

    Args:
        root: the archive's folder.
        layout: of the stream.
        at: the export's own time.
        has_own_ids: whether records may have an id of the partner's own beside their key.
        beside: takes the records that are written, in their order.
        rejects: refused records that are kept at most; the others are counted.
    """

    def __init__(
        self,
        root: Path,
        layout: Layout,
        at: datetime,
        *,
        has_own_ids: bool,
        beside: Beside | None = None,
        rejects: int = sys.maxsize,
    ) -> None:
        self._beside = beside
        self._layout = layout
        self._at = at
        self._has_own_ids = has_own_ids
        self._records = root / "records"
        self._id = uuid.uuid4().hex
        self._folder = root / "tmp" / self._id
        self._folder.mkdir(parents=True)
        # Most columns have as many values as rows: a dictionary makes the file larger and slower.
        self._parquet = pq.ParquetWriter(
            self._folder / "records.parquet",
            layout.arrow,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        self._rejects = (self._folder / "rejects.ndjson").open("w", encoding="utf-8")
        self._block: list[Change] = []
        self._first = _Column(self._folder / "first.npy", np.uint64)
        self._second = _Column(self._folder / "second.npy", np.uint64)
        self._texts = _Column(self._folder / "texts.npy", np.uint64, 2)
        self._noted = _Column(self._folder / "noted.npy", np.bool_)
        self._places = [
            _Column(self._folder / f"{name}.npy", kind)
            for name, kind in (("files", np.uint8), ("places", np.uint32), ("lines", np.uint32))
        ]
        self._own = 0
        self._links: dict[str, list[str]] = {}
        self._from: datetime | None = None
        self._to: datetime | None = None
        self._referred: set[tuple[str, str, str]] = set()
        self._operations: set[str] = set()
        self.accepted = 0
        self.rejected = 0
        self.rejects_kept = 0
        self._rejects_limit = rejects
        self._rejects_size = 0

    def link(self, file: RecordFile) -> int | None:
        """Gives a file of another export's records a name in this one; its number, or None where that can't be."""
        number = len(self._links) + 1
        if number > _FILES:
            return None
        name = f"earlier-{number}.parquet"
        try:
            os.link(file.path, self._folder / name)
        except OSError:
            return None
        self._links[name] = file.checksums
        return number

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

    def add_block(
        self, block: PlainBlock, others: Sequence[tuple[int, Change]], repeats: Repeats | None, lines: Lines
    ) -> None:
        """Keeps the records of a block of lines, in the order of the lines.

        Args:
            block: the plain ones.
            others: changes of the other lines, each with its line's index in the block.
            repeats: lines whose records are in other exports' files.
            lines: of the block.
        """
        self._flush()
        changes = [change for _, change in others]
        indexes = np.concatenate([block.lines, np.array([line for line, _ in others], np.int64)])
        order = np.argsort(indexes, kind="stable")
        known = _known_by(changes)
        first = np.concatenate([block.hashes, known.first])[order]
        second = np.concatenate([_or_none(block.second, len(block.lines)), known.second])[order]
        batches = [block.batch] if block.batch is not None and len(block.lines) else []
        batches += [to_batch(self._layout, changes, known.first)] if changes else []
        if batches:
            table = pa.Table.from_batches(batches)
            self._referred |= block.referred | _referred(changes)
            self._write(table.take(pa.array(order)) if changes else table)
        rows = indexes[order]
        files: npt.NDArray[Any] = np.zeros(len(rows), np.uint8)
        places: npt.NDArray[Any] = np.arange(self._own - len(rows), self._own)
        if repeats is not None and len(repeats.lines):
            rows = np.concatenate([rows, repeats.lines])
            order = np.argsort(rows, kind="stable")
            files, places = (np.concatenate(two)[order] for two in ((files, repeats.files), (places, repeats.places)))
            first, second = (np.concatenate(two)[order] for two in ((first, repeats.first), (second, repeats.second)))
            rows = rows[order]
            self._referred |= repeats.referred
            # Only such records are told by their texts.
            self._operations.add("upsert")
            self._spans(self._at, self._at)
        self.accepted += len(rows)
        self._note(first, second, lines.texts[rows], lines.noted[rows], files, places, rows + lines.first)

    def refuse(self, reject: Reject) -> None:
        """Keeps a refused record."""
        self.rejected += 1
        if self.rejects_kept >= self._rejects_limit or self._rejects_size > _REJECTS_SIZE:
            return
        self.rejects_kept += 1
        shown = reject._replace(
            external_id=displayable(reject.external_id),
            message=displayable(reject.message),
            field_path=displayable(reject.field_path),
        )
        self._rejects_size += self._rejects.write(to_json(shown._asdict()) + "\n")

    def finish(self, summary: Summary) -> str:
        """Makes the folder visible under its final name and returns that name, relative to the archive."""
        self._flush()
        self._close()
        self._write_key_list()
        self._remove_unused()
        summary.effective_from = self._from.isoformat() if self._from else None
        summary.effective_to = self._to.isoformat() if self._to else None
        summary.referred = [list(target) for target in sorted(self._referred)]
        summary.at = self._at.isoformat()
        summary.operations = sorted(self._operations)
        # A linked file has the checksums it was written with, so that damage since then is seen.
        summary.checksums = {
            path.name: self._links.get(path.name) or checksums_of(path) for path in sorted(self._folder.iterdir())
        }
        summary.id = self._id
        text = json.dumps(asdict(summary)).encode()
        (self._folder / "summary.json").write_bytes(text)
        for path in self._folder.iterdir():
            _flush_to_disk(path)
        self._records.mkdir(parents=True, exist_ok=True)
        final = self._folder.rename(self._records / summary_checksum(text))
        return f"records/{final.name}"

    def discard(self) -> None:
        """Forgets everything."""
        with suppress(OSError):  # the disk may be full
            self._close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _columns(self) -> list[_Column]:
        return [self._texts, self._noted, *self._places]

    def _close(self) -> None:
        with ExitStack() as stack:
            for part in (self._parquet, self._rejects, self._first, self._second, *self._columns):
                stack.callback(part.close)

    def _remove_unused(self) -> None:
        """Removes what says nothing: columns of zeros, files that no line repeats."""
        files = self._places[0]
        used = set(distinct(np.load(files.path)).tolist()) if files.holds_any else set()
        for number in range(1, len(self._links) + 1):
            if number not in used:
                (self._folder / f"earlier-{number}.parquet").unlink()
        unused = [column for column in (self._texts, self._noted) if not column.holds_any]
        for column in [*unused, *([] if files.holds_any else self._places)]:
            column.path.unlink()

    def _flush(self) -> None:
        block, self._block = self._block, []
        if not block:
            return
        known = _known_by(block)
        self._referred |= _referred(block)
        self._write(pa.Table.from_batches([to_batch(self._layout, block, known.first)]))
        count = len(block)
        none = np.zeros(count, np.int64)
        places = np.arange(self._own - count, self._own)
        texts, noted = np.zeros((count, 2), np.uint64), np.zeros(count, bool)
        self._note(known.first, known.second, texts, noted, none, places, none)

    def _write(self, table: pa.Table) -> None:
        span = pc.min_max(table.column("effective_at")).as_py()
        self._spans(span["min"], span["max"])
        self._operations.update(table.column("operation").unique().to_pylist())
        self._parquet.write_table(table)
        self._own += table.num_rows
        if self._beside is not None:
            self._beside(table)

    def _spans(self, first: datetime, last: datetime) -> None:
        self._from = first if self._from is None else min(self._from, first)
        self._to = last if self._to is None else max(self._to, last)

    def _note(
        self, first: Hashes, second: Hashes, texts: Hashes, noted: Any, files: Any, places: Any, lines: Any
    ) -> None:
        """Notes what is kept beside the records of some rows, which are counted already."""
        self._first.add(first)
        if self._has_own_ids:
            self._second.add(second)
        for column, piece in zip(self._columns, (texts, noted, files, places, lines), strict=True):
            column.add(piece)

    def _write_key_list(self) -> None:
        hashes, second, rows = self._first.taken(), self._second.taken(), None
        if len(also := np.flatnonzero(second)):
            rows = np.concatenate([np.arange(len(hashes)), also]).astype(np.uint32)
            hashes = np.concatenate([hashes, second[also]])
        order = np.argsort(hashes, kind="stable")
        with (
            closing(_Column(self._folder / "keys.npy", np.uint64)) as key_column,
            closing(_Column(self._folder / "rows.npy", np.uint32)) as row_column,
        ):
            for start in range(0, len(order), _AT_ONCE):
                some = order[start : start + _AT_ONCE]
                key_column.add(hashes[some])
                row_column.add(some if rows is None else rows[some])


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
