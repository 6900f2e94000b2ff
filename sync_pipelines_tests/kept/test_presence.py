"""Absent, null and value stay apart from the parser to the table (X1)."""

from __future__ import annotations

import pytest

from sync_pipelines_tests.loading import Site, item, order, outcomes

FULL = order(
    "A",
    Email="a@b.c",
    CustomerId="c1",
    TotalQuantity=3,
    TotalRevenue=9,
    OrderDate="2024-01-01T00:00:00Z",
    UniqueQuantity=2,
    IsOrderCancelled=True,
    OrderItems=[item()],
)
COLUMNS = {
    "Email": "email",
    "CustomerId": "customer_external_id",
    "TotalQuantity": "total_quantity",
    "TotalRevenue": "total_revenue",
    "OrderDate": "ordered_at",
    "UniqueQuantity": "unique_quantity",
    "IsOrderCancelled": "is_cancelled",
}


def test_X1_patch_absent_keeps(site: Site) -> None:
    site.load("2024-05-01.json", [FULL])
    before = site.order("A")
    entry = site.load("2024-05-02.json", [order("A")])
    assert outcomes(entry) == {"unchanged": 1}
    assert site.order("A") == before


@pytest.mark.parametrize("is_late", [False, True], ids=["newest", "late"])
def test_X1_patch_null_clears(site: Site, is_late: bool) -> None:
    site.load("2024-05-01.json", [FULL])
    if is_late:
        site.load("2024-05-03.json", [order("A", X=1)])
    entry = site.load("2024-05-02.json", [order("A", OrderItems=None, **dict.fromkeys(COLUMNS))])
    assert outcomes(entry) == {"updated": 1}
    row = site.order("A")
    assert row is not None
    assert {row[column] for column in COLUMNS.values()} == {None}
    assert row["customer_id"] is None
    assert row["order_items"] == []


def test_X1_null_for_a_list_is_an_empty_list(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=None)])
    row = site.order("A")
    assert row is not None
    assert row["order_items"] == []
    assert "OrderItems" not in row["defaulted_fields"]


def test_X1_null_for_a_field_with_a_default_is_null(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", TotalQuantity=None, OrderDate=None, IsOrderCancelled=None)])
    row = site.order("A")
    assert row is not None
    assert (row["total_quantity"], row["ordered_at"], row["is_cancelled"]) == (None, None, None)
    assert row["defaulted_fields"] == ["TotalRevenue", "UniqueQuantity", "OrderItems"]


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"OrderId": "A", "Currency": None}, "Currency"),
        (order("A", OrderItems=[item(Price=None)]), "OrderItems[0].Price"),
        (order("A", OrderItems=[item(), item(Sku=None)]), "OrderItems[1].Sku"),
    ],
)
def test_X1_null_for_a_required_field_is_a_reject(site: Site, record: object, path: str) -> None:
    site.load("2024-05-01.json", [order("A")])
    entry = site.load("2024-05-02.json", [record])
    assert outcomes(entry) == {"rejected": 1}
    (reject,) = site.rejects()
    assert (reject["code"], reject["field_path"]) == ("required", path)


def test_X1_null_key_is_a_missing_key(site: Site) -> None:
    site.load("2024-05-01.json", [{"OrderId": None, "Currency": "USD"}])
    assert [(r["code"], r["field_path"]) for r in site.rejects()] == [("key_missing", "OrderId")]


def test_X1_a_csv_without_the_column_and_an_empty_cell_are_absent(site: Site) -> None:
    site.load("2024-05-01.json", [FULL])
    entry = site.load("2024-05-02.csv", "OrderId,Currency,Email,TotalQuantity\nA,USD,,4\n")
    assert outcomes(entry) == {"updated": 1}
    row = site.order("A")
    assert row is not None
    assert (row["email"], row["total_quantity"], row["customer_external_id"]) == ("a@b.c", 4, "c1")


def test_X1_an_empty_cell_is_null_where_the_settings_say_so(site: Site) -> None:
    site.sources({"empty_is": "null"})
    site.load("2024-05-01.json", [FULL])
    site.load("2024-05-02.csv", "OrderId,Currency,Email,TotalQuantity\nA,USD,,4\n")
    row = site.order("A")
    assert row is not None
    assert (row["email"], row["total_quantity"], row["customer_external_id"]) == (None, 4, "c1")


def test_X1_an_empty_cell_as_null_never_beats_a_value_of_the_same_order(site: Site) -> None:
    site.sources({"empty_is": "null"})
    csv = "OrderId,Currency,Email,ProductId,Sku,Quantity,Price\nA,USD,,p,s,1,1\nA,USD,a@b.c,q,s,1,1\nA,USD,,r,s,1,1\n"
    entry = site.load("2024-05-02.csv", csv)
    row = site.order("A")
    assert row is not None
    assert row["email"] == "a@b.c"
    assert "line_conflict" not in entry.leniencies
