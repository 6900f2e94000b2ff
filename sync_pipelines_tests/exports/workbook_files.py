"""Workbooks of kinds that no library at hand writes, made of their parts.

Belongs here: `.xlsb`, `.ods` and Strict `.xlsx` in memory. Does not belong here: what must become of them.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape


class Styled(NamedTuple):
    """A number and the place of its format among the styles."""

    value: float
    style: int


class Fault(NamedTuple):
    """An error: its code in `.xlsb`, and its text."""

    code: int
    text: str


NOT_AVAILABLE = Fault(0x2A, "#N/A")


def zipped(parts: Mapping[str, bytes | str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return data.getvalue()


def parts_of(book: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(book)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def strict(book: bytes) -> bytes:
    """A workbook as Excel saves it under "Strict Open XML Spreadsheet"."""
    names = {
        b"http://schemas.openxmlformats.org/spreadsheetml/2006/main": b"http://purl.oclc.org/ooxml/spreadsheetml/main",
        b"http://schemas.openxmlformats.org/officeDocument/2006/relationships": (
            b"http://purl.oclc.org/ooxml/officeDocument/relationships"
        ),
    }
    parts = parts_of(book)
    for transitional, own in names.items():
        parts = {name: content.replace(transitional, own) for name, content in parts.items()}
    return zipped(parts)


# -- .xlsb ---------------------------------------------------------------------------------------------------------


def xlsb(rows: Sequence[Sequence[Any]], formats: Sequence[str] = (), merged: Sequence[tuple[int, ...]] = ()) -> bytes:
    """A workbook of one sheet, `Pedidos`; styles are numbered from 1 by `formats`."""
    cells = b"".join(
        _record(0, struct.pack("<IIHBBBI", number, 0, 300, 0, 0, 0, 0))
        + b"".join(_cell(column, value) for column, value in enumerate(row) if value is not None)
        for number, row in enumerate(rows)
    )
    ranges = b"".join(_record(176, struct.pack("<IIII", *of)) for of in merged)
    size = _record(148, struct.pack("<IIII", 0, len(rows) - 1, 0, max(map(len, rows)) - 1))
    sheet = _record(129) + size + _record(145) + cells + _record(146)
    sheet += _record(177, struct.pack("<I", len(merged))) + ranges + _record(178) + _record(130)
    own = b"".join(_record(44, struct.pack("<H", 164 + n) + _text(code)) for n, code in enumerate(formats))
    styles = b"".join(_record(47, struct.pack("<HHHHHBBHH", 0, n, 0, 0, 0, 0, 0, 0, 0)) for n in _numbers(formats))
    all_styles = _record(278) + _record(615, struct.pack("<I", len(formats))) + own + _record(616)
    all_styles += _record(617, struct.pack("<I", len(formats) + 1)) + styles + _record(618) + _record(279)
    book = _record(131) + _record(143) + _record(156, struct.pack("<II", 0, 1) + _text("rId1") + _text("Pedidos"))
    book += _record(144) + _record(132)
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
    relations = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
    return zipped(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": relations.format(
                f'<Relationship Id="rId1" Type="{kind}officeDocument" Target="xl/workbook.bin"/>'
            ),
            "xl/_rels/workbook.bin.rels": relations.format(
                f'<Relationship Id="rId1" Type="{kind}worksheet" Target="worksheets/sheet1.bin"/>'
                f'<Relationship Id="rId2" Type="{kind}styles" Target="styles.bin"/>'
            ),
            "xl/workbook.bin": book,
            "xl/styles.bin": all_styles,
            "xl/worksheets/sheet1.bin": sheet,
        }
    )


def _numbers(formats: Sequence[str]) -> list[int]:
    return [0, *range(164, 164 + len(formats))]


def _cell(column: int, value: Any) -> bytes:
    style = value.style if isinstance(value, Styled) else 0
    at = struct.pack("<II", column, style)
    if isinstance(value, Fault):
        return _record(3, at + bytes([value.code]))
    if isinstance(value, bool):
        return _record(4, at + bytes([value]))
    if isinstance(value, str):
        return _record(6, at + _text(value))
    return _record(5, at + struct.pack("<d", value.value if isinstance(value, Styled) else value))


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def _record(kind: int, data: bytes = b"") -> bytes:
    header = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size, length = b"", len(data)
    while length >= 0x80:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return header + size + bytes([length]) + data


# -- .ods ----------------------------------------------------------------------------------------------------------

_NAMES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
    ' xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
    ' xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
    ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
)


def ods(sheets: Mapping[str, Sequence[Sequence[str]]]) -> bytes:
    """A workbook whose cells are given as XML, or as text."""
    tables = "".join(
        f'<table:table table:name="{name}">{"".join(map(_ods_row, rows))}</table:table>'
        for name, rows in sheets.items()
    )
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": "<manifest/>",
            "content.xml": f"<office:document-content {_NAMES}><office:body><office:spreadsheet>{tables}"
            "</office:spreadsheet></office:body></office:document-content>",
        }
    )


def _ods_row(cells: Sequence[str]) -> str:
    return "<table:table-row>" + "".join(map(_ods_cell, cells)) + "</table:table-row>"


def _ods_cell(cell: str) -> str:
    if cell.startswith("<"):
        return cell
    return f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'


def ods_number(kind: str, value: float, shown: str, more: str = "") -> str:
    """A cell of a number, such as a `percentage`."""
    return (
        f'<table:table-cell office:value-type="{kind}" office:value="{value}"{more}>'
        f"<text:p>{shown}</text:p></table:table-cell>"
    )
