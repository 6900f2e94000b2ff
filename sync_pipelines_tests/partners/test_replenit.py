"""Replenit orders: what the partner's page and the rules say of them (O1 to O11)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines.partners.replenit import size_metric, size_numeric, tenant_guid
from sync_pipelines_tests.loading import (
    OTHER_TENANT,
    TENANT,
    Site,
    call,
    deleted,
    item,
    lines,
    order,
    outcomes,
    posted,
)

AT = "2024-05-06T10:00:00Z"
DEFAULTED = ["TotalQuantity", "TotalRevenue", "OrderDate", "UniqueQuantity", "IsOrderCancelled", "OrderItems"]


def of(site: Site, *columns: str, key: str = "A") -> Any:
    row = site.order(key)
    assert row is not None
    return tuple(row[column] for column in columns)


def rejects_of(site: Site) -> list[tuple[str, str, str | None]]:
    return [(r["position"], r["code"], r["field_path"]) for r in site.rejects()]


# -- O1: tenants, bodies, routes -------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [TENANT, TENANT.upper(), f"{{{TENANT}}}", f"{{{TENANT.upper()}}}"])
def test_O1_the_tenant_is_a_guid_stored_lower_case_and_bare(folder: str) -> None:
    assert tenant_guid(folder) == TENANT


@pytest.mark.parametrize(
    "folder", ["acme", TENANT[:-1], TENANT.replace("-", ""), f"{{{TENANT}", f"{TENANT}}}", f"urn:uuid:{TENANT}", ""]
)
def test_O1_anything_else_is_no_tenant(folder: str) -> None:
    assert tenant_guid(folder) is None


def test_O1_a_tenant_in_capitals_and_braces_is_the_same_tenant(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", TotalQuantity=1)])
    entry = site.load("2024-05-02.json", [order("A", TotalQuantity=2)], tenant=f"{{{TENANT.upper()}}}")
    assert (entry.tenant, outcomes(entry)) == (TENANT, {"updated": 1})
    assert of(site, "total_quantity") == (2,)


def test_O1_a_folder_that_is_no_guid_fails_and_nothing_of_it_loads(site: Site) -> None:
    site.put("2024-05-01.json", [order("A")], tenant="acme")
    site.put("2024-05-01.json", [order("B")])
    assert {(e.tenant, e.status) for e in site.sync()} == {("acme", "failed"), (TENANT, "loaded")}
    failed = next(entry for entry in site.ledger() if entry.tenant == "acme")
    assert (failed.error or "").startswith("tenant_invalid: ")
    assert len(site.tables()["orders"]) == 1


def test_O1_an_unknown_tenant_fails_until_it_is_listed(site: Site) -> None:
    site.sources(tenant=TENANT)
    entry = site.load("2024-05-01.json", [order("A")], tenant=OTHER_TENANT)
    assert (entry.status, (entry.error or "").split(":")[0]) == ("failed", "tenant_unknown")
    assert site.tables()["orders"] == {}
    site.sources(tenant=OTHER_TENANT)
    (again,) = site.sync()
    assert (again.status, again.created, again.error) == ("loaded", 1, None)


def test_O1_tenants_are_apart(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c")])
    entry = site.load("2024-05-01.json", [order("A", Email="a@b.c")], tenant=OTHER_TENANT)
    assert outcomes(entry) == {"created": 1}
    assert len(site.customers()) == 2


def test_O1_a_bare_array_and_both_routes_write(site: Site) -> None:
    site.load("2024-05-05.json", [order("A")])
    entry = site.load("2024-05-06.ndjson", lines(posted(AT, order("B")), deleted(AT, "A")))
    assert outcomes(entry) == {"created": 1, "deleted": 1}


@pytest.mark.parametrize("body", [{"orders": [order("A")]}, {"items": []}, {}, {"data": [], "code": 200}])
def test_O1_any_other_body_fails_the_file(site: Site, body: dict[str, Any]) -> None:
    entry = site.load("2024-05-05.json", body)
    assert (entry.status, (entry.error or "").split(":")[0]) == ("failed", "wrong_envelope")


# -- O2: required fields, currencies, lengths ------------------------------------------------------------------


def test_O2_order_id_and_currency_are_required_on_every_record(site: Site) -> None:
    site.load("2024-05-01.json", [order("A")])
    site.load("2024-05-02.json", [{"OrderId": "A", "Email": "x@y.z"}, {"Currency": "USD"}])
    assert rejects_of(site) == [("1", "required", "Currency"), ("2", "key_missing", "OrderId")]


def test_O2_currencies_are_upper_cased_counted_and_known(site: Site) -> None:
    codes = ["usd", "Clp", " EUR ", "GBP", "XXL", "US", "DOLLAR", "", 840]
    entry = site.load("2024-05-01.json", [{"OrderId": str(n), "Currency": code} for n, code in enumerate(codes)])
    assert (entry.created, entry.rejected, entry.leniencies["upper_cased_code"]) == (4, 5, 2)
    assert {row["currency"] for row in site.tables()["orders"].values()} == {"USD", "CLP", "EUR", "GBP"}
    assert {(code, path) for _, code, path in rejects_of(site)} == {("currency_unknown", "Currency")}


def test_O2_a_missing_currency_takes_the_sources_default(site: Site) -> None:
    site.sources({"currency_default": "CLP"})
    site.put("2024-05-01.json", [{"OrderId": "A"}, order("B")])
    site.put("2024-05-02.csv", "OrderId,TotalQuantity,Currency\nC,1,\nD,1,EUR\n")
    site.put("2024-05-03.csv", "OrderId,TotalQuantity\nE,1\n")
    site.sync()
    found = {key[2]: row["currency"] for key, row in site.tables()["orders"].items()}
    assert found == {"A": "CLP", "B": "USD", "C": "CLP", "D": "EUR", "E": "CLP"}
    site.load("2024-05-04.json", [{"OrderId": "A", "Currency": None}])
    assert rejects_of(site) == [("1", "required", "Currency")]


LIMITS = {"ProductId": 100, "Sku": 50, "Size": 50, "Color": 50}


def test_O2_exactly_at_the_limit_is_accepted(site: Site) -> None:
    full = item(**{field: "ñ" * limit for field, limit in LIMITS.items()})
    entry = site.load("2024-05-01.json", [order("ñ" * 100, OrderItems=[full]), order(" " + "x" * 100 + " ")])
    assert outcomes(entry) == {"created": 2}


def test_O2_one_character_more_is_a_reject(site: Site) -> None:
    records = [order(f"{field}", OrderItems=[item(**{field: "x" * (limit + 1)})]) for field, limit in LIMITS.items()]
    site.load("2024-05-01.json", [order("x" * 101), *records])
    wanted = [("1", "too_long", "OrderId")]
    wanted += [(str(n), "too_long", f"OrderItems[0].{field}") for n, field in enumerate(LIMITS, start=2)]
    assert rejects_of(site) == wanted


# -- O3: defaults ----------------------------------------------------------------------------------------------


def test_O3_defaults_hold_on_create_and_are_listed(site: Site) -> None:
    site.load("2024-05-06.json", [order("A")])
    columns = ("total_quantity", "total_revenue", "unique_quantity", "is_cancelled", "order_items", "ordered_at")
    assert of(site, *columns) == (1, 1, 1, False, [], datetime(2024, 5, 6, tzinfo=UTC))
    assert of(site, "defaulted_fields") == (DEFAULTED,)


def test_O3_on_update_an_absent_field_keeps_what_is_stored(site: Site) -> None:
    full = {
        "TotalQuantity": 3,
        "TotalRevenue": 9,
        "UniqueQuantity": 2,
        "IsOrderCancelled": True,
        "OrderDate": "2024-01-01",
    }
    site.load("2024-05-06.json", [order("A", OrderItems=[item()], **full)])
    before = site.order("A")
    assert outcomes(site.load("2024-05-07.json", [order("A")])) == {"unchanged": 1}
    assert site.order("A") == before
    assert of(site, "defaulted_fields") == ([],)


def test_O3_a_sent_value_is_no_default_any_more(site: Site) -> None:
    site.load("2024-05-06.json", [order("A")])
    site.load("2024-05-07.json", [order("A", TotalQuantity=1, OrderItems=[])])
    assert of(site, "defaulted_fields") == ([f for f in DEFAULTED if f not in ("TotalQuantity", "OrderItems")],)


def test_O3_any_sent_value_however_old_beats_a_default(site: Site) -> None:
    site.load("2024-05-06.json", [order("A")])
    site.load("2024-05-07.json", [order("A")])
    sent = {"TotalQuantity": 7, "IsOrderCancelled": True, "OrderDate": "2024-01-01T00:00Z", "OrderItems": [item()]}
    site.load("2024-05-01.json", [order("A", **sent)])
    assert of(site, "total_quantity", "is_cancelled", "ordered_at") == (7, True, datetime(2024, 1, 1, tzinfo=UTC))
    assert of(site, "defaulted_fields") == (["TotalRevenue", "UniqueQuantity"],)
    assert len(site.items("A")) == 1


def test_O3_the_default_order_date_is_the_oldest_records_since_the_last_tombstone(site: Site) -> None:
    site.load("2024-05-06.json", [order("A")])
    site.load("2024-05-04.json", [order("A")])
    assert of(site, "ordered_at") == (datetime(2024, 5, 4, tzinfo=UTC),)
    site.load("2024-05-05.ndjson", lines(deleted("2024-05-05T00:00:00Z", "A")))
    assert of(site, "ordered_at") == (datetime(2024, 5, 6, tzinfo=UTC),)
    site.load("2024-05-03.json", [order("A")])
    assert of(site, "ordered_at") == (datetime(2024, 5, 6, tzinfo=UTC),)


def test_O4_the_order_date_is_iso_and_stored_in_utc(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderDate="2024-05-06T07:30:00-05:00"), order("B", OrderDate="6 May")])
    assert of(site, "ordered_at") == (datetime(2024, 5, 6, 12, 30, tzinfo=UTC),)
    assert rejects_of(site) == [("2", "not_a_date", "OrderDate")]


# -- O5: customers ---------------------------------------------------------------------------------------------


def test_O5_by_email_trimmed_and_case_folded(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email=" Ana.STRASSE@X.cl\t"), order("B", Email="ana.straße@x.CL")])
    assert site.customers() == [((TENANT, "replenit", "ana.strasse@x.cl"), True)]
    assert of(site, "email", "customer_external_id") == (" Ana.STRASSE@X.cl\t", None)


def test_O5_by_customer_id(site: Site) -> None:
    site.sources({"customer_identifier": "customer_id"})
    entry = site.load("2024-05-01.json", [order("A", CustomerId=17850, Email="a@b.c")])
    assert of(site, "customer_id", "customer_external_id", "email") == ((TENANT, "replenit", "17850"), "17850", "a@b.c")
    assert "customer_identifier_absent" not in entry.leniencies


@pytest.mark.parametrize(
    ("identifier", "record"),
    [
        ("email", order("A", CustomerId="c1")),
        ("email", order("A", CustomerId="c1", Email=None)),
        ("email", order("A", CustomerId="c1", Email="  ")),
        ("customer_id", order("A", Email="a@b.c")),
    ],
)
def test_O5_the_other_field_is_no_fallback(site: Site, identifier: str, record: dict[str, Any]) -> None:
    site.sources({"customer_identifier": identifier})
    entry = site.load("2024-05-01.json", [record])
    assert (outcomes(entry), entry.leniencies["customer_identifier_absent"]) == ({"created": 1}, 1)
    assert of(site, "customer_id") == (None,)
    assert site.customers() == []


def test_O5_an_absent_identifier_keeps_the_link_and_null_clears_it(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c")])
    site.load("2024-05-02.json", [order("A", TotalQuantity=2)])
    assert of(site, "customer_id") == ((TENANT, "replenit", "a@b.c"),)
    site.load("2024-05-03.json", [order("A", Email=None)])
    assert of(site, "customer_id") == (None,)


def test_O5_customers_of_another_partner(site: Site) -> None:
    owner = {"partner": "traede", "tenant": "acme"}
    site.sources({"customer_identifier": "customer_id", "customers_of": owner})
    with site.database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into sync.customers (tenant, partner, external_id, name) values ('acme', 'traede', 'c1', 'Ana')"
        )
    site.load("2024-05-01.json", [order("A", CustomerId="c1"), order("B", CustomerId="c2")])
    assert site.customers() == [(("acme", "traede", "c1"), False), (("acme", "traede", "c2"), True)]
    assert of(site, "customer_id") == (("acme", "traede", "c1"),)
    assert of(site, "customer_id", key="B") == (("acme", "traede", "c2"),)


# -- O6 to O8: items -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["ProductId", "Sku", "Quantity", "Price"])
def test_O6_one_bad_item_rejects_its_order_with_the_path(site: Site, field: str) -> None:
    bad = {name: value for name, value in item().items() if name != field}
    entry = site.load("2024-05-01.json", [order("A", OrderItems=[item(), item(), bad]), order("B")])
    assert outcomes(entry) == {"created": 1, "rejected": 1}
    code = "key_missing" if field == "nothing" else "required"
    assert rejects_of(site) == [("1", code, f"OrderItems[2].{field}")]
    assert site.order("A") is None


def test_O6_quantity_is_an_integer(site: Site) -> None:
    site.load(
        "2024-05-01.json", [order("A", OrderItems=[item(Quantity=1.5)]), order("B", OrderItems=[item(Quantity=-2.0)])]
    )
    assert rejects_of(site) == [("1", "not_an_integer", "OrderItems[0].Quantity")]
    assert site.items("B")[0]["quantity"] == -2


def test_O6_an_items_own_order_id_must_equal_its_orders(site: Site) -> None:
    good, bad = order("A", OrderItems=[item(OrderId=" A ")]), order("B", OrderItems=[item(), item(OrderId="A")])
    site.load("2024-05-01.json", [good, bad])
    assert rejects_of(site) == [("2", "key_mismatch", "OrderItems[1].OrderId")]
    assert len(site.items("A")) == 1


def test_O7_absent_keeps_a_list_replaces_empty_or_null_clears(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=[item("p"), item("q")])])
    site.load("2024-05-02.json", [order("A", TotalQuantity=2)])
    assert [row["product_id"] for row in site.items("A")] == ["p", "q"]
    site.load("2024-05-03.json", [order("A", OrderItems=[item("r")])])
    assert [row["product_id"] for row in site.items("A")] == ["r"]
    site.load("2024-05-04.json", [order("A", OrderItems=[])])
    assert site.items("A") == []
    site.load("2024-05-05.json", [order("A", OrderItems=[item("s")])])
    site.load("2024-05-06.json", [order("A", OrderItems=None)])
    assert site.items("A") == []


def test_O7_equal_lines_are_not_merged_and_position_is_the_line_number(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=[item("p"), item("q"), item("p")])])
    assert [(row["line_no"], row["product_id"]) for row in site.items("A")] == [(1, "p"), (2, "q"), (3, "p")]


SIZES = {
    "1l": ("1", "l"),
    "1.5 L": ("1.5", "l"),
    "500 ml": ("500", "ml"),
    "XL": (None, None),
    "1/2 kg": ("0.5", "kg"),
    "1/3 kg": ("0.333333", "kg"),
    "1,5 l": ("1.5", "l"),
    " 42 ": ("42", None),
    "2XL": (None, None),
    "1/0 kg": (None, None),
    "": (None, None),
    "10 x 5": (None, None),
    "999999999999999999 l": (None, None),
}


def test_O8_size_is_parsed_into_number_and_metric(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=[item(Size=size) for size in SIZES])])
    expected = [(size, number and Decimal(number), metric) for size, (number, metric) in SIZES.items()]
    assert [(row["size"], row["size_numeric"], row["size_metric"]) for row in site.items("A")] == expected
    assert (size_numeric(None), size_metric(None)) == (None, None)


def test_O8_a_size_that_is_null_or_absent_has_neither(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=[item(), item(Size=None)])])
    assert {(row["size"], row["size_numeric"], row["size_metric"]) for row in site.items("A")} == {(None, None, None)}


def test_O9_a_cancelled_order_is_marked(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", IsOrderCancelled=True, TotalRevenue=5), order("B")])
    assert (of(site, "is_cancelled", "total_revenue", "deleted_at"), of(site, "is_cancelled", key="B")) == (
        (True, 5, None),
        (False,),
    )
    site.load("2024-05-02.json", [order("A", IsOrderCancelled=False)])
    assert of(site, "is_cancelled") == (False,)


def test_O10_totals_that_do_not_match_are_never_a_reject(site: Site) -> None:
    entry = site.load("2024-05-01.json", [order("A", TotalRevenue=99, TotalQuantity=9, OrderItems=[item(Price=1)])])
    assert outcomes(entry) == {"created": 1}
    assert of(site, "total_revenue", "total_quantity") == (99, 9)


# -- O11: delete -----------------------------------------------------------------------------------------------


def test_O11_delete_leaves_a_tombstone(site: Site) -> None:
    site.load("2024-05-05.json", [order("A", OrderItems=[item()])])
    assert outcomes(site.load("2024-05-06.ndjson", lines(deleted(AT, "A")))) == {"deleted": 1}
    assert of(site, "deleted_at", "currency", "order_items") == (datetime(2024, 5, 6, 10, tzinfo=UTC), None, [])


def test_O11_an_unknown_or_dead_order_is_not_found(site: Site) -> None:
    site.load("2024-05-05.json", [order("A")])
    site.load("2024-05-06.ndjson", lines(deleted(AT, "A")))
    entry = site.load("2024-05-07.ndjson", lines(deleted("2024-05-07T00:00:00Z", "A"), deleted(AT, "B")))
    assert outcomes(entry) == {"not_found": 2}


@pytest.mark.parametrize("path", ["", "%20", "%C2%A0"])
def test_O11_an_empty_id_is_a_reject(site: Site, path: str) -> None:
    site.load("2024-05-06.ndjson", lines(call(AT, "DELETE", f"/orders/{TENANT}/{path}"), posted(AT, order("A"))))
    (reject,) = site.rejects()
    assert (reject["code"], reject["message"], reject["position"]) == ("key_missing", "Order ID is required.", "1/1")
    assert site.order("A") is not None
