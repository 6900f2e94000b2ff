"""Excel workbooks: the first sheet, row by row.

Excel keeps the texts of a workbook in one table that has to be in memory, so their size is limited here.

Belongs here: cells of `.xlsx` to raw values. Does not belong here: other sheets, formulas (their last result is read).
"""

from __future__ import annotations

import datetime as dt
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, BinaryIO, Final

from openpyxl.reader.excel import ExcelReader
from openpyxl.worksheet._read_only import ReadOnlyWorksheet
from openpyxl.worksheet._reader import WorkSheetParser

from sync_pipelines.configuration.limits import Limits, Meter
from sync_pipelines.contracts.raw import NotFinite, RawRecord, number_from_float
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports.cells import Header
from sync_pipelines.exports.compression import is_of_data
from sync_pipelines.exports.disk import on_disk
from sync_pipelines.exports.tables import AS_IT_STANDS, Part, TableReading, read_table, too_many_cells

TEXTS_LIMIT = 256 << 20
"""Bytes of the longest table of texts that is read."""
MAX_ROWS: Final = 1_048_576
"""Rows of a sheet, as Excel has them."""
PART_ELEMENTS: Final = 250_000
"""Elements of styles and the like, each of which becomes an object in memory; Excel has at most 64,000 cell formats."""
PART_BYTES: Final = 64 << 20
"""Bytes of such a part; pictures are none."""
TEXTS: Final = 4_000_000
"""Texts of the longest table of texts, each of which is an object in memory."""
ROW_BYTES: Final = 8 << 20
"""Bytes of the longest row."""

_FEW_TEXTS: Final = 16 << 20
_BLOCK: Final = 1 << 16

NumberedRow = tuple[int, tuple[Any, ...]]


def read_sheet(stream: BinaryIO, reading: TableReading = AS_IT_STANDS, meter: Meter | None = None) -> Iterator[Part]:
    """Yields the columns, and one record for every row of the first sheet below its header, at the row's number (X14).

    Empty rows are passed over. A row with more cells than the header is a damaged record. Numbers come from the
    shortest text of the stored double (X9).

    Raises:
        ExportError: `bad_sheet`, with the row where reading stopped; `bad_header`, `column_missing`; `too_large`.
    """
    meter = meter or Meter(Limits())
    with on_disk(stream) as file:
        yield from read_table(_rows(file, meter), _record, reading, meter)


def _record(number: int, row: Sequence[Any], header: Header) -> RawRecord:
    if header.is_too_long(row):
        return too_many_cells(number, row, header)
    return RawRecord(str(number), header.record([_value(cell) for cell in row]))


def _rows(file: BinaryIO, meter: Meter) -> Iterator[NumberedRow]:
    """Numbered rows; whatever openpyxl trips over in a damaged workbook is one fault of the file."""
    number = 0
    rows = _opened_rows(file, meter)
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row = next(rows, None)
        except Exception as fault:
            if not is_of_data(fault):
                raise
            raise _bad_sheet(fault, number) from fault
        if row is None:
            return
        number = row[0]
        meter.check_time()
        yield row


def _opened_rows(file: BinaryIO, meter: Meter) -> Iterator[NumberedRow]:
    with zipfile.ZipFile(file) as parts:
        _check_parts(parts, meter)
    file.seek(0)
    reader = _Reader(file, read_only=True, data_only=True, keep_links=False)
    reader.read()
    try:
        sheet: Any = reader.wb.worksheets[0]
        yield from sheet.numbered_rows()
    finally:
        reader.wb.close()


# What a sheet knows of its cells is not in the library's types.
_OfLibrary: Any = ReadOnlyWorksheet


class _Sheet(_OfLibrary):  # type: ignore[misc]
    """A sheet whose dimensions nobody asks for: finding none takes the whole sheet into memory, and some are wrong."""

    def _get_size(self) -> None:
        self.reset_dimensions()

    def numbered_rows(self) -> Iterator[NumberedRow]:
        """The rows that stand in the file; one below a later one is passed over."""
        last = 0
        with self._get_source() as source:
            parser = WorkSheetParser(
                source,
                self._shared_strings,
                data_only=True,
                epoch=self.parent.epoch,
                date_formats=self.parent._date_formats,
                timedelta_formats=self.parent._timedelta_formats,
            )
            for number, cells in parser.parse():
                if number > MAX_ROWS:
                    message = f"the sheet has more than the {MAX_ROWS:,} rows of Excel"
                    raise ExportError("bad_sheet", message, "save it again as .xlsx")
                if number > last:
                    last = number
                    yield number, self._get_row(cells, values_only=True)

    def _get_source(self) -> _RowByRow:
        return _RowByRow(super()._get_source())


class _Reader(ExcelReader):
    """Opens the sheets of a workbook as `_Sheet`."""

    def read_worksheets(self) -> None:
        book: Any = self.wb
        for sheet, rel in self.parser.find_sheets():
            if rel.target in self.valid_files and "chartsheet" not in rel.Type:
                book._sheets.append(_Sheet(self.wb, sheet.name, rel.target, self.shared_strings))


def _check_parts(parts: zipfile.ZipFile, meter: Meter) -> None:
    """Refuses parts that openpyxl would hold in memory whole and that are too large for it."""
    meter.check_bytes(sum(part.file_size for part in parts.infolist()))
    for part in parts.infolist():
        name = part.filename.lower()
        if name.endswith("sharedstrings.xml"):
            _check_texts(parts, part)
        elif "/worksheets/" in name:
            meter.check_bytes(part.file_size, part.compress_size)
        # Whatever it is called, a part may be asked for as styles.
        elif part.file_size > PART_BYTES or _count(parts, part, b"<") > PART_ELEMENTS:
            message = f"{part.filename} of the workbook has more than {PART_ELEMENTS:,} elements"
            raise ExportError("bad_sheet", message, "export it as CSV, which has no styles")


def _check_texts(parts: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    hint = "export it as CSV, which has no such limit"
    if part.file_size > TEXTS_LIMIT:
        raise ExportError("bad_sheet", f"the texts of the workbook take more than {TEXTS_LIMIT >> 20} MB", hint)
    if part.file_size > _FEW_TEXTS and _count(parts, part, b"<") > 4 * TEXTS:
        raise ExportError("bad_sheet", f"the workbook has more than {TEXTS:,} texts", hint)


def _count(parts: zipfile.ZipFile, part: zipfile.ZipInfo, mark: bytes) -> int:
    """How often a byte stands in a part."""
    with parts.open(part) as content:
        return sum(block.count(mark) for block in iter(partial(content.read, _BLOCK), b""))


class _RowByRow:
    """The bytes of a sheet, refused where one row takes so many that memory would grow with them."""

    def __init__(self, sheet: Any) -> None:
        self._sheet = sheet
        self._of_row = 0

    def __enter__(self) -> _RowByRow:
        return self

    def __exit__(self, *_: object) -> None:
        self._sheet.close()

    def close(self) -> None:
        """Releases the sheet."""
        self._sheet.close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        block: bytes = self._sheet.read(size)
        end = max(block.rfind(b"row>"), block.rfind(b"<row"))
        self._of_row = len(block) - end if end >= 0 else self._of_row + len(block)
        if self._of_row > ROW_BYTES:
            raise ExportError("bad_sheet", f"a row of the sheet takes more than {ROW_BYTES >> 20} MB", "save it again")
        return block


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
