"""Leniencies, numbers, booleans and dates (X8, X9, X10)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipelines.contracts.codes import LENIENCY_CODES, REJECT_CODES
from sync_pipelines_tests.loading import Site, item, lines, order, posted

NOON = datetime(2024, 5, 6, 12, 0, tzinfo=UTC)


def raw_order(field: str, text: str) -> str:
    """An order whose field holds the JSON text as it stands."""
    return f'[{{"OrderId":"A","Currency":"USD","Email":"a@b.c","{field}":{text}}},{{"OrderId":"B","Currency":"USD"}}]'


def raw_orders(*fields: tuple[str, str]) -> str:
    """One order a line, keyed by its line number, each with one field that holds the JSON text as it stands."""
    return "".join(
        f'{{"OrderId":"{line}","Currency":"USD","Email":"a@b.c","{field}":{text}}}\n'
        for line, (field, text) in enumerate(fields, start=1)
    )


def values_of(site: Site, column: str) -> list[Any]:
    """A column of all orders, in the order of their numeric keys."""
    rows = site.tables()["orders"].items()
    return [row[column] for _, row in sorted(rows, key=lambda found: int(found[0][2] or 0))]


def value_of(site: Site, column: str) -> Any:
    row = site.order("A")
    assert row is not None, site.rejects()
    return row[column]


KNOWN = {"Currency": "USD", "Email": "a@b.c"}
LENIENT: list[tuple[str, dict[str, Any]]] = [
    ("coerced_number_to_text", {**KNOWN, "OrderId": 7}),
    ("number_from_text", {**KNOWN, "OrderId": "A", "TotalQuantity": "6"}),
    ("dropped_zero_decimals", {**KNOWN, "OrderId": "A", "TotalQuantity": "6.0"}),
    ("rounded", {**KNOWN, "OrderId": "A", "TotalRevenue": "1.23456"}),
    ("boolean_from_text", {**KNOWN, "OrderId": "A", "IsOrderCancelled": "yes"}),
    ("trimmed_text", {**KNOWN, "OrderId": "A", "OrderDate": " 2024-05-06 "}),
    ("upper_cased_code", {**KNOWN, "OrderId": "A", "Currency": "usd"}),
    ("customer_identifier_absent", {"OrderId": "A", "Currency": "USD"}),
]


def test_X8_leniencies_are_coded_and_counted_per_file(site: Site) -> None:
    records = [
        {**record, "OrderId": record["OrderId"] if record["OrderId"] == 7 else f"k{n}"}
        for n, (_, record) in enumerate(LENIENT)
    ]
    entry = site.load("2024-05-01.ndjson", "".join(json.dumps(record) + "\n" for record in records * 2))
    assert entry.read == len(LENIENT) * 2
    assert entry.leniencies == {code: 2 for code, _ in LENIENT} | {"number_from_text": 6}
    assert entry.leniencies.keys() <= LENIENCY_CODES.keys()


def test_X8_strict_turns_each_into_a_reject_with_its_code(site: Site) -> None:
    site.sources({"strict": True})
    exact = {"TotalQuantity": ("dropped_zero_decimals", "6.0"), "TotalRevenue": ("rounded", "1.23456")}
    plain = [(code, record) for code, record in LENIENT if code not in ("dropped_zero_decimals", "rounded")]
    content = lines(*(record for _, record in plain))
    content += raw_orders(*((field, text) for field, (_, text) in exact.items()))
    entry = site.load("2024-05-01.ndjson", content)
    assert (entry.created, entry.leniencies) == (0, {})
    assert [reject["code"] for reject in site.rejects()] == [
        *(code for code, _ in plain),
        *(c for c, _ in exact.values()),
    ]


def test_X8_strict_refuses_lines_that_disagree(site: Site) -> None:
    site.sources({"strict": True})
    header = "OrderId,Currency,Email,ProductId,Sku,Quantity,Price\n"
    rows = "A,USD,a@b.c,p,s,1,1\nA,USD,x@y.z,p,s,1,1\nB,USD,a@b.c,p,s,1,1\n"
    entry = site.load("2024-05-01.csv", header + rows)
    assert (entry.created, entry.rejected) == (1, 1)
    assert [(r["code"], r["external_id"]) for r in site.rejects()] == [("line_conflict", "A")]


def test_X8_a_strict_source_takes_what_needs_no_leniency(site: Site) -> None:
    site.sources({"strict": True})
    full = order("A", Email="a@b.c", TotalQuantity=1, TotalRevenue=2, OrderItems=[item()])
    assert site.load("2024-05-01.json", [full]).created == 1
    csv = "OrderId,Currency,Email,ProductId,Sku,Quantity,Price\nB,USD,a@b.c,p,s,1,1.50\n"
    assert site.load("2024-05-02.csv", csv).created == 1


MONEY = {
    "0.1": "0.1",
    "99999999999999.9999": "99999999999999.9999",
    "-99999999999999.9999": "-99999999999999.9999",
    "1.00005": "1.0001",
    "-1.00005": "-1.0001",
    "1.00004999999999999999999999999999999999999999": "1.0000",
    "1.50000000000000": "1.5",
    "1e3": "1000",
    "12.5E-1": "1.25",
    "0e20": "0",
    "0E-30": "0",
    "7": "7",
}


def test_X9_money_comes_from_the_text_of_the_export(site: Site) -> None:
    site.load("2024-05-01.ndjson", raw_orders(*(("TotalRevenue", text) for text in MONEY)))
    assert values_of(site, "total_revenue") == [Decimal(expected) for expected in MONEY.values()]


def test_X9_rounding_is_counted_unless_zeros_are_cut(site: Site) -> None:
    assert site.load("2024-05-01.json", raw_order("TotalRevenue", "1.00005")).leniencies["rounded"] == 1
    assert "rounded" not in site.load("2024-05-02.json", raw_order("TotalRevenue", "1.000000")).leniencies


def test_X9_binary_floats_of_parquet_are_their_shortest_text(site: Site) -> None:
    path = site.folder / "x.parquet"
    columns = {"OrderId": ["A", "B"], "Currency": ["USD", "USD"], "TotalRevenue": [0.1 + 0.2, float("nan")]}
    pq.write_table(pa.table(columns), path)
    entry = site.load("2024-05-01.parquet", path.read_bytes())
    assert value_of(site, "total_revenue") == Decimal("0.3")
    assert [(r["code"], r["field_path"]) for r in site.rejects()] == [("not_finite", "TotalRevenue")]
    assert entry.leniencies["rounded"] == 1


UNFIT = [
    ("TotalRevenue", "NaN", "not_finite"),
    ("TotalRevenue", "Infinity", "not_finite"),
    ("TotalRevenue", '"-inf"', "not_finite"),
    ("TotalRevenue", "100000000000000", "out_of_range"),
    ("TotalRevenue", "99999999999999.99995", "out_of_range"),
    ("TotalRevenue", "1e400", "out_of_range"),
    ("TotalRevenue", "1e999999999999999999999", "out_of_range"),
    ("TotalRevenue", '"1e9999"', "out_of_range"),
    ("TotalRevenue", "9" * 5000, "out_of_range"),
    ("TotalRevenue", "true", "not_a_number"),
    ("TotalRevenue", '"1,5"', "not_a_number"),
    ("TotalRevenue", '""', "not_a_number"),
    ("TotalRevenue", "[1]", "not_a_number"),
    ("TotalQuantity", "1.5", "not_an_integer"),
    ("TotalQuantity", "9223372036854775808", "out_of_range"),
    ("TotalQuantity", "1e400", "out_of_range"),
    ("TotalQuantity", "1e999999999", "out_of_range"),
    ("TotalQuantity", "9" * 5000, "out_of_range"),
    ("TotalQuantity", "NaN", "not_finite"),
    ("TotalQuantity", "true", "not_a_number"),
    ("TotalQuantity", "{}", "not_a_number"),
]


def test_X9_what_does_not_fit_is_a_reject(site: Site) -> None:
    entry = site.load(
        "2024-05-01.ndjson", raw_orders(*((field, text) for field, text, _ in UNFIT), ("TotalRevenue", "1"))
    )
    assert (entry.status, entry.created, entry.rejected) == ("loaded", 1, len(UNFIT))
    rejects = site.rejects()
    assert [(r["field_path"], r["code"]) for r in rejects] == [(field, code) for field, _, code in UNFIT]
    assert [r["position"] for r in rejects] == [str(line) for line in range(1, len(UNFIT) + 1)]
    assert max(len(r["message"]) for r in rejects) < 500


def test_X9_an_integral_decimal_is_an_integer_counted(site: Site) -> None:
    entry = site.load("2024-05-01.ndjson", raw_orders(*(("TotalQuantity", t) for t in ("6.0", "6", "6.000", "6e0"))))
    assert values_of(site, "total_quantity") == [6, 6, 6, 6]
    assert entry.leniencies["dropped_zero_decimals"] == 3


def test_X9_the_largest_integers_fit(site: Site) -> None:
    site.load("2024-05-01.json", raw_order("TotalQuantity", str(2**63 - 1)))
    assert value_of(site, "total_quantity") == 2**63 - 1
    site.load("2024-05-02.json", raw_order("TotalQuantity", str(-(2**63))))
    assert value_of(site, "total_quantity") == -(2**63)


def test_X9_totals_computed_from_lines_that_do_not_fit_are_one_reject(site: Site) -> None:
    header = "OrderId,Currency,ProductId,Sku,Quantity,Price\n"
    rows = f"A,USD,p,s,{2**62},99999999999999\nB,USD,p,s,{2**62},0\nB,USD,p,s,{2**62},0\nC,USD,p,s,1,1\n"
    entry = site.load("2024-05-01.csv", header + rows)
    assert (entry.status, entry.created, entry.rejected) == ("loaded", 1, 2)
    found = [(r["external_id"], r["code"], r["field_path"]) for r in site.rejects()]
    assert found == [("A", "out_of_range", "TotalRevenue"), ("B", "out_of_range", "TotalQuantity")]


def test_X9_the_decimal_separator_of_a_source(site: Site) -> None:
    site.sources({"decimal": ","})
    site.load("2024-05-01.csv", "OrderId;Currency;TotalRevenue\nA;USD;1,5\nB;USD;1.5\nC;USD;1.234,5\n")
    rows = {key[2]: row["total_revenue"] for key, row in site.tables()["orders"].items()}
    assert rows == {"A": Decimal("1.5")}
    assert [r["code"] for r in site.rejects()] == ["not_a_number", "not_a_number"]


YES = ('"true"', '"1"', '"YES"', '"Si"', '"sí"', '"SÍ"', "1", '" yes "')
NO = ('"false"', '"0"', '"No"', '"FALSE"', "0")


def test_X10_booleans_from_text_are_counted(site: Site) -> None:
    entry = site.load("2024-05-01.ndjson", raw_orders(*(("IsOrderCancelled", text) for text in YES + NO)))
    assert values_of(site, "is_cancelled") == [True] * len(YES) + [False] * len(NO)
    assert entry.leniencies["boolean_from_text"] == len(YES + NO)


def test_X10_booleans_of_json_are_not_counted(site: Site) -> None:
    entry = site.load("2024-05-01.json", raw_order("IsOrderCancelled", "true"))
    assert (value_of(site, "is_cancelled"), "boolean_from_text" in entry.leniencies) == (True, False)


def test_X10_booleans_of_csv_are_counted(site: Site) -> None:
    entry = site.load("2024-05-01.csv", "OrderId,Currency,IsOrderCancelled\nA,USD,Sí\nB,USD,TRUE\n")
    assert (value_of(site, "is_cancelled"), entry.leniencies["boolean_from_text"]) == (True, 2)


def test_X10_anything_else_is_no_boolean(site: Site) -> None:
    texts = ["2", "-1", '"x"', '""', "[]", "{}", "1.5", '"maybe"']
    site.load("2024-05-01.ndjson", raw_orders(*(("IsOrderCancelled", text) for text in texts)))
    found = [(r["code"], r["field_path"]) for r in site.rejects()]
    assert found == [("not_a_boolean", "IsOrderCancelled")] * len(texts)


NOONS = (
    "2024-05-06T12:00:00Z",
    "2024-05-06 12:00:00",
    "2024-05-06T12:00",
    "2024-05-06T07:00:00-05:00",
    "2024-05-06T17:30:00+0530",
    "20240506T120000Z",
    "2024-05-06T12:00:00.000000Z",
    "2024-05-06T12:00:00.000Z",
)


def test_X10_dates_are_iso_and_naive_ones_utc(site: Site) -> None:
    site.load("2024-05-01.json", [order(str(key), OrderDate=text) for key, text in enumerate(NOONS)])
    assert values_of(site, "ordered_at") == [NOON] * len(NOONS)


def test_X10_other_formats_are_never_guessed(site: Site) -> None:
    values = [
        "06/05/2024",
        "5/6/2024 10:00",
        "2024-13-01",
        "2024-02-30",
        "yesterday",
        "",
        1714996800,
        True,
        [],
        "2024-05",
    ]
    entry = site.load("2024-05-01.json", [order(str(key), OrderDate=value) for key, value in enumerate(values)])
    assert entry.rejected == len(values)
    assert {(r["code"], r["field_path"]) for r in site.rejects()} == {("not_a_date", "OrderDate")}


def test_X10_other_formats_when_the_settings_name_one(site: Site) -> None:
    site.sources({"date_format": "%d/%m/%Y %H:%M", "timezone": "America/Mexico_City"})
    site.load("2024-05-01.csv", "OrderId,Currency,OrderDate\nA,USD,06/05/2024 06:00\nB,USD,13/31/2024 06:00\n")
    assert value_of(site, "ordered_at") == NOON
    assert [r["code"] for r in site.rejects()] == ["not_a_date"]


def test_X10_a_request_log_has_iso_times_whatever_the_records_format(site: Site) -> None:
    site.sources({"date_format": "%d/%m/%Y"})
    site.load("2024-05-01.ndjson", lines(posted("2024-05-06T12:00:00Z", order("A", OrderDate="06/05/2024"))))
    assert value_of(site, "ordered_at") == NOON.replace(hour=0)


def test_X10_a_naive_time_is_in_the_zone_the_settings_name(site: Site) -> None:
    site.sources({"timezone": "America/Mexico_City"})
    site.load(
        "2024-05-01.json", [order("A", OrderDate="2024-05-06T06:00:00"), order("B", OrderDate="2024-05-06T12:00Z")]
    )
    assert {row["ordered_at"] for row in site.tables()["orders"].values()} == {NOON}


def test_X10_a_date_beyond_the_calendar_is_a_reject(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderDate="0001-01-01T00:00:00+14:00"), order("B")])
    assert [r["code"] for r in site.rejects()] == ["out_of_range"]


def test_X8_every_code_has_a_sentence() -> None:
    assert all(sentence.endswith(".") for sentence in (*LENIENCY_CODES.values(), *REJECT_CODES.values()))
