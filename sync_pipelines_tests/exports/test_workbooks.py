"""Workbooks of every kind: told by their first bytes, the sheet that is read, cells as people see them."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import re
from decimal import Decimal
from typing import Any

import openpyxl
import pytest

from sync_pipelines.configuration.table_settings import TableSettings
from sync_pipelines.contracts.raw import Cell, CellError, Percent, RawRecord
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.cell_formats import meaning_of, shown_value, unescaped
from sync_pipelines.exports.columns import SoughtColumns
from sync_pipelines.exports.containers import OLE
from sync_pipelines.exports.formats import ReadSettings, read_export
from sync_pipelines.exports.sheets import read_sheet
from sync_pipelines.exports.tables import TableReading
from sync_pipelines_tests.exports.conftest import CASES
from sync_pipelines_tests.exports.workbook_files import (
    NOT_AVAILABLE,
    Styled,
    ods,
    ods_number,
    parts_of,
    strict,
    xlsb,
    zipped,
)

OLD = (CASES.parent / "workbooks" / "old.xls").read_bytes()
SOUGHT = SoughtColumns("orders", key=("OrderId",), fields=("OrderId", "Sku", "Price"))


def workbook(**sheets: Any) -> bytes:
    """A workbook of sheets: lists of rows, or functions that fill one."""
    book = openpyxl.Workbook()
    del book["Sheet"]
    for name, content in sheets.items():
        sheet: Any = book.create_sheet(name)
        if callable(content):
            content(sheet)
        else:
            for row in content:
                sheet.append(row)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def read(data: bytes, sheet: str | int | None = None) -> list[Any]:
    """The records of a workbook of orders."""
    reading = TableReading(settings=TableSettings(sheet=sheet), sought=SOUGHT)
    return [part.value for part in read_sheet(io.BytesIO(data), reading) if isinstance(part, RawRecord)]


def fault_of(data: bytes, sheet: str | int | None = None) -> str:
    with pytest.raises(ExportError) as caught:
        read(data, sheet)
    return str(caught.value)


ORDERS: list[list[Any]] = [["OrderId", "Sku", "Price"], ["A-1", "S", 2.5]]
HEADER: list[Any] = ORDERS[0]
READ = [{"OrderId": "A-1", "Sku": "S", "Price": Decimal("2.5")}]


@pytest.mark.parametrize(
    "data",
    [
        workbook(a=ORDERS),
        strict(workbook(a=ORDERS)),
        xlsb(ORDERS),
        ods({"a": [ORDERS[0], ["A-1", "S", ods_number("float", 2.5, "2.5")]]}),
    ],
    ids=["xlsx", "strict", "xlsb", "ods"],
)
def test_workbooks_of_every_kind_are_read(data: bytes) -> None:
    assert read(data) == READ


def test_an_old_workbook_is_read_with_its_formats_merged_cells_and_errors() -> None:
    assert read(OLD) == [
        {
            "OrderId": "A-1", "ProductId": "00007", "Sku": "ñandú", "Quantity": 2, "Price": Decimal("2.55"),
            "OrderDate": dt.datetime(2024, 5, 6, 10, 30), "Rate": Percent("0.075"), "Flag": True,
        },
        {"OrderId": "A-1", "ProductId": "00008", "Quantity": 1, "Note": CellError("#N/A")},
        {"OrderId": CellError("#DIV/0!"), "ProductId": "x"},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["x.xlsx", "x.xls", "x.xlsb", "x.ods", "x.xlsm"])
def test_the_content_tells_the_kind_not_the_name(name: str) -> None:
    settings = ReadSettings(table=TableReading(sought=SOUGHT))
    for data in (OLD, workbook(a=ORDERS), xlsb(ORDERS)):
        assert len(list(read_export(io.BytesIO(data), name, settings))) > 0


@pytest.mark.parametrize(
    ("data", "told", "remedy"),
    [
        (OLE + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "password-protected", "without a password"),
        (b"<html><table><tr><td>OrderId</td></tr></table>", "HTML or XML, not a workbook", "save it as .xlsx"),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html>", "HTML or XML, not a workbook", "save it as .xlsx"),
        (b"<?xml?><Workbook xmlns='urn:schemas-microsoft-com:office:spreadsheet'>", "XML page", ".xlsx"),
        (b"OrderId;Sku\r\nA-1;S\r\n", "looks like CSV, not like a workbook", "rename it to .csv, or set `format: csv`"),
        ("OrderId\tSku\nA-1\tñ\n".encode("utf-16"), "looks like CSV, not like a workbook", "rename it to .csv"),
        (b'[{"OrderId": 1}]', "looks like JSON", ".json"),
        (gzip.compress(b"x", mtime=0), "is gzip, not a workbook", ".gz"),
        (zipped({"orders.csv": b"OrderId\n1\n"}), "is a zip archive, not a workbook", ".zip"),
        (b"PAR1" + b"\0" * 20, "is Parquet, not a workbook", ".parquet"),
        (OLE + b"\0" * 600, "the old workbook (.xls) is damaged", "save it again as .xlsx"),
        (b"\x01\x02\x03\x04", "is not a workbook", "save it again as .xlsx"),
        (zipped({"content.xml": "", "META-INF/manifest.xml": "<a:encryption-data/>"}), "password-protected", ""),
    ],
)  # fmt: skip
def test_what_is_no_workbook_is_named_with_what_to_do(data: bytes, told: str, remedy: str) -> None:
    message = fault_of(data)
    assert message.startswith("bad_sheet: ")
    assert told in message
    assert remedy in message.rsplit("(", 1)[-1]


def test_a_workbook_under_the_name_of_text_is_named(read: Any) -> None:
    for data, suffix in ((OLD, ".xls"), (workbook(a=ORDERS), ".xlsx"), (gzip.compress(b"a"), ".gz")):
        for encoding in (None, "cp1252"):
            with pytest.raises(ExportError, match=rf"^bad_encoding: .*rename the file to .*\{suffix}"):
                read("x.csv", data, encoding=encoding)


# -- the sheet -----------------------------------------------------------------------------------------------------


def hidden(sheet: Any) -> None:
    sheet.sheet_state = "hidden"
    for row in ORDERS:
        sheet.append([f"hidden {cell}" if row is not ORDERS[0] else cell for cell in row])


@pytest.mark.parametrize("first", [[], [["Lea la hoja Pedidos"]], [["Sku", "Total"], ["S", 3]], hidden])
def test_the_first_visible_sheet_with_the_key_is_read(first: Any) -> None:
    assert read(workbook(Hoja1=first, Pedidos=ORDERS)) == READ


def test_a_sheet_is_chosen_by_name_or_number() -> None:
    other: list[list[Any]] = [ORDERS[0], ["B-1", "T", 1]]
    data = workbook(Enero=ORDERS, Febrero=other, Marzo=hidden)
    assert [record["OrderId"] for record in (*read(data), *read(data, "Febrero"), *read(data, " febrero "))] == [
        "A-1", "B-1", "B-1",
    ]  # fmt: skip
    assert [read(data, number)[0]["OrderId"] for number in (1, 2, 3)] == ["A-1", "B-1", "hidden A-1"]
    assert fault_of(data, "Abril") == (
        "bad_sheet: the workbook has no sheet 'Abril'; found 'Enero', 'Febrero', 'Marzo' (hidden)"
        " (correct `sheet` in sources.yaml)"
    )


def test_where_no_sheet_has_the_key_all_are_named() -> None:
    message = fault_of(workbook(Notas=[["Lea esto"]], Totales=[["Sku", "Total"]], Secreto=hidden))
    assert message.startswith("bad_header: no sheet has a header of the stream: in sheet 'Notas': no column belongs to")
    assert "in sheet 'Totales': no column has the key of orders: expected 'OrderId', found 'Sku', 'Total'" in message
    assert message.endswith("(set `sheet` to one of these: 'Notas', 'Totales', 'Secreto' (hidden))")


def test_a_workbook_without_content_has_no_records() -> None:
    reading = TableReading()
    assert list(read_sheet(io.BytesIO(workbook(a=[], b=[])), reading)) == []


# -- cells ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [
        ("00000", 7, "00007"),
        ("00000", 123456, "123456"),
        ("0000000000000", 7891234567.0, "0007891234567"),
        ("000-000", 1234, "001-234"),
        ('"SKU-"000', 7, "SKU-007"),
        (r"00\.000", 1234, "01.234"),
        ("00000;-00000", -7, "-00007"),
        ("00000", 7.5, 7.5),
        ("0", 7, 7),
        ("0.00", 7, 7),
        ("#,##0", 7, 7),
        ("0.0%", 0.075, Percent("0.075")),
        ("0%", 1, Percent(1)),
        ('0"%"', 7, 7),
        ("General", 7, 7),
        ("00000", True, True),
    ],
)
def test_a_number_is_what_its_format_shows(code: str, value: Any, expected: Any) -> None:
    found = shown_value(value, code)
    assert (found, type(found)) == (expected, Cell if isinstance(expected, str) else type(expected))


def test_formats_of_dates_are_told() -> None:
    assert [meaning_of(code) for code in ("yyyy-mm-dd", "[h]:mm", "d/m/yy h:mm", "00000")] == [
        "date", "duration", "date", "shown",
    ]  # fmt: skip


def formatted(sheet: Any) -> None:
    sheet.append(["OrderId", "Sku", "Price", "Rate", "Note"])
    sheet.append([7, 8, "#N/A", 0.075, "x"])
    sheet["A2"].number_format, sheet["D2"].number_format = "00000", "0.0%"
    sheet["C2"].data_type = "e"


SHOWN = [{"OrderId": "00007", "Sku": 8, "Price": CellError("#N/A"), "Rate": Percent("0.075"), "Note": "x"}]


@pytest.mark.parametrize(
    "data",
    [
        workbook(a=formatted),
        strict(workbook(a=formatted)),
        xlsb(
            [
                ["OrderId", "Sku", "Price", "Rate", "Note"],
                [Styled(7, 1), 8, NOT_AVAILABLE, Styled(0.075, 2), "x"],
            ],
            ["00000", "0.0%"],
        ),
        ods(
            {
                "notas": [["nada"]],
                "a": [
                    ["OrderId", "Sku", "Price", "Rate", "Note"],
                    [
                        ods_number("float", 7, "00007"),
                        ods_number("float", 8, "8"),
                        '<table:table-cell table:formula="of:=NA()" office:value-type="string" office:string-value=""'
                        ' calcext:value-type="error"><text:p>#N/A</text:p></table:table-cell>',
                        ods_number("percentage", 0.075, "7.5%"),
                        "x",
                    ],
                ],
            }
        ),
    ],
    ids=["xlsx", "strict", "xlsb", "ods"],
)
def test_formats_and_errors_are_told_in_every_kind(data: bytes) -> None:
    found = read(data)
    assert found == SHOWN
    assert type(found[0]["Rate"]) is Percent


def merged(sheet: Any) -> None:
    for row in (["OrderId", "Sku", "Price"], ["A-1", "S", 1], [None, "T", 2], [], ["B-1", "S", 3], [None, "U", None]):
        sheet.append(row)
    sheet.merge_cells("A2:A4")
    sheet.merge_cells("A5:A6")
    sheet.merge_cells("C5:C6")
    sheet.merge_cells("A8:C8")


@pytest.mark.parametrize(
    "data",
    [
        workbook(a=merged),
        xlsb(
            [["OrderId", "Sku", "Price"], ["A-1", "S", 1], [None, "T", 2], [None], ["B-1", "S", 3], [None, "U"]],
            merged=[(1, 3, 0, 0), (4, 5, 0, 0), (4, 5, 2, 2)],
        ),
        ods(
            {
                "a": [
                    ["OrderId", "Sku", "Price"],
                    [
                        '<table:table-cell table:number-rows-spanned="3" office:value-type="string">'
                        "<text:p>A-1</text:p>"
                        "</table:table-cell>", "S", ods_number("float", 1, "1"),
                    ],
                    ["<table:covered-table-cell/>", "T", ods_number("float", 2, "2")],
                    ["<table:covered-table-cell/>"],
                    [
                        '<table:table-cell table:number-rows-spanned="2" office:value-type="string">'
                        "<text:p>B-1</text:p>"
                        "</table:table-cell>", "S",
                        ods_number("float", 3, "3", ' table:number-rows-spanned="2"'),
                    ],
                    ["<table:covered-table-cell/>", "U", "<table:covered-table-cell/>"],
                ]
            }
        ),
    ],
    ids=["xlsx", "xlsb", "ods"],
)  # fmt: skip
def test_merged_cells_are_filled_down(data: bytes) -> None:
    assert [tuple(record.values()) for record in read(data)] == [
        ("A-1", "S", 1), ("A-1", "T", 2), ("B-1", "S", 3), ("B-1", "U", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("uno_x000D_\ndos", "uno\r\ndos"),
        ("P_x005F_1", "P_1"),
        ("_x005F_x000D_", "_x000D_"),
        ("_xD83D__xDE00_", "😀"),
        ("P_x1", "P_x1"),
        ("_x12_", "_x12_"),
    ],
)
def test_escapes_of_texts_are_read_once(written: str, said: str) -> None:
    assert unescaped(written) == said
    inline = workbook(a=[["OrderId", "Sku"], ["A-1", "TEXT"]])
    for book in (inline, with_shared_texts(inline)):
        parts = {name: part.replace(b">TEXT<", f">{written}<".encode()) for name, part in parts_of(book).items()}
        assert read(zipped(parts)) == [{"OrderId": "A-1", "Sku": said}]


def with_shared_texts(book: bytes, part: str = "xl/sharedStrings.xml") -> bytes:
    """The workbook with its texts in a part of their own, as Excel writes it."""
    parts, texts = parts_of(book), []

    def shared(found: re.Match[bytes]) -> bytes:
        texts.append(
            b"<si><r><t>" + found[1][:1] + b"</t></r><r><t>" + found[1][1:] + b"</t></r><rPh><t>x</t></rPh></si>"
        )
        return b't="s"><v>%d</v>' % (len(texts) - 1)

    sheet = parts["xl/worksheets/sheet1.xml"]
    parts["xl/worksheets/sheet1.xml"] = re.sub(rb't="inlineStr"><is><t>([^<]*)</t></is>', shared, sheet)
    name = b'"http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    parts[part] = (
        b"<sst xmlns=" + name + b">" + b"".join(texts).replace(b"<t>T</t></r><r><t>EXT", b"<t>TEXT") + b"</sst>"
    )
    return zipped(parts)


def test_parts_that_other_writers_leave_out_or_name_otherwise_are_not_needed() -> None:
    left_out = {"xl/theme/theme1.xml", "docProps/app.xml", "docProps/core.xml", "xl/styles.xml", "_rels/.rels"}
    book = workbook(a=ORDERS)
    assert read(zipped({n: c for n, c in parts_of(book).items() if n not in left_out})) == READ
    named = parts_of(book)
    named["[Content_Types].xml"] = named["[Content_Types].xml"].replace(
        b"</Types>", b'<Override PartName="/xl/sharedStrings.xml" ContentType="x.sharedStrings+xml"/></Types>'
    )
    assert read(zipped(named)) == READ
    for part in ("xl/sharedStrings.xml", "xl/SharedStrings.xml", "xl\\sharedStrings.xml"):
        assert read(with_shared_texts(book, part)) == READ


def test_a_sheet_of_one_far_cell_takes_no_memory() -> None:
    def far(sheet: Any) -> None:
        for row in ORDERS:
            sheet.append(row)
        sheet["XFD1048576"] = "x"

    data = workbook(a=far)
    parts = read_sheet(io.BytesIO(data), TableReading(sought=SOUGHT))
    rows = [part for part in parts if isinstance(part, RawRecord)]
    assert [row.damage.code if row.damage else None for row in rows] == [None, "too_many_cells"]


def test_far_cells_of_workbooks_that_are_held_in_memory_are_refused() -> None:
    repeated = '<table:table-cell table:number-columns-repeated="{}" office:value-type="string"><text:p>x</text:p>'
    far = [
        xlsb([[*HEADER, *[None] * 17_000, "x"]]),
        ods({"a": [HEADER, [repeated.format(99_999_999) + "</table:table-cell>"]]}),
    ]
    for data in far:
        assert "too far from the others (clear the cells beside the table" in fault_of(data)
    empty = '<table:table-cell table:number-columns-repeated="16384"/>'
    assert read(ods({"a": [[*HEADER, empty], ["A-1", "S", empty], [empty]]})) == [{"OrderId": "A-1", "Sku": "S"}]
