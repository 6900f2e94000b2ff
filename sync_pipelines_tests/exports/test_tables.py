"""Flat files as they come: where the header is, how cells are told apart, which rows are no records."""

from __future__ import annotations

import csv
import io
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.configuration.table_settings import TableSettings
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.columns import Columns, SoughtColumns
from sync_pipelines.exports.csv_cells import read_csv
from sync_pipelines.exports.tables import Forgiven, TableReading
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.exports.conftest import Read

ORDERS = SoughtColumns("replenit/orders", key=("OrderId",), fields=("OrderId", "Sku", "Quantity", "Price"))


def records(text: str, sought: SoughtColumns | None = ORDERS, **settings: Any) -> list[Any]:
    """The records of a CSV, each as (line, cells by name), a damaged one as (line, code)."""
    return [part for part in parts(text, sought, **settings) if isinstance(part, tuple) and len(part) == 2]


def parts(text: str, sought: SoughtColumns | None = ORDERS, **settings: Any) -> list[Any]:
    """Everything a CSV gives but its columns; what was forgiven as `code line`."""
    reading = TableReading(settings=TableSettings.model_validate(settings), sought=sought)
    found: list[Any] = []
    for part in read_csv(iter([text]), reading):
        if isinstance(part, Columns):
            continue
        if isinstance(part, Forgiven):
            found.append(f"{part.code} {part.position}")
        else:
            found.append((part.position, part.damage.code if part.damage else part.value))
    return found


def fault(text: str, sought: SoughtColumns | None = ORDERS, **settings: Any) -> str:
    with pytest.raises(ExportError) as caught:
        parts(text, sought, **settings)
    return str(caught.value)


# -- the header -----------------------------------------------------------------------------------------------------


def test_rows_above_the_header_are_passed_over_and_counted() -> None:
    text = 'Sales, "all"\nfrom 1;to 2\n\n;;;\nOrderId;Sku\nA;x\n'
    assert parts(text) == ["row_above_header 1", "row_above_header 2", ("6", {"OrderId": "A", "Sku": "x"})]


def test_a_title_with_a_quote_that_is_never_closed_is_passed_over() -> None:
    assert parts('Report 3" and "more\nOrderId,Sku\nA,x\n')[-1] == ("3", {"OrderId": "A", "Sku": "x"})
    assert parts('"Report\nOrderId,Sku\nA,x\n') == ["row_above_header 1", ("3", {"OrderId": "A", "Sku": "x"})]


@pytest.mark.parametrize("above", [19, 20])
def test_the_header_is_one_of_the_first_twenty_rows(above: int) -> None:
    text = "title\n" * above + "OrderId,Sku\nA,x\n"
    if above < 20:
        assert records(text) == [("21", {"OrderId": "A", "Sku": "x"})]
    else:
        assert fault(text).startswith("bad_header: no column belongs to replenit/orders")
        assert records(text, header_row=21) == [("22", {"OrderId": "A", "Sku": "x"})]


def test_header_row_says_which_line_is_the_header() -> None:
    text = "OrderId,Sku\nB,y\nOrderId,Sku\nA,x\n"
    assert parts(text, header_row=3) == [("4", {"OrderId": "A", "Sku": "x"})]
    assert "line 9, set in `header_row`, is not the header" in fault(text, header_row=9)
    assert fault(text, header_row=2).startswith("bad_header: no column belongs to")


def test_a_header_without_the_key_says_what_was_sought_and_found() -> None:
    told = fault("Order No,Sku,Price\nA,x,1\n")
    assert told.startswith("bad_header: no column has the key of replenit/orders: expected 'OrderId'")
    assert "found 'Order No', 'Sku', 'Price' (at line 1)" in told
    assert "if 'Order No' is the key, map it in `columns`" in told


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("<!DOCTYPE html>\n<html><body>Sign in, please</body></html>\n", "a web page or XML"),
        ('\ufeff\n  <?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "a web page or XML"),
        ('{"error":"rate limit exceeded"}\n', "looks like JSON"),
        ('[{"OrderId":"A","Sku":"x"}]', "looks like JSON"),
    ],
)
def test_a_file_that_is_no_csv_fails_and_says_what_it_looks_like(text: str, hint: str) -> None:
    told = fault(text)
    assert told.startswith("bad_header: ")
    assert hint in told


