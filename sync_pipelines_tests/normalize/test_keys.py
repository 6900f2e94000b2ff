"""Keys and references are text (X2)."""

from __future__ import annotations

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from sync_pipelines_tests.loading import TENANT, Site, call, lines, order


def keys_of(site: Site) -> list[str]:
    return sorted(key[2] or "" for key in site.tables()["orders"])


def test_X2_keys_are_trimmed_and_case_sensitive(site: Site) -> None:
    site.load("2024-05-01.json", [order(" a\t"), order("a", TotalQuantity=2), order("A")])
    assert keys_of(site) == ["A", "a"]


def test_X2_no_break_spaces_are_white_space_too(site: Site) -> None:
    site.load("2024-05-01.json", [order("\u00a0a\u3000")])
    assert keys_of(site) == ["a"]


def test_X2_a_key_is_never_empty(site: Site) -> None:
    site.load("2024-05-01.json", [*(order(key) for key in ("", "   ", "\u00a0", None)), order("b")])
    assert keys_of(site) == ["b"]
    found = [(r["code"], r["field_path"], r["position"]) for r in site.rejects()]
    assert found == [("key_missing", "OrderId", str(n)) for n in range(1, 5)]


def test_X2_a_record_without_its_key(site: Site) -> None:
    site.load("2024-05-01.json", [{"Currency": "USD"}])
    assert [(r["code"], r["field_path"]) for r in site.rejects()] == [("key_missing", "OrderId")]


def test_X2_a_json_number_is_its_text_counted(site: Site) -> None:
    entry = site.load("2024-05-01.json", '[{"OrderId": 17850, "Currency": "USD", "CustomerId": 12345678901234567890}]')
    assert keys_of(site) == ["17850"]
    assert entry.leniencies["coerced_number_to_text"] == 2
    row = site.order("17850")
    assert row is not None
    assert row["customer_external_id"] == "12345678901234567890"


def test_X2_an_integral_decimal_loses_its_zeros_counted(site: Site) -> None:
    entry = site.load("2024-05-01.json", '[{"OrderId": 17850.0, "Currency": "USD"}]')
    assert keys_of(site) == ["17850"]
    assert entry.leniencies["dropped_zero_decimals"] == 1


def test_X2_other_decimals_stay(site: Site) -> None:
    site.load("2024-05-01.json", '[{"OrderId": 1.50, "Currency": "USD"}]')
    assert keys_of(site) == ["1.50"]


def test_X2_an_integral_decimal_in_a_csv_cell_loses_its_zeros_counted(site: Site) -> None:
    entry = site.load("2024-05-01.csv", "OrderId,Currency,CustomerId\n17850.0,USD,007.00\n")
    row = site.order("17850")
    assert row is not None
    assert row["customer_external_id"] == "007"
    assert entry.leniencies["dropped_zero_decimals"] == 2


def test_X2_an_integral_decimal_in_excel_and_parquet_loses_its_zeros_counted(site: Site) -> None:
    xlsx, parquet = site.folder / "book.xlsx", site.folder / "table.parquet"
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["OrderId", "Currency", "CustomerId"])
    sheet.append([17850.0, "USD", "17850.0"])
    book.save(xlsx)
    pq.write_table(pa.table({"OrderId": [17851.0], "Currency": ["USD"], "CustomerId": ["17850.0"]}), parquet)
    first = site.load("2024-05-01.xlsx", xlsx.read_bytes())
    second = site.load("2024-05-02.parquet", parquet.read_bytes())
    assert keys_of(site) == ["17850", "17851"]
    assert {row["customer_external_id"] for row in site.tables()["orders"].values()} == {"17850"}
    assert second.leniencies["dropped_zero_decimals"] == 2
    assert first.leniencies["dropped_zero_decimals"] >= 1


