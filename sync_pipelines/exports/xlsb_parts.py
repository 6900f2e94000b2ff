"""Formats, errors and merged cells of `.xlsb` workbooks, which the library that reads their values does not report.

Belongs here: records of the binary parts, for those properties. Does not belong here: values (`old_workbooks`).
"""

from __future__ import annotations

import posixpath
import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO, Final
from xml.etree.ElementTree import iterparse

from sync_pipelines.configuration.limits import Meter
from sync_pipelines.contracts.raw import CellError
from sync_pipelines.exports.cell_formats import builtin_format, meaning_of
from sync_pipelines.exports.merged_cells import MergedRange
from sync_pipelines.exports.workbook import Shown, Specials

# Record types as numbered in [MS-XLSB].
_ROW, _FIRST_CELL, _ERROR, _LAST_CELL, _ERROR_OF_FORMULA = 0, 1, 3, 11, 11
_FORMAT, _STYLE, _SHEET, _MERGED, _STYLES_BEGIN, _STYLES_END = 44, 47, 156, 176, 617, 618
_ERRORS: Final = {
    0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A",
}  # fmt: skip


class XlsbParts:
    """The parts of a workbook.

    Args:
        file: the workbook. The caller closes it.
        meter: counts the parts' bytes.
    """

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._zip = zipfile.ZipFile(file)
        meter.check_bytes(sum(part.file_size for part in self._zip.infolist()))
        self._parts = {part.filename.replace("\\", "/").lower(): part for part in self._zip.infolist()}
        self._paths = self._sheets()
        self._codes = self._formats()

    def close(self) -> None:
        """Closes them."""
        self._zip.close()

    def specials(self, name: str) -> Specials:
        """Returns what is special about a sheet's cells."""
        found = Specials()
        shown = {
            index: Shown(code) for index, code in enumerate(self._codes) if meaning_of(code) in ("percent", "shown")
        }
        row = 0
        for kind, data in self._records(self._paths.get(name, "")):
            if kind == _ROW:
                row = struct.unpack_from("<I", data)[0] + 1
            elif _FIRST_CELL <= kind <= _LAST_CELL:
                column, style = struct.unpack_from("<II", data)
                found.reach(row, column + 1 if kind > _FIRST_CELL else 1)
                if kind in (_ERROR, _ERROR_OF_FORMULA):
                    found.cells.setdefault(row, {})[column + 1] = CellError(_ERRORS.get(data[8], "#ERROR"))
                elif kind > _FIRST_CELL and style & 0xFFFFFF in shown:
                    found.cells.setdefault(row, {})[column + 1] = shown[style & 0xFFFFFF]
            elif kind == _MERGED:
                top, bottom, left, _ = struct.unpack_from("<IIII", data)
                found.merged.append(MergedRange(top + 1, bottom + 1, left + 1))
        return found

    def _sheets(self) -> dict[str, str]:
        """Returns sheet name -> path."""
        targets = {}
        part = self._parts.get("xl/_rels/workbook.bin.rels")
        if part is not None:
            with self._zip.open(part) as content:
                for _, element in iterparse(content):
                    target = posixpath.normpath(posixpath.join("/xl", element.get("Target", "")))
                    targets[element.get("Id", "")] = target.lstrip("/")
        found = {}
        for kind, data in self._records("xl/workbook.bin"):
            if kind == _SHEET:
                relation, at = _text(data, 8)
                found[_text(data, at)[0]] = targets.get(relation, "")
        return found

    def _formats(self) -> list[str]:
        """Returns the number format of each cell style."""
        own: dict[int, str] = {}
        styles, is_of_cells = [], False
        for kind, data in self._records("xl/styles.bin"):
            if kind == _FORMAT:
                own[struct.unpack_from("<H", data)[0]] = _text(data, 2)[0]
            elif kind in (_STYLES_BEGIN, _STYLES_END):
                is_of_cells = kind == _STYLES_BEGIN
            elif kind == _STYLE and is_of_cells:
                number = struct.unpack_from("<HH", data)[1]
                styles.append(own.get(number) or builtin_format(number))
        return styles

    def _records(self, path: str) -> Iterator[tuple[int, bytes]]:
        part = self._parts.get(path.lower())
        if part is None:
            return
        data = self._zip.read(part)
        at = 0
        while at < len(data):
            kind, at = _varying(data, at, 2)
            size, at = _varying(data, at, 4)
            yield kind, data[at : at + size]
            at += size


def _varying(data: bytes, at: int, longest: int) -> tuple[int, int]:
    """Reads a number of up to `longest` bytes of seven bits each. Returns it and the position after it."""
    value = 0
    for index in range(longest):
        value |= (data[at] & 0x7F) << (7 * index)
        at += 1
        if data[at - 1] < 0x80:
            break
    return value, at


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Reads a text with its length before it. Returns it and the position after it."""
    length = struct.unpack_from("<I", data, at)[0]
    end = at + 4 + (0 if length == 0xFFFFFFFF else 2 * length)
    return data[at + 4 : end].decode("utf-16-le"), end
