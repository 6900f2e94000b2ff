"""Fills empty cells of a flat file from the row above: grouped reports, orders with the key only in the first line.

Belongs here: which cells are filled. Does not belong here: which lines form a record (`flat`), merged cells of
workbooks (`exports.sheets`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sync_pipelines.contracts.contract import folded, folded_header
from sync_pipelines.contracts.raw import Damage, RawRecord
from sync_pipelines.normalize.field_names import Names

Filled = tuple[str, Any]
"""A column and its cell."""


class FillDown:
    """Fills the cells of some columns from the rows above.

    A column is filled as long as the columns before it have the same values: with `[Region, OrderId, Email]`, an order
    gets no email from the order above, and no order id from another region.

    Args:
        fields: contract fields, or columns as in the file; the outermost group first.
        names: how the file names the fields of a record and of its lines.
        is_filled: decides by a row's cells whether it may be filled at all.
    """

    def __init__(
        self, fields: Sequence[str], names: Sequence[Names], is_filled: Callable[[dict[str, Any]], bool]
    ) -> None:
        self._fields = fields
        self._names = names
        self._is_filled = is_filled
        self._levels: dict[str, int | None] = {}
        self._above: list[Filled | None] = [None] * len(fields)

    def fill(self, rows: Iterable[RawRecord]) -> Iterator[RawRecord]:
        """Yields the rows with their filled cells."""
        for row in rows:
            if row.damage is not None:
                self._pass(row.damage)
                yield row
            elif isinstance(row.value, dict):
                yield self._with_cells(row)
            else:
                yield row

    def missing_among(self, columns: Iterable[str]) -> list[str]:
        """Returns the fields that are in none of these columns."""
        found = {self._level_of(column) for column in columns}
        return [field for level, field in enumerate(self._fields) if level not in found]

    def _with_cells(self, row: RawRecord) -> RawRecord:
        if not self._is_filled(row.value):
            return row
        here = self._cells_of(row.value)
        missing = {}
        for level, above in enumerate(self._above):
            own = here.get(level)
            if own is not None:
                if own != above:
                    self._begin(level, own)
            elif above is not None and self._above[level] is not None:
                missing[above[0]] = above[1]
        return row._replace(value={**row.value, **missing}) if missing else row

    def _begin(self, level: int, own: Filled) -> None:
        """Begins a new group of a level; the values of inner levels are forgotten."""
        self._above[level:] = [own, *[None] * (len(self._above) - level - 1)]

    def _pass(self, damage: Damage) -> None:
        """Uses the certain cells of a damaged row; nothing is filled from its uncertain ones."""
        row = damage.row
        certain = dict(zip(row.names, row.cells[: row.certain], strict=False)) if row is not None else {}
        known = {level for name in certain if (level := self._level_of(name)) is not None}
        here = self._cells_of(certain)
        for level in range(len(self._above)):
            if level in here and here[level] != self._above[level]:
                self._begin(level, here[level])
            elif level not in known:
                self._above[level:] = [None] * (len(self._above) - level)
                return

    def _cells_of(self, row: dict[str, Any]) -> dict[int, Filled]:
        """Returns level -> its non-empty cell."""
        found: dict[int, Filled] = {}
        for name, value in row.items():
            level = self._level_of(name)
            if level is not None and not is_empty(value):
                found.setdefault(level, (name, value))
        return found

    def _level_of(self, name: str) -> int | None:
        if name not in self._levels:
            aliases = {folded(alias) for names in self._names for alias in names.aliases_of(name)}
            own = folded_header(name)
            levels = (
                n
                for n, field_name in enumerate(self._fields)
                if folded_header(field_name) == own or folded(field_name) in aliases
            )
            self._levels[name] = next(levels, None)
        return self._levels[name]


def is_empty(cell: Any) -> bool:
    """Whether a cell is empty."""
    return cell is None or (isinstance(cell, str) and not cell.strip())
