"""Kept records: what an export said, normalized, for the upsert now and for every fold of its keys later.

A folder per loaded export under the archive:

    records.parquet   one row a record: version, key, presence, columns, children as lists
    keys.npy          hashes of its keys, sorted: which keys the export knows, without reading it
    rows.npy          the row of each
    texts.npy         128 bits of each row's own text, where it has one: equal texts under one way of reading are equal
                      records
    noted.npy         which rows' reading was counted as a leniency or an unknown field, if any was
    rejects.ndjson    what was refused, one object a line
    summary.json      counts, leniencies, unknown fields, and what it was read under

Where lines repeat those of exports loaded before (`earlier`), their records are not written again:

    earlier-1.parquet, ...   records of those exports, as further names of the same files (hard links)
    files.npy                by row, the number of the file that has its record; 0 is `records.parquet`
    places.npy               by row, the place in that file
    lines.npy                by row, the number of its line

Presence (X1) is a bit a column in `present`; the file's own list of columns says which bit is whose, so that a
contract may grow. Belongs here: the format, and reading it. Does not belong here: writing it (`keeping`), what the
records mean.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.normalize.keys import KeyList, distinct
from sync_pipelines.normalize.values import from_json

Hashes = npt.NDArray[np.uint64]
FileIdentity = tuple[int, int]
Rows = npt.NDArray[np.int64]
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
        at: the export's own time, as ISO 8601.
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
    at: str = ""

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


class Places(NamedTuple):
    """Where the records of some rows are.

    Attributes:
        files: the file of each.
        places: the place in there.
        lines: the number of its line; of rows whose record is in another export's file.
    """

    files: npt.NDArray[np.uint8]
    places: npt.NDArray[np.uint32]
    lines: npt.NDArray[np.uint32]

    def of(self, rows: Any) -> Places:
        """Those of some rows."""
        return Places(self.files[rows], self.places[rows], self.lines[rows])


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

    @property
    def count(self) -> int:
        """How many records there are."""
        return self.summary.read - self.summary.rejected

    def rows_known_by(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """By row, whether the record is known by one of the given hashes (sorted)."""
        found = np.zeros(self.count, bool)
        found[self.keys.rows_of(hashes)] = True
        # Whoever asks goes on with the rows.
        self.let_go("keys")
        return found

    @cached_property
    def texts(self) -> Hashes | None:
        """By row, 128 bits of the record's text (zeros: none), as two columns; None where no record has one."""
        path = self._folder / "texts.npy"
        return _mapped(path) if path.exists() else None

    @cached_property
    def noted(self) -> npt.NDArray[np.bool_] | None:
        """By row, whether its reading was counted as a leniency or an unknown field; None where none was."""
        path = self._folder / "noted.npy"
        return _mapped(path) if path.exists() else None

    @cached_property
    def places(self) -> Places | None:
        """By row, where its record is; None where all are in its own file, in order."""
        if not (self._folder / "places.npy").exists():
            return None
        return Places(*(_mapped(self._folder / f"{name}.npy") for name in Places._fields))

    def let_go(self, *names: str) -> None:
        """Unmaps what is mapped from disk (by default all) and counts as memory; it is mapped again when asked for."""
        for name in names or ("keys", "texts", "noted", "places"):
            self.__dict__.pop(name, None)

    def file(self, number: int) -> Path:
        """One of the files that hold records."""
        return self._folder / (f"earlier-{number}.parquet" if number else "records.parquet")

    def identity(self, number: int) -> FileIdentity:
        """What tells such a file apart, whatever it is called."""
        found = self.file(number).stat()
        return found.st_dev, found.st_ino

    @cached_property
    def _identities(self) -> dict[FileIdentity, int]:
        """The files that hold records, by what tells them apart: file -> number."""
        linked = (int(file.stem.split("-")[1]) for file in self._folder.glob("earlier-*.parquet"))
        return {self.identity(number): number for number in (0, *linked)}

    def are_shared(self, rows: Rows, other: KeptRecords, theirs: Rows) -> npt.NDArray[np.bool_]:
        """Which records of some rows are those of another export's rows, in the same place of the same file."""
        if self.places is None:
            return np.zeros(len(rows), bool)
        same_file = np.full(256, -1, np.int64)
        for file, number in self._identities.items():
            same_file[number] = other._identities.get(file, -1)
        mine = self.places.of(rows)
        their = theirs if other.places is None else other.places.places[theirs]
        files = 0 if other.places is None else other.places.files[theirs]
        shared: npt.NDArray[np.bool_] = (same_file[mine.files] == files) & (mine.places == their)
        return shared

    @contextmanager
    def _open(self, number: int = 0) -> Iterator[pq.ParquetFile]:
        # Pre-buffering would hold the file's compressed columns in memory (law 6).
        with pq.ParquetFile(self.file(number), pre_buffer=False) as parquet:
            yield parquet

    @cached_property
    def bits(self) -> dict[str, int]:
        """The file's own presence bits: which bit of `present` is whose."""
        with self._open() as parquet:
            bits: dict[str, int] = json.loads(parquet.schema_arrow.metadata[b"bits"])
            return bits

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All records in file order, block by block, the given columns alone (None: all)."""
        if self.places is not None:
            yield from (block for _, block in self.chosen(np.arange(self.count), columns))
            return
        with self._open() as parquet:
            yield from parquet.iter_batches(batch_size=BLOCK, columns=None if columns is None else list(columns))

    def chosen(self, rows: Rows, columns: Sequence[str] | None = None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """The records in the given rows (ascending), with them, by blocks; blocks without any are not read."""
        names = None if columns is None else list(columns)
        if self.places is not None:
            yield from self._gathered(self.places, rows, names)
            return
        with self._open() as parquet:
            groups = _Groups(parquet, names)
            bounds = np.searchsorted(rows, groups.edges)
            for group in np.flatnonzero(np.diff(bounds)).tolist():
                here = rows[bounds[group] : bounds[group + 1]]
                whole = groups.read(group)
                yield here, whole if len(here) == len(whole) else whole.take(pa.array(here - groups.edges[group]))

    def _gathered(self, places: Places, rows: Rows, names: list[str] | None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """The same from several files, each record with the position and time it has in this export."""
        at = pa.scalar(datetime.fromisoformat(self.summary.at), pa.timestamp("us", "UTC"))
        with ExitStack() as stack:
            files: dict[int, _Groups] = {}
            for start in range(0, len(rows), BLOCK):
                here = rows[start : start + BLOCK]
                wanted = places.of(here)
                pieces, order = [], []
                for number in distinct(wanted.files).tolist():
                    if number not in files:
                        files[number] = _Groups(stack.enter_context(self._open(number)), names)
                    mine = np.flatnonzero(wanted.files == number)
                    pieces.append(files[number].take(wanted.places[mine].astype(np.int64)))
                    order.append(mine)
                table = pa.concat_tables(pieces)
                if len(pieces) > 1:
                    table = table.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))
                yield here, _placed(table, wanted, at).combine_chunks().to_batches()[0]

    def rows(self, wanted: npt.NDArray[Any]) -> tuple[pa.Table, dict[str, int]]:
        """The records in the given rows (ascending), and the file's own presence bits."""
        blocks = [block for _, block in self.chosen(wanted.astype(np.int64))]
        if blocks:
            return pa.Table.from_batches(blocks), self.bits
        with self._open() as parquet:
            return parquet.schema_arrow.empty_table(), self.bits

    def rejects(self) -> Iterator[dict[str, Any]]:
        """The refused records, in file order."""
        with (self._folder / "rejects.ndjson").open(encoding="utf-8") as lines:
            for line in lines:
                yield from_json(line)


