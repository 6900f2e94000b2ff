"""Writes kept records block by block, in the order of the export. They become visible when they are complete.

Belongs here: turning changes, blocks and repeated lines into the sections described in `kept_records`. Does not belong
here: reading them, the object that holds them (`object_writer`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sync_pipelines.kept.kept_records import BLOCK, KINDS, Hashes, Summary
from sync_pipelines.kept.locations import NOWHERE, to_kept
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.kept.object_writer import Column, ObjectWriter, Spool
from sync_pipelines.kept.record_batches import to_batch
from sync_pipelines.kept.repeated_lines import Repeats
from sync_pipelines.normalize.change import Change, Reject
from sync_pipelines.normalize.keys import distinct, hashes_of
from sync_pipelines.normalize.layout import Layout
from sync_pipelines.normalize.plain import PlainBlock
from sync_pipelines.normalize.values import displayable, to_json

Beside = Callable[[pa.Table], None]
_AT_ONCE: Final = 65_536
"""Keys that are written at once."""
_REJECTS_SIZE: Final = 256 << 20
"""Approximate characters of rejected records that are kept of an export."""
_BESIDE: Final = ("texts", "noted", "files", "places", "lines")
"""Values that are kept by row beside the records."""
_NOTED_COLUMNS: Final = ("texts", "noted")
"""Those that do not locate records."""
_FILES: Final = 200
"""Most other exports whose records are referenced; their numbers are bytes."""


class Lines(NamedTuple):
    """What is known about the lines of a block.

    Attributes:
        first: the number of the first line.
        texts: by line, see `KeptRecords.texts`.
        noted: by line, see `KeptRecords.noted`.
    """

    first: int
    texts: Hashes
    noted: npt.NDArray[np.bool_]


class KeptWriter:
    """Writes the kept records of one export. Nothing is visible before `finish`.

    Args:
        root: the archive's folder.
        layout: the stream's layout.
        at: the export's own time.
        beside: receives the written records, in order.
        rejects: most rejects that are kept; others are only counted.
    """

    def __init__(
        self,
        root: Path,
        layout: Layout,
        at: datetime,
        *,
        beside: Beside | None = None,
        rejects: int = sys.maxsize,
    ) -> None:
        self._beside = beside
        self._layout = layout
        self._at = at
        self._object = ObjectWriter(open_store(root), layout.arrow)
        folder = self._object.folder
        self._rejects = Spool(folder)
        self._block: list[Change] = []
        self._first = Column(folder, np.uint64)
        self._second = Column(folder, np.uint64)
        self._beside_rows = {name: Column(folder, KINDS[name]) for name in _BESIDE}
        self._own = 0
        self._others: list[str] = []
        self._from: datetime | None = None
        self._to: datetime | None = None
        self._referred: set[tuple[str, str, str]] = set()
        self._operations: set[str] = set()
        self._complete = layout.everything
        self.accepted = 0
        self.rejected = 0
        self.rejects_kept = 0
        self._rejects_limit = rejects
        self._rejects_size = 0

    def link(self, location: str) -> int | None:
        """Assigns a number to another export's records. Returns None if that is not possible.

        Args:
            location: their location, see `KeptRecords.location`.
        """
        if len(self._others) >= _FILES:
            return None
        self._others.append(location)
        return len(self._others)

    def take(self, outcome: Change | Reject) -> None:
        """Keeps a record, accepted or rejected."""
        if isinstance(outcome, Change):
            self.add(outcome)
        else:
            self.add_reject(outcome)

    def add(self, change: Change) -> None:
        """Keeps an accepted record."""
        self.accepted += 1
        self._block.append(change)
        if len(self._block) >= BLOCK:
            self._flush()

    def add_block(
        self, block: PlainBlock, others: Sequence[tuple[int, Change]], repeats: Repeats | None, lines: Lines
    ) -> None:
        """Keeps the records of a block of lines, in line order.

        Args:
            block: the plain records.
            others: changes of the other lines, each with its line's index in the block.
            repeats: lines whose records are in other exports' objects.
            lines: lines of the block.
        """
        self._flush()
        changes = [change for _, change in others]
        indexes = np.concatenate([block.lines, np.array([line for line, _ in others], np.int64)])
        order = np.argsort(indexes, kind="stable")
        known = _known_by(changes)
        first, second = (np.concatenate(two)[order] for two in zip((block.hashes, block.second), known, strict=True))
        batches = [block.batch] if block.batch is not None and len(block.lines) else []
        batches += [to_batch(self._layout, changes, known[0])] if changes else []
        if batches:
            table = pa.Table.from_batches(batches)
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
            # Only such records can be recognized by their text.
            self._operations.add("upsert")
            self._spans(self._at, self._at)
        self.accepted += len(rows)
        self._note(first, second, lines.texts[rows], lines.noted[rows], files, places, rows + lines.first)

    def add_kept(self, records: pa.Table, known: tuple[Hashes, Hashes], texts: Hashes, noted: Any) -> None:
        """Keeps records of another object, whose presence bits are the layout's.

        Args:
            records: the records.
            known: by row, the hashes of each (second 0: none).
            texts: by row, see `KeptRecords`.
            noted: by row, see `KeptRecords`.
        """
        self._flush()
        self.accepted += records.num_rows
        self._add_own(records, known, texts, noted)

    def add_reject(self, reject: Reject) -> None:
        """Keeps a reject."""
        self.rejected += 1
        if self.rejects_kept >= self._rejects_limit or self._rejects_size > _REJECTS_SIZE:
            return
        self.rejects_kept += 1
        shown = reject._replace(
            external_id=displayable(reject.external_id),
            message=displayable(reject.message),
            field_path=displayable(reject.field_path),
        )
        kept_reject = shown._asdict() | {"faults": [displayable(error._asdict()) for error in reject.faults]}
        if not reject.faults:
            del kept_reject["faults"]
        line = to_json(kept_reject) + "\n"
        self._rejects_size += len(line)
        self._rejects.add(line.encode())

    def finish(self, summary: Summary) -> str:
        """Makes the records visible and returns their location, for the ledger."""
        self._flush()
        summary.effective_from = self._from.isoformat() if self._from else None
        summary.effective_to = self._to.isoformat() if self._to else None
        summary.referred = [list(target) for target in sorted(self._referred)]
        summary.at = self._at.isoformat()
        summary.operations = sorted(self._operations)
        summary.bits = self._layout.bits
        summary.complete = self._complete if self._own else 0
        files = self._beside_rows["files"]
        used = set(distinct(files.all_values()).tolist()) if files.holds_any else set()
        self._write_key_list()
        for name, column in self._beside_rows.items():
            # Columns of zeros can be omitted.
            if column.holds_any if name in _NOTED_COLUMNS else used:
                self._object.add_section(name, column.parts(), column.size)
        self._object.add_section("rejects", self._rejects.parts(), self._rejects.size)
        own = self._object.finish(summary)
        self._close()
        others = [place if number in used else NOWHERE for number, place in enumerate(self._others, 1)]
        return to_kept(own, others[: max(used, default=0)])

    def discard(self) -> None:
        """Discards everything."""
        self._close()
        self._object.discard()

    def _close(self) -> None:
        with ExitStack() as stack:
            for spool in (self._rejects, self._first, self._second, *self._beside_rows.values()):
                stack.callback(spool.close)

    def _flush(self) -> None:
        block, self._block = self._block, []
        if block:
            known = _known_by(block)
            records = pa.Table.from_batches([to_batch(self._layout, block, known[0])])
            self._add_own(records, known, np.zeros((len(block), 2), np.uint64), np.zeros(len(block), bool))

    def _add_own(self, records: pa.Table, known: tuple[Hashes, Hashes], texts: Hashes, noted: Any) -> None:
        """Keeps records in its own object, each as a row."""
        self._write(records)
        none = np.zeros(records.num_rows, np.int64)
        self._note(*known, texts, noted, none, np.arange(self._own - len(none), self._own), none)

    def _write(self, table: pa.Table) -> None:
        span = pc.min_max(table.column("effective_at")).as_py()
        self._spans(span["min"], span["max"])
        self._referred |= _referred_in(table, self._layout)
        self._operations.update(table.column("operation").unique().to_pylist())
        if self._complete:
            self._complete &= _complete_in(table, self._layout)
        self._object.add_records(table)
        self._own += table.num_rows
        if self._beside is not None:
            self._beside(table)

    def _spans(self, first: datetime, last: datetime) -> None:
        self._from = first if self._from is None else min(self._from, first)
        self._to = last if self._to is None else max(self._to, last)

    def _note(
        self, first: Hashes, second: Hashes, texts: Hashes, noted: Any, files: Any, places: Any, lines: Any
    ) -> None:
        """Records the values beside the records of some rows, which are counted already."""
        self._first.add(first)
        self._second.add(second)
        for name, piece in zip(_BESIDE, (texts, noted, files, places, lines), strict=True):
            self._beside_rows[name].add(piece)

    def _write_key_list(self) -> None:
        hashes, rows = self._first.all_values(), None
        if self._second.holds_any:
            second = self._second.all_values()
            also = np.flatnonzero(second)
            rows = np.concatenate([np.arange(len(hashes)), also]).astype(np.uint32)
            hashes = np.concatenate([hashes, second[also]])
        order = np.argsort(hashes, kind="stable")
        parts = [order[start : start + _AT_ONCE] for start in range(0, len(order), _AT_ONCE)]
        places = ((some if rows is None else rows[some]).astype(np.uint32) for some in parts)
        self._object.add_section("keys", (hashes[some].data for some in parts), hashes.nbytes)
        self._object.add_section("rows", (some.data for some in places), 4 * len(order))


def _known_by(changes: Sequence[Change]) -> tuple[Hashes, Hashes]:
    """Returns the hashes of records: the first, and the second (0: none)."""
    named = [hashes_of(change) for change in changes]
    second = [found[1] if len(found) > 1 else 0 for found in named]
    return np.array([found[0] for found in named], np.uint64), np.array(second, np.uint64)


def _referred_in(records: pa.Table, layout: Layout) -> set[tuple[str, str, str]]:
    found = set[tuple[str, str, str]]()
    for link in layout.links:
        names = [f"{link}_partner", f"{link}_tenant"]
        owners = records.group_by(names, use_threads=False).aggregate([]).select(names).to_pydict().values()
        found |= {(link, partner, tenant) for partner, tenant in zip(*owners, strict=True) if partner is not None}
    return found


def _complete_in(records: pa.Table, layout: Layout) -> int:
    """Returns the bits of what each of some records has (`Summary.complete`)."""
    are_upserts = records.column("operation").unique().to_pylist() == ["upsert"]
    if not are_upserts or records.column("modes").null_count < records.num_rows:
        return 0
    found = [name for name in layout.columns if not records.column(name).null_count]
    found += [link for link in layout.links if not records.column(f"{link}_partner").null_count]
    found += [
        child.table
        for child in layout.children
        if pc.min(pc.fill_null(pc.list_value_length(records.column(child.table)), 0)).as_py()
    ]
    return sum(1 << layout.bits[name] for name in found)