def test_a_first_record_in_the_place_of_a_header_is_not_told() -> None:
    assert "found 'A-1', '…', '…', 'x' (at line 1)" in fault(
        "A-1,ana@x.cl,+56911112222,x\nA-2,bob@x.cl,+56911112223,y\n"
    )


@pytest.mark.parametrize("text", [";;\n;;\n", "sep=;\n", "Totals\n", "a,b\n1,2\n"])
def test_nothing_of_the_stream_is_no_export(text: str) -> None:
    assert fault(text).startswith("bad_header")


def test_the_header_alone_is_an_export_without_records() -> None:
    assert parts("OrderId,Sku\n") == []


@pytest.mark.parametrize(
    "name", ["Order Id", "ORDER-ID", "order.id", "order_id", " Order  Id ", "\u200bOrderId\ufeff", '"Order\nId"']
)
def test_names_match_whatever_their_case_and_marks(name: str) -> None:
    assert len(records(f"{name},Sku\nA,x\n")) == 1


def test_a_request_log_needs_no_key() -> None:
    assert len(records("at,method,path\n2024-01-01,DELETE,/x/1\n")) == 1


def test_without_a_key_to_look_for_any_field_tells_the_header() -> None:
    sought = SoughtColumns("replenit/orders", fields=("Sku",))
    assert records("title\nSku,x\n1,2\n", sought) == [("3", {"Sku": "1", "x": "2"})]
    assert "no column belongs to" in fault("a,b\n", sought)


def test_a_column_twice_matters_only_where_a_field_is_read_from_it() -> None:
    row = {"OrderId": "A", "Notes": "1", "Notes_2": "2", "Notes_3": "3"}
    assert records("OrderId,Notes,Notes,Notes\nA,1,2,3\n") == [("2", row)]
    row = {"OrderId": "A", "Notes": "1", "Notes_3": "2", "Notes_2": "3"}
    assert records("OrderId,Notes,Notes,Notes_2\nA,1,2,3\n") == [("2", row)]
    assert "the header has two columns named 'Sku'" in fault("OrderId,Sku,Sku\nA,1,2\n")
    second = SoughtColumns("replenit/orders", key=("OrderId",), mapped={"Sku": "Sku_2"})
    assert records("OrderId,Sku,Sku\nA,1,2\n", second) == [("2", {"OrderId": "A", "Sku": "1", "Sku_2": "2"})]
    assert "the header has two columns named 'addresses[0].city'" in fault(
        "OrderId,addresses[0].city,addresses[0].city\nA,1,2\n",
        SoughtColumns("x/y", key=("OrderId",), lists=("addresses",)),
    )


def test_one_of_several_columns_of_a_name_is_named_by_its_number() -> None:
    first = SoughtColumns("x/y", key=("No",), mapped={"Quantity": "Units_1"})
    assert records("No,Units,Units\nA,1,2\n", first) == [("2", {"No": "A", "Units_1": "1", "Units": "2"})]
    assert records("No,Units\nA,1\n", first) == [("2", {"No": "A", "Units_1": "1"})]
    second = SoughtColumns("x/y", key=("No",), mapped={"Quantity": "Units_2"})
    assert records("No,Units,Units\nA,1,2\n", second) == [("2", {"No": "A", "Units": "1", "Units_2": "2"})]
    assert fault("No,Units\nA,1\n", second).startswith("column_missing: ")
    assert records("No,Units_1,Units\nA,1,2\n", first) == [("2", {"No": "A", "Units_1": "1", "Units": "2"})]


MAPPED = SoughtColumns("replenit/orders", key=("No",), mapped={"OrderId": "No", "Email": "Email cliente"})


def test_a_column_of_columns_must_be_there() -> None:
    assert fault("No,Correo,e-mail\nA,x,y\n", MAPPED).startswith(
        "column_missing: Email is read from the column 'Email cliente', which is missing; the most similar column is"
    )
    assert "found 'No', 'Correo' " in fault("No,Correo\nA,x\n", MAPPED)


@pytest.mark.parametrize("optional", ["Email", "email", "Email cliente", "email_cliente"])
def test_unless_it_is_optional(optional: str) -> None:
    sought = SoughtColumns("replenit/orders", key=("No",), mapped=MAPPED.mapped, optional=(optional,))
    assert records("No,Correo\nA,x\n", sought) == [("2", {"No": "A", "Correo": "x"})]


