"""What flat formats share: a header of column names, and rows of cells under it.

Belongs here: the rules for headers, empty cells and rows that are too long. Does not belong here: CSV, Excel or
Parquet themselves, the meaning of a column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

from sync_pipelines.contracts.raw import Binary, Cell
from sync_pipelines.errors import ExportError, Position

EmptyIs = Literal["absent", "null"]
"""What an empty cell says (X1)."""


class Header:
    """The columns of a flat file, trimmed; a column without a name is called by its number, `column_3`.

    Raises:
        ExportError: `bad_header` if a name stands twice or no column has a name.
    """

    def __init__(self, names: Sequence[str], empty_is: EmptyIs, position: Position) -> None:
        self.names = [name.strip() or f"column_{number}" for number, name in enumerate(names, 1)]
        self._are_named = [bool(name.strip()) for name in names]
        self._keeps_empty = empty_is == "null"
        if not any(self._are_named):
            raise ExportError("bad_header", "no column of the header has a name", "", position)
        doubled = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if doubled:
            raise ExportError("bad_header", f"the header names {doubled[0]!r} twice", "rename one of them", position)

    def is_too_long(self, row: Sequence[Any]) -> bool:
        """Whether a row has cells beyond the header that say something."""
        return any(cell not in (None, "") for cell in islice(row, len(self.names), None))

    def text_record(self, row: Sequence[str]) -> dict[str, Any]:
        """The cells of a row of text under their names; cells that are not there are absent."""
        record = {name: Cell(text) for name, text in zip(self.names, row, strict=False) if text}
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


def _cell(value: Any) -> Any:
    if isinstance(value, Binary):
        return value or None
    if isinstance(value, str):
        return Cell(value) if value else None
    return value
