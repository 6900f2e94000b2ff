"""Reads an export of JSON Lines by blocks, in order: repeated lines, plain lines, and all others.

Lines that earlier exports had are recognized by their text, plain lines are read a column at a time, the others record
by record. While a block is written, the next one is read.

Belongs here: which lines are read which way. Does not belong here: the ways (`kept.repeated_lines`, `normalize.plain`,
`normalize.envelope` and `normalize.record`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.exports.json_lines import read_each
from sync_pipelines.exports.lines import LineBlock, objects_over_lines
from sync_pipelines.kept.kept_writer import KeptWriter, Lines
from sync_pipelines.kept.repeated_lines import KnownLines, Repeats
from sync_pipelines.normalize.change import Change, Findings, Reject
from sync_pipelines.normalize.keys import texts_of
from sync_pipelines.normalize.plain import PlainBlock, PlainReader
from sync_pipelines.normalize.plain_text import stripped

OneByOne = Callable[[RawRecord], Iterator[Change | Reject]]
_AHEAD: Final = 1
"""Blocks that are read ahead of writing; memory is a multiple of it."""


class _Read(NamedTuple):
    """A block: its repeated lines, its plain records, and how each line is read."""

    lines: LineBlock
    repeats: Repeats | None
    plain: PlainBlock
    seen_lines: Lines


class BlockReader:
    """Reads the parts of an export into its kept records.

    Args:
        plain: reads plain lines.
        one_by_one: reads everything else.
        findings: collects leniencies.
        writer: receives the records.
        earlier: lines that need not be read again.
        suspects: returns which plain records to read one by one, if there are such.
    """

    def __init__(
        self,
        plain: PlainReader,
        one_by_one: OneByOne,
        findings: Findings,
        writer: KeptWriter,
        earlier: KnownLines | None = None,
        suspects: Callable[[pa.RecordBatch], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        self._plain = plain
        self._one_by_one = one_by_one
        self._findings = findings
        self._writer = writer
        self._earlier = earlier
        self._suspects = suspects

    def read(self, parts: Iterable[RawRecord | LineBlock]) -> None:
        """Reads every part, in file order."""
        pending: deque[Future[_Read]] = deque()
        # One thread: reading a block depends on the blocks before it.
        with ThreadPoolExecutor(1) as pool:
            for part in parts:
                if not isinstance(part, LineBlock):
                    for outcome in self._one_by_one(part):
                        self._writer.take(outcome)
                elif not self._plain.is_named:
                    # Its first plain line determines how the file names its fields.
                    self._end(self._begin(part))
                else:
                    pending.append(pool.submit(self._begin, part))
                    if len(pending) > _AHEAD:
                        self._end(pending.popleft().result())
            while pending:
                self._end(pending.popleft().result())

    def _begin(self, block: LineBlock) -> _Read:
        texts = stripped(block.texts)
        seen_lines = Lines(block.first, texts_of(texts.lines), np.zeros(len(texts), bool))
        alone = np.arange(len(texts))
        if not texts.are_objects:
            alone = np.delete(alone, [index for lines in objects_over_lines(block.texts) for index in lines])
        if self._earlier is None:
            repeats, others = None, alone
        else:
            repeats = self._earlier.find(seen_lines.texts[alone])
            repeats = repeats._replace(lines=alone[repeats.lines])
            others = np.setdiff1d(alone, repeats.lines, assume_unique=True)
        plain = self._plain.read(texts.some(others), others + block.first)
        if self._suspects is not None and plain.batch is not None and (found := self._suspects(plain.batch)).any():
            others = np.delete(others, plain.lines[found])
            plain = self._plain.read(texts.some(others), others + block.first)
        return _Read(block, repeats, replace(plain, lines=others[plain.lines]), seen_lines)

    def _end(self, read: _Read) -> None:
        block, repeats, plain, seen_lines = read
        is_done = np.zeros(len(block.texts), bool)
        is_done[plain.lines] = True
        if repeats is not None:
            is_done[repeats.lines] = True
        seen_lines.noted[plain.lines] = plain.noted
        others: list[tuple[int, Change]] = []
        for run in _runs(np.flatnonzero(~is_done)):
            for record, first, is_line in read_each(map(block.line, run)):
                index = first - block.first
                before = self._findings.total
                for outcome in self._one_by_one(record):
                    if isinstance(outcome, Change):
                        others.append((index, outcome))
                    else:
                        self._writer.add_reject(outcome)
                seen_lines.noted[index] |= self._findings.total != before
                if not is_line:
                    seen_lines.texts[index] = 0
        # Only a line that is one record can be recognized by its text.
        for index, change in others:
            if change.operation != "upsert" or change.position != str(block.first + index):
                seen_lines.texts[index] = 0
        self._findings.leniencies.update(plain.leniencies)
        self._writer.add_block(plain, others, repeats, seen_lines)


def _runs(indexes: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Groups consecutive indexes."""
    for run in np.split(indexes, np.flatnonzero(np.diff(indexes) != 1) + 1):
        if len(run):
            yield run.tolist()
