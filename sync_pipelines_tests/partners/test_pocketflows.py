"""Pocketflows' businesses and customers: every rule on a real PostgreSQL (P1 to P6)."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines_tests.examples import some_of
from sync_pipelines_tests.loading import Site, call, lines, outcomes


def business(**fields: Any) -> dict[str, Any]:
    return {"name": "Café", **fields}


def load(site: Site, name: str, content: Any, stream: str = "businesses") -> LedgerFile:
    entry = site.load_at(f"pocketflows/acme/{stream}/{name}", content)
    assert entry.status == "loaded", entry.error
    return entry


def customers_log(site: Site, day: int, *calls: tuple[str, Any], stream: str = "customers") -> LedgerFile:
    """A request log of one day, its calls a minute apart."""
    found = [call(f"2024-05-{day:02}T10:{n:02}:00Z", "POST", path, body) for n, (path, body) in enumerate(calls)]
    return load(site, f"2024-05-{day:02}.ndjson", lines(*found), stream)


def businesses_log(site: Site, day: int, *calls: tuple[str, Any]) -> LedgerFile:
    return customers_log(site, day, *calls, stream="businesses")


def commerces(site: Site, *columns: str) -> list[tuple[Any, ...]]:
    """(id, external id, then columns) of every business."""
    names = ", ".join(("partner_record_id", "external_id", *(columns or ("name",))))
    order = "partner_record_id nulls first, external_id nulls first"
    return [tuple(row.values()) for row in site.query(f"select {names} from sync.commerces order by {order}")]


def customers(site: Site, *columns: str) -> list[tuple[Any, ...]]:
    """(business, id, external id, then columns) of every customer."""
    names = ", ".join(f"c.{name}" for name in columns or ("name",))
    found = site.query(
        f"select coalesce(b.partner_record_id, b.external_id) as business, c.partner_record_id as id,"
        f" c.external_id as key, {names} from sync.customers c join sync.commerces b on b.id = c.commerce_id"
        " order by business, c.partner_record_id nulls first, c.external_id nulls first"
    )
    return [tuple(row.values()) for row in found]


def rejects_of(site: Site, *statuses: str) -> list[tuple[str, str, str | None]]:
    wanted = statuses or ("open",)
    return [(r["position"], r["code"], r["field_path"]) for r in site.rejects() if r["status"] in wanted]


# -- P1: routes and bodies -------------------------------------------------------------------------------------

BUSINESS_ROUTES = ["/sync/businesses", "/sync/businesses/batch", "/businesses"]
BODIES: list[Any] = [
    business(external_id="b"),
    [business(external_id="b")],
    {"businesses": [business(external_id="b")]},
]


@pytest.mark.parametrize("path", BUSINESS_ROUTES)
@pytest.mark.parametrize("body", BODIES, ids=["object", "array", "list"])
def test_P1_every_route_of_businesses_with_every_body(site: Site, path: str, body: Any) -> None:
    assert outcomes(businesses_log(site, 1, (path, body))) == {"created": 1}
    assert commerces(site) == [(None, "b", "Café")]


@pytest.mark.parametrize("body", BODIES, ids=["object", "array", "list"])
def test_P1_the_same_bodies_as_documents(site: Site, body: Any) -> None:
    assert outcomes(load(site, "2024-05-01.json", body)) == {"created": 1}
    assert commerces(site) == [(None, "b", "Café")]


def test_P1_the_legacy_route_of_one_business(site: Site) -> None:
    load(site, "2024-05-01.json", [business(id=7)])
    entry = businesses_log(
        site, 2, ("/businesses/7", {"name": "Bar"}), ("/businesses/8%2F9", {"id": "8/9", "name": "x"})
    )
    assert outcomes(entry) == {"updated": 1, "created": 1}
    assert commerces(site) == [("7", None, "Bar"), ("8/9", None, "x")]


CUSTOMER_ROUTES = [
    "/sync/businesses/7/customers",
    "/sync/businesses/7/customers/batch",
    "/businesses/7/customers",
    "/businesses/7/customers/batch",
    "/businesses/7/customers/batch_update",
]
ANA: dict[str, Any] = {"external_id": "c", "full_name": "Ana"}


@pytest.mark.parametrize("path", CUSTOMER_ROUTES)
@pytest.mark.parametrize("body", [ANA, [ANA], {"customers": [ANA]}], ids=["object", "array", "list"])
def test_P1_every_route_of_customers_with_every_body(site: Site, path: str, body: Any) -> None:
    assert outcomes(customers_log(site, 1, (path, body))) == {"created": 1}
    assert customers(site) == [("7", None, "c", "Ana")]


def test_P1_the_legacy_route_of_one_customer_finds_it_among_the_tenants(site: Site) -> None:
    load(site, "2024-05-01.json", [{"business_id": 7, "id": 1, **ANA}, {"business_id": 8, "id": 2}], "customers")
    entry = customers_log(site, 2, ("/customers/1", {"full_name": "Bea"}), ("/customers/1", {"full_name": "Bea"}))
    assert outcomes(entry) == {"updated": 1, "unchanged": 1}
    assert customers(site) == [("7", "1", "c", "Bea"), ("8", "2", None, None)]


def test_P1_no_customer_of_that_id_is_a_reject(site: Site) -> None:
    load(site, "2024-05-01.json", [{"business_id": b, "id": 1, **ANA} for b in (7, 8)], "customers")
    customers_log(site, 2, ("/customers/1", {"full_name": "x"}), ("/customers/9", {"full_name": "x"}))
    assert rejects_of(site) == [("2/1", "record_unknown", None)]
    assert customers(site) == [("8", "1", "c", "x")]


def test_P1_the_legacy_route_never_gives_one_customers_key_to_two(site: Site) -> None:
    load(
        site,
        "2024-05-01.json",
        [{"business_id": 7, "id": n, "external_id": k} for n, k in ((1, "a"), (2, "b"))],
        "customers",
    )
    customers_log(site, 2, ("/customers/1", {"external_id": "b"}), ("/customers/2", {"external_id": "z"}))
    assert rejects_of(site) == [("1/1", "external_id_conflict", None)]
    assert customers(site) == [("7", "1", "a", None), ("7", "2", "z", None)]


def test_P1_a_refused_legacy_call_is_resolved_when_its_customer_arrives_late(site: Site) -> None:
    customers_log(site, 5, ("/customers/1", {"full_name": "Bea"}))
    assert rejects_of(site) == [("1/1", "record_unknown", None)]
    load(site, "2024-05-01.json", [{"business_id": 7, "id": 1, "full_name": "Ana"}], "customers")
    assert (rejects_of(site), customers(site)) == ([], [("7", "1", None, "Bea")])


def test_P1_a_plain_customer_says_which_business(site: Site) -> None:
    load(site, "2024-04-01.json", [business(id=7, external_id="b")])
    records = [{"business_id": "7", **ANA}, {"business_external_id": "b", "id": 1}, ANA, {"business_id": None, **ANA}]
    entry = load(site, "2024-05-01.json", records, "customers")
    assert outcomes(entry) == {"created": 2, "rejected": 2}
    assert rejects_of(site) == [("3", "required", "business_id"), ("4", "required", "business_id")]
    assert customers(site) == [("7", None, "c", "Ana"), ("7", "1", None, None)]


def test_P1_a_body_that_names_another_business_than_its_path_is_a_reject(site: Site) -> None:
    customers_log(site, 1, ("/sync/businesses/7/customers", {"business_id": 8, **ANA}))
    assert rejects_of(site) == [("1/1", "key_mismatch", "business_id")]


# -- P2: identity ----------------------------------------------------------------------------------------------


def test_P2_neither_id_nor_external_id_is_a_reject(site: Site) -> None:
    load(site, "2024-05-01.json", [business(), business(id=None, external_id=None), business(id=" "), business(id=1)])
    assert rejects_of(site) == [
        ("1", "key_missing", "external_id"),
        ("2", "key_missing", "external_id"),
        ("3", "key_missing", "id"),
    ]
    businesses_log(site, 2, ("/sync/businesses", {}))
    assert rejects_of(site)[-1] == ("1/1", "required", "name")


def test_P2_external_id_creates_and_finds(site: Site) -> None:
    load(site, "2024-05-01.json", [business(external_id="a")])
    assert outcomes(load(site, "2024-05-02.json", [business(external_id="a", name="b")])) == {"updated": 1}
    assert commerces(site) == [(None, "a", "b")]


def test_P2_an_id_not_seen_before_alone_is_a_new_row(site: Site) -> None:
    assert outcomes(load(site, "2024-05-01.json", [business(id=1), business(id=2)])) == {"created": 2}
    assert commerces(site) == [("1", None, "Café"), ("2", None, "Café")]


def test_P2_an_id_comes_to_a_row_that_had_none(site: Site) -> None:
    load(site, "2024-05-01.json", [business(external_id="a")])
    assert outcomes(load(site, "2024-05-02.json", [business(id=1, external_id="a")])) == {"updated": 1}
    assert commerces(site) == [("1", "a", "Café")]
    assert outcomes(load(site, "2024-05-03.json", [business(id=1)])) == {"unchanged": 1}
    assert outcomes(load(site, "2024-05-04.json", [business(external_id="a")])) == {"unchanged": 1}


def test_P2_an_external_id_is_changed_and_the_freed_one_taken_by_another(site: Site) -> None:
    load(site, "2024-05-01.json", [business(id=1, external_id="a")])
    entry = load(
        site, "2024-05-02.json", [business(id=1, external_id="b"), business(id=2, external_id="a", name="new")]
    )
    assert outcomes(entry) == {"updated": 1, "created": 1}
    assert commerces(site) == [("1", "b", "Café"), ("2", "a", "new")]


def test_P2_two_rows_may_swap_their_external_ids_over_a_third(site: Site) -> None:
    load(site, "2024-05-01.json", [business(id=1, external_id="a"), business(id=2, external_id="b")])
    swap = [business(id=1, external_id="x"), business(id=2, external_id="a"), business(id=1, external_id="b")]
    assert outcomes(load(site, "2024-05-02.json", swap)) == {"updated": 3}
    assert commerces(site) == [("1", "b", "Café"), ("2", "a", "Café")]


def test_P2_conflicts_are_rejects_and_two_rows_are_never_merged(site: Site) -> None:
    load(
        site,
        "2024-05-01.json",
        [business(id=1, external_id="a"), business(id=2, external_id="b"), business(external_id="c")],
    )
    conflicts = [business(id=3, external_id="a"), business(id=1, external_id="b"), business(id=1, external_id="c")]
    entry = load(site, "2024-05-02.json", [*conflicts, business(id=4)])
    assert outcomes(entry) == {"created": 1, "rejected": 3}
    assert rejects_of(site) == [
        ("1", "id_conflict", None),
        ("2", "external_id_conflict", None),
        ("3", "external_id_conflict", None),
    ]
    assert [row[:2] for row in commerces(site)] == [(None, "c"), ("1", "a"), ("2", "b"), ("4", None)]


def test_P2_an_external_id_once_given_up_no_longer_finds(site: Site) -> None:
    load(site, "2024-05-01.json", [business(id=1, external_id="a")])
    load(site, "2024-05-02.json", [business(id=1, external_id="b")])
    assert outcomes(load(site, "2024-05-03.json", [business(external_id="a", name="other")])) == {"created": 1}
    assert commerces(site) == [(None, "a", "other"), ("1", "b", "Café")]


STORIES: dict[str, tuple[list[dict[str, Any]], list[tuple[Any, ...]], list[tuple[str, str]]]] = {
    "conflict": (
        [business(id=1, external_id="a"), business(id=2, external_id="a"), business(id=2, external_id="b")],
        [("1", "a", "Café"), ("2", "b", "Café")],
        [("2024-05-02.json", "id_conflict")],
    ),
    "freed key": (
        [business(id=1, external_id="a"), business(id=1, external_id="b"), business(id=2, external_id="a", name="n")],
        [("1", "b", "Café"), ("2", "a", "n")],
        [],
    ),
    "id to a row without": (
        [business(external_id="a"), business(id=1, external_id="a", name="n"), business(id=2, external_id="a")],
        [("1", "a", "n")],
        [("2024-05-03.json", "id_conflict")],
    ),
    "two of them": (
        [business(external_id="a"), business(id=1, external_id="b"), business(id=1, external_id="a")],
        [(None, "a", "Café"), ("1", "b", "Café")],
        [("2024-05-03.json", "external_id_conflict")],
    ),
    "there and back": (
        [business(id=1, external_id="a"), business(id=1, external_id="b"), business(id=1, external_id="a", name="n")],
        [("1", "a", "n")],
        [],
    ),
    "a row that an older record makes needless": (
        [business(id=1, external_id="b"), business(external_id="b"), business(id=1, external_id="a")],
        [("1", "a", "Café")],
        [],
    ),
}


@pytest.mark.parametrize("order", some_of(permutations(range(3)), at_least=3), ids=str)
@pytest.mark.parametrize("story", STORIES)
def test_P2_conflicts_are_decided_in_version_order_whatever_the_order_of_loading(
    site: Site, story: str, order: tuple[int, ...]
) -> None:
    records, wanted, conflicts = STORIES[story]
    for number in order:
        load(site, f"2024-05-0{number + 1}.json", [records[number]])
    assert commerces(site) == wanted
    assert [(r["path"].split("/")[-1], r["code"]) for r in site.rejects() if r["status"] != "resolved"] == conflicts


def test_P2_keys_are_text_and_numbers_their_digits(site: Site) -> None:
    entry = load(site, "2024-05-01.json", [business(id=7), business(id="7", name="same"), business(id="07")])
    assert (outcomes(entry), entry.leniencies) == ({"created": 2, "updated": 1}, {"coerced_number_to_text": 1})
    assert commerces(site) == [("07", None, "Café"), ("7", None, "same")]


# -- P3, P4: replace, fields -----------------------------------------------------------------------------------


def test_P3_what_is_not_sent_is_cleared_but_identity(site: Site) -> None:
    load(site, "2024-05-01.json", [business(id=1, external_id="a", metadata={"x": 1, "y": 2}, color="red")])
    load(site, "2024-05-02.json", [business(id=1, metadata={"x": 3}, size=2)])
    assert commerces(site, "name", "metadata", "extra") == [("1", "a", "Café", {"x": 3}, {"size": 2})]
    load(site, "2024-05-03.json", [business(external_id="a", name="b")])
    assert commerces(site, "name", "metadata", "extra") == [("1", "a", "b", None, None)]
    load(site, "2024-05-04.json", [business(id=1, external_id=None)])
    assert commerces(site) == [("1", "a", "Café")]


def test_P3_a_customer_is_replaced_whole(site: Site) -> None:
    full = {
        "business_id": 7,
        "id": 1,
        "external_id": "c",
        "full_name": "Ana",
        "phone_number": "+56",
        "email_address": "a@b",
    }
    columns = ("name", "phone", "email", "metadata", "extra")
    load(site, "2024-05-01.json", [{**full, "metadata": {"x": 1}, "vip": True}], "customers")
    assert customers(site, *columns) == [("7", "1", "c", "Ana", "+56", "a@b", {"x": 1}, {"vip": True})]
    load(site, "2024-05-02.json", [{"business_id": 7, "id": 1, "phone_number": None}], "customers")
    assert customers(site, *columns) == [("7", "1", "c", None, None, None, None, None)]


def test_P3_a_late_file_changes_nothing_a_newer_record_replaced(site: Site) -> None:
    load(site, "2024-05-05.json", [business(external_id="a")])
    entry = load(site, "2024-05-01.json", [business(external_id="a", metadata={"x": 1}, color="red")])
    assert outcomes(entry) == {"stale": 1}
    assert commerces(site, "metadata", "extra") == [(None, "a", None, None)]
    assert outcomes(load(site, "2024-05-02.json", [business(id=1, external_id="a")])) == {"updated": 1}
    assert commerces(site) == [("1", "a", "Café")], "identity is not cleared by a newer record's absence"


def test_P4_a_business_needs_its_name(site: Site) -> None:
    load(
        site,
        "2024-05-01.json",
        [{"id": 1}, {"id": 2, "name": None}, {"id": 3, "name": " "}, business(id=4, metadata="x")],
    )
    assert rejects_of(site) == [
        ("1", "required", "name"),
        ("2", "required", "name"),
        ("3", "required", "name"),
        ("4", "not_an_object", "metadata"),
    ]


def test_P4_a_customer_needs_nothing_else(site: Site) -> None:
    records = [
        {"business_id": 7, "external_id": "c"},
        {"businessId": 7, "id": "d", "fullName": "Ana", "Email_Address": "e"},
    ]
    load(site, "2024-05-01.json", records, "customers")
    assert customers(site, "name", "email", "phone") == [
        ("7", None, "c", None, None, None),
        ("7", "d", None, "Ana", "e", None),
    ]


# -- P5: businesses of customers -------------------------------------------------------------------------------


def test_P5_keys_are_scoped_to_their_business(site: Site) -> None:
    records = [{"business_id": b, "external_id": "c", "full_name": f"of {b}"} for b in (7, 8)]
    assert outcomes(load(site, "2024-05-01.json", records, "customers")) == {"created": 2}
    assert customers(site) == [("7", None, "c", "of 7"), ("8", None, "c", "of 8")]
    records = [{"business_id": 8, "external_id": "c", "full_name": "new"}]
    assert outcomes(load(site, "2024-05-02.json", records, "customers")) == {"updated": 1}
    assert customers(site) == [("7", None, "c", "of 7"), ("8", None, "c", "new")]


def test_F04_an_id_names_one_customer_of_the_tenant_which_moves(site: Site) -> None:
    records = [{"business_id": b, "id": 1, "external_id": "c", "full_name": f"of {b}"} for b in (7, 8)]
    assert outcomes(load(site, "2024-05-02.json", records, "customers")) == {"created": 1, "updated": 1}
    assert customers(site) == [("8", "1", "c", "of 8")]
    late = [{"business_id": 9, "id": 1, "full_name": "of 9"}, {"business_id": 8, "external_id": "c"}]
    assert outcomes(load(site, "2024-05-01.json", late, "customers")) == {"stale": 1, "updated": 1}
    assert customers(site) == [("7", "1", "c", "of 7"), ("8", None, "c", None)]
    assert rejects_of(site) == [("2", "external_id_conflict", None)]


def test_P5_an_unknown_business_becomes_a_placeholder_that_its_definition_promotes(site: Site) -> None:
    records = [{"business_id": 7, **ANA}, {"business_external_id": "b", **ANA}]
    load(site, "2024-05-01.json", records, "customers")
    columns = ("name", "is_placeholder")
    assert commerces(site, *columns) == [(None, "b", None, True), ("7", None, None, True)]
    entry = load(site, "2024-05-02.json", [business(id=7, external_id="seven"), business(id=9, external_id="b")])
    assert outcomes(entry) == {"updated": 2}
    assert commerces(site, *columns) == [("7", "seven", "Café", False), ("9", "b", "Café", False)]
    assert customers(site) == [("7", None, "c", "Ana"), ("9", None, "c", "Ana")]


def test_P5_a_late_definition_promotes_too_and_a_reference_never_downgrades(site: Site) -> None:
    load(site, "2024-05-05.json", [{"business_id": 7, **ANA}], "customers")
    load(site, "2024-05-01.json", [business(id=7, external_id="b")])
    load(site, "2024-05-06.json", [{"business_external_id": "b", "id": 2}], "customers")
    assert commerces(site, "name", "is_placeholder") == [("7", "b", "Café", False)]
    assert [row[:3] for row in customers(site)] == [("7", None, "c"), ("7", "2", None)]


# -- P6 --------------------------------------------------------------------------------------------------------


def test_P6_a_batch_is_an_upsert_and_fails_in_part(site: Site) -> None:
    load(site, "2024-05-01.json", [{"business_id": 7, "external_id": key} for key in ("a", "b")], "customers")
    batch = {"customers": [{"external_id": "b", "full_name": "B"}, {"full_name": "nobody"}, {"external_id": "c"}]}
    entry = customers_log(site, 2, ("/sync/businesses/7/customers/batch", batch))
    assert outcomes(entry) == {"updated": 1, "created": 1, "rejected": 1}
    assert rejects_of(site) == [("1/2", "key_missing", "external_id")]
    assert [row[2:] for row in customers(site)] == [("a", None), ("b", "B"), ("c", None)]


def test_X7_P5_one_business_named_two_ways_before_it_is_defined_is_one_row(site: Site) -> None:
    for number, business in enumerate([{"business_id": "7"}, {"business_external_id": "x"}], start=1):
        site.load_at(
            f"pocketflows/acme/customers/2024-05-0{number}.json",
            [{**business, "id": "1", "full_name": f"n{number}"}, {**business, "id": str(number + 1)}],
        )
    assert len(site.query("select from sync.commerces where is_placeholder")) == 2

    entry = site.load_at("pocketflows/acme/businesses/2024-05-03.json", [{"id": "7", "external_id": "x", "name": "K"}])

    assert outcomes(entry) == {"updated": 1}, "a placeholder is a row"
    (business_row,) = site.query("select id, name, partner_record_id, external_id from sync.commerces")
    assert (business_row["name"], business_row["partner_record_id"], business_row["external_id"]) == ("K", "7", "x")
    found = site.query("select partner_record_id, name, commerce_id from sync.customers order by 1")
    assert [(row["partner_record_id"], row["name"]) for row in found] == [("1", "n2"), ("2", None), ("3", None)]
    assert {row["commerce_id"] for row in found} == {business_row["id"]}


# -- F11: both names of a business -----------------------------------------------------------------------------

BOTH = {"business_id": "7", "business_external_id": "x"}
BY_ID, BY_EXTERNAL_ID = {"business_id": "7"}, {"business_external_id": "x"}
NAMED = {
    "by external id": {"external_id": "x"},
    "by id": {"id": "7"},
    "by both": {"id": "7", "external_id": "x"},
}
Sent = tuple[str, list[dict[str, Any]]]


def load_in(site: Site, order: tuple[int, ...], sent: list[Sent]) -> None:
    """Loads what was sent, day after day, in some order."""
    for number in order:
        stream, records = sent[number]
        load(site, f"2024-05-0{number + 1}.json", records, stream)


@pytest.mark.parametrize("order", some_of(permutations(range(4)), at_least=8), ids=str)
@pytest.mark.parametrize("definition", NAMED)
def test_F11_both_names_of_a_business_are_one_business(site: Site, definition: str, order: tuple[int, ...]) -> None:
    sent: list[Sent] = [
        ("customers", [{**BY_ID, "external_id": "a"}]),
        ("customers", [{**BY_EXTERNAL_ID, "external_id": "b"}, {**BY_EXTERNAL_ID, "external_id": "a"}]),
        ("customers", [{**BOTH, "external_id": "c"}]),
        ("businesses", [business(**NAMED[definition])]),
    ]
    load_in(site, order, sent)
    assert commerces(site, "name", "is_placeholder") == [("7", "x", "Café", False)]
    assert [row[:3] for row in customers(site)] == [("7", None, key) for key in "abc"]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_F11_one_placeholder_has_both_names(site: Site, order: tuple[int, ...]) -> None:
    names: list[dict[str, str]] = [BY_ID, BY_EXTERNAL_ID, BOTH]
    load_in(site, order, [("customers", [{**name, "external_id": "a"}]) for name in names])
    assert commerces(site, "is_placeholder") == [("7", "x", True)]
    assert [row[:3] for row in customers(site)] == [("7", None, "a")]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_F11_the_first_pair_holds_and_an_id_goes_before_an_external_id(site: Site, order: tuple[int, ...]) -> None:
    sent: list[Sent] = [
        ("customers", [{**BOTH, "external_id": "a"}]),
        ("customers", [{**BOTH, "business_external_id": "y", "external_id": "b"}, {**BOTH, "business_id": "8", **ANA}]),
        ("customers", [{"business_external_id": "y", "external_id": "d"}]),
    ]
    load_in(site, order, sent)
    assert commerces(site, "is_placeholder") == [(None, "y", True), ("7", "x", True), ("8", None, True)]
    assert [row[:3] for row in customers(site)] == [
        ("7", None, "a"),
        ("7", None, "b"),
        ("8", None, "c"),
        ("y", None, "d"),
    ]


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_F11_what_a_business_says_of_itself_goes_before_what_a_customer_says_of_it(
    site: Site, order: tuple[int, ...]
) -> None:
    sent: list[Sent] = [
        ("customers", [{**BOTH, "external_id": "a"}]),
        ("businesses", [business(external_id="x")]),
        ("businesses", [business(external_id="x", id="8")]),
    ]
    load_in(site, order, sent)
    assert commerces(site, "is_placeholder") == [("7", None, True), ("8", "x", False)]
    assert [row[:3] for row in customers(site)] == [("7", None, "a")]
    assert not site.rejects()
    load(site, "2024-04-30.json", [business(id="7")])
    assert commerces(site, "is_placeholder") == [("7", None, False), ("8", "x", False)]


def test_F11_a_business_with_a_name_from_its_customers_that_says_the_same_again_is_not_written(site: Site) -> None:
    load(site, "2024-05-01.json", [{**BOTH, "external_id": "a"}], "customers")
    assert outcomes(load(site, "2024-05-02.json", [business(external_id="x")])) == {"updated": 1}
    place = "select ctid::text, xmin::text from sync.commerces"
    before = site.query(place)
    assert outcomes(load(site, "2024-05-03.json", [business(external_id="x")])) == {"unchanged": 1}
    load(site, "2024-05-04.json", [{**BOTH, "external_id": "a"}], "customers")
    assert site.query(place) == before
    assert commerces(site) == [("7", "x", "Café")]
