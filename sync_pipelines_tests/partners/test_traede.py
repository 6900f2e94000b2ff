"""Traede customers: what the partner's page and the rules say of them (T1 to T9)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines_tests.loading import TENANT, Site, call, deleted, lines, order, outcomes

PAGE = {
    "customers": [
        {
            "customer_number": "1000",
            "name": "A customer",
            "currency": "USD",
            "payment_term": {"payment_term_code": "30-days"},
        }
    ]
}
"""The example of Traede's page."""
BY_TITLE = {"addresses_sync_mode": "replace", "addresses_sync_key": "address_title"}
BY_ID = {"addresses_sync_mode": "replace", "addresses_sync_key": "remote_erp_id"}


def load(site: Site, day: int, content: Any) -> LedgerFile:
    suffix = ".ndjson" if isinstance(content, str) else ".json"
    return site.load_at(f"traede/acme/customers/2024-05-{day:02}{suffix}", content)


def sent(site: Site, day: int, *customers: Any) -> LedgerFile:
    """Loads a documented body of customers that all loaded."""
    entry = load(site, day, {"customers": list(customers)})
    assert (entry.status, entry.rejected) == ("loaded", 0), site.rejects()
    return entry


def customer(key: Any = "1000", **fields: Any) -> dict[str, Any]:
    return {"customer_number": key, "name": f"Customer {key}", "currency": "USD", **fields}


def patch(key: Any = "1000", **fields: Any) -> dict[str, Any]:
    return {"customer_number": key, **fields}


def address(title: str = "Primary address", **fields: Any) -> dict[str, Any]:
    return {"title": title, "name": "n", "address": "a", "zip": "z", "city": "c", "country": "DK", **fields}


def row(site: Site, key: str = "1000") -> dict[str, Any]:
    return site.tables()["customers"][("acme", "traede", key)]


def addresses(site: Site, *columns: str) -> list[Any]:
    """The addresses of customer 1000 in order, by some columns."""
    found = [tuple(a[c] for c in columns) for a in row(site)["customer_addresses"]]
    return [values[0] for values in found] if len(columns) == 1 else found


def ids(site: Site) -> dict[str, int]:
    return {r["title"]: r["id"] for r in site.query("select id, title from sync.customer_addresses order by line_no")}


def rejects_of(site: Site) -> list[tuple[str, str, str | None]]:
    return [(r["position"], r["code"], r["field_path"]) for r in site.rejects()]