def test_a_column_of_columns_matches_in_other_spellings_and_exactly_first() -> None:
    assert records("NO,EMAIL-CLIENTE\nA,x\n", MAPPED) == [("2", {"No": "A", "Email cliente": "x"})]
    exact = {"No": "A", "email_cliente": "x", "Email cliente": "y"}
    assert records("No,email_cliente,Email cliente\nA,x,y\n", MAPPED) == [("2", exact)]
    assert fault("No,email_cliente,EMAIL CLIENTE\nA,x,y\n", MAPPED).startswith("column_missing")


# -- cells ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "OrderId;Total, net;Sku\nA;1,5;x\nB;2,5;y\n",
        "OrderId;Total, net, all, of, it\nA;x\n",
        "a, b, c, d, e\nOrderId;Sku\nA;1,5\n",
        "sep=;\nOrderId;Sku\nA;x\n",
        '\ufeff"sep=;"\r\nOrderId;Sku\r\nA;x\r\n',
        'OrderId;"a;b,c,d,e"\nA;x\n',
    ],
)
def test_the_delimiter_is_the_one_that_header_and_rows_agree_on(text: str) -> None:
    (_, first), *_ = records(text.removeprefix("\ufeff"))
    assert first["OrderId"] == "A"
    assert len(first) > 1


def test_any_delimiter_can_be_named() -> None:
    assert records("OrderId~Sku\nA~x\n", delimiter="~") == [("2", {"OrderId": "A", "Sku": "x"})]
    assert records("sep=~\nOrderId~Sku\nA~x\n") == [("3", {"OrderId": "A", "Sku": "x"})]
    assert records("sep=;\nOrderId,a;b\nA,x\n", delimiter=",") == [("3", {"OrderId": "A", "a;b": "x"})]


@pytest.mark.parametrize("header", ["OrderId, Sku, Price", "OrderId,Sku,Price"])
def test_blanks_after_delimiters_leave_quotes_their_meaning(header: str) -> None:
    assert records(f'{header}\nA, "x, y", 1\n') == [("2", {"OrderId": "A", "Sku": "x, y", "Price": "1"})]


def test_escape_and_quote_are_as_the_source_says() -> None:
    text = 'OrderId,Sku\nA,"3\\" black"\nB,"4\\", long"\n'
    assert [code for _, code in records(text)] == ["bad_quotes", "too_many_cells"]
    assert records(text, escape="\\") == [
        ("2", {"OrderId": "A", "Sku": '3" black'}),
        ("3", {"OrderId": "B", "Sku": '4", long'}),
    ]
    assert records("OrderId,Sku\nA,'x, 3\"'\n", quote="'") == [("2", {"OrderId": "A", "Sku": 'x, 3"'})]


def test_backslashes_before_quotes_are_answered_with_the_setting() -> None:
    _, record = read_csv(iter(['OrderId,Sku\nA,"3\\" black"\n']), TableReading(sought=ORDERS))
    assert not isinstance(record, Columns | Forgiven)
    assert record.damage is not None
    assert "set `escape`" in record.damage.message


def test_a_carriage_return_within_a_cell_is_part_of_it() -> None:
    text = 'OrderId,Sku\r\nA,one\rtwo\r\nB,"three\rfour"\r\nC,five\r\n'
    assert [row["Sku"] for _, row in records(text)] == ["one\rtwo", "three\rfour", "five"]


def test_lines_that_end_in_two_carriage_returns_are_lines() -> None:
    assert records("OrderId,Sku\r\r\nA,x\r\r\n") == [("2", {"OrderId": "A", "Sku": "x"})]


# -- rows that are no records ---------------------------------------------------------------------------------------


def test_rows_of_nothing_but_delimiters_are_passed_over() -> None:
    assert [line for line, _ in records('OrderId,Sku\n,\nA,x\n\n , \n"",\nB,y\n,\n')] == ["3", "7"]


@pytest.mark.parametrize("again", ["OrderId,Sku", "ORDERID,sku", "\ufeffOrderId,Sku", '"OrderId",Sku ', "OrderId,Sku,"])
def test_a_header_that_stands_again_is_passed_over_and_counted(again: str) -> None:
    assert parts(f"OrderId,Sku,\nA,x\n{again}\nB,y\n")[1] == "header_again 3"


def test_a_record_that_has_a_columns_name_in_it_is_a_record() -> None:
    assert [line for line, _ in records("OrderId,Sku\nOrderId,x\nOrderId-1,Sku\n")] == ["2", "3"]


