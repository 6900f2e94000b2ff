"""CSV, Excel and Parquet: cells, empty cells, headers, positions."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import zipfile
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.raw import Cell, NotFinite, RawRecord, Scientific
from sync_pipelines.errors import ExportError, Position
from sync_pipelines.exports import csv_cells
from sync_pipelines.exports.columns import Columns, SoughtColumns
from sync_pipelines.exports.csv_cells import read_csv
from sync_pipelines.exports.csv_dialect import DELIMITERS
from sync_pipelines.exports.formats import ReadSettings, is_flat
from sync_pipelines.exports.sheets import read_sheet
from sync_pipelines.exports.tables import Part, TableReading
from sync_pipelines_tests.exports.conftest import Read

TEXTS = st.text('ab"\n\r,;|\t é😀', max_size=6)
NAMES = ["OrderId", 'With "quotes"', "With,comma;and|more"]


def records_of(parts: Iterable[Part]) -> list[RawRecord]:
    return [part for part in parts if isinstance(part, RawRecord)]


@given(
    st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=6),
    st.sampled_from(DELIMITERS),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 30),
)
def test_a_csv_round_trip_keeps_every_cell(rows: list[list[str]], delimiter: str, newline: str, size: int) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows([NAMES, *rows])
    written = text.getvalue()
    chunks = (written[at : at + size] for at in range(0, len(written), size))
    columns, *records = read_csv(chunks, TableReading("null"))
    assert columns == Columns(tuple(NAMES), Position("line", 1), delimiter)
    begins = [2 + n + sum(cell.count("\n") for row in rows[:n] for cell in row) for n in range(len(rows))]
    expected = [
        (begin, [cell if cell.strip() else None for cell in row])
        for begin, row in zip(begins, rows, strict=True)
        if "".join(row).strip()
    ]
    assert [(int(r.position), list(r.value.values())) for r in records_of(records)] == expected


@given(st.text('a1",;\n\r\0 ', max_size=40), st.integers(1, 20))
def test_no_text_ends_in_another_error(text: str, size: int) -> None:
    try:
        list(read_csv(text[at : at + size] for at in range(0, len(text), size)))
    except ExportError as fault:
        assert fault.code == "bad_header"


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_the_delimiter_is_told_by_the_header(delimiter: str, read: Read) -> None:
    header = delimiter.join(["OrderId", '"a,b;c|d\te,f;g|h\ti"', "Price"])
    (record,) = read("x.csv", f"{header}\n{delimiter.join(['O-1', 'x', '1'])}\n".encode())
    assert list(record.value.values()) == ["O-1", "x", "1"]


def test_x1_an_empty_cell_is_absent_or_null(read: Read) -> None:
    data = b'a,b,c\n1,,""\n'
    assert read("x.csv", data)[0].value == {"a": "1"}
    assert read("x.csv", data, empty_is="null")[0].value == {"a": "1", "b": None, "c": None}
    assert read("x.csv", b"a,b,c\n1,\n", empty_is="null")[0].value == {"a": "1", "b": None}
    assert read("x.csv", b"a,b\n,\n") == []


def test_columns_without_a_name_are_called_by_their_number(read: Read) -> None:
    data = b" a ,,\n1,2,\n"
    assert read("x.csv", data)[0].value == {"a": "1", "column_2": "2"}
    assert read("x.csv", data, empty_is="null")[0].value == {"a": "1", "column_2": "2"}


def test_cells_are_text_without_a_type(read: Read) -> None:
    (record,) = read("x.csv", b"a\n1\n")
    assert type(record.value["a"]) is Cell


def test_blank_lines_count_and_bom_and_old_newlines_are_read(read: Read) -> None:
    data = b'\xef\xbb\xbf\n"a",b\n\n1,2\n'
    assert [(r.position, r.value) for r in read("x.csv", data)] == [("4", {"a": "1", "b": "2"})]
    assert [(r.position, r.value) for r in read("x.csv", b"a,b\r1,2\r3,4")] == [
        ("2", {"a": "1", "b": "2"}),
        ("3", {"a": "3", "b": "4"}),
    ]


def test_a_quote_that_is_never_closed_gives_the_later_lines_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_cells, "ROW_LIMIT", 100)
    rows = "".join(f"{n},x\n" for n in range(100))
    records = records_of(read_csv(iter([f'a,b\n0,"never\n{rows}'])))
    assert [r.position for r in records] == [str(n) for n in range(2, 103)]
    assert [bool(r.damage) for r in records] == [True] + [False] * 100


def test_wrong_quotes_are_damage_of_their_row_alone(read: Read) -> None:
    records = read("x.csv", b'a,b\n1,"x"y\n2,5" pipe\n3,"multi\nline"\n')
    assert [(r.position, r.value) for r in records] == [
        ("2", None),
        ("3", {"a": "2", "b": '5" pipe'}),
        ("4", {"a": "3", "b": "multi\nline"}),
    ]


def test_damaged_rows_keep_their_text(read: Read) -> None:
    texts = [r.damage.text for r in read("too_many_cells.csv") if r.damage]
    assert texts == ["O-2,1,5"]


def test_text_in_another_encoding(read: Read) -> None:
    assert [r.value["Name"] for r in read("latin1.csv", encoding="latin-1")] == ["Pena", "Peña"]
    assert read("utf16.json", encoding="utf-16")[0].value["OrderId"] == "O-1"


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("a.csv", {}, True),
        ("a.CSV.gz", {}, True),
        ("a.parquet", {}, True),
        ("a.xlsx", {}, True),
        ("a.csv.zip", {}, True),
        ("a.json", {}, False),
        ("a.jsonl.zst", {}, False),
        ("dump", {"format": "csv"}, True),
        ("a.csv", {"format": "ndjson"}, False),
        ("dump", {}, False),
    ],
)
def test_is_flat(name: str, settings: dict[str, Any], expected: bool) -> None:
    assert is_flat(name, ReadSettings(**settings)) is expected


def workbook(*rows: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    book.create_sheet("other").append(["not", "read"])
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def test_x9_excel_cells(read: Read) -> None:
    moment = dt.datetime(2024, 5, 6, 10, 30)
    data = workbook(
        [],
        ["OrderId", "Price", "Big", "At", "IsGift", "Note", 2024],
        [536365, 2.55, 1e30, moment, True, "x", None],
        [],
        ["O-2", 6.0, None, dt.date(2024, 5, 6), False, "", dt.time(3, 4)],
        ["O-3", None, None, None, None, None, None, "beyond"],
    )
    first, second, third = read("x.xlsx", data)
    assert (first.position, second.position, third.position) == ("3", "5", "6")
    assert first.value == {
        "OrderId": 536365,
        "Price": Decimal("2.55"),
        "Big": Decimal("1e30"),
        "At": moment,
        "IsGift": True,
        "Note": "x",
    }
    assert type(first.value["Big"]) is Scientific
    assert type(first.value["Note"]) is Cell
    assert second.value | {"Price": None} == {
        "OrderId": "O-2",
        "Price": None,
        "At": dt.datetime(2024, 5, 6),
        "IsGift": False,
        "2024": "03:04:00",
    }
    assert third.damage
    assert third.damage.code == "too_many_cells"


def test_x1_excel_empty_cells_as_null(read: Read) -> None:
    (record,) = read("x.xlsx", workbook(["a", "b", "c"], [1, None, ""]), empty_is="null")
    assert record.value == {"a": 1, "b": None, "c": None}


def test_excel_header_alone_and_empty_sheet(read: Read) -> None:
    assert read("x.xlsx", workbook(["a", "b"])) == []
    assert read("x.xlsx", workbook()) == []


def test_excel_with_a_huge_table_of_texts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync_pipelines.exports.xlsx.TEXTS_LIMIT", 10)
    data = io.BytesIO(workbook(["a"], ["text"]))
    with zipfile.ZipFile(data, "a") as parts:
        parts.writestr("xl/sharedStrings.xml", "<sst></sst>")
    with pytest.raises(ExportError, match="export it as CSV"):
        list(read_sheet(data))


def test_x9_parquet_cells(read: Read) -> None:
    table = pa.table(
        {
            "OrderId": pa.array(["O-1", "", None]),
            "Quantity": pa.array([6, None, 2**40], pa.int64()),
            "Price": pa.array([2.55, float("nan"), 1e22]),
            "Small": pa.array([0.1, 1.0, 1e30], pa.float32()),
            "Exact": pa.array([Decimal("1.10"), None, Decimal("2.00")]),
            "At": pa.array([1001, 2, 3], pa.timestamp("ns", "UTC")),
            "Far": pa.array([1, 2, 253402300799999999], pa.timestamp("us")),
            "Items": pa.array([[{"Sku": "S", "Price": 0.1, "Size": None}], [], None]),
            "Kind": pa.array(["a", "b", "a"]).dictionary_encode(),
            "Bytes": pa.array([b"x", b"\xff", None]),
            "Day": pa.array([dt.date(2024, 5, 6)] * 3),
            "Clock": pa.array([dt.time(3, 4)] * 3),
            "Attributes": pa.array([[("k", 0.5)], None, []], pa.map_(pa.string(), pa.float64())),
        }
    )
    first, second, third = (record.value for record in read("x.parquet", parquet(table)))
    assert first == {
        "OrderId": "O-1",
        "Quantity": 6,
        "Price": Decimal("2.55"),
        "Small": Decimal("0.1"),
        "Exact": Decimal("1.10"),
        "At": dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
        "Far": dt.datetime(1970, 1, 1, 0, 0, 0, 1),
        "Items": [{"Sku": "S", "Price": Decimal("0.1")}],
        "Kind": "a",
        "Bytes": "x",
        "Day": dt.date(2024, 5, 6),
        "Clock": "03:04:00",
        "Attributes": {"k": Decimal("0.5")},
    }
    assert type(first["OrderId"]) is Cell
    assert type(first["Items"][0]["Sku"]) is str
    assert type(first["At"]) is dt.datetime
    assert second.keys() == first.keys() - {"OrderId", "Quantity", "Exact", "Attributes"}
    assert second["Price"] == NotFinite("NaN")
    assert (str(second["Small"]), second["Bytes"].hex) == ("1.0", "ff")
    assert type(third["Price"]) is type(third["Small"]) is Scientific
    assert third["Far"] == dt.datetime.max


def test_x1_parquet_nulls_as_null(read: Read) -> None:
    table = pa.table({"a": pa.array([None, 1]), "s": pa.array([{"x": None}, None])})
    first, second = (record.value for record in read("x.parquet", parquet(table), empty_is="null"))
    assert first == {"a": None, "s": {"x": None}}
    assert second == {"a": 1, "s": None}


def test_parquet_positions_go_on_over_batches(read: Read) -> None:
    table = pa.table({"n": list(range(5000))})
    records = read("x.parquet.gz", gzip.compress(parquet(table)))
    assert [int(record.position) - 1 for record in records] == [record.value["n"] for record in records]
    assert len(records) == 5000


def test_parquet_damaged_in_the_middle_fails_as_a_whole(read: Read) -> None:
    data = bytearray(parquet(pa.table({"n": list(range(100_000))})))
    data[1000:200_000] = b"\xff" * 199_000
    with pytest.raises(ExportError, match=r"^bad_sheet"):
        read("x.parquet", bytes(data))


def test_parquet_with_a_column_twice(read: Read) -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert [record.value for record in read("x.parquet", parquet(table))] == [{"a": 1, "a_2": 2}]
    with pytest.raises(ExportError, match=r"^bad_header: the header has two columns named 'a'"):
        read("x.parquet", parquet(table), sought=SoughtColumns("replenit/orders", key=("a",)))


def parquet(table: pa.Table) -> bytes:
    data = io.BytesIO()
    pq.write_table(table, data)
    return data.getvalue()