def test_X2_a_json_string_stays_as_it_is(site: Site) -> None:
    entry = site.load("2024-05-01.json", [order("17850.0"), order("007")])
    assert keys_of(site) == ["007", "17850.0"]
    assert entry.leniencies == {"customer_identifier_absent": 2}


def test_X2_a_number_in_scientific_notation_is_a_reject(site: Site) -> None:
    numbers = ["12E5", "1e3", "1.0E+2", "1e99999999999", "7" * 5000]
    content = "".join(f'{{"OrderId": {number}, "Currency": "USD"}}\n' for number in numbers)
    site.load("2024-05-01.ndjson", content + lines(order("b")))
    assert keys_of(site) == ["b"]
    rejects = site.rejects()
    assert {(r["code"], r["field_path"]) for r in rejects} == {("scientific_notation", "OrderId")}
    assert [r["record"]["OrderId"] for r in rejects] == numbers
    assert max(len(r["message"]) for r in rejects) < 500


def test_X2_a_float_cell_in_scientific_notation_is_a_reject(site: Site) -> None:
    parquet = site.folder / "table.parquet"
    pq.write_table(pa.table({"OrderId": [1e22, 5.0], "Currency": ["USD", "USD"]}), parquet)
    site.load("2024-05-01.parquet", parquet.read_bytes())
    assert keys_of(site) == ["5"]
    assert [(r["code"], r["position"]) for r in site.rejects()] == [("scientific_notation", "1")]


def test_X2_the_text_in_scientific_notation_is_a_key(site: Site) -> None:
    site.load("2024-05-01.json", [order("12E5")])
    site.load("2024-05-02.csv", "OrderId,Currency\n13E5,USD\n")
    assert keys_of(site) == ["12E5", "13E5"]


NUL = [
    order("a\0b"),
    order("a", Email="x\0@y.z"),
    order("a", Currency="US\0"),
    order("a", OrderDate="2024-01-01\0"),
    order("a", TotalRevenue="1\0"),
    order("a", TotalQuantity="1\0"),
    order("a", IsOrderCancelled="true\0"),
    order("a", Note="x\0"),
    order("a", Note={"deep": ["\0"]}),
    order("a", Note={"na\0me": 1}),
    order("a", **{"No\0te": 1}),
    order("a", OrderItems=[{"ProductId": "p\0", "Sku": "s", "Quantity": 1, "Price": 1}]),
    order("a", OrderItems=[{"ProductId": "p", "Sku": "s", "Quantity": 1, "Price": 1, "x\0": 1}]),
    order("a", OrderItems=[{"ProductId": "p", "Sku": "s", "Quantity": 1, "Price": 1, "x": "\0"}]),
]


def test_X2_a_nul_character_anywhere_is_a_reject(site: Site) -> None:
    entry = site.load("2024-05-01.json", [*NUL, order("b")])
    assert (entry.status, entry.created, entry.rejected) == ("loaded", 1, len(NUL))
    assert [r["code"] for r in site.rejects()] == ["nul_character"] * len(NUL)
    assert keys_of(site) == ["b"]


def test_X2_a_nul_character_in_a_path_is_a_reject(site: Site) -> None:
    paths = ("/orders/\0", "/or\0ders/x", f"/orders/{TENANT}/a%00b")
    calls = [call("2024-05-01T00:00:00Z", "DELETE", path) for path in paths]
    entry = site.load("2024-05-01.ndjson", lines(*calls, order("b")))
    assert (entry.status, entry.created, entry.rejected) == ("loaded", 1, 3)


def test_X2_a_key_longer_than_an_index_entry_is_a_reject(site: Site) -> None:
    import random

    noise = "".join(random.Random(7).choices([chr(c) for c in range(0x4E00, 0x9FFF)], k=3000))
    entry = site.load("2024-05-01.json", [order("a", Email=noise), order("b")])
    assert (entry.status, entry.created, entry.rejected) == ("loaded", 1, 1)
    assert [(r["code"], r["field_path"]) for r in site.rejects()] == [("too_long", "Email")]
