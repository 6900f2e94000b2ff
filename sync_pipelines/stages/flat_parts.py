"""The parts of a flat file beside its records: its columns, and rows that were skipped.

Belongs here: separating them, and counting leniencies. Does not belong here: which rows are skipped
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
    """Separates the parts of a flat file.

    Attributes:
        columns: the names of its columns; none if the file has no rows.
        rejects: rows that would be skipped if the source were not strict (X8).
    """

    def __init__(self, parts: Iterator[Part | LineBlock], findings: Findings, reading: Reading) -> None:
        self._parts = parts
        self._findings = findings
        self._reading = reading
        first = next(parts, None)
        assert first is None or isinstance(first, Columns)
        self.columns: tuple[str, ...] = () if first is None else first.names
        self.rejects: list[Reject] = []

    def records(self) -> Iterator[RawRecord]:
        """Yields the records, in file order."""
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
        self.rejects.append(Reject(row.position, None, row.code, None, sentence, displayable(row.text)))
