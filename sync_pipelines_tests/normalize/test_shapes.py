"""The shapes of exports, and positions (X12, X14)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sync_pipelines_tests.loading import OTHER_TENANT, TENANT, Site, call, deleted, item, lines, order, outcomes, posted

AT = "2024-05-06T10:00:00Z"


def keys_of(site: Site) -> set[str | None]:
    return {key[2] for key, row in site.tables()["orders"].items() if row["deleted_at"] is None}


def rejects_of(site: Site) -> list[tuple[str, str, str | None]]:
    return [(r["position"], r["code"], r["field_path"]) for r in site.rejects()]


def table_of(site: Site, name: str, rows: list[dict[str, Any]]) -> bytes:
    path = site.folder / name
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path.read_bytes()
    book = openpyxl.Workbook()
    book.worksheets[0].append(list(rows[0]))
    for row in rows:
        book.worksheets[0].append(list(row.values()))
    book.save(path)
    return path.read_bytes()


def test_X12_plain_records_as_array_lines_csv_parquet_and_excel(site: Site) -> None:
    flat = {"Currency": "USD", "ProductId": "p", "Sku": "s", "Quantity": 1, "Price": "2.50"}
    site.put("2024-05-01.json", [order("A")])
    site.put("2024-05-02.ndjson", lines(order("B"), order("C")))
    site.put("2024-05-03.csv", "OrderId,Currency\nD,USD\n")
    site.put("2024-05-04.parquet", table_of(site, "x.parquet", [{"OrderId": "E", **flat}]))
    site.put("2024-05-05.xlsx", table_of(site, "x.xlsx", [{"OrderId": "F", **flat}]))
    site.put("2024-05-06.jsonl", lines(order("G")))
    assert {entry.status for entry in site.sync()} == {"loaded"}
    assert keys_of(site) == set("ABCDEFG")
    assert site.items("E") == site.items("F") != []


def test_X12_a_single_object_is_one_record(site: Site) -> None:
    assert outcomes(site.load("2024-05-01.json", order("A"))) == {"created": 1}
    assert outcomes(site.load("2024-05-02.json", json.dumps({"order_id": "B", "Currency": "USD"}, indent=1))) == {
        "created": 1
    }


def test_X12_a_log_of_requests_writes_what_its_endpoints_do(site: Site) -> None:
    log = lines(
        posted("2024-05-06T10:00:00Z", order("A", TotalQuantity=2), order("B")),
        posted("2024-05-06T11:00:00Z", order("A", TotalQuantity=3)),
        deleted("2024-05-06T12:00:00Z", "B"),
    )
    assert outcomes(site.load("2024-05-06.ndjson", log)) == {"created": 2, "updated": 1, "deleted": 1}
    row = site.order("A")
    assert row is not None
    assert row["total_quantity"] == 3
    assert keys_of(site) == {"A"}


@pytest.mark.parametrize("name", ["2024-05-06.json", "2024-05-06.ndjson"])
def test_X12_the_content_tells_a_log_from_records(site: Site, name: str) -> None:
    assert outcomes(site.load(name, json.dumps(posted(AT, order("A"))) + "\n")) == {"created": 1}


def test_X12_an_order_with_fields_named_like_a_logs_is_an_order(site: Site) -> None:
    entry = site.load("2024-05-06.json", [order("A", method="card", path="/checkout")])
    assert outcomes(entry) == {"created": 1}


def test_X12_a_body_may_be_one_object_or_an_empty_list(site: Site) -> None:
    log = lines(call(AT, "POST", f"/orders/{TENANT}", order("A")), call(AT, "POST", f"/orders/{TENANT}", []))
    assert outcomes(site.load("2024-05-06.ndjson", log)) == {"created": 1}


def test_X12_a_call_without_a_body_is_a_reject(site: Site) -> None:
    site.load("2024-05-06.ndjson", lines(call(AT, "POST", f"/orders/{TENANT}"), posted(AT, order("A"))))
    assert rejects_of(site) == [("1/1", "not_an_object", None)]
    assert keys_of(site) == {"A"}


def test_X12_ids_in_a_path_are_percent_decoded(site: Site) -> None:
    site.load("2024-05-05.json", [order("a/b c%ñ")])
    entry = site.load("2024-05-06.ndjson", lines(deleted(AT, "a%2Fb%20c%25%C3%B1")))
    assert outcomes(entry) == {"deleted": 1}


def test_X12_the_tenant_in_a_path_is_told_in_any_spelling(site: Site) -> None:
    log = lines(posted(AT, order("A"), tenant=TENANT.upper()), posted(AT, order("B"), tenant=f"%7B{TENANT}%7D"))
    assert outcomes(site.load("2024-05-06.ndjson", log)) == {"created": 2}


NO_WRITES: list[tuple[dict[str, Any], str, str]] = [
    (call(None, "DELETE", f"/orders/{TENANT}/x"), "log_time_invalid", "at"),
    (call("06/05/2024", "DELETE", f"/orders/{TENANT}/x"), "log_time_invalid", "at"),
    (call(12, "DELETE", f"/orders/{TENANT}/x"), "log_time_invalid", "at"),
    ({"method": "DELETE", "path": f"/orders/{TENANT}/x"}, "log_time_invalid", "at"),
    (deleted("2009-12-31T23:59:59Z", "x"), "date_out_of_range", "at"),
    (deleted((datetime.now(UTC) + timedelta(days=3)).isoformat(), "x"), "date_out_of_range", "at"),
    (call(AT, "GET", f"/orders/{TENANT}/x"), "route_unknown", "path"),
    (call(AT, "PUT", f"/orders/{TENANT}", []), "route_unknown", "path"),
    (call(AT, "POST", "/commerces/sync", []), "route_unknown", "path"),
    (call(AT, "DELETE", f"/orders/{TENANT}/a/b"), "route_unknown", "path"),
    (call(AT, 1, None), "route_unknown", "path"),
    (deleted(AT, "x", tenant=OTHER_TENANT), "tenant_mismatch", "path"),
    (deleted(AT, "x", tenant="acme"), "tenant_mismatch", "path"),
]


def test_X12_a_log_line_that_does_not_write_here_is_a_reject(site: Site) -> None:
    site.load("2024-05-05.json", [order("x")])
    result = site.load("2024-05-06.ndjson", lines(*(entry for entry, _, _ in NO_WRITES), posted(AT, order("A"))))
    assert outcomes(result) == {"created": 1, "rejected": len(NO_WRITES)}
    found = [(r["record"], r["code"], r["field_path"]) for r in site.rejects()]
    assert found == NO_WRITES
    assert keys_of(site) == {"A", "x"}


def test_X14_lines_count_from_one_and_blank_ones_too(site: Site) -> None:
    site.load("2024-05-01.ndjson", lines(order("A")) + "\n" + lines({"OrderId": "B"}, order("C"), {"OrderId": "D"}))
    assert [p for p, _, _ in rejects_of(site)] == ["3", "5"]
    places = site.query("select external_id, source_position from sync.orders order by 1")
    assert [(row["external_id"], row["source_position"]) for row in places] == [("A", "1"), ("C", "4")]


def test_X14_a_csv_header_is_line_one(site: Site) -> None:
    site.load("2024-05-01.csv", 'OrderId,Currency\nA,USD\n"B\nB",XXX1\nC,YYY1\n')
    assert rejects_of(site) == [("3", "currency_unknown", "Currency"), ("5", "currency_unknown", "Currency")]


def test_X14_elements_count_from_one_in_arrays(site: Site) -> None:
    site.load("2024-05-01.json", [order("A"), 5, order("B"), "x", None])
    assert rejects_of(site) == [(p, "not_an_object", None) for p in ("2", "4", "5")]


def test_X14_line_and_element_in_request_logs(site: Site) -> None:
    site.load(
        "2024-05-06.ndjson", lines(posted(AT, order("A")), posted(AT, order("B"), {"OrderId": "C"}), deleted(AT, "A"))
    )
    assert rejects_of(site) == [("2/2", "required", "Currency")]
    places = site.query("select external_id, source_position from sync.orders order by 1")
    assert [(row["external_id"], row["source_position"]) for row in places] == [("A", "3/1"), ("B", "2/1")]


def test_X14_rows_of_sheets_and_tables(site: Site) -> None:
    rows = [{"OrderId": key, "Currency": "USD" if key != "B" else "??"} for key in "ABC"]
    site.load("2024-05-01.parquet", table_of(site, "x.parquet", rows))
    site.load("2024-05-02.xlsx", table_of(site, "x.xlsx", rows))
    assert [p for p, _, _ in rejects_of(site)] == ["2", "3"]


def test_X14_field_paths_use_the_pages_spelling_and_indexes_from_zero(site: Site) -> None:
    bad = {"product_id": "p", "SKU": "s", "quantity": 1, "PRICE": "x"}
    site.load("2024-05-01.json", [{"order_id": "A", "CURRENCY": "USD", "order_items": [item(), item(), bad]}])
    assert rejects_of(site) == [("1", "not_a_number", "OrderItems[2].Price")]


def test_X14_fields_that_are_no_lists_or_objects(site: Site) -> None:
    site.load(
        "2024-05-01.json",
        [order("A", OrderItems={"a": 1}), order("B", OrderItems=[item(), 7]), order("C", OrderItems="x")],
    )
    assert rejects_of(site) == [
        ("1", "not_a_list", "OrderItems"),
        ("2", "not_an_object", "OrderItems[1]"),
        ("3", "not_a_list", "OrderItems"),
    ]
