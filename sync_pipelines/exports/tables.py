"""Rows of cells from any source as records: which row is the header, and which rows are not records.

Belongs here: finding the header, skipped rows, the end of a table. Does not belong here: where rows come from
(`csv_cells`, `sheets`, `columnar`), column names (`columns`), how cells are named (`cells`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import translate
from typing import Any, Final, Literal, NamedTuple, cast

from sync_pipelines.configuration.limits import Meter
from sync_pipelines.configuration.table_settings import SkipRule, TableSettings
from sync_pipelines.contracts.contract import folded_header
from sync_pipelines.contracts.raw import PartialRow, RawRecord, damaged
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.cells import EmptyIs, Header
from sync_pipelines.exports.columns import Columns, SoughtColumns, cleaned, column_missing
from sync_pipelines.exports.damaged_rows import under_header

_EMPTY: Final = (None, "")
HEADER_ROWS: Final = 20
"""Non-empty rows that are searched for the header."""

Row = tuple[int, Sequence[Any]]
"""A row's number, from 1, and its cells; an empty cell is None or an empty text."""
MakeRecord = Callable[[int, Sequence[Any], Header], RawRecord]
"""Makes a record of a row and the header above it."""


@dataclass(frozen=True)
class TableReading:
    """How rows are read. It may be sent to another process.

    Attributes:
        empty_is: what an empty cell means (X1).
        settings: where header and records are.
        sought: the columns that identify the header; None takes the first non-empty row.
    """

    empty_is: EmptyIs = "absent"
    settings: TableSettings = field(default_factory=TableSettings)
    sought: SoughtColumns | None = None


AS_IT_STANDS: Final = TableReading()
"""The first non-empty row is the header."""


class Forgiven(NamedTuple):
    """A skipped row that is counted as a leniency.

    Attributes:
        code: a leniency code.
        position: its number.
        text: its content.
    """

    code: str
    position: str
    text: str


class _Left(Enum):
    """A row that is skipped in a table whose rows are counted."""

    BLANK = "blank"
    SKIPPED = "skipped"


Part = RawRecord | Columns | Forgiven
"""What a table yields: its columns first, then records and skipped rows, in order."""


def read_table(
    rows: Iterator[Row | RawRecord],
    make: MakeRecord | None,
    reading: TableReading,
    meter: Meter,
    unit: Literal["line", "row"] = "row",
    hint: str = "",
) -> Iterator[Part]:
    """Yields the parts of a table.

    Args:
        rows: numbered rows; a damaged one is already a record.
        make: makes a record of a row; None if rows, like records, have at most as many cells as the header.
        reading: how the source's rows are read.
        meter: counts columns.
        unit: the unit of row numbers.
        hint: what the file looks like if it has no header.

    Raises:
        ExportError: `bad_header`, `column_missing`, `too_large`.
    """
    table = Table(rows, make, reading, meter, unit)
    if table.header is not None:
        yield from table.parts()
    elif (error := table.error(hint)) is not None:
        raise error