class _Groups:
    """The row groups of a file, of which the last one read stays in memory."""

    def __init__(self, parquet: pq.ParquetFile, names: list[str] | None) -> None:
        self._parquet = parquet
        self._names = names
        sizes = [parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups)]
        self.edges = np.cumsum([0, *sizes])
        self._last: tuple[int, pa.RecordBatch] | None = None

    def of(self, places: Rows) -> Rows:
        """The group of each place."""
        found: Rows = np.searchsorted(self.edges, places, side="right") - 1
        return found

    def read(self, group: int) -> pa.RecordBatch:
        """A whole group."""
        if self._last is None or self._last[0] != group:
            table = self._parquet.read_row_group(group, columns=self._names)
            self._last = group, table.combine_chunks().to_batches()[0]
        return self._last[1]

    def take(self, places: Rows) -> pa.Table:
        """The records in some places, in their order."""
        groups = self.of(places)
        pieces, order = [], []
        for group in distinct(groups).tolist():
            mine = np.flatnonzero(groups == group)
            pieces.append(self.read(group).take(pa.array(places[mine] - self.edges[group])))
            order.append(mine)
        table = pa.Table.from_batches(pieces)
        return table if len(pieces) == 1 else table.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))


def _placed(table: pa.Table, places: Places, at: pa.Scalar) -> pa.Table:
    """Records with the position and time of this export where they are another one's."""
    own = pa.array(places.files == 0)
    here = {"position": pa.array(places.lines).cast(pa.string()), "effective_at": at}
    for name, value in here.items():
        index = table.schema.get_field_index(name)
        if index >= 0:
            table = table.set_column(index, table.field(index), pc.if_else(own, table.column(index), value))
    return table


def _mapped(path: Path) -> npt.NDArray[Any]:
    # An empty array can't be mapped; a small one is read faster than it is mapped.
    mode: Literal["r"] | None = "r" if path.stat().st_size > 1 << 20 else None
    array: npt.NDArray[Any] = np.load(path, mmap_mode=mode)
    return array
