"""What a flat file gives besides its records: its columns, and rows that were passed over.

Belongs here: telling them apart, and counting what was forgiven. Does not belong here: which rows are passed over
(`exports.tables`), what records mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from sync_pipelines.contracts.codes import LENIENCY_CODES
from sync_pipelines.contracts.raw import RawRecord
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.exports.columns import Columns
from sync_pipelines.exports.lines import LineBlock
from sync_pipelines.exports.tables import Forgiven, Part
from sync_pipelines.normalize.change import Findings, Reject
from sync_pipelines.normalize.values import displayable


class FlatParts:
    """The parts of a flat file, told apart.

    Attributes:
        columns: the names of its columns; none where the file has no row at all.
        refused: rows that would have been passed over, but that the source is strict (X8).
    """

    def __init__(self, parts: Iterator[Part | LineBlock], findings: Findings, reading: Reading) -> None:
        self._parts = parts
        self._findings = findings
        self._reading = reading
        first = next(parts, None)
        assert first is None or isinstance(first, Columns)
        self.columns: tuple[str, ...] = () if first is None else first.names
        self.refused: list[Reject] = []

    def records(self) -> Iterator[RawRecord]:
        """The records, in file order."""
        for part in self._parts:
            if isinstance(part, RawRecord):
                yield part
            elif isinstance(part, Forgiven):
                self._forgive(part)

    def _forgive(self, row: Forgiven) -> None:
        if not self._reading.strict:
            self._findings.leniencies[row.code] += 1
            return
        sentence = LENIENCY_CODES[row.code]
        self.refused.append(Reject(row.position, None, row.code, None, sentence, displayable(row.text)))
