"""CSV with RFC 4180 quotes, any of four delimiters, and a damaged row that takes nothing with it.

Belongs here: delimiter, header, rows to cells. Does not belong here: types of cells, mapping of columns.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice

from sync_pipelines.configuration.limits import Limits, Meter
from sync_pipelines.contracts.raw import RawRecord, damaged
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.cells import EmptyIs, Header
from sync_pipelines.exports.lines import LINE_LIMIT, Line, numbered_lines

DELIMITERS = ",;|\t"
ROW_LIMIT = 16 << 20
"""Characters of the longest row that spans lines."""

_HEADER_LINES = 100
_QUOTED = re.compile(r'"[^"]*"')


def read_csv(chunks: Iterator[str], empty_is: EmptyIs = "absent", meter: Meter | None = None) -> Iterator[RawRecord]:
    """Yields one record of `Cell`s for every row below the header, at the line where the row begins (X14).

    The delimiter is the one of `,;|` and tab that stands most often in the header outside quotes. Blank lines are
    passed over. A row with more cells than the header, with quotes that break RFC 4180, with a line that is too long,
    or cut off at the end of the file is a damaged record. After bad quotes reading goes on at the next line.

    Raises:
        ExportError: `bad_header`, `too_large`.
    """
    meter = meter or Meter(Limits())
    lines = _Lines(chunks)
    rows = _rows(lines, lines.sniff_delimiter())
    header = None
    for row in rows:
        if header is None:
            header = _header(row, empty_is, lines.row_position, meter)
        elif isinstance(row, RawRecord):
            yield row
        else:
            yield _record(row, header, lines)


def _header(row: list[str] | RawRecord, empty_is: EmptyIs, line: int, meter: Meter) -> Header:
    if isinstance(row, list):
        meter.check_columns(len(row))
        return Header(row, empty_is, Position("line", line))
    why = row.damage.message if row.damage else ""
    raise ExportError("bad_header", f"the header cannot be read: {why}", "", Position("line", line))


def _record(row: list[str], header: Header, lines: _Lines) -> RawRecord:
    position = str(lines.row_position)
    if len(row) > len(header.names):
        message = f"the row has {len(row)} cells, the header {len(header.names)}"
        return damaged(position, "too_many_cells", message, lines.row_text)
    if len(row) < len(header.names) and lines.is_cut:
        return damaged(position, "truncated_line", "the file ends in the middle of this row", lines.row_text)
    return RawRecord(position, header.text_record(row))


def _rows(lines: _Lines, delimiter: str) -> Iterator[list[str] | RawRecord]:
    csv.field_size_limit(LINE_LIMIT)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            yield _damaged_row(lines, fault)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            continue
        if cells:
            yield cells


def _damaged_row(lines: _Lines, fault: csv.Error) -> RawRecord:
    first = lines.give_back_all_but_first()
    if not first.is_whole:
        code, message = "line_too_long", f"the line is longer than {LINE_LIMIT} characters"
    elif str(fault) == "unexpected end of data":
        code, message = "bad_quotes", "a quote is opened and never closed"
    else:
        code, message = "bad_quotes", f"the quotes of this row are wrong: {fault}"
    return damaged(str(first.number), code, message, first.text)


class _Lines(Iterator[str]):
    """Physical lines as `csv.reader` wants them; those of a row that could not be read can be given again."""

    def __init__(self, chunks: Iterator[str]) -> None:
        first = next(chunks, "")
        self._newline = "\r" if "\r" in first and "\n" not in first else "\n"
        self._lines = numbered_lines(chain([first], chunks), self._newline)
        self._again: deque[Line] = deque()
        self._row: list[Line] = []
        self._length = 0

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._row.append(line)
        self._length += len(line.text)
        if not line.is_whole:
            raise csv.Error("a line is too long")
        if len(self._row) > 1 and self._length > ROW_LIMIT:
            raise csv.Error("unexpected end of data")
        return line.text + self._newline if line.is_ended else line.text

    @property
    def row_position(self) -> int:
        """The line where the row begins."""
        return self._row[0].number

    @property
    def row_text(self) -> str:
        """The row as it stands in the file."""
        return "\n".join(line.text for line in self._row)

    @property
    def is_cut(self) -> bool:
        """Whether the file ends with this row and without a newline."""
        return not self._row[-1].is_ended

    def begin_row(self) -> None:
        """Forgets the lines of the row before."""
        self._row, self._length = [], 0

    def give_back_all_but_first(self) -> Line:
        """The row's later lines come again, as rows of their own; returns its first line."""
        first, *others = self._row
        self._again.extendleft(reversed(others))
        self._row = [first]
        return first

    def sniff_delimiter(self) -> str:
        """The delimiter that stands most often outside quotes in the first line that is not blank."""
        text = ""
        for line in islice(self._lines, _HEADER_LINES):
            self._again.append(line)
            text += line.text.strip("\r") + "\n"
            if text.strip() and text.count('"') % 2 == 0:
                break
        return max(DELIMITERS, key=_QUOTED.sub("", text).count)