def orders_mean_traede(site: Site) -> None:
    """Orders of replenit name customers of traede's tenant acme (O5)."""
    settings = {"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}}
    site.sources(settings)


# -- T1, T2 ----------------------------------------------------------------------------------------------------


def test_T1_the_example_of_the_page_is_one_created_customer(site: Site) -> None:
    entry = load(site, 1, PAGE)
    assert (entry.read, outcomes(entry), entry.leniencies) == (1, {"created": 1}, {})
    found = row(site)
    assert (found["name"], found["currency"], found["is_placeholder"]) == ("A customer", "USD", False)
    assert (found["payment_terms_id"], found["payment_terms_code"], found["is_active"]) == (None, "30-days", True)


def test_T1_records_body_and_both_routes_are_one_export(site: Site) -> None:
    log = [
        call(f"2024-05-04T0{n}:00:00Z", "POST", p, PAGE)
        for n, p in enumerate(("/customers/sync", "/production/customers/sync"))
    ]
    assert outcomes(load(site, 1, PAGE["customers"])) == {"created": 1}
    assert outcomes(load(site, 2, PAGE)) == {"unchanged": 1}
    assert outcomes(load(site, 3, lines(*PAGE["customers"]))) == {"unchanged": 1}
    assert outcomes(load(site, 4, lines(*log))) == {"unchanged": 2}
    assert outcomes(load(site, 5, PAGE["customers"][0])) == {"unchanged": 1}


def test_T1_a_flat_file_has_a_customer_a_line(site: Site) -> None:
    text = "Customer_Number,name,currency,active,discount_percentage,delete\n0100,Ana,usd,no,7.5,\n0200,,,,,true\n"
    entry = site.load_at("traede/acme/customers/2024-05-01.csv", text)
    assert outcomes(entry) == {"created": 1, "not_found": 1}
    found = row(site, "0100")
    assert (found["currency"], found["is_active"], found["discount_percentage"]) == ("USD", False, Decimal("7.5"))


@pytest.mark.parametrize("body", [{}, {"items": []}, {"customers": None}, {"customers": customer()}, {"name": "x"}])
def test_T1_any_other_body_fails_the_file(site: Site, body: dict[str, Any]) -> None:
    entry = load(site, 1, body)
    assert (entry.status, (entry.error or "").split(":")[0]) == ("failed", "wrong_envelope")


def test_T1_other_calls_do_not_write(site: Site) -> None:
    log = [
        call("2024-05-06T00:00:00Z", method, path, PAGE)
        for method, path in (("GET", "/customers/sync"), ("POST", "/staging/customers/sync"))
    ]
    assert outcomes(load(site, 6, lines(*log))) == {"rejected": 2}
    assert {code for _, code, _ in rejects_of(site)} == {"route_unknown"}


def test_T2_the_customer_number_is_required(site: Site) -> None:
    bad = [{"name": "x", "currency": "USD"}, customer(None), customer(" "), {"delete": True}]
    assert outcomes(load(site, 1, [*bad, customer()])) == {"rejected": 4, "created": 1}
    assert rejects_of(site) == [(str(n), "key_missing", "customer_number") for n in range(1, 5)]


def test_T2_a_new_number_is_always_a_new_customer(site: Site) -> None:
    sent(site, 1, customer("1000"))
    entry = sent(site, 2, customer(1001), customer("01000"), customer(" 1000 "))
    assert outcomes(entry) == {"created": 2, "updated": 1}
    assert sorted(key[2] for key in site.tables()["customers"]) == ["01000", "1000", "1001"]


# -- T3: what a new customer needs -----------------------------------------------------------------------------


def test_T3_a_new_customer_needs_name_and_currency_a_known_one_neither(site: Site) -> None:
    entry = load(site, 1, [patch("1", name="x"), patch("2", currency="USD"), patch("3"), customer("4")])
    assert outcomes(entry) == {"rejected": 3, "created": 1}
    assert rejects_of(site) == [("1", "required", "currency"), ("2", "required", "name"), ("3", "required", "name")]
    assert outcomes(sent(site, 2, patch("4", discount_percentage=5))) == {"updated": 1}
    assert (row(site, "4")["name"], row(site, "4")["currency"]) == ("Customer 4", "USD")


@pytest.mark.parametrize("name", ["name", "currency"])
def test_T3_null_is_refused_of_a_known_customer_too(site: Site, name: str) -> None:
    sent(site, 1, customer())
    load(site, 2, [patch(**{name: None})])
    assert rejects_of(site) == [("1", "required", name)]


def test_T3_currencies_are_validated_as_those_of_orders(site: Site) -> None:
    entry = load(site, 1, [customer("1", currency="dkk"), customer("2", currency="XXL"), customer("3", currency="")])
    assert (outcomes(entry), entry.leniencies) == ({"created": 1, "rejected": 2}, {"upper_cased_code": 1})
    assert [(code, path) for _, code, path in rejects_of(site)] == [("currency_unknown", "currency")] * 2
    assert row(site, "1")["currency"] == "DKK"


def test_T3_told_just_before_the_record_within_one_file(site: Site) -> None:
    entry = load(site, 1, [patch(), customer(), patch(), patch(delete=True), patch()])
    assert outcomes(entry) == {"rejected": 2, "created": 1, "unchanged": 1, "deleted": 1}
    assert [r["position"] for r in site.rejects()] == ["1", "5"]


def test_T3_a_tombstone_is_new_again(site: Site) -> None:
    sent(site, 1, customer(discount_percentage=5))
    sent(site, 2, patch(delete=True))
    assert outcomes(load(site, 3, [patch(name="x")])) == {"rejected": 1}
    assert outcomes(sent(site, 4, customer(name="back"))) == {"created": 1}
    assert (row(site)["name"], row(site)["discount_percentage"]) == ("back", None)


def test_T3_a_late_file_makes_the_customer_known_and_resolves_the_reject(site: Site) -> None:
    refused = load(site, 3, [patch(discount_percentage=5)])
    assert [(r["code"], r["status"]) for r in site.rejects()] == [("required", "open")]

    assert outcomes(sent(site, 1, customer())) == {"created": 1}

    assert [(r["code"], r["status"]) for r in site.rejects()] == [("required", "resolved")]
    assert row(site)["discount_percentage"] == 5
    assert next(e for e in site.ledger() if e.path == refused.path).counts == refused.counts
    sent(site, 2, patch(delete=True))
    assert [(r["code"], r["status"]) for r in site.rejects()] == [("required", "open")]
    assert row(site)["deleted_at"] is not None


def test_T3_a_reject_that_was_overtaken_is_resolved_too(site: Site) -> None:
    load(site, 3, [patch(discount_percentage=5)])
    sent(site, 5, customer())
    assert [r["status"] for r in site.rejects()] == ["superseded"]
    sent(site, 1, customer())
    assert [r["status"] for r in site.rejects()] == ["resolved"]
    assert row(site)["discount_percentage"] == 5


def test_T3_a_late_delete_makes_a_loaded_patch_a_reject(site: Site) -> None:
    sent(site, 1, customer())
    loaded = sent(site, 3, patch(discount_percentage=5))
    assert outcomes(loaded) == {"updated": 1}
    sent(site, 2, patch(delete=True))
    (reject,) = site.rejects()
    assert (reject["path"], reject["code"], reject["status"]) == (loaded.path, "required", "open")
    assert row(site)["deleted_at"] is not None


def test_T3_a_placeholder_is_new_and_the_customers_own_export_promotes_it(site: Site) -> None:
    orders_mean_traede(site)
    site.load("2024-05-01.json", [order("A", CustomerId="1000")])
    (before,) = site.query("select id, is_placeholder, tenant, partner, name from sync.customers")
    assert (before["is_placeholder"], before["tenant"], before["partner"], before["name"]) == (
        True,
        "acme",
        "traede",
        None,
    )

    assert outcomes(load(site, 2, [patch(discount_percentage=1)])) == {"rejected": 1}
    assert row(site)["is_placeholder"] is True
    entry = sent(site, 3, customer())

    assert sum(outcomes(entry).values()) == 1
    found = row(site)
    assert (found["is_placeholder"], found["name"], found["is_active"]) == (False, "Customer 1000", True)
    assert site.query("select id from sync.customers") == [{"id": before["id"]}]
    assert site.query("select customer_id from sync.orders") == [{"customer_id": before["id"]}]


# -- T4, T5 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 100, 12.5, "100.0000", 0.0, None])
def test_T4_a_discount_from_0_to_100_is_accepted(site: Site, value: Any) -> None:
    sent(site, 1, customer(discount_percentage=value))
    assert row(site)["discount_percentage"] == (None if value is None else Decimal(str(value)))


@pytest.mark.parametrize("value", [-1, 100.01, -0.00001, 100.00001, 1e9])
def test_T4_any_other_discount_is_refused(site: Site, value: Any) -> None:
    load(site, 1, [customer(discount_percentage=value)])
    assert rejects_of(site) == [("1", "out_of_range", "discount_percentage")]


def test_T4_active_defaults_to_true_on_create_only(site: Site) -> None:
    sent(site, 1, customer("1"), customer("2", active=False), customer("3", active=None), customer("4", active="no"))
    assert [row(site, key)["is_active"] for key in "1234"] == [True, False, None, False]
    sent(site, 2, patch("2", name="x"), patch("3", name="x"))
    assert [row(site, key)["is_active"] for key in "23"] == [False, None]
    sent(site, 3, patch("2", delete=True))
    sent(site, 4, customer("2"))
    assert row(site, "2")["is_active"] is True


@pytest.mark.parametrize("field", ["payment_term", "payment_terms"])
@pytest.mark.parametrize(
    ("term", "stored"),
    [
        ({"payment_term_id": "7"}, ("7", None)),
        ({"payment_terms_id": 7}, ("7", None)),
        ({"id": "7"}, ("7", None)),
        ({"payment_term_code": "net"}, (None, "net")),
        ({"payment_terms_code": "net"}, (None, "net")),
        ({"code": "net", "id": None}, (None, "net")),
    ],
)
def test_T5_a_payment_term_by_any_of_its_names(site: Site, field: str, term: Any, stored: Any) -> None:
    sent(site, 1, customer(**{field: term}))
    assert (row(site)["payment_terms_id"], row(site)["payment_terms_code"]) == stored


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"payment_terms": {}}, "payment_term_missing"),
        ({"payment_term": {"days": 30}}, "payment_term_missing"),
        ({"payment_terms": {"id": None, "code": None}}, "payment_term_missing"),
        ({"payment_terms": "30-days"}, "not_an_object"),
        ({"payment_terms": {"id": "1", "payment_terms_id": "2"}}, "field_conflict"),
        ({"payment_terms": {"code": "a", "payment_term_code": "b"}}, "field_conflict"),
        ({"payment_terms": {"id": "1"}, "payment_term": {"id": "2"}}, "field_conflict"),
    ],
)
def test_T5_neither_or_two_different_spellings_are_refused(site: Site, fields: Any, code: str) -> None:
    load(site, 1, [customer(**fields)])
    assert rejects_of(site) == [("1", code, next(iter(fields)))]


