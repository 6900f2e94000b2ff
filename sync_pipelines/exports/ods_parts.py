"""Percentages, errors, leading zeros and merged cells of `.ods` workbooks, which the library does not report.

Belongs here: cells of `content.xml`, for those properties. Does not belong here: values (`old_workbooks`).
"""

from __future__ import annotations

import re
import zipfile
from typing import BinaryIO, Final
from xml.etree.ElementTree import Element, iterparse

from sync_pipelines.configuration.limits import Meter
from sync_pipelines.contracts.raw import Cell, CellError
from sync_pipelines.exports.merged_cells import MergedRange
from sync_pipelines.exports.workbook import Shown, Specials

_TABLE: Final = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_OFFICE: Final = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
_TEXT: Final = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_CALC: Final = "{urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}"
_ZEROS: Final = re.compile(r"-?0[0-9]+")
_ERROR: Final = re.compile(r"#(?:N/A|[A-Z]+[A-Z0-9/]*[!?])|Err:[0-9]+")
_PERCENT: Final = Shown("0%")


class OdsParts:
    """The part of a workbook that holds its cells.

    Args:
        file: the workbook. The caller closes it.
        meter: counts the parts' bytes.
    """

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._zip = zipfile.ZipFile(file)
        for part in self._zip.infolist():
            meter.check_bytes(part.file_size, part.compress_size)

    def close(self) -> None:
        """Closes it."""
        self._zip.close()

    def specials(self, name: str) -> Specials:
        """Returns what is special about a sheet's cells."""
        found = Specials()
        row, is_it = 1, False
        with self._zip.open("content.xml") as content:
            for event, element in iterparse(content, ("start", "end")):
                if element.tag == f"{_TABLE}table":
                    is_it, row = event == "start" and element.get(f"{_TABLE}name") == name, 1
                    if event == "end":
                        element.clear()
                elif event == "end" and element.tag == f"{_TABLE}table-row":
                    if is_it:
                        row = _add(found, row, element)
                    element.clear()
        return found


def _add(found: Specials, row: int, element: Element) -> int:
    """Records a row's special cells. Returns the number of the row after it and its repetitions."""
    below = row + _repeated(element, "rows")
    column = 1
    for cell in element:
        if cell.tag not in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
            continue
        after = column + _repeated(cell, "columns")
        spanned = int(cell.get(f"{_TABLE}number-rows-spanned", 1))
        if spanned > 1:
            found.merged.append(MergedRange(row, row + spanned - 1, column))
        if cell.get(f"{_OFFICE}value-type") is not None or len(cell):
            found.reach(below - 1, after - 1)
        special = _special(cell)
        if special is not None:
            for number in range(row, below):
                found.cells.setdefault(number, {}).update(dict.fromkeys(range(column, after), special))
        column = after
    return below


def _special(cell: Element) -> CellError | str | Shown | None:
    kind = cell.get(f"{_OFFICE}value-type")
    if kind == "percentage":
        return _PERCENT
    if kind not in ("float", "string"):
        return None
    paragraph = cell.find(f"{_TEXT}p")
    shown = "" if paragraph is None else "".join(paragraph.itertext())
    if kind == "float":
        return (
            Cell(shown) if _ZEROS.fullmatch(shown) and float(cell.get(f"{_OFFICE}value", "nan")) == int(shown) else None
        )
    is_error = cell.get(f"{_CALC}value-type") == "error"
    is_of_formula = cell.get(f"{_TABLE}formula") is not None and _ERROR.fullmatch(shown) is not None
    return CellError(shown) if is_error or is_of_formula else None


def _repeated(element: Element, what: str) -> int:
    return int(element.get(f"{_TABLE}number-{what}-repeated", 1))
