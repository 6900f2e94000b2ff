"""What every kind of workbook is to whoever reads it: sheets, and rows of values.

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
        name: as people see it.
        is_visible: whether they see it.
    """

    name: str
    is_visible: bool


class Book(Protocol):
    """A workbook that is open for reading."""

    @property
    def sheets(self) -> Sequence[Sheet]:
        """Its sheets of cells, in order."""

    def rows(self, index: int) -> Iterator[Row]:
        """The rows of a sheet, numbered as people see them."""

    def close(self) -> None:
        """Releases it."""


class Shown(NamedTuple):
    """The number format of a cell."""

    code: str


MAX_ROWS: Final = 1_048_576
"""Rows of a sheet, as Excel has them."""
MAX_COLUMNS: Final = 16_384
MAX_CELLS: Final = 30_000_000
"""Cells of a sheet that is held in memory, the empty ones between others included."""


@dataclass
class Specials:
    """What a library does not tell of a sheet whose values it reads.

    Attributes:
        cells: row -> column -> the error or text in its place, or the format of its number; from 1.
        merged: its merged cells.
        rows, columns: how far it reaches.
    """

    cells: dict[int, dict[int, CellError | str | Shown]] = field(default_factory=dict)
    merged: list[MergedRange] = field(default_factory=list)
    rows: int = 0
    columns: int = 0

    def reach(self, row: int, column: int) -> None:
        """Takes note of a cell.

        Raises:
            ExportError: `bad_sheet`: it is further away than memory reaches.
        """
        self.rows, self.columns = max(self.rows, row), max(self.columns, column)
        if self.rows > MAX_ROWS or self.columns > MAX_COLUMNS or self.rows * self.columns > MAX_CELLS:
            message = f"a cell of the sheet stands in row {row:,} and column {column:,}, too far from the others"
            raise ExportError("bad_sheet", message, "clear what stands beside the table, or save it as .xlsx")
