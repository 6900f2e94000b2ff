"""What flat formats share: a header of column names, and rows of cells under it.

Belongs here: the rules for column names, empty cells and rows that are too long. Does not belong here: which row is
the header (`tables`), CSV, Excel or Parquet, the meaning of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from typing import Any, Literal

from sync_pipelines.contracts.raw import Binary, Cell
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.columns import Columns, SoughtColumns, cleaned

EmptyIs = Literal["absent", "null"]
"""What an empty cell means (X1)."""


class Header:
    """The trimmed columns of a flat file. A column without a name is named by its number, `column_3`.

    The second of two columns with one name is `Notes_2`. A name that a field is read from must be unique.

    Raises:
        ExportError: `bad_header`, `column_missing`.
    """

    def __init__(
        self, cells: Sequence[Any], empty_is: EmptyIs, position: Position, sought: SoughtColumns | None = None
    ) -> None:
        self.cells = [cleaned(cell) for cell in cells]
        while self.cells and not self.cells[-1]:
            self.cells.pop()
        if not self.cells:
            raise ExportError("bad_header", "all columns of the header are unnamed", "", position)
        given = [*self.cells, *[""] * (len(cells) - len(self.cells))]
        mapped = sought.as_mapped(given) if sought is not None else given
        self.position = position
        self.names = _distinct_names(mapped, position, sought)
        self._are_named = [bool(name) for name in given]
        self._keeps_empty = empty_is == "null"
        if sought is not None:
            sought.check([name for name in self.names if name], position)

    @property
    def columns(self) -> Columns:
        """The names of the columns that have one."""
        names = tuple(name for name, is_named in zip(self.names, self._are_named, strict=True) if is_named)
        return Columns(names, self.position)

    def is_too_long(self, row: Sequence[Any]) -> bool:
        """Whether a row has non-empty cells beyond the header."""
        return any(_cell(cell) is not None for cell in islice(row, len(self.names), None))

    def text_record(self, row: Sequence[str]) -> dict[str, Any]:
        """Returns a row of text as column name -> cell, without missing cells."""
        record = {name: Cell(text) for name, text in zip(self.names, row, strict=False) if text and not text.isspace()}
        return self._with_nulls(record, row) if self._keeps_empty else record

    def record(self, row: Sequence[Any]) -> dict[str, Any]:
        """Returns a row of values as column name -> cell; text becomes `Cell`."""
        named = zip(self.names, map(_cell, row), strict=False)
        record = {name: value for name, value in named if value is not None}
        return self._with_nulls(record, row) if self._keeps_empty else record

    def _with_nulls(self, record: dict[str, Any], row: Sequence[Any]) -> dict[str, Any]:
        """Returns the record with its empty cells as nulls, in column order."""
        named = zip(self.names, self._are_named, row, strict=False)
        return {name: record.get(name) for name, is_named, _ in named if is_named or name in record}


def _distinct_names(names: Sequence[str], position: Position, sought: SoughtColumns | None) -> list[str]:
    found: list[str] = []
    used = set(names)
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        own = name or f"column_{number}"
        if name in seen and sought is not None and sought.needs(name):
            hint = f"rename one of them, or choose one in `columns`: {name}_1 or {name}_2"
            raise ExportError("bad_header", f"the header has two columns named {name!r}", hint, position)
        if name in seen or (not name and own in used):
            own = next(other for n in count(2) if (other := f"{own}_{n}") not in used)
        if name:
            seen.add(name)
        used.add(own)
        found.append(own)
    return found


def _cell(value: Any) -> Any:
    if isinstance(value, Binary):
        return value or None
    if isinstance(value, str):
        return Cell(value) if value and not value.isspace() else None
    return value
