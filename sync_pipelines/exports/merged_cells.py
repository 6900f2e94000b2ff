"""Merged cells of a workbook: the first row of a range fills the rows below it.

Belongs here: filling values down. Does not belong here: where ranges come from (`xlsx`, `old_workbooks`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sync_pipelines.errors import ExportError

_MOST: Final = 500_000


class MergedRange(NamedTuple):
    """First and last row, and the first column, of merged cells; from 1."""

    top: int
    bottom: int
    left: int


class MergedCells:
    """Fills rows in order, starting with the first.

    Args:
        ranges: merged ranges of the sheet.

    Raises:
        ExportError: `bad_sheet`: there are too many.
    """

    def __init__(self, ranges: Iterable[MergedRange]) -> None:
        self._begins: dict[int, list[MergedRange]] = {}
        self._open: dict[int, tuple[int, Any]] = {}
        for count, merged in enumerate(ranges):
            if count > _MOST:
                raise ExportError("bad_sheet", f"the sheet has more than {_MOST:,} merged cells", "export it as CSV")
            if merged.bottom > merged.top:
                self._begins.setdefault(merged.top, []).append(merged)

    def filled(self, number: int, cells: list[Any]) -> list[Any]:
        """Returns a row's cells, filled from the first row of their ranges. A row without other content stays empty."""
        if self._open and any(cell is not None for cell in cells):
            cells = self._fill(number, cells)
        for merged in self._begins.pop(number, ()) if self._begins else ():
            value = cells[merged.left - 1] if len(cells) >= merged.left else None
            self._open[merged.left] = merged.bottom, value
        return cells

    def _fill(self, number: int, cells: list[Any]) -> list[Any]:
        for left, (bottom, value) in list(self._open.items()):
            if number > bottom:
                del self._open[left]
            elif value is not None:
                cells += [None] * (left - len(cells))
                if cells[left - 1] is None:
                    cells[left - 1] = value
        return cells
