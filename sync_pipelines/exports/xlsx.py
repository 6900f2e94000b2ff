"""Workbooks of Office Open XML (`.xlsx`, `.xlsm`), Transitional and Strict, row by row.

Excel keeps all texts of a workbook in one table that must be in memory, so its size is limited here.

Belongs here: the parts of such a workbook, and its cells. Does not belong here: which sheet is read (`sheets`),
formulas (their last result is read).
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any, BinaryIO, Final
from xml.etree.ElementTree import Element, iterparse

from openpyxl.utils.cell import coordinate_to_tuple
from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH
from openpyxl.worksheet._reader import ROW_TAG, WorkSheetParser

from sync_pipelines.configuration.limits import Meter
from sync_pipelines.contracts.raw import CellError
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.cell_formats import builtin_format, meaning_of, shown_value, unescaped
from sync_pipelines.exports.merged_cells import MergedCells, MergedRange
from sync_pipelines.exports.tables import Row
from sync_pipelines.exports.workbook import MAX_ROWS, Sheet

TEXTS_LIMIT = 256 << 20
"""Bytes of the largest table of texts that is read."""
PART_ELEMENTS: Final = 250_000
"""Most elements of styles and the like, each an object in memory; Excel has at most 64,000 cell formats."""
PART_BYTES: Final = 64 << 20
"""Bytes of the largest such part; pictures do not count."""
TEXTS: Final = 4_000_000
"""Most texts in the table of texts, each an object in memory."""
ROW_BYTES: Final = 8 << 20
"""Bytes of the longest row."""

_FEW_TEXTS: Final = 16 << 20
_BLOCK: Final = 1 << 18
_STRICT: Final = b"http://purl.oclc.org/ooxml/spreadsheetml/main"
_TRANSITIONAL: Final = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_MERGED: Final = re.compile(rb'<(?:\w+:)?mergeCell\b[^>]*?\bref="([A-Z]{1,3}[0-9]{1,7}:[A-Z]{1,3}[0-9]{1,7})"')
_LONGEST_REFERENCE: Final = 200


class XlsxBook:
    """A workbook that is open for reading.

    Args:
        file: the workbook. The caller closes it.
        meter: counts the parts' bytes.
    """

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._zip = zipfile.ZipFile(file)
        self._parts = {_plain(part.filename): part for part in self._zip.infolist()}
        _check_parts(self._zip, meter)
        self._path = self._main_part()
        self._targets = self._relations()
        self._epoch = WINDOWS_EPOCH
        self._sheets: list[tuple[Sheet, zipfile.ZipInfo]] = []
        self._read_workbook()
        self._formats = self._read_formats()

    @property
    def sheets(self) -> list[Sheet]:
        """Its sheets of cells, in order."""
        return [sheet for sheet, _ in self._sheets]

    def close(self) -> None:
        """Closes it."""
        self._zip.close()

    def rows(self, index: int) -> Iterator[Row]:
        """Yields the rows of a sheet in file order. Skips a row that is above an earlier one."""
        part = self._sheets[index][1]
        merged = MergedCells(self._merged_ranges(part))
        last = 0
        with _RowByRow(self._zip.open(part)) as source:
            for number, cells in self._parsed(source):
                if number > MAX_ROWS:
                    message = f"the sheet has more than {MAX_ROWS:,} rows, the limit of Excel"
                    raise ExportError("bad_sheet", message, "save it again as .xlsx")
                if number > last:
                    last = number
                    yield number, merged.filled(number, cells)

    @cached_property
    def _texts(self) -> list[str]:
        path = next((path for path, kind in self._targets.values() if kind == "sharedStrings"), "xl/sharedStrings.xml")
        return [_text(element) for element in self._elements(path, "si")]

    def _parsed(self, source: _RowByRow) -> Iterator[tuple[int, list[Any]]]:
        parser: Any = WorkSheetParser(
            source,
            self._texts,
            data_only=True,
            epoch=self._epoch,
            date_formats={i for i, code in enumerate(self._formats) if meaning_of(code) in ("date", "duration")},
            timedelta_formats={i for i, code in enumerate(self._formats) if meaning_of(code) == "duration"},
        )
        shown = {i: code for i, code in enumerate(self._formats) if meaning_of(code) in ("percent", "shown")}
        for _, element in iterparse(source):
            if element.tag == ROW_TAG:
                number, cells = parser.parse_row(element)
                parser.row_dimensions.clear()
                element.clear()
                yield number, _values(cells, shown)

    def _main_part(self) -> str:
        for _, target, kind in self._relations_of(""):
            if kind == "officeDocument":
                return target
        return "xl/workbook.xml"

    def _relations(self) -> dict[str, tuple[str, str]]:
        """Returns the parts that the workbook refers to: id -> path and kind."""
        return {name: (target, kind) for name, target, kind in self._relations_of(self._path)}

    def _relations_of(self, path: str) -> Iterator[tuple[str, str, str]]:
        folder, name = posixpath.split(path)
        for element in self._elements(posixpath.join(folder, "_rels", f"{name}.rels"), "Relationship"):
            target = element.get("Target", "")
            kind = element.get("Type", "").rsplit("/", 1)[-1]
            yield element.get("Id", ""), posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/"), kind

    def _elements(self, path: str, *names: str) -> Iterator[Element]:
        """Yields the elements with these names in a part, in any namespace; none if the part is missing."""
        part = self._parts.get(_plain(path))
        if part is None:
            return
        with self._zip.open(part) as content:
            for _, element in iterparse(content):
                if _local(element) in names:
                    yield element
                    element.clear()

    def _read_workbook(self) -> None:
        for element in self._elements(self._path, "workbookPr", "sheet"):
            if _local(element) == "workbookPr":
                if element.get("date1904") in ("1", "true"):
                    self._epoch = MAC_EPOCH
                continue
            relation = next((v for n, v in element.attrib.items() if n.endswith("}id") or n == "id"), "")
            path, kind = self._targets.get(relation, ("", ""))
            part = self._parts.get(_plain(path))
            if kind == "worksheet" and part is not None:
                is_visible = element.get("state", "visible") == "visible"
                self._sheets.append((Sheet(element.get("name", ""), is_visible), part))

    def _read_formats(self) -> list[str]:
        """Returns the number format of each cell style."""
        own: dict[int, str] = {}
        styles: list[str] = []
        path = next((path for path, kind in self._targets.values() if kind == "styles"), "")
        for element in self._elements(path, "numFmt", "cellXfs"):
            if _local(element) == "numFmt":
                own[int(element.get("numFmtId", 0))] = element.get("formatCode", "")
            else:
                numbers = [int(style.get("numFmtId", 0)) for style in element if _local(style) == "xf"]
                styles = [own.get(number) or builtin_format(number) for number in numbers]
        return styles

    def _merged_ranges(self, part: zipfile.ZipInfo) -> Iterator[MergedRange]:
        """Yields the merged cells, which follow the rows in the file."""
        held = b""
        with self._zip.open(part) as content:
            for block in iter(partial(content.read, _BLOCK), b""):
                text, end = held + block, 0
                if b"mergeCell" in text:
                    for found in _MERGED.finditer(text):
                        first, _, last = found[1].decode().partition(":")
                        (top, left), (bottom, _) = coordinate_to_tuple(first), coordinate_to_tuple(last)
                        yield MergedRange(top, bottom, left)
                        end = found.end()
                held = text[max(end, len(text) - _LONGEST_REFERENCE) :]


def _values(cells: list[dict[str, Any]], shown: dict[int, str]) -> list[Any]:
    """Returns the cells of a row as values, by column."""
    if not cells:
        return []
    row: list[Any] = [None] * cells[-1]["column"]
    for cell in cells:
        value = cell["value"]
        if value is None:
            continue
        kind = cell["data_type"]
        if kind == "e":
            value = CellError(value)
        elif isinstance(value, str):
            value = unescaped(value)
        elif shown and cell["style_id"] in shown:
            value = shown_value(value, shown[cell["style_id"]])
        row[cell["column"] - 1] = value
    return row


def _text(element: Element) -> str:
    """Returns the text of a shared string without its phonetic guide."""
    pieces = []
    for child in element:
        if _local(child) == "t":
            pieces.append(child.text or "")
        elif _local(child) == "r":
            pieces += [part.text or "" for part in child if _local(part) == "t"]
    return "".join(pieces)


def _local(element: Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _plain(path: str) -> str:
    """Returns a part's path for comparison: some writers refer to parts in another case or with other slashes."""
    return path.replace("\\", "/").lstrip("/").lower()


