"""Excel workbooks: the first sheet, row by row.

Excel keeps the texts of a workbook in one table that has to be in memory, so their size is limited here.

Belongs here: cells of `.xlsx` to raw values. Does not belong here: other sheets, formulas (their last result is read).
"""

from __future__ import annotations

import datetime as dt
import warnings
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO

import openpyxl

from sync_pipelines.contracts.raw import NotFinite, RawRecord, damaged, number_from_float
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.cells import EmptyIs, Header
from sync_pipelines.exports.disk import on_disk

TEXTS_LIMIT = 256 << 20
"""Bytes of the longest table of texts that is read."""


def read_sheet(stream: BinaryIO, empty_is: EmptyIs = "absent") -> Iterator[RawRecord]:
    """Yields one record for every row of the first sheet below its header, at the number of the row (X14).

    The header is the first row that is not empty; empty rows are passed over. A row with more cells than the header
    is a damaged record. Numbers come from the shortest text of the stored double (X9).

    Raises:
        ExportError: `bad_sheet`, with the row where reading stopped; `bad_header`.
    """
    header = None
    with on_disk(stream) as file:
        for number, row in _rows(file):
            if all(cell in (None, "") for cell in row):
                continue
            if header is None:
                names = ["" if cell is None else str(cell) for cell in row]
                header = Header(names, empty_is, Position("row", number))
            else:
                yield _record(number, row, header)


def _record(number: int, row: tuple[Any, ...], header: Header) -> RawRecord:
    if header.is_too_long(row):
        message = f"the row has cells beyond the {len(header.names)} columns of the header"
        return damaged(str(number), "too_many_cells", message, repr(row))
    return RawRecord(str(number), header.record([_value(cell) for cell in row]))


def _rows(file: BinaryIO) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Numbered rows; whatever openpyxl trips over in a damaged workbook is one fault of the file."""
    number = 0
    rows = _opened_rows(file)
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = next(rows, None)
        except ExportError:
            raise
        except OSError as fault:
            if fault.errno is not None:
                raise
            raise _bad_sheet(fault, number) from fault
        except Exception as fault:
            raise _bad_sheet(fault, number) from fault
        if row is None:
            return
        number += 1
        yield number, row


def _opened_rows(file: BinaryIO) -> Iterator[tuple[Any, ...]]:
    _refuse_huge_texts(file)
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    try:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # some writers state wrong ones, and rows would be cut
        yield from sheet.iter_rows(values_only=True)
    finally:
        book.close()


def _refuse_huge_texts(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as parts:
        sizes = [part.file_size for part in parts.infolist() if part.filename.lower().endswith("sharedstrings.xml")]
    if sum(sizes) > TEXTS_LIMIT:
        message = f"the texts of the workbook take more than {TEXTS_LIMIT >> 20} MB"
        raise ExportError("bad_sheet", message, "export it as CSV, which has no such limit")
    file.seek(0)


def _bad_sheet(fault: Exception, row: int) -> ExportError:
    why = str(fault) or type(fault).__name__
    message = f"the workbook is damaged: {why}"
    return ExportError("bad_sheet", message, "save it again as .xlsx", Position("row", row + 1))


def _value(cell: Any) -> str | bool | int | Decimal | NotFinite | dt.date | None:
    if cell is None or isinstance(cell, str | bool | int | dt.date):
        return cell
    if isinstance(cell, float):
        return number_from_float(cell, repr(cell))
    return cell.isoformat() if isinstance(cell, dt.time) else str(cell)