def test_T5_both_are_kept_and_counted_and_null_clears(site: Site) -> None:
    entry = sent(site, 1, customer(payment_terms={"id": "7", "code": "net", "payment_term_id": "7"}))
    assert entry.leniencies == {"payment_term_id_rules": 1}
    assert (row(site)["payment_terms_id"], row(site)["payment_terms_code"]) == ("7", "net")
    assert outcomes(sent(site, 2, patch(name="Customer 1000"))) == {"unchanged": 1}
    sent(site, 3, patch(payment_terms=None))
    assert (row(site)["payment_terms_id"], row(site)["payment_terms_code"]) == (None, None)


# -- T6, T7, T8: addresses -------------------------------------------------------------------------------------


def test_T5_X3_what_a_payment_term_says_besides_is_kept_as_drift(site: Site) -> None:
    entry = sent(site, 1, customer(payment_term={"code": "30", "days": 30}))
    assert row(site)["payment_terms_code"] == "30"
    assert row(site)["extra"] == {"payment_terms.days": 30}
    assert entry.unknown_fields == {"payment_terms.days": 1}


@pytest.mark.parametrize(
    ("settings", "code", "path"),
    [
        ({}, "list_mode_missing", "addresses_sync_mode"),
        ({"addresses_sync_mode": "append"}, "list_mode_missing", "addresses_sync_key"),
        ({"addresses_sync_key": "address_title"}, "list_mode_missing", "addresses_sync_mode"),
        (BY_TITLE | {"addresses_sync_mode": None}, "list_mode_missing", "addresses_sync_mode"),
        (BY_TITLE | {"addresses_sync_mode": "merge"}, "not_a_choice", "addresses_sync_mode"),
        (BY_TITLE | {"addresses_sync_key": "city"}, "not_a_choice", "addresses_sync_key"),
    ],
)
@pytest.mark.parametrize("sent_addresses", [[], [address()]])
def test_T6_addresses_need_their_mode_and_key(
    site: Site, settings: Any, code: str, path: str, sent_addresses: Any
) -> None:
    load(site, 1, [customer(addresses=sent_addresses, **settings), customer("2")])
    assert rejects_of(site) == [("1", code, path)]
    assert ("acme", "traede", "2") in site.tables()["customers"]


