"""Workbooks of any kind: the sheet that is read, row by row.

Belongs here: choosing the sheet, values of cells, errors of damaged workbooks. Does not belong here: the kinds of
workbooks (`xlsx`, `old_workbooks`), which row is the header (`tables`).
"""

from __future__ import annotations

import datetime as dt
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO, Final, cast

from sync_pipelines.configuration.limits import Limits, Meter
from sync_pipelines.contracts.raw import CellError, NotFinite, RawRecord, number_from_float
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.cells import Header
from sync_pipelines.exports.columns import Columns
from sync_pipelines.exports.compression import is_of_data
from sync_pipelines.exports.containers import workbook_kind
from sync_pipelines.exports.disk import on_disk
from sync_pipelines.exports.tables import AS_IT_STANDS, Part, Row, Table, TableReading, too_many_cells
from sync_pipelines.exports.workbook import Book, Sheet
from sync_pipelines.exports.xlsx import XlsxBook
from sync_pipelines.privacy.untrusted_text import on_one_line

_SHOWN_SHEETS: Final = 20
_AT_A_TIME: Final = 16
"""Rows that are read before the first one is processed."""


def read_sheet(stream: BinaryIO, reading: TableReading = AS_IT_STANDS, meter: Meter | None = None) -> Iterator[Part]:
    """Yields the columns of a sheet, then a record for every row below its header, at the row's number (X14).

    The sheet is the one in the settings, else the first visible one with a header of the stream. Empty rows are
    skipped. A row with more cells than the header is a damaged record. Numbers come from the shortest text of the
    stored double (X9).

    Raises:
        ExportError: `bad_sheet`, with the row where reading stopped; `bad_header`, `column_missing`; `too_large`.
    """
    meter = meter or Meter(Limits())
    with on_disk(stream) as file, closing(_Guarded(file, meter)) as book:
        chosen = _chosen(book, reading, meter)
        if chosen is not None:
            table, name = chosen
            parts = table.parts()
            yield cast(Columns, next(parts))._replace(sheet=name)
            yield from parts


def _chosen(book: _Guarded, reading: TableReading, meter: Meter) -> tuple[Table, str] | None:
    """Returns the table to read and the sheet's name; None if the workbook is empty."""
    if not book.sheets:
        raise ExportError("bad_sheet", "the workbook has no sheets", "save it again as .xlsx")
    wanted = reading.settings.sheet
    errors: dict[str, ExportError] = {}
    for index in [_named(wanted, book.sheets)] if wanted is not None else _visible(book.sheets):
        table = Table(book.rows(index), _record, reading, meter)
        if table.header is not None:
            return table, book.sheets[index].name
        if (error := table.error()) is not None:
            errors[book.sheets[index].name] = error
    if not errors:
        return None
    if len(book.sheets) == 1 or wanted is not None:
        raise next(iter(errors.values()))
    looked = "; ".join(f"in sheet {_shown(name)}: {error.message}" for name, error in errors.items())
    message = f"no sheet has a header of the stream: {looked}"
    raise ExportError("bad_header", message[:2_000], f"set `sheet` to one of these: {_listed(book.sheets)}")


def _visible(sheets: Sequence[Sheet]) -> list[int]:
    """Returns the visible sheets, or all if none is visible."""
    return [index for index, sheet in enumerate(sheets) if sheet.is_visible] or list(range(len(sheets)))


def _named(wanted: str | int, sheets: Sequence[Sheet]) -> int:
    names = [sheet.name for sheet in sheets]
    for like in (str, _folded):
        if isinstance(wanted, str) and like(wanted) in map(like, names):
            return list(map(like, names)).index(like(wanted))
    if str(wanted).isdecimal() and 0 < int(wanted) <= len(sheets):
        return int(wanted) - 1
    message = f"the workbook has no sheet {_shown(str(wanted))}; found {_listed(sheets)}"
    raise ExportError("bad_sheet", message, "correct `sheet` in sources.yaml")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _listed(sheets: Sequence[Sheet]) -> str:
    names = [_shown(sheet.name) + ("" if sheet.is_visible else " (hidden)") for sheet in sheets]
    return ", ".join(names[:_SHOWN_SHEETS]) + (", ..." if len(names) > _SHOWN_SHEETS else "")


def _shown(name: str) -> str:
    return repr(on_one_line(name)[:60])


def _record(number: int, row: Sequence[Any], header: Header) -> RawRecord:
    if header.is_too_long(row):
        return too_many_cells(number, row, header)
    return RawRecord(str(number), header.record([_value(cell) for cell in row]))


class _Guarded:
    """A workbook of any kind. Any exception of a library in a damaged one is one error of the file."""

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._meter = meter
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._book = _opened(file, meter)
                self.sheets = self._book.sheets
        except Exception as error:
            if not is_of_data(error):
                raise
            raise _bad_sheet(error, 0) from error

    def rows(self, index: int) -> Iterator[Row]:
        """Yields the rows of a sheet."""
        rows, read = self._book.rows(index), list[Row]()
        number, is_over = 0, False
        while not is_over:
            try:
                # Guarding each row by itself would take as long as reading it.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read.clear()
                    read.extend(islice(rows, _AT_A_TIME))
            except Exception as error:
                if not is_of_data(error):
                    raise
                raise _bad_sheet(error, read[-1][0] if read else number) from error
            is_over = len(read) < _AT_A_TIME
            number = read[-1][0] if read else number
            self._meter.check_time()
            yield from read

    def close(self) -> None:
        """Closes it."""
        self._book.close()


def _opened(file: BinaryIO, meter: Meter) -> Book:
    kind = workbook_kind(file)
    if kind == "xlsx":
        return XlsxBook(file, meter)
    from sync_pipelines.exports.old_workbooks import open_old

    return open_old(file, kind, meter)


def _bad_sheet(error: Exception, row: int) -> ExportError:
    why = str(error) or type(error).__name__
    message = f"the workbook is damaged: {why}"
    return ExportError("bad_sheet", message, "save it again as .xlsx", Position("row", row + 1))


def _value(cell: Any) -> str | bool | int | Decimal | NotFinite | CellError | dt.date | None:
    if cell is None or isinstance(cell, str | bool | int | Decimal | CellError | dt.date):
        return cell
    if isinstance(cell, float):
        return number_from_float(cell, repr(cell))
    return cell.isoformat() if isinstance(cell, dt.time) else str(cell)
