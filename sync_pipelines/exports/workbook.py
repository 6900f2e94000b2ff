"""What every kind of workbook is to whoever reads it: sheets, and rows of values.

Belongs here: those types. Does not belong here: reading a kind of workbook (`xlsx`, `old_workbooks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from sync_pipelines.contracts.raw import CellError
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


class Specials(NamedTuple):
    """What a library does not tell of a sheet whose values it reads.

    Attributes:
        cells: row -> column -> the error or text in its place, or the format of its number; from 1.
        merged: its merged cells.
    """

    cells: dict[int, dict[int, CellError | str | Shown]]
    merged: list[MergedRange]