def test_T6_absent_or_null_addresses_need_neither_and_change_nothing(site: Site) -> None:
    sent(site, 1, customer(addresses=[address()], **BY_TITLE))
    nothings: list[dict[str, Any]] = [{}, {"addresses": None}, {**BY_TITLE}, {**BY_TITLE, "addresses": None}]
    for day, fields in enumerate(nothings, start=2):
        assert outcomes(sent(site, day, customer(**fields))) == {"unchanged": 1}
    assert addresses(site, "title") == ["Primary address"]


def test_T7_every_field_of_an_address_is_stored(site: Site) -> None:
    full = address(address_2="a2", region="r", remote_erp_id="e", country="dk", name="n", zip=8000, floor=2)
    entry = sent(site, 1, customer(addresses=[full], **BY_TITLE))
    assert entry.leniencies == {"upper_cased_code": 1, "coerced_number_to_text": 1}
    (found,) = row(site)["customer_addresses"]
    assert found == {n: v for n, v in full.items() if n != "floor"} | {
        "country": "DK",
        "zip": "8000",
        "line_no": 1,
        "extra": {"floor": 2},
    }


@pytest.mark.parametrize("name", ["title", "name", "address", "zip", "city", "country"])
@pytest.mark.parametrize("how", ["absent", "null"])
def test_T7_required_fields_name_their_place(site: Site, name: str, how: str) -> None:
    bad = {n: v for n, v in address("B").items() if n != name} | ({name: None} if how == "null" else {})
    load(site, 1, [customer(addresses=[address(), bad], **BY_TITLE)])
    assert rejects_of(site) == [("1", "required", f"addresses[1].{name}")]


