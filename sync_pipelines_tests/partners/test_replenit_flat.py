"""Flat files of Replenit orders: a line is an item (O12)."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sync_pipelines.normalize.field_names import Names
from sync_pipelines.normalize.flat import LineFold
from sync_pipelines_tests.loading import CASES, Site, item, order, outcomes

HEADER = "OrderId,Currency,ProductId,Sku,Quantity,Price"


def csv(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def of(site: Site, *columns: str, key: str = "A") -> Any:
    row = site.order(key)
    assert row is not None, site.rejects()
    return tuple(row[column] for column in columns)


def parquet(site: Site, rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> bytes:
    path = site.folder / "x.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path.read_bytes()


def test_O12_lines_of_one_order_fold_anywhere_in_the_file_in_first_seen_order(site: Site) -> None:
    entry = site.load("2024-05-01.csv", csv("B,USD,p1,s,1,1", "A,USD,p2,s,1,1", "B,USD,p3,s,1,1", " B ,USD,p4,s,1,1"))
    assert (entry.read, entry.created, entry.lines) == (2, 2, 4)
    assert [row["product_id"] for row in site.items("B")] == ["p1", "p3", "p4"]
    places = site.query("select external_id, source_position from sync.orders order by id")
    assert [(row["external_id"], row["source_position"]) for row in places] == [("B", "2"), ("A", "3")]


def test_O12_the_same_from_csv_parquet_and_excel(site: Site) -> None:
    rows = [("A", "USD", "p", "s", 2, 1.25), ("A", "USD", "q", "t", 1, 3.5)]
    table = [dict(zip(HEADER.split(","), row, strict=True)) for row in rows]
    site.load("2024-05-01.csv", csv(*(",".join(map(str, row)) for row in rows)))
    expected = site.order("A")
    assert outcomes(site.load("2024-05-02.parquet", parquet(site, table))) == {"unchanged": 1}
    book = openpyxl.Workbook()
    for row in (HEADER.split(","), *rows):
        book.worksheets[0].append(list(row))
    book.save(site.folder / "x.xlsx")
    entry = site.load("2024-05-03.xlsx", (site.folder / "x.xlsx").read_bytes())
    assert (outcomes(entry), entry.lines) == ({"unchanged": 1}, 2)
    assert site.order("A") == expected


def test_O12_lines_that_disagree_the_last_non_empty_wins_counted(site: Site) -> None:
    header = HEADER + ",Email,TotalQuantity"
    rows = ("A,USD,p,s,1,1,a@x.y,5", "A,USD,p,s,1,1,,", "A,USD,p,s,1,1,b@x.y,5", "A,EUR,p,s,1,1,,")
    entry = site.load("2024-05-01.csv", csv(*rows, header=header))
    assert of(site, "email", "currency", "total_quantity") == ("b@x.y", "EUR", 5)
    assert entry.leniencies["line_conflict"] == 2


def test_O12_two_spellings_of_the_order_id_are_no_disagreement(site: Site) -> None:
    entry = site.load("2024-05-01.csv", csv("17850,USD,p,s,1,1", "17850.0,USD,q,s,1,1"))
    assert (entry.read, len(site.items("17850"))) == (1, 2)
    assert "line_conflict" not in entry.leniencies


def test_O12_totals_no_column_supplies_are_computed_not_defaulted(site: Site) -> None:
    site.load("2024-05-01.csv", csv("A,USD,p,s,2,1.10", "A,USD,q,s,3,0.0001", "A,USD,p,t,-1,5"))
    expected = (Decimal("-2.7997"), 4, 2)
    assert of(site, "total_revenue", "total_quantity", "unique_quantity") == expected
    assert of(site, "defaulted_fields") == (["OrderDate", "IsOrderCancelled"],)


def test_O12_totals_a_column_supplies_are_taken(site: Site) -> None:
    site.load("2024-05-01.csv", csv("A,USD,p,s,2,1.10,99", header=HEADER + ",TotalRevenue"))
    assert of(site, "total_revenue", "total_quantity") == (99, 2)


def test_O12_totals_a_constant_supplies_are_taken(site: Site) -> None:
    site.sources({"constants": {"TotalRevenue": 7, "Currency": "CLP"}})
    site.load("2024-05-01.csv", csv("A,p,s,2,1.10", header="OrderId,ProductId,Sku,Quantity,Price"))
    assert of(site, "total_revenue", "total_quantity", "currency") == (7, 2, "CLP")


def test_O12_columns_nobody_names_go_to_the_items_extra(site: Site) -> None:
    entry = site.load("2024-05-01.csv", csv("A,USD,p,s,1,1,red,", "A,USD,q,s,1,1,,x", header=HEADER + ",Shade,Note"))
    assert [row["extra"] for row in site.items("A")] == [{"Shade": "red"}, {"Note": "x"}]
    assert of(site, "extra") == (None,)
    assert set(entry.unknown_fields) == {"OrderItems[].Shade", "OrderItems[].Note"}


def test_O12_without_item_columns_items_are_absent(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", TotalRevenue=5, OrderItems=[item()])])
    entry = site.load("2024-05-02.csv", csv("A,USD,2,x", header="OrderId,Currency,TotalQuantity,Note"))
    assert outcomes(entry) == {"updated": 1}
    assert of(site, "total_quantity", "total_revenue", "extra") == (2, 5, {"Note": "x"})
    assert len(site.items("A")) == 1


def test_O12_a_line_with_a_bad_item_field_rejects_its_order(site: Site) -> None:
    rows = ("A,USD,p,s,1,1", "B,USD,p,s,1,1", "A,USD,q,s,one,1", "C,USD,q,,1,1")
    entry = site.load("2024-05-01.csv", csv(*rows))
    assert (entry.read, entry.created, entry.rejected, entry.lines) == (3, 1, 2, 4)
    found = [(r["position"], r["external_id"], r["code"], r["field_path"]) for r in site.rejects()]
    assert found == [
        ("2", "A", "not_a_number", "OrderItems[1].Quantity"),
        ("5", "C", "required", "OrderItems[0].Sku"),
    ]
    assert len(site.rejects()[0]["record"]["OrderItems"]) == 2


def test_O12_a_line_without_an_order_id_is_one_record_rejected(site: Site) -> None:
    entry = site.load("2024-05-01.csv", csv(",USD,p,s,1,1", "A,USD,p,s,1,1", "  ,USD,,,,", ",USD,,,,"))
    assert (entry.read, entry.created, entry.rejected) == (4, 1, 3)
    found = [(r["position"], r["code"], r["field_path"]) for r in site.rejects()]
    assert found == [(n, "key_missing", "OrderId") for n in ("2", "4", "5")]


def test_E2_of_an_order_with_a_damaged_line_what_is_stored_stays(site: Site) -> None:
    site.load("2024-05-01.csv", csv("A,USD,p,s,1,1", "A,USD,q,s,1,1", "A,USD,r,s,1,1"))
    before = site.order("A")
    entry = site.load("2024-05-02.csv", csv("A,USD,p,s,1,1", "A,USD,q,s,1,1,surplus", "A,USD,r,s,1,1", "B,USD,p,s,1,1"))
    assert (entry.read, entry.created, entry.rejected) == (3, 1, 2)
    found = [(r["position"], r["external_id"], r["code"], r["status"]) for r in site.rejects()]
    assert found == [("2", "A", "order_incomplete", "open"), ("3", "A", "too_many_cells", "open")]
    assert site.order("A") == before
    site.load("2024-05-03.csv", csv("A,USD,p,s,1,1", "A,USD,q,s,1,1", "A,USD,r,s,1,1"))
    assert [r["status"] for r in site.rejects()] == ["superseded", "superseded"]


def test_O12_two_spellings_in_one_line_with_different_values_are_rejected(site: Site) -> None:
    header = HEADER + ",product_id,CURRENCY"
    rows = ("A,USD,p,s,1,1,q,USD", "B,USD,p,s,1,1,p,EUR", "C,USD,p,s,1,1,p,USD")
    site.load("2024-05-01.csv", csv(*rows, header=header))
    found = [(r["external_id"], r["code"], r["field_path"]) for r in site.rejects()]
    assert found == [("A", "field_conflict", "OrderItems[0].ProductId"), ("B", "field_conflict", "Currency")]
    assert site.order("C") is not None


def test_O12_one_column_may_stand_for_several_fields(site: Site) -> None:
    site.sources(
        {"columns": {"ProductId": "Code", "Sku": "Code", "OrderId": "No", "TotalRevenue": "Amount", "Price": "Amount"}}
    )
    site.load("2024-05-01.csv", csv("A,USD,c1,2,3.5", header="No,Currency,Code,Quantity,Amount"))
    (row,) = site.items("A")
    assert (row["product_id"], row["sku"], row["price"], of(site, "total_revenue")) == (
        "c1",
        "c1",
        Decimal("3.5"),
        (Decimal("3.5"),),
    )


@pytest.mark.parametrize("name", ["replenit/O12_mapped_columns.csv", "replenit/O12_semicolons.csv"])
def test_O12_a_shops_own_csv(site: Site, name: str) -> None:
    columns = {"OrderId": "InvoiceNo", "ProductId": "StockCode", "Sku": "StockCode", "Price": "UnitPrice"}
    columns |= {"OrderDate": "InvoiceDate", "CustomerId": "CustomerID", "Quantity": "Quantity"}
    settings = {"columns": columns, "constants": {"Currency": "GBP"}, "customer_identifier": "customer_id"}
    site.sources(settings | ({"decimal": ","} if "semicolons" in name else {}))
    entry = site.load("2024-05-01.csv", (CASES / name).read_bytes())
    assert (entry.read, entry.created, entry.lines) == (2, 2, 3)
    assert of(site, "total_revenue", "total_quantity", "currency", key="536365") == (Decimal("35.64"), 12, "GBP")
    assert [row["extra"]["Description"] for row in site.items("536365")] == ["HEART, WHITE", "LANTERN"]
    assert of(site, "customer_id", key="C536366") == (None,)


NESTED = pa.schema(
    {
        "OrderId": pa.string(),
        "Currency": pa.string(),
        "OrderItems": pa.list_(
            pa.struct({"ProductId": pa.string(), "Sku": pa.string(), "Quantity": pa.int64(), "Price": pa.float64()})
        ),
    }
)


@pytest.mark.parametrize("first", [[item()], None], ids=["list", "null"])
def test_O12_parquet_with_an_items_column_is_no_flat_file(site: Site, first: Any) -> None:
    rows = [order("A", OrderItems=first), order("B", OrderItems=[item("p", Price=1.5), item("q")]), order("B")]
    entry = site.load("2024-05-01.parquet", parquet(site, rows, NESTED))
    assert (entry.read, entry.lines, outcomes(entry)) == (3, None, {"created": 2, "unchanged": 1})
    assert [(row["product_id"], row["price"]) for row in site.items("B")] == [("p", Decimal("1.5")), ("q", 2)]
    assert of(site, "total_revenue", "total_quantity", key="B") == (1, 1)


def test_O12_ten_thousand_lines_of_one_order(site: Site) -> None:
    entry = site.load("2024-05-01.csv", csv(*(f"A,USD,p{n},s,1,0.01" for n in range(10_000))))
    assert (entry.read, entry.lines) == (1, 10_000)
    assert of(site, "total_revenue", "unique_quantity") == (100, 10_000)
    assert site.query("select count(*) as n, max(line_no) as last from sync.order_items") == [
        {"n": 10_000, "last": 10_000}
    ]


def test_O12_lines_spill_to_disk_not_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    from sync_pipelines.contracts.raw import Cell, RawRecord
    from sync_pipelines.partners.replenit import ORDERS

    def lines() -> Any:
        for n in range(9_000):
            record = {"OrderId": Cell(f"o{n % 3_000}"), "ProductId": Cell("p" * 50), "Note": Cell("x" * 1_000 + str(n))}
            yield RawRecord(str(n + 2), record)

    tracemalloc.start()
    count = sum(1 for _ in LineFold(ORDERS, Names(ORDERS.shape, {}, flat=True), {}).fold(lines()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 3_000
    assert peak < 3_000_000
