"""CSV with quotes as in RFC 4180 or as the source sets them. A damaged row does not affect its neighbors.

Belongs here: lines to rows of cells. Does not belong here: the delimiter (`csv_dialect`), the header and skipped rows
(`tables`), types of cells, mapping of columns.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from sync_pipelines.configuration.limits import Limits, Meter
from sync_pipelines.contracts.raw import PartialRow, RawRecord, damaged
from sync_pipelines.exports.cells import Header
from sync_pipelines.exports.columns import Columns
from sync_pipelines.exports.csv_dialect import Dialect, dialect_of, separator_named
from sync_pipelines.exports.damaged_rows import cells_of, under
from sync_pipelines.exports.lines import LINE_LIMIT, Line, numbered_lines
from sync_pipelines.exports.tables import AS_IT_STANDS, Part, Row, TableReading, read_table
from sync_pipelines.exports.text import damaged_bytes, has_bad_bytes

ROW_LIMIT = 16 << 20
"""Characters of the longest row that spans lines."""

_FIRST_LINES: Final = 100
_FIRST_TEXT: Final = 1 << 18
"""Lines, and about as many characters of them, from which the dialect is detected."""
_RETURN: Final = "\ufdd0"
"""Replaces a carriage return within a cell while `csv` reads it; no text has this character."""


def read_csv(chunks: Iterator[str], reading: TableReading = AS_IT_STANDS, meter: Meter | None = None) -> Iterator[Part]:
    """Yields the columns, then a record of `Cell`s for every row below the header, at the row's first line (X14).

    Blank rows and repetitions of the header are skipped. A row is a damaged record if it has more cells than the
    header, invalid quotes, a line that is too long, or is truncated by the end of the file. After invalid quotes,
    reading continues at the next line.

    Raises:
        ExportError: `bad_header`, `column_missing`, `too_large`.
    """
    lines = _Lines(chunks)
    first = lines.first()
    named = separator_named(first.partition("\n")[0])
    if named is not None:
        lines.drop_first()
    dialect = dialect_of(first, reading.settings, reading.sought, named)

    def make(number: int, cells: Sequence[Any], header: Header) -> RawRecord:
        return _record(number, cells, header, lines)

    meter = meter or Meter(Limits())
    parts = read_table(_rows(lines, dialect), make, reading, meter, "line", _other_format(first))
    for part in parts:
        # The columns come first; the rest passes unchanged.
        yield part._replace(delimiter=dialect.delimiter) if isinstance(part, Columns) else part
        break
    yield from parts


def _other_format(first: str) -> str:
    """Returns a hint if the file is not a CSV at all."""
    begin = first.lstrip("\ufeff \t\r\n")[:1]
    if begin == "<":
        return "it looks like a web page or XML, such as a login or error page; send the export itself"
    if begin and begin in "{[":
        return "it looks like JSON: if it is not an error message, rename the file to .json or .ndjson"
    return ""


def _record(number: int, row: Sequence[str], header: Header, lines: _Lines) -> RawRecord:
    if len(row) > len(header.names):
        message = f"the row has {len(row)} cells, but the header has {len(header.names)}"
        return damaged(str(number), "too_many_cells", message, lines.row_text, row=under(header.names, row, len(row)))
    if len(row) < len(header.names) and lines.is_cut:
        message = "the file ends in the middle of this row"
        cells = under(header.names, row, len(row) - 1)
        return damaged(str(number), "truncated_line", message, lines.row_text, row=cells)
    return RawRecord(str(number), header.text_record(row))


def _rows(lines: _Lines, dialect: Dialect) -> Iterator[Row | RawRecord]:
    csv.field_size_limit(LINE_LIMIT)
    reader = _reader(lines, dialect)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _damaged_row(lines, error, dialect)
            reader = _reader(lines, dialect)
            continue
        if lines.has_bad_bytes:
            yield damaged_bytes(str(lines.row_position), lines.row_text, PartialRow((), tuple(cells), len(cells)))
            continue
        if lines.has_returns:
            cells = [cell.replace(_RETURN, "\r") for cell in cells]
        yield lines.row_position, cells


def _reader(lines: _Lines, dialect: Dialect) -> Any:
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar=dialect.escape,
        skipinitialspace=dialect.passes_blanks,
        strict=True,
    )


def _damaged_row(lines: _Lines, error: csv.Error, dialect: Dialect) -> RawRecord:
    first = lines.give_back_all_but_first()
    if has_bad_bytes(first.text):
        return damaged_bytes(str(first.number), first.text, cells_of(first.text, dialect))
    if not first.is_whole:
        code, message = "line_too_long", f"the line is longer than {LINE_LIMIT} characters"
    elif str(error) == "unexpected end of data":
        code, message = "bad_quotes", "a quote is never closed"
    else:
        code, message = "bad_quotes", f"the row has invalid quotes: {error}"
    if code == "bad_quotes" and dialect.escape is None and f"\\{dialect.quote}" in first.text:
        message += "; if backslashes escape quotes, set `escape`"
    return damaged(str(first.number), code, message, first.text, row=cells_of(first.text, dialect))


class _Lines(Iterator[str]):
    """Physical lines for `csv.reader`. The lines of an unreadable row can be read again."""

    def __init__(self, chunks: Iterator[str]) -> None:
        first = next(chunks, "")
        self.has_bad_bytes = False
        self._newline = "\r" if "\r" in first and "\n" not in first else "\n"
        self._lines = numbered_lines(chain([first], chunks), self._newline)
        self._again: deque[Line] = deque()
        self._row: list[Line] = []
        self._length = 0
        self._returns_twice = self._newline == "\n" and first.partition("\n")[0].endswith("\r\r")
        self.has_returns = False

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        self._length += len(line.text)
        self.has_bad_bytes = self.has_bad_bytes or has_bad_bytes(line.text)
        if not line.is_whole:
            raise csv.Error("a line is too long")
        if len(self._row) > 1 and self._length > ROW_LIMIT:
            raise csv.Error("unexpected end of data")
        text = line.text if line.text.find("\r", 0, -1) < 0 else self._without_returns(line.text)
        return text + self._newline if line.is_ended else text

    def _without_returns(self, text: str) -> str:
        """Masks carriage returns except one at the end of the line: `csv` takes each for a line end."""
        if self._returns_twice and text.endswith("\r\r"):
            text = text[:-1]
        if text.find("\r", 0, -1) < 0 or _RETURN in text:
            return text
        self.has_returns = True
        return text[:-1].replace("\r", _RETURN) + text[-1]

    @property
    def row_position(self) -> int:
        """The line where the row begins."""
        return self._row[0].number

    @property
    def row_text(self) -> str:
        """The row as in the file."""
        return "\n".join(line.text for line in self._row)

    @property
    def is_cut(self) -> bool:
        """Whether the file ends with this row and without a newline."""
        return not self._row[-1].is_ended

    def begin_row(self) -> None:
        """Forgets the lines of the row before."""
        self._row, self._length, self.has_returns, self.has_bad_bytes = [], 0, False, False

    def give_back_all_but_first(self) -> Line:
        """Makes the row's later lines come again as rows of their own, and returns its first line."""
        first, *others = self._row
        self._again.extendleft(reversed(others))
        self._row = [first]
        return first

    def first(self) -> str:
        """Returns the first lines, which are read again; a line that is too long is cut."""
        length = 0
        for line in self._lines:
            self._again.append(line)
            length += len(line.text)
            if len(self._again) >= _FIRST_LINES or length >= _FIRST_TEXT:
                break
        return "\n".join(line.text[:_FIRST_TEXT] for line in self._again)

    def drop_first(self) -> None:
        """Skips the first line."""
        self._again.popleft()
