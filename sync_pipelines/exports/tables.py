"""Rows of cells as records, whatever they came from: which row is the header, and which rows are no records.

Belongs here: finding the header, rows that are passed over, the end of a table. Does not belong here: where rows come
from (`csv_cells`, `sheets`, `columnar`), names of columns (`columns`), how cells are named (`cells`).
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
"""Rows with content among which the header is looked for."""

Row = tuple[int, Sequence[Any]]
"""A row's number, as people count it from 1, and its cells; an empty cell is None or an empty text."""
MakeRecord = Callable[[int, Sequence[Any], Header], RawRecord]
"""From a row and the header above it to a record."""


@dataclass(frozen=True)
class TableReading:
    """What reading rows depends on; it may be sent to another process.

    Attributes:
        empty_is: what an empty cell says (X1).
        settings: where header and records stand.
        sought: what the header must have; None takes the first row with content as the header, whatever it has.
    """

    empty_is: EmptyIs = "absent"
    settings: TableSettings = field(default_factory=TableSettings)
    sought: SoughtColumns | None = None


AS_IT_STANDS: Final = TableReading()
"""The first row with content is the header, whatever it has."""


class Forgiven(NamedTuple):
    """A row that was passed over, and is counted as a leniency.

    Attributes:
        code: a leniency code.
        position: its number.
        text: what stands there.
    """

    code: str
    position: str
    text: str


class _Left(Enum):
    """A row that is left out, where the rows of a table are counted."""

    BLANK = "blank"
    SKIPPED = "skipped"


Part = RawRecord | Columns | Forgiven
"""What a table gives: its columns first, then records and rows passed over, in order."""


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
        rows: numbered rows; a damaged one is a record already.
        make: makes a record of a row; None where a row has at most the cells of the header, as records have them.
        reading: how the source's rows are read.
        meter: counts columns.
        unit: what rows are counted in.
        hint: what the file looks like, should it have no header.

    Raises:
        ExportError: `bad_header`, `column_missing`, `too_large`.
    """
    table = Table(rows, make, reading, meter, unit)
    if table.header is not None:
        yield from table.parts()
    elif (fault := table.fault(hint)) is not None:
        raise fault


class Table:
    """A table whose header was looked for.

    Attributes:
        header: its header; None where no row was found to be one.

    Raises:
        ExportError: the header was found and is unusable (`bad_header`, `column_missing`, `too_large`).
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

    def fault(self, hint: str = "") -> ExportError | None:
        """Why no row is the header; None where any would do and none has content."""
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
            message = f"no header begins in {self._unit} {named}, as `header_row` says"
            return ExportError("bad_header", message, hint or "correct `header_row`")
        if sought is None:
            return None
        position = Position(self._unit, best[0]) if best[0] else None
        return sought.bad_header([name for name in map(cleaned, best[1]) if name], position, hint)

    def _known_in(self, cells: Sequence[Any]) -> int:
        sought = self._reading.sought
        return len(sought.known_among(map(cleaned, cells))) if sought is not None else 0

    def parts(self) -> Iterator[Part]:
        """The columns, and every row that is no header as a record, or as passed over."""
        assert self.header is not None
        yield self.header.columns
        yield from (Forgiven("row_above_header", *_told(row)) for row in self._above)
        footer = self._reading.settings.skip_footer
        below = self._below(tells_all=footer > 0)
        # Without a footer nothing but records and what is forgiven comes.
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
            # Where the header's row is given, those above it may be many.
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

    def _below(self, *, tells_all: bool) -> Iterator[RawRecord | Forgiven | _Left]:
        """Every row below the header; also those that say nothing or are skipped, if asked to tell of them."""
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
                if tells_all:
                    yield _Left.BLANK
            elif is_skipped is not None and is_skipped(cells):
                if tells_all:
                    yield _Left.SKIPPED
            elif isinstance(lead, str) and name in lead.lower() and _is(cells, header):
                yield Forgiven("header_again", *_told(row))
            elif make is None:
                yield RawRecord(str(number), header.record(cells))
            else:
                yield make(number, cells, header)


def is_blank(cells: Iterable[Any]) -> bool:
    """Whether a row says nothing."""
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
    """Tells the rows that `skip` leaves out; None where it leaves out none."""
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
    """Where the column of a rule is, which may also be named by its field."""
    if rule.column in header.names:
        return header.names.index(rule.column)
    meant = {folded_header(rule.column)} | (
        {folded_header(c) for c in sought.columns_of(rule.column)} if sought else set()
    )
    near = [i for i, name in enumerate(header.names) if folded_header(name) in meant]
    if not near:
        raise column_missing(rule.column, "`skip` looks into", header.columns.names, header.position, "skip")
    return near[0]


def _without_last(rows: Iterator[RawRecord | Forgiven | _Left], count: int) -> Iterator[RawRecord | Forgiven]:
    """The rows without the last ones; blank rows at the very end are no rows of the table, those between are."""
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


def _told(row: Row | RawRecord) -> tuple[str, str]:
    if isinstance(row, RawRecord):
        return row.position, row.damage.text if row.damage else ""
    number, cells = row
    return str(number), ", ".join("" if cell is None else str(cell) for cell in cells)[:2_000]


def too_many_cells(number: int, cells: Sequence[Any], header: Header) -> RawRecord:
    """The damaged record of a row that has cells beyond the header."""
    message = f"the row has cells beyond the {len(header.names)} columns of the header"
    partial = PartialRow(tuple(header.names), tuple(cells), len(header.names))
    return damaged(str(number), "too_many_cells", message, repr(tuple(cells)), row=partial)
