"""Field names, unknown fields, drift (X3)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines_tests.loading import Site, item, lines, order, outcomes


def extra_of(site: Site, key: str = "A") -> Any:
    row = site.order(key)
    assert row is not None
    return row["extra"]


def test_X3_names_match_after_folding_case_and_underscores(site: Site) -> None:
    names = ("order_id", "ORDERID", "orderId", "Order_Id", "__orderid__")
    entry = site.load("2024-05-01.json", [{name: name, "currency": "USD", "order_items": [item()]} for name in names])
    assert outcomes(entry) == {"created": 5}
    assert {len(site.items(name)) for name in names} == {1}
    assert entry.unknown_fields == {}


def test_X3_names_of_items_and_columns_match_too(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=[{"product_id": "p", "SKU": "s", "quantity": 2, "price": 3}])])
    site.load("2024-05-02.csv", "order_id,CURRENCY,product_ID,sku,QUANTITY,price\nB,USD,p,s,2,3\n")
    assert site.items("A") == site.items("B")


def test_X3_two_spellings_with_different_values_are_rejected(site: Site) -> None:
    entry = site.load("2024-05-01.json", [order("A", order_id="B"), order("C")])
    assert outcomes(entry) == {"created": 1, "rejected": 1}
    (reject,) = site.rejects()
    assert (reject["code"], reject["field_path"], reject["position"]) == ("field_conflict", "OrderId", "1")


def test_X3_two_spellings_with_equal_values_are_one(site: Site) -> None:
    assert outcomes(site.load("2024-05-01.json", [order("A", order_id="A")])) == {"created": 1}


TWICE = [
    ('{"OrderId": "A", "Currency": "USD", "Currency": "EUR"}', "Currency"),
    ('{"OrderId": "A", "Currency": "USD", "x": 1, "x": 2}', "x"),
    (
        '{"OrderId": "A", "Currency": "USD", "OrderItems": [{"ProductId": "p", "product_id": "q", "Sku": "s",'
        ' "Quantity": 1, "Price": 1}]}',
        "OrderItems[0].ProductId",
    ),
    (
        '{"OrderId": "A", "Currency": "USD", "OrderItems": [{"ProductId": "p", "Sku": "s", "Sku": "t",'
        ' "Quantity": 1, "Price": 1}]}',
        "OrderItems[0].Sku",
    ),
]


def test_X3_a_name_twice_with_different_values_is_rejected(site: Site) -> None:
    site.load("2024-05-01.ndjson", "\n".join(text for text, _ in TWICE) + "\n" + lines(order("B")))
    assert [(r["code"], r["field_path"]) for r in site.rejects()] == [("field_conflict", path) for _, path in TWICE]
    assert site.order("B") is not None


def test_X3_a_conflict_of_names_with_nul_or_broken_unicode_is_one_reject(site: Site) -> None:
    site.load("2024-05-01.json", r'[{"OrderId":"A","a\u0000":1,"a\u0000":2},{"OrderId":"A","\ud800":1,"\ud800":2}]')
    assert [r["code"] for r in site.rejects()] == ["field_conflict", "field_conflict"]


@pytest.mark.parametrize("is_late", [False, True], ids=["newest", "late"])
def test_X3_unknown_fields_are_kept_and_patch_per_key(site: Site, is_late: bool) -> None:
    site.load("2024-05-01.json", '[{"OrderId":"A","Currency":"USD","a":1.50,"b":{"c":[1,null,true]},"d":"x"}]')
    if is_late:
        site.load("2024-05-03.json", [order("A", z=1)])
    site.load("2024-05-02.json", [order("A", b=2, d=None, e=[])])
    late = {"z": 1} if is_late else {}
    assert extra_of(site) == {"a": Decimal("1.50"), "b": 2, "d": None, "e": [], **late}


def test_X3_unknown_fields_of_items_are_kept_in_the_items_own_extra(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=[item(colour="red"), item()])])
    assert [row["extra"] for row in site.items("A")] == [{"colour": "red"}, None]


def test_X3_unknown_fields_are_reported_once_per_file(site: Site) -> None:
    records = [order("A", a=1, OrderItems=[item(b=1), item(b=2)]), order("B", a=2, c=3)]
    entry = site.load("2024-05-01.json", records)
    assert (entry.status, entry.rejected, set(entry.unknown_fields)) == ("loaded", 0, {"a", "c", "OrderItems[].b"})


def test_X3_numbers_of_unknown_fields_keep_their_digits(site: Site) -> None:
    number = "123456789012345678901234567890.123456789"
    site.load("2024-05-01.json", f'[{{"OrderId":"A","Currency":"USD","a":{number},"b":1e3}}]')
    assert extra_of(site) == {"a": Decimal(number), "b": 1000}


def test_X3_a_number_no_column_can_hold_is_a_reject(site: Site) -> None:
    numbers = {"1e999999": "out_of_range", "-1e-99999": "out_of_range", "NaN": "not_finite", "-Infinity": "not_finite"}
    numbers["1e99999999999999999999"] = "out_of_range"
    content = "".join(f'{{"OrderId":"A","Currency":"USD","a":{number}}}\n' for number in numbers)
    site.load("2024-05-01.ndjson", content + lines(order("B")))
    assert [(r["code"], r["field_path"]) for r in site.rejects()] == [(code, "a") for code in numbers.values()]
    assert site.order("B") is not None


def test_X3_a_mapped_column_hides_the_column_of_the_contracts_own_name(site: Site) -> None:
    columns = {"OrderId": "InvoiceNo", "Price": "Net", "Sku": "StockCode", "Currency": "Cur"}
    site.sources({"columns": columns})
    header = "InvoiceNo,OrderId,Cur,Currency,ProductId,StockCode,Sku,Quantity,Net,Price"
    site.load("2024-05-01.csv", f"{header}\n1,other,USD,dollars,p,code,own,2,3.5,99\n")
    (row,) = site.items("1")
    assert (row["price"], row["sku"]) == (Decimal("3.5"), "code")
    assert row["extra"] == {"OrderId": "other", "Currency": "dollars", "Sku": "own", "Price": "99"}
    site.load("2024-05-02.json", [{"InvoiceNo": "2", "OrderId": "other", "Cur": "USD", "Currency": "dollars"}])
    assert extra_of(site, "2") == {"OrderId": "other", "Currency": "dollars"}


def test_X3_an_unknown_number_of_five_thousand_digits_survives_folds(site: Site) -> None:
    digits = "7" * 5000
    site.load("2024-05-02.json", f'[{{"OrderId":"A","Currency":"USD","a":{digits}}}]')
    site.load("2024-05-01.json", [order("A", b=1)])
    site.load("2024-05-03.json", [order("A", c=1), order("A", d=1)])
    assert extra_of(site) == {"a": Decimal(digits), "b": 1, "c": 1, "d": 1}