@pytest.mark.parametrize("country", ["DNK", "D", "", "4K", "Denmark"])
def test_T7_a_country_is_two_letters(site: Site, country: str) -> None:
    load(site, 1, [customer(addresses=[address(country=country)], **BY_TITLE)])
    assert rejects_of(site) == [("1", "country_invalid", "addresses[0].country")]


def test_T7_the_sync_key_is_required_and_stands_once(site: Site) -> None:
    load(
        site,
        1,
        [
            customer("1", addresses=[address("A", remote_erp_id="e"), address("B")], **BY_ID),
            customer("2", addresses=[address("A", remote_erp_id="e"), address("B", remote_erp_id=" e ")], **BY_ID),
            customer("3", addresses=[address("A"), address(" a ")], **BY_TITLE),
            customer("4", addresses=[address("A", remote_erp_id="e"), address("A", remote_erp_id="f")], **BY_ID),
        ],
    )
    assert rejects_of(site) == [
        ("1", "required", "addresses[1].remote_erp_id"),
        ("2", "duplicate_in_list", "addresses[1].remote_erp_id"),
        ("3", "duplicate_in_list", "addresses[1].title"),
    ]
    assert len(row(site, "4")["customer_addresses"]) == 2


def test_T8_replace_is_the_payload_exactly_and_matching_ones_keep_their_identity(site: Site) -> None:
    first = [address("A", address_2="x", remote_erp_id="1"), address("B"), address("C")]
    sent(site, 1, customer(addresses=first, **BY_TITLE))
    before = ids(site)
    assert outcomes(sent(site, 2, patch(addresses=[address("D"), address(" a ", city="new")], **BY_TITLE))) == {
        "updated": 1
    }
    assert addresses(site, "title", "city", "address_2", "remote_erp_id") == [
        ("D", "c", None, None),
        (" a ", "new", None, None),
    ]
    assert ids(site)[" a "] == before["A"] and ids(site)["D"] not in before.values()
    assert outcomes(sent(site, 3, patch(addresses=[], **BY_TITLE))) == {"updated": 1}
    assert addresses(site, "title") == []


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_T8_identity_goes_by_the_key_the_payload_chose(site: Site, mode: str) -> None:
    sent(site, 1, customer(addresses=[address("A", remote_erp_id="1"), address("B", remote_erp_id="2")], **BY_ID))
    before = ids(site)
    swapped = [address("B", remote_erp_id="1"), address("A", remote_erp_id="2")]
    sent(site, 2, patch(addresses=swapped, **BY_ID | {"addresses_sync_mode": mode}))
    assert addresses(site, "title", "remote_erp_id") == [("B", "1"), ("A", "2")]
    assert ids(site) == {"B": before["A"], "A": before["B"]}


