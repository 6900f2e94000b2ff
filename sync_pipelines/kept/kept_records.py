"""Kept records: what an export said, normalized, for the upsert now and for every fold of its keys later.

A folder per loaded export under the archive:

    records.parquet   one row a record: version, key, presence, columns, children as lists
    keys.npy          hashes of its keys, sorted: which keys the export knows, without reading it
    rows.npy          the row of each
    texts.npy         128 bits of each row's own text, where it has one: equal texts under one way of reading are equal
                      records
    noted.npy         which rows' reading was counted as a leniency or an unknown field, if any was
    rejects.ndjson    what was refused, one object a line
    summary.json      counts, leniencies, unknown fields, what it was read under, and checksums of the other files

Where lines repeat those of exports loaded before (`repeated_lines`), their records are not written again:

    earlier-1.parquet, ...   records of those exports, as further names of the same files (hard links)
    files.npy                by row, the number of the file that has its record; 0 is `records.parquet`
    places.npy               by row, the place in that file
    lines.npy                by row, the number of its line

The folder's name is the checksum of its summary, and every file is compared with its own before it is read
(`checksums`).

Presence (X1) is a bit a column in `present`; the file's own list of columns says which bit is whose, so that a
contract may grow. Belongs here: the format, and reading it. Does not belong here: writing it (`kept_writer`), what the
records mean.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sync_pipelines.errors import ArchiveDamaged, ArchiveIncomplete
from sync_pipelines.kept.checksums import ChecksumError, GroupChecks, check_file, check_footer, check_summary
from sync_pipelines.normalize.keys import KeyList, distinct
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.values import from_json
from sync_pipelines.privacy.untrusted_text import on_one_line

Hashes = npt.NDArray[np.uint64]
FileIdentity = tuple[int, int]
Rows = npt.NDArray[np.int64]
Checked = Callable[[Iterable[int]], AbstractContextManager[None]]
"""Compares row groups with their checksums; within the context they may be read."""
BLOCK: Final = 4096
"""Records a block: the unit of writing, reading and staging; memory is a multiple of it."""
_DAMAGE: Final = (errno.EIO, errno.EISDIR, errno.ENOTDIR, None)
"""What the disk says of damage; Arrow's own faults have no number."""
_HINT: Final = "restore SYNC_HOME/archive from your backup, then sync again"


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
        operations: what its records ask for; none of what earlier versions kept.
        checksums: file name -> its checksums. Records kept by earlier versions have none.
        id: of its folder alone, so that no two summaries are the same.
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
    operations: list[str] = field(default_factory=list)
    checksums: dict[str, list[str]] = field(default_factory=dict)
    id: str = ""

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


class RecordFile(NamedTuple):
    """A file of records that another export may name too.

    Attributes:
        path: where it is.
        checksums: as they were when it was written; none of what earlier versions wrote.
    """

    path: Path
    checksums: list[str]