def test_skip_leaves_out_rows_by_a_cell() -> None:
    text = "OrderId,Sku,n\nA,x,1\nTOTAL day,,2\n,Subtotal ,3\nB,y,4\nTotally\n"
    rules = [{"column": "order id", "matches": "total*"}, {"column": "Sku", "matches": "Subtotal"}]
    assert [line for line, _ in records(text, skip=rules)] == ["2", "5"]
    assert [line for line, _ in records(text, skip=[{"column": "n", "matches": ""}])] == ["2", "3", "4", "5"]
    text = text.replace("OrderId", "No")
    sought = SoughtColumns("replenit/orders", key=("No",), mapped={"OrderId": "No"})
    assert [line for line, _ in records(text, sought, skip=[{"column": "order_id", "matches": "tot*"}])] == [
        "2",
        "4",
        "5",
    ]
    assert fault(text, sought, skip=[{"column": "Skew", "matches": "*"}]).startswith(
        "column_missing: `skip` uses the column 'Skew', which is missing; the most similar column is 'Sku'"
    )


@pytest.mark.parametrize(
    ("footer", "expected"), [(0, "2 3 5 6"), (1, "2 3 5"), (2, "2 3"), (3, "2 3"), (4, "2"), (9, "")]
)
def test_skip_footer_leaves_out_the_last_rows(footer: int, expected: str) -> None:
    text = "OrderId,Sku\nA,x\nB,y\n\nTotal,2\nprinted,today\n\n,\n"
    assert " ".join(line for line, _ in records(text, skip_footer=footer)) == expected


def test_a_skipped_row_counts_as_one_of_the_footer() -> None:
    text = "OrderId,Sku\nA,x\nTotal,1\nTotal,2\n"
    rules = [{"column": "OrderId", "matches": "Total"}]
    assert [line for line, _ in records(text, skip_footer=2, skip=rules)] == ["2"]


# -- the same elsewhere ---------------------------------------------------------------------------------------------


def test_a_workbook_follows_the_same_rules(read: Read) -> None:
    book = openpyxl.Workbook()
    for row in (
        ["Report", 2024],
        ["Order Id", "Note", "Note", "Sku"],
        ["A", 1, 2, "x"],
        [None, "  "],
        ["Order Id", "Note", "Note", "Sku"],
        ["B", None, 3, "y"],
        ["Total", 9],
    ):
        book.worksheets[0].append(row)
    data = io.BytesIO()
    book.save(data)
    settings = TableSettings(skip_footer=1)
    found = read("x.xlsx", data.getvalue(), sought=ORDERS, settings=settings)
    assert [(record.position, record.value) for record in found] == [
        ("3", {"Order Id": "A", "Note": 1, "Note_2": 2, "Sku": "x"}),
        ("6", {"Order Id": "B", "Note_2": 3, "Sku": "y"}),
    ]


@pytest.mark.parametrize("name", ["x.tsv", "x.txt", "x.TSV.gz"])
def test_tsv_and_txt_are_csv(name: str, read: Read) -> None:
    import gzip

    data = b"OrderId\tSku\nA\tx\n"
    (record,) = read(name, gzip.compress(data) if name.endswith("gz") else data, sought=ORDERS)
    assert record.value == {"OrderId": "A", "Sku": "x"}


@examples(60)
@given(
    st.lists(st.lists(st.text("ab\"',;|\t .1", max_size=5), min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from(",;|\t"),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(0, 3),
)
def test_cells_quoted_where_they_must_be_come_back(
    rows: list[list[str]], delimiter: str, newline: str, titles: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline)
    writer.writerows([["title, of; this|one"]] * titles)
    writer.writerows([["OrderId", "Sku", "Note, or; so|on"], *rows])
    found = [(row["OrderId"], row.get("Sku"), row.get("Note, or; so|on")) for _, row in keyed(records(text.getvalue()))]
    expected = [tuple(cell.strip() or None for cell in row) for row in rows]
    assert found == [row for row in expected if row[0]]


def keyed(found: list[Any]) -> list[Any]:
    """Records with a key, their cells trimmed as fields are."""
    trimmed = [(line, {name: text for name, cell in row.items() if (text := cell.strip())}) for line, row in found]
    return [(line, row) for line, row in trimmed if "OrderId" in row]
