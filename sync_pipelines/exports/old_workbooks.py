"""Workbooks other than Office Open XML: `.xls`, `.xlsb` and `.ods`, read into memory as a whole.

xlrd reads `.xls` with its formats. calamine reads the values of `.xlsb` and `.ods` without formats and errors, so those
are read from the parts themselves (`xlsb_parts`, `ods_parts`).

Belongs here: cells of these libraries, like those of `xlsx`. Does not belong here: which sheet is read (`sheets`).
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH, from_excel

from sync_pipelines.configuration.limits import Meter
from sync_pipelines.contracts.raw import CellError
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.cell_formats import meaning_of, shown_value, unescaped
from sync_pipelines.exports.compression import is_of_data
from sync_pipelines.exports.containers import WorkbookKind
from sync_pipelines.exports.merged_cells import MergedCells, MergedRange
from sync_pipelines.exports.tables import Row
from sync_pipelines.exports.workbook import Book, Sheet, Shown

_EXACT: Final = 1 << 53


def open_old(file: BinaryIO, kind: WorkbookKind, meter: Meter) -> Book:
    """Opens a workbook that is not `xlsx`.

    Raises:
        ExportError: `bad_sheet`: it is password-protected.
    """
    return _XlsBook(file, meter) if kind == "xls" else _CalamineBook(file, kind, meter)


class _XlsBook:
    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        import xlrd

        content = file.read()
        meter.check_bytes(len(content))
        self._types = xlrd
        try:
            with open(os.devnull, "w") as nowhere:
                self._book = xlrd.open_workbook(file_contents=content, formatting_info=True, logfile=nowhere)
        except Exception as error:
            if not is_of_data(error):
                raise
            what = "is password-protected" if "encrypted" in str(error) else f"is damaged: {error}"
            hint = "save it again as .xlsx, without a password"
            raise ExportError("bad_sheet", f"the old workbook (.xls) {what}", hint) from error
        self._codes = [self._book.format_map[style.format_key].format_str for style in self._book.xf_list]
        self._epoch = MAC_EPOCH if self._book.datemode else WINDOWS_EPOCH

    @property
    def sheets(self) -> list[Sheet]:
        return [Sheet(sheet.name, sheet.visibility == 0) for sheet in self._book.sheets()]

    def rows(self, index: int) -> Iterator[Row]:
        sheet = self._book.sheet_by_index(index)
        ranges = (MergedRange(top + 1, bottom, left + 1) for top, bottom, left, _ in sheet.merged_cells)
        merged = MergedCells(ranges)
        for row in range(sheet.nrows):
            cells = [
                self._value(kind, value, sheet.cell_xf_index(row, column))
                for column, (kind, value) in enumerate(zip(sheet.row_types(row), sheet.row_values(row), strict=True))
            ]
            yield row + 1, merged.filled(row + 1, cells)

    def close(self) -> None:
        self._book.release_resources()

    def _value(self, kind: int, value: Any, style: int) -> Any:
        if kind == self._types.XL_CELL_TEXT:
            return value
        if kind == self._types.XL_CELL_BOOLEAN:
            return bool(value)
        if kind == self._types.XL_CELL_ERROR:
            return CellError(self._types.error_text_from_code.get(value, "#ERROR"))
        if kind not in (self._types.XL_CELL_NUMBER, self._types.XL_CELL_DATE):
            return None
        code = self._codes[style]
        if meaning_of(code) in ("date", "duration"):
            try:
                return from_excel(value, self._epoch, timedelta=meaning_of(code) == "duration")
            except (OverflowError, ValueError):
                return CellError("#VALUE!")
        return shown_value(_number(value), code)


class _CalamineBook:
    def __init__(self, file: BinaryIO, kind: WorkbookKind, meter: Meter) -> None:
        import python_calamine

        from sync_pipelines.exports.ods_parts import OdsParts
        from sync_pipelines.exports.xlsb_parts import XlsbParts

        self._parts = XlsbParts(file, meter) if kind == "xlsb" else OdsParts(file, meter)
        self._unescape = unescaped if kind == "xlsb" else str
        file.seek(0)
        self._book = python_calamine.CalamineWorkbook.from_filelike(file)
        of_cells, visible = python_calamine.SheetTypeEnum.WorkSheet, python_calamine.SheetVisibleEnum.Visible
        found = [sheet for sheet in self._book.sheets_metadata if sheet.typ == of_cells]
        self.sheets = [Sheet(sheet.name, sheet.visible == visible) for sheet in found]

    def rows(self, index: int) -> Iterator[Row]:
        name = self.sheets[index].name
        # The library allocates every cell between the outermost ones.
        specials = self._parts.specials(name)
        sheet = self._book.get_sheet_by_name(name)
        merged = MergedCells(specials.merged)
        for number, values in enumerate(sheet.to_python(skip_empty_area=False), 1):
            cells = [self._value(value) for value in values]
            for column, special in specials.cells.get(number, {}).items():
                cells += [None] * (column - len(cells))
                cells[column - 1] = (
                    shown_value(cells[column - 1], special.code) if isinstance(special, Shown) else special
                )
            yield number, merged.filled(number, cells)

    def close(self) -> None:
        self._parts.close()
        self._book.close()

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._unescape(value) if value else None
        if isinstance(value, float):
            return _number(value)
        if isinstance(value, dt.datetime | dt.date | dt.time | dt.timedelta | bool | int):
            return value
        return str(value)


def _number(value: float) -> int | float:
    """Returns an integral number as an int: these formats store all numbers as doubles."""
    return int(value) if value.is_integer() and abs(value) < _EXACT else value
