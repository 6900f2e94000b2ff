"""What flat formats share: a header of column names, and rows of cells under it.

Belongs here: the rules for names of columns, empty cells and rows that are too long. Does not belong here: which row is
the header (`tables`), CSV, Excel or Parquet themselves, the meaning of a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice
from typing import Any, Literal

from sync_pipelines.contracts.raw import Binary, Cell
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.columns import Columns, SoughtColumns, cleaned

EmptyIs = Literal["absent", "null"]
"""What an empty cell says (X1)."""


class Header:
    """The columns of a flat file, trimmed; one without a name is called by its number, `column_3`.

    Of two columns of one name the second is called `Notes_2`; a name that a field is read from stands once.

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
            raise ExportError("bad_header", "no column of the header has a name", "", position)
        given = [*self.cells, *[""] * (len(cells) - len(self.cells))]
        meant = sought.as_mapped(given) if sought is not None else given
        self.position = position
        self.names = _distinct_names(meant, position, sought)
        self._are_named = [bool(name) for name in given]
        self._keeps_empty = empty_is == "null"
        if sought is not None:
            sought.check([name for name in self.names if name], position)

    @property
    def columns(self) -> Columns:
        """The names of its columns, those without a name left out."""
        names = tuple(name for name, is_named in zip(self.names, self._are_named, strict=True) if is_named)
        return Columns(names, self.position)

    def is_too_long(self, row: Sequence[Any]) -> bool:
        """Whether a row has cells beyond the header that say something."""
        return any(_cell(cell) is not None for cell in islice(row, len(self.names), None))

    def text_record(self, row: Sequence[str]) -> dict[str, Any]:
        """The cells of a row of text under their names; cells that are not there are absent."""
        record = {name: Cell(text) for name, text in zip(self.names, row, strict=False) if text and not text.isspace()}
        return self._with_nulls(record, row) if self._keeps_empty else record

    def record(self, row: Sequence[Any]) -> dict[str, Any]:
        """The cells of a row of values under their names; text becomes `Cell`."""
        named = zip(self.names, map(_cell, row), strict=False)
        record = {name: value for name, value in named if value is not None}
        return self._with_nulls(record, row) if self._keeps_empty else record

    def _with_nulls(self, record: dict[str, Any], row: Sequence[Any]) -> dict[str, Any]:
        """The record with its empty cells as nulls, in the order of the columns."""
        named = zip(self.names, self._are_named, row, strict=False)
        return {name: record.get(name) for name, is_named, _ in named if is_named or name in record}


def _distinct_names(names: Sequence[str], position: Position, sought: SoughtColumns | None) -> list[str]:
    found: list[str] = []
    taken = set(names)
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        own = name or f"column_{number}"
        if name in seen and sought is not None and sought.needs(name):
            hint = f"rename one of them, or say which is meant: {name}_1 or {name}_2 in `columns`"
            raise ExportError("bad_header", f"the header names {name!r} twice", hint, position)
        if name in seen or (not name and own in taken):
            own = next(other for n in count(2) if (other := f"{own}_{n}") not in taken)
        if name:
            seen.add(name)
        taken.add(own)
        found.append(own)
    return found


def _cell(value: Any) -> Any:
    if isinstance(value, Binary):
        return value or None
    if isinstance(value, str):
        return Cell(value) if value and not value.isspace() else None
    return value
