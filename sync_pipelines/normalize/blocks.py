"""An export of JSON Lines by blocks: plain lines a column at a time, the others record by record, in one order.

While a block is written the next one is read.

Belongs here: which lines go which way. Does not belong here: either way (`plain`, `envelope` and `record`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.exports.lines import WHITE, Line, LineBlock, read_numbered
from sync_pipelines.normalize.change import Change, Findings, Reject
from sync_pipelines.normalize.kept import KeptWriter
from sync_pipelines.normalize.keys import hashes_of_bytes
from sync_pipelines.normalize.plain import PlainBlock, PlainReader

OneByOne = Callable[[RawRecord], Iterator[Change | Reject]]
_THREADS: Final = 2
_AHEAD: Final = 2
"""Blocks that are read before the first of them is written; memory is a multiple of it."""


class _Read(NamedTuple):
    """A block with its plain records, and a digest of each line."""

    lines: LineBlock
    plain: PlainBlock
    digests: npt.NDArray[np.uint64]


class BlockReader:
    """Reads the parts of an export into its kept records.

    Args:
        plain: for plain lines.
        one_by_one: for everything else.
        findings: where leniencies are counted.
        writer: what takes the records.
    """

    def __init__(self, plain: PlainReader, one_by_one: OneByOne, findings: Findings, writer: KeptWriter) -> None:
        self._plain = plain
        self._one_by_one = one_by_one
        self._findings = findings
        self._writer = writer

    def read(self, parts: Iterable[RawRecord | LineBlock]) -> None:
        """Takes every part, in file order."""
        begun: deque[Future[_Read]] = deque()
        is_first = True
        with ThreadPoolExecutor(_THREADS) as pool:
            for part in parts:
                if isinstance(part, LineBlock):
                    if is_first:
                        # It settles how the file names its fields.
                        self._end(self._begin(part))
                        is_first = False
                        continue
                    begun.append(pool.submit(self._begin, part))
                    if len(begun) > _AHEAD:
                        self._end(begun.popleft().result())
                else:
                    for outcome in self._one_by_one(part):
                        self._writer.take(outcome)
            while begun:
                self._end(begun.popleft().result())

    def _begin(self, lines: LineBlock) -> _Read:
        texts = [text.strip(WHITE) for text in lines.texts]
        for index, line in lines.odd.items():
            texts[index] = texts[index] if line.is_whole else ""
        # One line at a time, encoding would take as long as hashing.
        encoded = "\n".join(texts).encode("utf-8", "surrogatepass").split(b"\n")
        return _Read(lines, self._plain.read(encoded, lines.first), digests_of(encoded))

    def _end(self, read: _Read) -> None:
        is_plain = np.zeros(len(read.lines.texts), bool)
        is_plain[read.plain.lines] = True
        others: list[tuple[int, Change]] = []
        digests = read.digests
        for index in np.flatnonzero(~is_plain).tolist():
            for outcome in self._outcomes(read.lines.line(index)):
                if isinstance(outcome, Change):
                    others.append((index, outcome))
                else:
                    self._writer.refuse(outcome)
        # Only a line that is one record tells by its text what that record says.
        for index, change in others:
            if change.operation != "upsert" or change.position != str(read.lines.first + index):
                digests[index] = 0
        self._findings.leniencies.update(read.plain.leniencies)
        self._writer.add_block(read.plain, others, digests)

    def _outcomes(self, line: Line) -> Iterator[Change | Reject]:
        for raw in read_numbered([line]):
            yield from self._one_by_one(raw)


def digests_of(lines: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """64 bits of each line, never 0."""
    digests: npt.NDArray[np.uint64] = np.maximum(hashes_of_bytes(lines), 1)
    return digests