def test_T8_append_patches_adds_and_removes_none(site: Site) -> None:
    append = BY_TITLE | {"addresses_sync_mode": "append"}
    sent(site, 1, customer(addresses=[address("A", address_2="x", region="r"), address("B")], **append))
    before = ids(site)
    changed = [address("a", city="new", region=None), address("C")]
    assert outcomes(sent(site, 2, patch(addresses=changed, **append))) == {"updated": 1}
    assert addresses(site, "title", "city", "address_2", "region") == [
        ("a", "new", "x", None),
        ("B", "c", None, None),
        ("C", "c", None, None),
    ]
    assert (ids(site)["a"], ids(site)["B"]) == (before["A"], before["B"])
    assert outcomes(sent(site, 3, patch(addresses=[], **append))) == {"unchanged": 1}


def test_T8_append_patches_the_first_if_several_match(site: Site) -> None:
    two = [address("A", remote_erp_id="1"), address("A", remote_erp_id="2")]
    sent(site, 1, customer(addresses=two, **BY_ID))
    sent(site, 2, patch(addresses=[address("A", city="new")], **BY_TITLE | {"addresses_sync_mode": "append"}))
    assert addresses(site, "remote_erp_id", "city") == [("1", "new"), ("2", "c")]


def test_T8_a_late_append_comes_before_a_newer_replace_and_after_an_older_one(site: Site) -> None:
    append = BY_TITLE | {"addresses_sync_mode": "append"}
    sent(site, 2, customer(addresses=[address("A")], **BY_TITLE))
    sent(site, 4, patch(addresses=[address("C")], **append))
    sent(site, 1, customer(addresses=[address("old")], **append))
    assert addresses(site, "title") == ["A", "C"]
    before = ids(site)
    sent(site, 3, patch(addresses=[address("B"), address("A", city="x")], **append))
    assert addresses(site, "title", "city") == [("A", "x"), ("B", "c"), ("C", "c")]
    assert (ids(site)["A"], ids(site)["C"]) == (before["A"], before["C"])


# -- T9: delete ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "counted"), [(True, {}), ("true", {"boolean_from_text": 1}), (1, {"boolean_from_text": 1})]
)
def test_T9_a_delete_needs_only_the_number(site: Site, flag: Any, counted: Any) -> None:
    sent(site, 1, customer(addresses=[address()], **BY_TITLE))
    entry = sent(site, 2, patch(delete=flag))
    assert (outcomes(entry), entry.leniencies) == ({"deleted": 1}, counted)
    assert (row(site)["name"], row(site)["is_active"], row(site)["customer_addresses"]) == (None, None, [])
    assert row(site)["deleted_at"].isoformat() == "2024-05-02T00:00:00+00:00"


def test_T9_nothing_else_in_a_delete_is_looked_at(site: Site) -> None:
    sent(site, 1, customer())
    bad: dict[str, Any] = {"name": None, "payment_terms": {}, "addresses": [{}], "discount_percentage": 900}
    assert outcomes(sent(site, 2, patch(delete=True, **bad))) == {"deleted": 1}