def _check_parts(parts: zipfile.ZipFile, meter: Meter) -> None:
    """Raises for parts that are too large for openpyxl to hold in memory."""
    meter.check_bytes(sum(part.file_size for part in parts.infolist()))
    for part in parts.infolist():
        name = part.filename.lower()
        if name.endswith("sharedstrings.xml"):
            _check_texts(parts, part)
        elif "/worksheets/" in name:
            meter.check_bytes(part.file_size, part.compress_size)
        # Any part may be referred to as styles.
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
    """Counts a byte in a part."""
    with parts.open(part) as content:
        return sum(block.count(mark) for block in iter(partial(content.read, _BLOCK), b""))


class _RowByRow:
    """The bytes of a sheet. Raises if one row is so large that memory would grow with it."""

    def __init__(self, sheet: Any) -> None:
        self._sheet = sheet
        self._of_row = 0

    def __enter__(self) -> _RowByRow:
        return self

    def __exit__(self, *_: object) -> None:
        self._sheet.close()

    def close(self) -> None:
        """Closes the sheet."""
        self._sheet.close()

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes."""
        block: bytes = self._sheet.read(size)
        if _STRICT in block:
            # The library knows element names in only one namespace.
            block = block.replace(_STRICT, _TRANSITIONAL)
        end = max(block.rfind(b"row>"), block.rfind(b"<row"))
        self._of_row = len(block) - end if end >= 0 else self._of_row + len(block)
        if self._of_row > ROW_BYTES:
            raise ExportError("bad_sheet", f"a row of the sheet is larger than {ROW_BYTES >> 20} MB", "save it again")
        return block