class Table:
    """A table and its header.

    Attributes:
        header: its header; None if no row is one.

    Raises:
        ExportError: the header is unusable (`bad_header`, `column_missing`, `too_large`).
    """

    def __init__(
        self,
        rows: Iterator[Row | RawRecord],
        make: MakeRecord | None,
        reading: TableReading,
        meter: Meter,
        unit: Literal["line", "row"] = "row",
    ) -> None:
        self._rows = rows
        self._make = make
        self._reading = reading
        self._meter = meter
        self._unit: Final = unit
        self._above: list[Row | RawRecord] = []
        self.header = self._found_header()

    def error(self, hint: str = "") -> ExportError | None:
        """Returns why no row is the header; None if any row would do but all are empty."""
        named, sought = self._reading.settings.header_row, self._reading.sought
        rows = [row for row in self._above if not isinstance(row, RawRecord)]
        best = max(rows, key=lambda row: self._known_in(row[1]), default=(0, ()))
        unreadable = [row for row in self._above if isinstance(row, RawRecord)]
        if unreadable and not self._known_in(best[1]):
            first = unreadable[0]
            why = first.damage.message if first.damage else ""
            at = Position(self._unit, int(first.position))
            return ExportError("bad_header", f"the header cannot be read: {why}", hint, at)
        if named is not None:
            message = f"{self._unit} {named}, set in `header_row`, is not the header"
            return ExportError("bad_header", message, hint or "correct `header_row`")
        if sought is None:
            return None
        position = Position(self._unit, best[0]) if best[0] else None
        return sought.bad_header([name for name in map(cleaned, best[1]) if name], position, hint)

    def _known_in(self, cells: Sequence[Any]) -> int:
        sought = self._reading.sought
        return len(sought.known_among(map(cleaned, cells))) if sought is not None else 0

    def parts(self) -> Iterator[Part]:
        """Yields the columns, then every row below the header as a record or as skipped."""
        assert self.header is not None
        yield self.header.columns
        yield from (Forgiven("row_above_header", *_text_of(row)) for row in self._above)
        footer = self._reading.settings.skip_footer
        below = self._below(yields_all=footer > 0)
        # Without a footer only records and leniencies come.
        yield from _without_last(below, footer) if footer else cast(Iterator[Part], below)

    def _found_header(self) -> Header | None:
        named = self._reading.settings.header_row
        for row in self._rows:
            if isinstance(row, RawRecord):
                number, cells = int(row.position), None
            else:
                number, cells = row
                self._meter.check_columns(len(cells))
                if not is_blank(cells) and self._is_header(number, cells):
                    position = Position(self._unit, number)
                    return Header(cells, self._reading.empty_is, position, self._reading.sought)
            # If the header's row is set, many rows may precede it.
            if (cells is None or not is_blank(cells)) and named in (None, number):
                self._above.append(row)
            if number >= named if named is not None else len(self._above) >= HEADER_ROWS:
                return None
            if self._reading.sought is None and cells is None and named is None:
                return None
        return None

    def _is_header(self, number: int, cells: Sequence[Any]) -> bool:
        named, sought = self._reading.settings.header_row, self._reading.sought
        if named is not None:
            return number == named
        if sought is None:
            return True
        return sought.is_header(sought.as_mapped([cleaned(cell) for cell in cells]))

    def _below(self, *, yields_all: bool) -> Iterator[RawRecord | Forgiven | _Left]:
        """Yields every row below the header; with `tells_all`, also blank and skipped ones."""
        header, make = self.header, self._make
        assert header is not None
        is_skipped = _skipping(self._reading.settings.skip, header, self._reading.sought)
        first = next(index for index, name in enumerate(header.cells) if name)
        name = header.cells[first].lower()
        for row in self._rows:
            if isinstance(row, RawRecord):
                yield under_header(row, header.names)
                continue
            number, cells = row
            lead = cells[first] if len(cells) > first else None
            if (not lead or (isinstance(lead, str) and lead.isspace())) and is_blank(cells):
                if yields_all:
                    yield _Left.BLANK
            elif is_skipped is not None and is_skipped(cells):
                if yields_all:
                    yield _Left.SKIPPED
            elif isinstance(lead, str) and name in lead.lower() and _is(cells, header):
                yield Forgiven("header_again", *_text_of(row))
            elif make is None:
                yield RawRecord(str(number), header.record(cells))
            else:
                yield make(number, cells, header)


def is_blank(cells: Iterable[Any]) -> bool:
    """Whether all cells of a row are empty."""
    return all(cell in _EMPTY or (isinstance(cell, str) and cell.isspace()) for cell in cells)


def _is(cells: Sequence[Any], header: Header) -> bool:
    """Whether a row repeats the header."""
    names = [folded_header(cleaned(cell)) for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names == [folded_header(name) for name in header.cells]


def _skipping(
    rules: Sequence[SkipRule], header: Header, sought: SoughtColumns | None
) -> Callable[[Sequence[Any]], bool] | None:
    """Returns a function that matches the rows that `skip` excludes, or None."""
    if not rules:
        return None
    globs = [
        (_place(rule, header, sought), re.compile(translate(rule.matches.strip()), re.IGNORECASE)) for rule in rules
    ]

    def is_skipped(cells: Sequence[Any]) -> bool:
        return any(
            glob.match("" if place >= len(cells) or cells[place] is None else str(cells[place]).strip())
            for place, glob in globs
        )

    return is_skipped


def _place(rule: SkipRule, header: Header, sought: SoughtColumns | None) -> int:
    """Returns the index of a rule's column, which may also be named by its field."""
    if rule.column in header.names:
        return header.names.index(rule.column)
    wanted = {folded_header(rule.column)} | (
        {folded_header(c) for c in sought.columns_of(rule.column)} if sought else set()
    )
    near = [i for i, name in enumerate(header.names) if folded_header(name) in wanted]
    if not near:
        raise column_missing(rule.column, "`skip` uses", header.columns.names, header.position, "skip")
    return near[0]


def _without_last(rows: Iterator[RawRecord | Forgiven | _Left], count: int) -> Iterator[RawRecord | Forgiven]:
    """Yields the rows without the last ones. Blank rows count, except at the very end."""
    held: deque[RawRecord | Forgiven | _Left] = deque()
    blank = 0
    for row in rows:
        if row is _Left.BLANK:
            blank += 1
            continue
        held.extend([_Left.BLANK] * blank)
        held.append(row)
        blank = 0
        while len(held) > count:
            if not isinstance(first := held.popleft(), _Left):
                yield first


def _text_of(row: Row | RawRecord) -> tuple[str, str]:
    if isinstance(row, RawRecord):
        return row.position, row.damage.text if row.damage else ""
    number, cells = row
    return str(number), ", ".join("" if cell is None else str(cell) for cell in cells)[:2_000]


def too_many_cells(number: int, cells: Sequence[Any], header: Header) -> RawRecord:
    """Returns the damaged record of a row with more cells than the header."""
    message = f"the row has more cells than the {len(header.names)} columns of the header"
    partial = PartialRow(tuple(header.names), tuple(cells), len(header.names))
    return damaged(str(number), "too_many_cells", message, repr(tuple(cells)), row=partial)