def test_T9_false_is_no_delete_and_anything_else_is_refused(site: Site) -> None:
    records = [
        customer("1", delete=False),
        customer("2", delete="no"),
        customer("3", delete=None),
        customer("4", delete="x"),
    ]
    entry = load(site, 1, records)
    assert (outcomes(entry), entry.leniencies) == ({"created": 3, "rejected": 1}, {"boolean_from_text": 1})
    load(site, 2, [patch("a\x00b", delete=True), patch("x" * 501, delete=True), patch(["1"], delete=True)])
    assert [(code, path) for _, code, path in rejects_of(site)] == [
        ("not_a_boolean", "delete"),
        ("nul_character", "customer_number"),
        ("too_long", "customer_number"),
        ("not_text", "customer_number"),
    ]


def test_T9_an_unknown_or_dead_number_is_not_found(site: Site) -> None:
    entry = sent(site, 2, patch(delete=True), patch(delete=True))
    assert outcomes(entry) == {"not_found": 2}
    assert outcomes(sent(site, 1, customer())) == {"stale": 1}
    assert row(site)["deleted_at"] is not None


def test_T9_a_delete_is_blocked_while_live_orders_refer_to_the_customer(site: Site) -> None:
    orders_mean_traede(site)
    sent(site, 1, customer(), customer("2000"))
    site.load("2024-05-02.json", [order(key, CustomerId="1000") for key in "AB"] + [order("C")])

    entry = load(site, 3, [patch(delete=True), patch("2000", delete=True), customer("3000")])

    assert outcomes(entry) == {"blocked": 1, "deleted": 1, "created": 1}
    (reject,) = site.rejects()
    assert (reject["position"], reject["code"], reject["external_id"]) == ("1", "delete_blocked", "1000")
    assert (reject["status"], reject["message"][:13]) == ("open", "2 live orders")
    assert row(site)["deleted_at"] is None and row(site)["name"] == "Customer 1000"


def test_T9_dead_orders_block_nothing(site: Site) -> None:
    orders_mean_traede(site)
    sent(site, 1, customer())
    site.load("2024-05-02.json", [order("A", CustomerId="1000")])
    site.load("2024-05-03.ndjson", lines(deleted("2024-05-03T00:00:00Z", "A")))
    assert outcomes(sent(site, 4, patch(delete=True))) == {"deleted": 1}


def test_T9_a_blocked_delete_stays_aside_when_its_key_is_folded_again(site: Site) -> None:
    orders_mean_traede(site)
    sent(site, 1, customer())
    site.load("2024-05-02.json", [order("A", CustomerId="1000")])
    assert outcomes(load(site, 4, [patch(delete=True)])) == {"blocked": 1}
    sent(site, 5, patch(name="new"))
    assert outcomes(sent(site, 3, patch(discount_percentage=5, name="old"))) == {"updated": 1}
    assert (row(site)["name"], row(site)["discount_percentage"], row(site)["deleted_at"]) == ("new", 5, None)
    assert [(r["code"], r["status"]) for r in site.rejects()] == [("delete_blocked", "superseded")]


def test_T9_a_late_delete_before_a_newer_record_ends_in_a_live_row(site: Site) -> None:
    orders_mean_traede(site)
    site.load("2024-05-02.json", [order("A", CustomerId="1000")])
    sent(site, 1, customer(discount_percentage=5))
    sent(site, 4, customer(name="again"))
    entry = load(site, 3, [patch(delete=True)])
    assert entry.read == sum(outcomes(entry).values()) == 1
    assert row(site)["deleted_at"] is None and row(site)["name"] == "again"


def test_T9_a_strict_source_takes_true_alone(site: Site) -> None:
    site.source_of("traede/acme/customers", strict=True)
    assert outcomes(load(site, 1, [patch("1", delete=True), patch("1", delete="true")])) == {
        "not_found": 1,
        "rejected": 1,
    }
    assert rejects_of(site) == [("2", "boolean_from_text", "delete")]


def test_X7_customers_of_another_tenant_are_not_these(site: Site) -> None:
    orders_mean_traede(site)
    site.load("2024-05-01.json", [order("A", CustomerId="1000")])
    site.load_at("traede/other/customers/2024-05-02.json", [customer()])
    assert row(site)["is_placeholder"] is True
    assert site.order("A", TENANT) is not None
