"""What every kind of workbook offers: sheets, and rows of values.

Belongs here: those types. Does not belong here: reading a kind of workbook (`xlsx`, `old_workbooks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from sync_pipelines.contracts.raw import CellError
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.merged_cells import MergedRange
from sync_pipelines.exports.tables import Row


class Sheet(NamedTuple):
    """A sheet of a workbook.

    Attributes:
        name: as displayed.
        is_visible: whether it is displayed.
    """

    name: str
    is_visible: bool


class Book(Protocol):
    """A workbook that is open for reading."""

    @property
    def sheets(self) -> Sequence[Sheet]:
        """Its sheets of cells, in order."""

    def rows(self, index: int) -> Iterator[Row]:
        """Yields the rows of a sheet, numbered as displayed."""

    def close(self) -> None:
        """Closes it."""


class Shown(NamedTuple):
    """The number format of a cell."""

    code: str


MAX_ROWS: Final = 1_048_576
"""Most rows of a sheet in Excel."""
MAX_COLUMNS: Final = 16_384
MAX_CELLS: Final = 30_000_000
"""Most cells of a sheet that is held in memory, including empty cells between others."""


@dataclass
class Specials:
    """Properties of a sheet that the library which reads its values does not report.

    Attributes:
        cells: row -> column -> the error or text to use instead, or the format of its number; from 1.
        merged: its merged cells.
        rows, columns: the size of the sheet.
    """

    cells: dict[int, dict[int, CellError | str | Shown]] = field(default_factory=dict)
    merged: list[MergedRange] = field(default_factory=list)
    rows: int = 0
    columns: int = 0

    def reach(self, row: int, column: int) -> None:
        """Extends the size to a cell.

        Raises:
            ExportError: `bad_sheet`: it would need too much memory.
        """
        self.rows, self.columns = max(self.rows, row), max(self.columns, column)
        if self.rows > MAX_ROWS or self.columns > MAX_COLUMNS or self.rows * self.columns > MAX_CELLS:
            message = f"the sheet has a cell in row {row:,} and column {column:,}, too far from the others"
            raise ExportError("bad_sheet", message, "clear the cells beside the table, or save it as .xlsx")