class KeptRecords:
    """The kept records of one export, read back.

    Every file is compared with its checksums before it is read, once by each instance. Whatever is read may raise.

    Raises:
        ArchiveIncomplete: the folder is gone or is not whole.
        ArchiveDamaged: a file is not what was written.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._folder = root / name
        self._name = name
        self._checked: set[tuple[str, int | None]] = set()
        if not (self._folder / "summary.json").exists():
            raise self._gone("summary.json")

    @cached_property
    def summary(self) -> Summary:
        """What normalizing came to."""
        with self._faults_of("summary.json"):
            text = (self._folder / "summary.json").read_bytes()
            check_summary(self._folder.name, text)
            return Summary(**json.loads(text))

    @cached_property
    def keys(self) -> KeyList:
        """The key list, mapped from disk."""
        return KeyList(self._array("keys"), self._array("rows"))

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
        return self._array("texts") if self._has("texts.npy") else None

    @cached_property
    def noted(self) -> npt.NDArray[np.bool_] | None:
        """By row, whether its reading was counted as a leniency or an unknown field; None where none was."""
        return self._array("noted") if self._has("noted.npy") else None

    @cached_property
    def places(self) -> Places | None:
        """By row, where its record is; None where all are in its own file, in order."""
        if not self._has("places.npy"):
            return None
        return Places(*(self._array(name) for name in Places._fields))

    def let_go(self, *names: str) -> None:
        """Unmaps what is mapped from disk (by default all) and counts as memory; it is mapped again when asked for."""
        for name in names or ("keys", "texts", "noted", "places"):
            self.__dict__.pop(name, None)

    def file(self, number: int) -> RecordFile:
        """One of the files that hold records."""
        name = _name_of(number)
        return RecordFile(self._folder / name, self.summary.checksums.get(name, []))

    def identity(self, number: int) -> FileIdentity:
        """What tells such a file apart, whatever it is called."""
        with self._faults_of(_name_of(number)):
            found = (self._folder / _name_of(number)).stat()
            return found.st_dev, found.st_ino

    @cached_property
    def _identities(self) -> dict[FileIdentity, int]:
        """The files that hold records, by what tells them apart: file -> number."""
        names = self.summary.checksums or (path.name for path in self._folder.iterdir())
        linked = (int(name[len("earlier-") : -len(".parquet")]) for name in names if name.startswith("earlier-"))
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
    def _open(self, number: int = 0, names: list[str] | None = None) -> Iterator[_Groups]:
        """A file of records, the given columns alone (None: all)."""
        name = _name_of(number)
        path, checksums = self.file(number)
        with ExitStack() as stack:
            with self._faults_of(name):
                self._check_once(name, None, lambda: check_footer(path, checksums))
                # Pre-buffering would hold the file's compressed columns in memory (law 6).
                parquet = pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True)
                stack.enter_context(parquet)
                checks = GroupChecks(path, parquet.metadata, checksums)

            @contextmanager
            def checked(numbers: Iterable[int]) -> Iterator[None]:
                with self._faults_of(name):
                    for number in numbers:
                        self._check_once(name, number, partial(checks.check, number))
                    yield

            yield _Groups(parquet, names, checked)

    @cached_property
    def bits(self) -> dict[str, int]:
        """The file's own presence bits: which bit of `present` is whose."""
        with self._open() as groups, self._faults_of("records.parquet"):
            bits: dict[str, int] = json.loads(groups.schema.metadata[b"bits"])
            return bits

    def blocks(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All records in file order, block by block, the given columns alone (None: all)."""
        if self.places is not None:
            yield from (block for _, block in self.chosen(np.arange(self.count), columns))
            return
        with self._open(names=None if columns is None else list(columns)) as groups:
            yield from groups.blocks()

    def chosen(self, rows: Rows, columns: Sequence[str] | None = None) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """The records in the given rows (ascending), with them, by blocks; blocks without any are not read."""
        names = None if columns is None else list(columns)
        if self.places is not None:
            yield from self._gathered(self.places, rows, names)
            return
        with self._open(names=names) as groups:
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
                        files[number] = stack.enter_context(self._open(number, names))
                    mine = np.flatnonzero(wanted.files == number)
                    pieces.append(files[number].take(wanted.places[mine].astype(np.int64)))
                    order.append(mine)
                table = pa.concat_tables(pieces)
                if len(pieces) > 1:
                    table = table.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))
                yield here, _placed(table, wanted, at).combine_chunks().to_batches()[0]

    @cached_property
    def operations(self) -> frozenset[str]:
        """What its records ask for, see `Operation`."""
        if self.summary.operations or not self.count:
            return frozenset(self.summary.operations)
        return frozenset(name for block in self.blocks(["operation"]) for name in block.column(0).unique().to_pylist())

    def taken(self, rows: Rows, columns: Sequence[str], layout: Layout) -> pa.Table:
        """Columns of the records in the given rows, in any order; one that the file does not have is null."""
        ordered = distinct(rows)
        blocks = [block for _, block in self.chosen(ordered, columns)]
        found = pa.Table.from_batches(blocks) if blocks else layout.arrow.empty_table()
        for name in columns:
            if name not in found.column_names:
                found = found.append_column(
                    layout.arrow.field(name), pa.nulls(len(found), layout.arrow.field(name).type)
                )
        return found.combine_chunks().take(pa.array(np.searchsorted(ordered, rows)))

    def rows(self, wanted: npt.NDArray[Any]) -> tuple[pa.Table, dict[str, int]]:
        """The records in the given rows (ascending), and the file's own presence bits."""
        blocks = [block for _, block in self.chosen(wanted.astype(np.int64))]
        if blocks:
            return pa.Table.from_batches(blocks), self.bits
        with self._open() as groups:
            return groups.schema.empty_table(), self.bits

    def rejects(self) -> Iterator[dict[str, Any]]:
        """The refused records, in file order."""
        with ExitStack() as stack:
            with self._faults_of("rejects.ndjson"):
                self._check("rejects.ndjson")
                lines = stack.enter_context((self._folder / "rejects.ndjson").open(encoding="utf-8"))
            while True:
                with self._faults_of("rejects.ndjson"):
                    line = next(lines, None)
                    reject = None if line is None else from_json(line)
                if reject is None:
                    return
                yield reject

    # -- damage ------------------------------------------------------------------------------------------------

    def _array(self, name: str) -> npt.NDArray[Any]:
        with self._faults_of(f"{name}.npy"):
            self._check(f"{name}.npy")
            return _mapped(self._folder / f"{name}.npy")

    def _has(self, name: str) -> bool:
        """Whether a file belongs to these records, be it there or not."""
        checksums = self.summary.checksums
        return name in checksums if checksums else (self._folder / name).exists()

    def _check(self, name: str) -> None:
        path = self._folder / name
        self._check_once(name, None, lambda: check_file(path, self.summary.checksums[name]))

    def _check_once(self, name: str, part: int | None, check: Callable[[], None]) -> None:
        if self.summary.checksums and (name, part) not in self._checked:
            check()
            self._checked.add((name, part))

    @contextmanager
    def _faults_of(self, name: str) -> Iterator[None]:
        """Faults of reading a file as those of the archive."""
        try:
            yield
        except FileNotFoundError as fault:
            raise self._gone(name) from fault
        except OSError as fault:
            if fault.errno not in _DAMAGE:
                raise
            raise self._damaged(name, fault) from fault
        except (ChecksumError, pa.ArrowException, ValueError, LookupError, TypeError, EOFError) as fault:
            raise self._damaged(name, fault) from fault

    def _gone(self, name: str) -> ArchiveIncomplete:
        message = f"the archive's {self._name}/{name} is gone"
        return ArchiveIncomplete("archive_incomplete", message, _HINT, self._name)

    def _damaged(self, name: str, fault: Exception) -> ArchiveDamaged:
        path = f"{self._name}/{name}"
        if isinstance(fault, ChecksumError):
            return ArchiveDamaged(path, _HINT, self._name)
        return ArchiveDamaged(path, _HINT, self._name, on_one_line(f"it can't be read ({fault})"))


class _Groups:
    """The row groups of a file, of which the last one read stays in memory."""

    def __init__(self, parquet: pq.ParquetFile, names: list[str] | None, checked: Checked) -> None:
        self._parquet = parquet
        self._names = names
        self._checked = checked
        sizes = [parquet.metadata.row_group(index).num_rows for index in range(parquet.num_row_groups)]
        self.edges = np.cumsum([0, *sizes])
        self._last: tuple[int, pa.RecordBatch] | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._parquet.schema_arrow

    def blocks(self) -> Iterator[pa.RecordBatch]:
        """All records, by blocks that may span groups."""
        batches = self._parquet.iter_batches(batch_size=BLOCK, columns=self._names)
        done, count = 0, int(self.edges[-1])
        while done < count:
            first, last = self.of(np.array([done, min(done + BLOCK, count) - 1])).tolist()
            with self._checked(range(first, last + 1)):
                block = next(batches)
            done += block.num_rows
            yield block

    def of(self, places: Rows) -> Rows:
        """The group of each place."""
        found: Rows = np.searchsorted(self.edges, places, side="right") - 1
        return found

    def read(self, group: int) -> pa.RecordBatch:
        """A whole group."""
        if self._last is None or self._last[0] != group:
            with self._checked([group]):
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


def _name_of(number: int) -> str:
    return f"earlier-{number}.parquet" if number else "records.parquet"


def _mapped(path: Path) -> npt.NDArray[Any]:
    # An empty array can't be mapped; a small one is read faster than it is mapped.
    mode: Literal["r"] | None = "r" if path.stat().st_size > 1 << 20 else None
    array: npt.NDArray[Any] = np.load(path, mmap_mode=mode)
    return array
