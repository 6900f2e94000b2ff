"""Nilo's stores: every rule on a real PostgreSQL (N1 to N10; X12 in this partner's shapes)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines_tests.loading import Site, call, lines, outcomes

AT = "2024-05-06T10:00:00Z"

PAGE_CREATE: dict[str, Any] = {
    "ownerName": "Owner name",
    "ownerIdentifier": "Owner identifier",
    "internalCode": "1234",
    "addresses": [
        {
            "internalCode": "1234",
            "addressLine": "25 de mayo 1200, Buenos aires, Argentina",
            "apartmentNumber": "2",
            "zipCode": "2400",
        }
    ],
    "latitude": "-34.545278°",
    "longitude": "-58.449722",
    "addressFormat": "Av. Pres. Figueroa Alcorta 7597, C1428 Cdad. Autónoma de Buenos Aires",
    "legalName": "legal name",
    "legalId": "legal id",
    "supportContactEmail": "string",
    "supportContactPhone": "string",
    "promotionGrouperCode": "1234",
    "stockGrouperCode": "6789",
    "pricelistCode": "1222",
    "routeCode": "1234",
    "settings": {"dropSize": {"amount": 1000, "currency": "USD"}},
}
"""The page's example of creating a store."""

PAGE_UPDATE = {name: value for name, value in PAGE_CREATE.items() if name != "internalCode"} | {
    "enabled": True,
    "latePayer": True,
}

PAGE_READ: dict[str, Any] = {
    "name": "Nombre de la tienda",
    "internalCode": "1234",
    "addresses": [
        {
            "address": "25 de mayo 1200, Buenos Aires, Argentina",
            "zipCode": "2400",
            "latitude": -34.603722,
            "longitude": -58.381592,
        }
    ],
    "legalName": "Nombre Legal SRL",
    "legalId": "30-12345678-9",
    "promotionGrouperCode": "PROMO1",
    "stockGrouperCode": "STOCK1",
    "pricelistCode": "PRICE1",
    "enabled": True,
    "creditLimit": 50000,
    "isDebtor": False,
    "isLatePayer": False,
}
"""The page's read response."""


def address(line: str = "Calle 1", **fields: Any) -> dict[str, Any]:
    return {"address": line, "zipCode": "2400", **fields}


def store(code: Any = "A", **fields: Any) -> dict[str, Any]:
    """The smallest store that may be created, with fields beside."""
    least = {"name": "Kiosko", "addresses": [address()], "legalName": "SRL", "legalId": "30-1"}
    return {"internalCode": code, **least, **fields}


def load(site: Site, name: str, content: Any) -> LedgerFile:
    entry = site.load_at(f"nilo/acme/stores/{name}", content)
    assert entry.status == "loaded", entry.error
    return entry


def log(site: Site, day: int, *calls: tuple[str, str, Any]) -> LedgerFile:
    """A request log of one day, its calls a minute apart."""
    found = [
        call(f"2024-05-{day:02}T10:{n:02}:00Z", method, path, body) for n, (method, path, body) in enumerate(calls)
    ]
    return load(site, f"2024-05-{day:02}.ndjson", lines(*found))


def row(site: Site, code: str = "A") -> dict[str, Any]:
    return site.tables()["stores"][("acme", "nilo", code)]


def of(site: Site, *columns: str, code: str = "A") -> tuple[Any, ...]:
    found = row(site, code)
    return tuple(found[column] for column in columns)


def codes(site: Site) -> set[str | None]:
    return {key[2] for key in site.tables()["stores"]}


def users(site: Site, code: str = "A") -> list[str]:
    return sorted(user["user_ref"] for user in row(site, code)["store_users"])


def rejects_of(site: Site, *statuses: str) -> list[tuple[str, str, str | None]]:
    wanted = statuses or ("open",)
    return [(r["position"], r["code"], r["field_path"]) for r in site.rejects() if r["status"] in wanted]


# -- N1, N2: key, routes, shapes -------------------------------------------------------------------------------


def test_N1_code_in_paths_and_store_code_are_the_internal_code(site: Site) -> None:
    load(site, "2024-05-01.json", [store(" 12 34 ")])
    log(
        site,
        2,
        ("PUT", "/store/12%2034/status", {"enabled": False}),
        ("POST", "/batch/store/setting", {"stores": [{"storeCode": "12 34", "settings": {"credit": 7}}]}),
    )
    assert codes(site) == {"12 34"}
    assert of(site, "enabled", "credit_limit", "name", code="12 34") == (False, 7, "Kiosko")


def test_N1_a_number_is_taken_as_its_text_and_a_key_is_never_empty(site: Site) -> None:
    entry = load(site, "2024-05-01.json", [store(1234), store(" "), {"name": "x", "internalCode": None}])
    assert (entry.created, entry.rejected, entry.leniencies) == (1, 2, {"coerced_number_to_text": 1})
    assert codes(site) == {"1234"}
    assert rejects_of(site) == [("2", "key_missing", "internalCode"), ("3", "key_missing", "internalCode")]


def test_N1_a_body_that_names_another_store_than_its_path_is_a_reject(site: Site) -> None:
    load(site, "2024-05-01.json", [store("A"), store("B")])
    log(site, 2, ("PUT", "/store/A", {"internalCode": "B", "name": "x"}), ("PUT", "/store/A", {"internalCode": "A"}))
    assert rejects_of(site) == [("1/1", "key_mismatch", "internalCode")]


def test_N2_every_route_of_the_page_writes(site: Site) -> None:
    entry = log(
        site,
        6,
        ("POST", "/store", PAGE_CREATE),
        ("PUT", "/store/1234", PAGE_UPDATE),
        ("PUT", "/store/1234/status", {"enabled": False}),
        ("PUT", "/store/1234/add/user", {"users": ["usuario123", "usuario456"]}),
        ("PUT", "/store/1234/remove/user", {"users": ["usuario456"]}),
        ("POST", "/store/1234/credit", {"amount": 5000}),
        ("POST", "/store/1234/debtor", None),
        ("POST", "/store/1234/latepayer", None),
        ("POST", "/batch/store/setting", {"stores": [{"storeCode": "1234", "settings": {"minimumOrderAmount": 1000}}]}),
        ("POST", "/batch/store", {"upsert": [store("B")], "remove": ["C"]}),
    )
    wanted = {"created": 2, "updated": 7, "unchanged": 1, "not_found": 1}
    assert outcomes(entry) == wanted, "the late payer call says again what the update said"
    assert users(site, "1234") == ["usuario123"]
    columns = ("name", "enabled", "credit_limit", "is_debtor", "is_late_payer", "payment_status", "is_placeholder")
    assert of(site, *columns, code="1234") == ("Owner name", False, 5000, True, True, "debtor", False)
    assert row(site, "1234")["settings"] == {
        "dropSize": {"amount": 1000, "currency": "USD"},
        "minimumOrderAmount": 1000,
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/store/A"), ("GET", "/store"), ("DELETE", "/store/A"), ("POST", "/stores"), ("PUT", "/store/A/b/status")],
)
def test_N2_reads_and_unknown_routes_are_rejects(site: Site, method: str, path: str) -> None:
    log(site, 6, (method, path, {"enabled": True}))
    assert rejects_of(site) == [("1", "route_unknown", "path")]
    assert codes(site) == set()


def test_N2_a_log_line_without_a_good_time_is_a_reject(site: Site) -> None:
    body = {"enabled": True}
    bad = [call(at, "PUT", "/store/A/status", body) for at in (None, "soon", "1999-01-01T00:00:00Z")]
    load(site, "2024-05-01.ndjson", lines(*bad))
    assert rejects_of(site) == [
        ("1", "log_time_invalid", "at"),
        ("2", "log_time_invalid", "at"),
        ("3", "date_out_of_range", "at"),
    ]


SHAPES: dict[str, Any] = {
    "array.json": [PAGE_READ],
    "lines.ndjson": lines(PAGE_READ),
    "read.json": {"code": 200, "message": "Operación exitosa", "data": PAGE_READ},
    "list.json": {"code": 200, "data": [PAGE_READ]},
    "data_first.json": {"data": [PAGE_READ], "code": 200},
    "object.json": PAGE_READ,
    "batch.json": {"upsert": [PAGE_READ]},
    "log.ndjson": lines(call("2024-05-01T00:00:00Z", "POST", "/store", PAGE_READ)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_N2_plain_records_bodies_read_responses_and_logs_say_the_same(site: Site, shape: str) -> None:
    entry = load(site, f"2024-05-01/{shape}", SHAPES[shape])
    assert outcomes(entry) == {"created": 1}
    columns = ("name", "legal_name", "legal_id", "enabled", "credit_limit", "is_debtor", "is_late_payer")
    assert of(site, *columns, code="1234") == (
        "Nombre de la tienda", "Nombre Legal SRL", "30-12345678-9", True, 50000, False, False,
    )  # fmt: skip
    assert row(site, "1234")["extra"] is None


def test_N2_a_settings_body_is_read_as_a_document_too(site: Site) -> None:
    stores = [{"storeCode": "1234", "settings": {"credit": 5000, "debtor": False}}, {"storeCode": "5678"}]
    assert outcomes(load(site, "2024-05-01.json", {"stores": stores})) == {"created": 2}
    assert of(site, "credit_limit", "is_debtor", "is_placeholder", code="1234") == (5000, False, True)


def test_N2_plain_records_are_upserts(site: Site) -> None:
    load(site, "2024-05-01.json", [store("A")])
    entry = load(site, "2024-05-02.json", [{"internalCode": "A", "routeCode": "R"}, store("B"), {"internalCode": "C"}])
    assert outcomes(entry) == {"created": 1, "updated": 1, "rejected": 1}
    assert rejects_of(site) == [("3", "required", "name")]


def test_N2_another_document_fails_the_file(site: Site) -> None:
    bodies: list[dict[str, Any]] = [{"code": 404, "message": "Tienda no encontrada"}, {"items": []}]
    for number, body in enumerate(bodies):
        entry = site.load_at(f"nilo/acme/stores/{number}.json", body)
        assert (entry.status, (entry.error or "").split(":")[0]) == ("failed", "wrong_envelope")


# -- N3: the two schemas ---------------------------------------------------------------------------------------


def test_N3_the_pages_example_of_creating(site: Site) -> None:
    entry = load(site, "2024-05-01.json", [PAGE_CREATE])
    assert outcomes(entry) == {"created": 1}
    found = row(site, "1234")
    wanted = {
        "name": "Owner name", "owner_name": "Owner name", "owner_identifier": "Owner identifier",
        "legal_name": "legal name", "legal_id": "legal id", "address_format": PAGE_CREATE["addressFormat"],
        "support_contact_email": "string", "support_contact_phone": "string", "promotion_grouper_codes": ["1234"],
        "stock_grouper_code": "6789", "pricelist_code": "1222", "route_code": "1234", "enabled": None,
        "latitude": Decimal("-34.545278"), "longitude": Decimal("-58.449722"),
        "settings": {"dropSize": {"amount": 1000, "currency": "USD"}}, "payment_status": "ok",
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    (line,) = found["store_addresses"]
    assert (line["address"], line["apartment_number"], line["zip_code"], line["internal_code"]) == (
        "25 de mayo 1200, Buenos aires, Argentina", "2", "2400", "1234",
    )  # fmt: skip


def test_N3_the_owner_fills_a_name_that_is_still_empty(site: Site) -> None:
    load(site, "2024-05-01.json", [store("A", ownerName="Ana"), {**store("B", ownerName="Bea"), "name": "Kiosko B"}])
    assert of(site, "name", "owner_name") == ("Kiosko", "Ana")
    nameless = {name: value for name, value in store("C", ownerName="Caro").items() if name != "name"}
    load(site, "2024-05-02.json", [nameless])
    assert of(site, "name", "owner_name", code="C") == ("Caro", "Caro")
    load(site, "2024-05-03.json", [{"internalCode": "C", "ownerName": "Carla"}])
    assert of(site, "name", "owner_name", code="C") == ("Caro", "Carla"), "the name is not empty any more"
    load(site, "2024-05-04.json", [{"internalCode": "C", "name": "Kiosko C"}])
    assert of(site, "name", code="C") == ("Kiosko C",)


def test_N3_the_address_line_is_address_else_address_line(site: Site) -> None:
    both = {"address": "Uno 1", "addressLine": "Dos 2", "zipCode": "1"}
    load(site, "2024-05-01.json", [store(addresses=[both, {"addressLine": "Dos 2", "zipCode": "1"}])])
    assert [line["address"] for line in row(site)["store_addresses"]] == ["Uno 1", "Dos 2"]
    assert {line["extra"] for line in row(site)["store_addresses"]} == {None}


def test_N3_a_promotion_code_is_text_or_a_list(site: Site) -> None:
    fields: list[dict[str, Any]] = [
        {},
        {"promotionGrouperCode": ["a", "b"]},
        {"promotionGrouperCode": "a"},
        {"promotionGrouperCode": None},
    ]
    load(site, "2024-05-01.json", [store(str(n), **f) for n, f in enumerate(fields)])
    assert [of(site, "promotion_grouper_codes", code=str(n))[0] or [] for n in range(4)] == [[], ["a", "b"], ["a"], []]


def test_N3_unknown_fields_are_kept_in_extra_children_too(site: Site) -> None:
    entry = load(site, "2024-05-01.json", [store(addresses=[address(floor=3)], rating=5)])
    assert row(site)["extra"] == {"rating": 5}
    assert row(site)["store_addresses"][0]["extra"] == {"floor": 3}
    assert entry.unknown_fields == {"rating": 1, "addresses[].floor": 1}
    load(site, "2024-05-02.json", [{"internalCode": "A", "color": "red"}])
    assert row(site)["extra"] == {"rating": 5, "color": "red"}


# -- N4: what creating needs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", "addresses", "legalName", "legalId"])
def test_N4_creating_needs_its_fields(site: Site, field: str) -> None:
    without = {name: value for name, value in store().items() if name != field}
    entry = load(site, "2024-05-01.json", [without, store("B")])
    assert outcomes(entry) == {"created": 1, "rejected": 1}
    assert rejects_of(site) == [("1", "required", field)]


@pytest.mark.parametrize("field", ["name", "addresses", "legalName", "legalId"])
def test_N4_null_for_a_required_field_is_a_reject_on_update_too(site: Site, field: str) -> None:
    load(site, "2024-05-01.json", [store()])
    entry = load(site, "2024-05-02.json", [{"internalCode": "A", field: None}, store("B", **{field: None})])
    assert outcomes(entry) == {"rejected": 2}
    assert rejects_of(site) == [("1", "required", field), ("2", "required", field)]


def test_N4_an_address_needs_its_line_and_zip_code(site: Site) -> None:
    bad = [{"zipCode": "1"}, {"address": "x"}, {"address": " ", "zipCode": "1"}, {"address": "x", "zipCode": None}]
    load(site, "2024-05-01.json", [store(str(n), addresses=[address(), b]) for n, b in enumerate(bad)])
    assert rejects_of(site) == [
        ("1", "required", "addresses[1].address"),
        ("2", "required", "addresses[1].zipCode"),
        ("3", "required", "addresses[1].address"),
        ("4", "required", "addresses[1].zipCode"),
    ]


def test_N4_no_address_at_all_is_none(site: Site) -> None:
    load(site, "2024-05-01.json", [store(addresses=[])])
    assert rejects_of(site) == [("1", "required", "addresses")]


def test_N4_patching_needs_the_code_only(site: Site) -> None:
    load(site, "2024-05-01.json", [store(enabled=True, creditLimit=10)])
    load(site, "2024-05-02.json", [{"internalCode": "A", "pricelistCode": "P"}])
    assert of(site, "pricelist_code", "enabled", "credit_limit", "name") == ("P", True, 10, "Kiosko")
    load(site, "2024-05-03.json", [{"internalCode": "A", "enabled": None, "creditLimit": None}])
    assert of(site, "pricelist_code", "enabled", "credit_limit", "name") == ("P", None, None, "Kiosko")


def test_N4_a_placeholder_becomes_real_once_its_fields_are_there(site: Site) -> None:
    log(site, 1, ("PUT", "/store/A/status", {"enabled": True}))
    load(site, "2024-05-02.json", [{"internalCode": "A", "name": "K", "addresses": [address()]}])
    assert of(site, "is_placeholder", "name", "enabled") == (True, "K", True)
    entry = load(site, "2024-05-03.json", [{"internalCode": "A", "legalName": "SRL", "legalId": "30-1"}])
    assert outcomes(entry) == {"updated": 1}
    assert of(site, "is_placeholder", "name", "enabled", "legal_id") == (False, "K", True, "30-1")


# -- N5: coordinates -------------------------------------------------------------------------------------------

READ = [
    (-34.545278, -58.449722, {}),
    ("-34.545278", "-58.449722", {"number_from_text": 2}),
    (" -34.545278° ", "-58.449722º", {"trimmed_text": 1, "stripped_degree_sign": 2}),
    ("-34,545278", "-58,449722", {"decimal_comma": 2}),
    ("34.545278 S", "58.449722W", {"compass_letter": 2}),
    ("S 34.545278", "58.449722 o", {"compass_letter": 2}),
    ("34,545278° S", "58.449722° O", {"compass_letter": 2, "decimal_comma": 1, "stripped_degree_sign": 2}),
    ("34°32'43\"S", "58° 26' 59\" O", {"compass_letter": 2, "degrees_minutes_seconds": 2}),
    ("-34°32'43,0''", "-58°26’59″", {"decimal_comma": 1, "degrees_minutes_seconds": 2}),
    (-34.5452784, "-58.4497216", {"rounded": 2, "number_from_text": 1}),
]


@pytest.mark.parametrize(("latitude", "longitude", "counted"), READ)
def test_N5_coordinates_in_every_form_each_counted(
    site: Site, latitude: Any, longitude: Any, counted: dict[str, int]
) -> None:
    entry = load(site, "2024-05-01.json", [store(latitude=latitude, longitude=longitude)])
    assert entry.leniencies == counted
    assert of(site, "latitude", "longitude") == (Decimal("-34.545278"), Decimal("-58.449722"))


def test_N5_north_and_east_are_positive(site: Site) -> None:
    load(site, "2024-05-01.json", [store(latitude="40.5 N", longitude="3.25 E")])
    assert of(site, "latitude", "longitude") == (Decimal("40.5"), Decimal("3.25"))


@pytest.mark.parametrize(
    ("latitude", "code"),
    [
        (-90.5, "out_of_range"), ("-100°", "out_of_range"), ("north", "not_a_number"), ("", "not_a_number"),
        ("58.4 W", "not_a_number"), ("-34.5 S", "not_a_number"), ("34°75'", "not_a_number"), ("NaN", "not_finite"),
        (True, "not_a_number"), ([1], "not_a_number"),
    ],
)  # fmt: skip
def test_N5_out_of_range_or_no_number_is_a_reject_with_its_path(site: Site, latitude: Any, code: str) -> None:
    point = {"latitude": latitude, "longitude": 10}
    load(site, "2024-05-01.json", [store(**point), store("B", addresses=[address(), address(**point)])])
    assert rejects_of(site) == [("1", code, "latitude"), ("2", code, "addresses[1].latitude")]


def test_N5_latitude_and_longitude_are_never_swapped(site: Site) -> None:
    load(
        site, "2024-05-01.json", [store(latitude=-99.13, longitude=19.43), store("B", latitude=19.43, longitude=-99.1)]
    )
    assert rejects_of(site) == [("1", "out_of_range", "latitude")]


def test_N5_stores_show_their_own_or_the_first_addresses_coordinates(site: Site) -> None:
    first = address("1", latitude=-33.4, longitude=-70.6)
    second = address("2", latitude=-34, longitude=-71)
    load(site, "2024-05-01.json", [store(addresses=[first, second])])
    assert of(site, "latitude", "longitude") == (Decimal("-33.4"), Decimal("-70.6"))
    load(site, "2024-05-02.json", [{"internalCode": "A", "addresses": [second, first]}])
    assert of(site, "latitude", "longitude") == (-34, -71), "its current first address's"
    load(site, "2024-05-03.json", [{"internalCode": "A", "latitude": 1, "longitude": 2}])
    assert of(site, "latitude", "longitude") == (1, 2)
    load(site, "2024-05-04.json", [{"internalCode": "A", "addresses": [first]}])
    assert of(site, "latitude", "longitude") == (1, 2), "its own stay"
    (line,) = row(site)["store_addresses"]
    assert (line["latitude"], line["longitude"]) == (Decimal("-33.4"), Decimal("-70.6"))
    load(site, "2024-05-05.json", [{"internalCode": "A", "latitude": None, "longitude": None}])
    assert of(site, "latitude", "longitude") == (None, None), "cleared, and so they stay (F06)"


def test_N5_one_of_a_pair_alone_counts_as_absent(site: Site) -> None:
    half = store(latitude=5, addresses=[address(latitude=-33, longitude=-70), address("2", longitude=3)])
    entry = load(site, "2024-05-01.json", [half])
    assert entry.leniencies == {"incomplete_coordinates": 2}
    assert of(site, "latitude", "longitude") == (-33, -70)
    assert row(site)["store_addresses"][1]["longitude"] is None


def test_N5_a_late_file_with_own_coordinates_is_shown(site: Site) -> None:
    load(site, "2024-05-05.json", [store(addresses=[address(latitude=3, longitude=4)])])
    load(site, "2024-05-01.json", [store(latitude=1, longitude=2)])
    assert of(site, "latitude", "longitude") == (1, 2)


# -- N6: credit, flags, settings -------------------------------------------------------------------------------


def test_N6_credit_arrives_in_three_ways_in_one_column(site: Site) -> None:
    load(site, "2024-05-01.json", [store(creditLimit=50000)])
    assert of(site, "credit_limit", "settings") == (50000, None)
    log(site, 2, ("POST", "/store/A/credit", {"amount": "5000.50"}))
    assert of(site, "credit_limit") == (Decimal("5000.50"),)
    log(site, 3, ("POST", "/batch/store/setting", {"stores": [{"storeCode": "A", "settings": {"credit": 7, "x": 1}}]}))
    assert of(site, "credit_limit", "settings") == (7, {"x": 1})


def test_N6_flags_under_both_names_and_neither_clears_the_other(site: Site) -> None:
    load(site, "2024-05-01.json", [store("A", isDebtor=True), store("B", latePayer="sí"), store("C", debtor=False)])
    assert of(site, "is_debtor", "is_late_payer", "payment_status") == (True, None, "debtor")
    assert of(site, "is_debtor", "is_late_payer", "payment_status", code="B") == (None, True, "late_payer")
    assert of(site, "is_debtor", "is_late_payer", "payment_status", code="C") == (False, None, "ok")
    load(site, "2024-05-02.json", [{"internalCode": "A", "isLatePayer": True}])
    assert of(site, "is_debtor", "is_late_payer", "payment_status") == (True, True, "debtor")
    load(site, "2024-05-03.json", [{"internalCode": "A", "debtor": False}])
    assert of(site, "is_debtor", "is_late_payer", "payment_status") == (False, True, "late_payer")
    load(site, "2024-05-04.json", [{"internalCode": "A", "latePayer": None}])
    assert of(site, "is_debtor", "is_late_payer", "payment_status") == (False, None, "ok")


def test_N6_the_calls_set_true(site: Site) -> None:
    load(site, "2024-05-01.json", [store(debtor=False, latePayer=False)])
    log(site, 2, ("POST", "/store/A/latepayer", None))
    assert of(site, "is_debtor", "is_late_payer", "payment_status") == (False, True, "late_payer")
    log(site, 3, ("POST", "/store/A/debtor", {}))
    assert of(site, "is_debtor", "is_late_payer", "payment_status") == (True, True, "debtor")


def test_N6_two_names_with_different_values_are_a_reject(site: Site) -> None:
    load(site, "2024-05-01.json", [store(debtor=True, isDebtor=False), store("B", creditLimit=1, amount=2)])
    assert rejects_of(site) == [("1", "field_conflict", "debtor"), ("2", "field_conflict", "creditLimit")]


def test_N6_the_keys_are_taken_out_of_settings_and_top_level_values_win(site: Site) -> None:
    inside = {"credit": 1, "isDebtor": True, "late_payer": True, "allowPartialDelivery": True}
    load(
        site, "2024-05-01.json", [store("A", settings=inside), store("B", settings=inside, creditLimit=9, debtor=False)]
    )
    columns = ("credit_limit", "is_debtor", "is_late_payer", "settings")
    assert of(site, *columns) == (1, True, True, {"allowPartialDelivery": True})
    assert of(site, *columns, code="B") == (9, False, True, {"allowPartialDelivery": True})


def test_N6_settings_merge_by_top_level_key(site: Site) -> None:
    load(site, "2024-05-01.json", [store(settings={"a": {"x": 1, "y": 2}, "b": 1, "c": 1})])
    load(site, "2024-05-02.json", [{"internalCode": "A", "settings": {"a": {"x": 3}, "b": None, "d": [1]}}])
    assert of(site, "settings") == ({"a": {"x": 3}, "b": None, "c": 1, "d": [1]},)
    load(site, "2024-05-03.json", [{"internalCode": "A", "settings": None}])
    assert of(site, "settings") == (None,)


def test_N6_bad_values_are_rejects_with_their_paths(site: Site) -> None:
    bad: list[dict[str, Any]] = [
        {"settings": {"credit": "much"}}, {"settings": {"isDebtor": "perhaps"}}, {"settings": [1]},
        {"creditLimit": "much"}, {"debtor": 2},
    ]  # fmt: skip
    load(site, "2024-05-01.json", [store(str(n), **fields) for n, fields in enumerate(bad)])
    assert rejects_of(site) == [
        ("1", "not_a_number", "settings.credit"),
        ("2", "not_a_boolean", "settings.isDebtor"),
        ("3", "not_an_object", "settings"),
        ("4", "not_a_number", "creditLimit"),
        ("5", "not_a_boolean", "debtor"),
    ]


# -- N7: addresses and users -----------------------------------------------------------------------------------


def test_N7_addresses_absent_keeps_a_list_replaces(site: Site) -> None:
    load(site, "2024-05-01.json", [store(addresses=[address("1", apartmentNumber="4"), address("2")])])
    load(site, "2024-05-02.json", [{"internalCode": "A", "enabled": True}])
    assert [line["address"] for line in row(site)["store_addresses"]] == ["1", "2"]
    load(site, "2024-05-03.json", [{"internalCode": "A", "addresses": [address("1")]}])
    assert [(line["address"], line["apartment_number"]) for line in row(site)["store_addresses"]] == [("1", None)]
    load(site, "2024-05-04.json", [{"internalCode": "A", "addresses": []}])
    assert row(site)["store_addresses"] == []


def test_N7_users_are_sets_and_calls_idempotent(site: Site) -> None:
    load(site, "2024-05-01.json", [store()])
    add, remove = "/store/A/add/user", "/store/A/remove/user"
    entry = log(site, 2, ("PUT", add, {"users": ["u1", 5491100, " a@b.c "]}), ("PUT", add, {"users": ["u1", "u1"]}))
    assert (outcomes(entry), entry.leniencies["coerced_number_to_text"]) == ({"updated": 1, "unchanged": 1}, 1)
    assert users(site) == ["5491100", "a@b.c", "u1"]
    entry = log(site, 3, ("PUT", remove, {"users": ["u1", "nobody"]}), ("PUT", remove, {"users": ["u1"]}))
    assert outcomes(entry) == {"updated": 1, "unchanged": 1}
    assert users(site) == ["5491100", "a@b.c"]


def test_N7_a_user_that_is_no_text_is_a_reject_with_its_path(site: Site) -> None:
    bad: list[Any] = [["u", None], ["u", ""], ["u", True], [{"id": 1}], "u"]
    log(site, 2, *(("PUT", "/store/A/add/user", {"users": users}) for users in bad))
    assert rejects_of(site) == [
        ("1/1", "required", "users[1]"),
        ("2/1", "key_missing", "users[1]"),
        ("3/1", "not_text", "users[1]"),
        ("4/1", "not_text", "users[0]"),
        ("5/1", "not_a_list", "users"),
    ]


def test_N7_for_one_user_the_newest_version_wins_whatever_the_order_of_loading(site: Site) -> None:
    load(site, "2024-05-01.json", [store()])
    add, remove = "/store/A/add/user", "/store/A/remove/user"
    log(site, 5, ("PUT", remove, {"users": ["u1"]}))
    entry = log(site, 3, ("PUT", add, {"users": ["u1", "u2"]}))
    assert outcomes(entry) == {"updated": 1}
    assert users(site) == ["u2"]
    log(site, 4, ("PUT", remove, {"users": ["u2", "u1"]}))
    assert users(site) == []
    log(site, 6, ("PUT", add, {"users": ["u1"]}))
    assert outcomes(log(site, 2, ("PUT", remove, {"users": ["u1"]}))) == {"stale": 1}
    assert users(site) == ["u1"]


# -- N8: batches -----------------------------------------------------------------------------------------------


def test_N8_the_order_is_create_update_upsert_remove(site: Site) -> None:
    load(site, "2024-05-01.json", [store("U"), store("R")])
    body = {
        "remove": ["R", "X"],
        "upsert": [store("N"), {"internalCode": "M"}],
        "update": [{"internalCode": "U", "name": "new"}, {"internalCode": "Q"}],
        "create": [store("C")],
    }
    entry = log(site, 2, ("POST", "/batch/store", body))
    assert outcomes(entry) == {"created": 2, "updated": 1, "deleted": 1, "not_found": 1, "rejected": 2}
    assert rejects_of(site) == [("1/3", "store_unknown", None), ("1/5", "required", "name")]
    assert of(site, "name", code="U") == ("new",)


def test_N8_create_of_an_existing_code_is_an_update_counted(site: Site) -> None:
    load(site, "2024-05-01.json", [store("A", enabled=True), store("B")])
    body = {"create": [store("B", name="b")]}
    entry = log(site, 2, ("POST", "/store", store("A", name="a")), ("POST", "/batch/store", body))
    assert (outcomes(entry), entry.leniencies) == ({"updated": 2}, {"create_of_existing": 2})
    assert of(site, "name", "enabled") == ("a", True)


def test_N8_X8_a_strict_source_refuses_a_create_of_an_existing_code(site: Site) -> None:
    site.source_of("nilo/acme/stores", strict=True)
    load(site, "2024-05-01.json", [store("A", enabled=True)])
    entry = log(site, 2, ("POST", "/store", store("A", name="a")), ("POST", "/store", store("B")))
    assert outcomes(entry) == {"created": 1, "rejected": 1}
    assert rejects_of(site) == [("1/1", "create_of_existing", None)]
    assert of(site, "name", "enabled") != ("a", True)


def test_N8_update_of_an_unknown_or_removed_code_is_a_reject(site: Site) -> None:
    load(site, "2024-05-01.json", [store("R")])
    update = {"update": [{"internalCode": "R", "name": "x"}, {"internalCode": "X", "name": "x"}]}
    log(
        site,
        2,
        ("POST", "/batch/store", {"remove": ["R"]}),
        ("PUT", "/store/Y", {"name": "y"}),
        ("POST", "/batch/store", update),
    )
    assert rejects_of(site) == [
        ("2/1", "store_unknown", None),
        ("3/1", "store_unknown", None),
        ("3/2", "store_unknown", None),
    ]
    assert of(site, "name", "store_addresses", code="R") == (None, [])
    assert codes(site) == {"R"}


def test_N8_a_refused_update_is_resolved_when_a_late_create_arrives(site: Site) -> None:
    entry = log(site, 5, ("PUT", "/store/A", {"name": "late", "enabled": True}))
    assert (outcomes(entry), rejects_of(site)) == ({"rejected": 1}, [("1/1", "store_unknown", None)])
    assert outcomes(load(site, "2024-05-01.json", [store("A")])) == {"created": 1}
    assert of(site, "name", "enabled") == ("late", True)
    assert (rejects_of(site), rejects_of(site, "resolved")) == ([], [("1/1", "store_unknown", None)])
    assert site.ledger()[-1].rejected == 1, "the counts tell the file's own load"
    log(site, 3, ("POST", "/batch/store", {"remove": ["A"]}))
    assert rejects_of(site) == [("1/1", "store_unknown", None)], "and it is open again once there is nothing to update"
    assert of(site, "deleted_at") == (datetime(2024, 5, 3, 10, tzinfo=UTC),)


def test_N8_one_code_in_two_lists_is_a_reject_for_each(site: Site) -> None:
    body = {"create": [store("A"), store("D")], "upsert": [store(" A")], "update": [store("B")], "remove": ["B", "C"]}
    entry = log(site, 2, ("POST", "/batch/store", body))
    assert outcomes(entry) == {"created": 1, "not_found": 1, "rejected": 4}
    assert [(position, code) for position, code, _ in rejects_of(site)] == [
        (f"1/{n}", "store_in_two_lists") for n in (1, 3, 4, 5)
    ]
    assert codes(site) == {"C", "D"}


def test_N8_one_code_twice_in_one_list_is_applied_twice(site: Site) -> None:
    entry = log(site, 2, ("POST", "/batch/store", {"upsert": [store("A"), {"internalCode": "A", "name": "n"}]}))
    assert outcomes(entry) == {"created": 1, "updated": 1}


def test_N8_an_empty_body_changes_nothing(site: Site) -> None:
    bodies: list[Any] = [{}, {"create": [], "update": [], "upsert": [], "remove": []}, {"create": None}, None]
    entry = log(site, 2, *(("POST", "/batch/store", body) for body in bodies))
    assert (entry.read, codes(site), rejects_of(site)) == (0, set(), [])


# -- N9, N10: removal and placeholders -------------------------------------------------------------------------


def test_N9_remove_leaves_a_tombstone(site: Site) -> None:
    load(site, "2024-05-01.json", [store("A")])
    log(site, 2, ("PUT", "/store/A/add/user", {"users": ["u"]}))
    entry = load(site, "2024-05-03.json", {"remove": ["A"]})
    assert outcomes(entry) == {"deleted": 1}
    columns = ("deleted_at", "name", "store_addresses", "store_users", "payment_status")
    assert of(site, *columns) == (datetime(2024, 5, 3, tzinfo=UTC), None, [], [], None)


def test_N9_unknown_or_removed_is_not_found_and_keeps_older_records_out(site: Site) -> None:
    entry = log(site, 3, ("POST", "/batch/store", {"remove": ["A", 12.0, ""]}))
    assert outcomes(entry) == {"not_found": 2, "rejected": 1}
    assert rejects_of(site) == [("1/3", "key_missing", "remove[2]")]
    assert outcomes(log(site, 4, ("POST", "/batch/store", {"remove": ["A"]}))) == {"not_found": 1}
    load(site, "2024-05-01.json", [store("A"), store("12")])
    assert of(site, "deleted_at") == (datetime(2024, 5, 3, 10, tzinfo=UTC),), "the first delete since it lived (F13)"
    assert of(site, "deleted_at", code="12") == (datetime(2024, 5, 3, 10, tzinfo=UTC),)
    load(site, "2024-05-05.json", [store("A")])
    assert of(site, "deleted_at", "name") == (None, "Kiosko")


CARRIED: list[tuple[tuple[str, str, Any], dict[str, Any]]] = [
    (("PUT", "/store/A/status", {"enabled": True}), {"enabled": True}),
    (("POST", "/store/A/credit", {"amount": 10}), {"credit_limit": 10}),
    (("POST", "/store/A/debtor", None), {"is_debtor": True, "payment_status": "debtor"}),
    (("POST", "/store/A/latepayer", None), {"is_late_payer": True, "payment_status": "late_payer"}),
    (
        ("POST", "/batch/store/setting", {"stores": [{"storeCode": "A", "settings": {"x": 1}}]}),
        {"settings": {"x": 1}},
    ),
]


@pytest.mark.parametrize(("request_", "carried"), CARRIED, ids=[path for (_, path, _), _ in CARRIED])
def test_N10_a_call_for_an_unknown_store_makes_a_placeholder_that_carries_it(
    site: Site, request_: tuple[str, str, Any], carried: dict[str, Any]
) -> None:
    assert outcomes(log(site, 5, request_)) == {"created": 1}
    found = row(site)
    assert {name: found[name] for name in carried} == carried
    assert (found["is_placeholder"], found["name"]) == (True, None)
    assert outcomes(load(site, "2024-05-06.json", [store()])) == {"updated": 1}
    found = row(site)
    assert {name: found[name] for name in carried} == carried
    assert (found["is_placeholder"], found["name"]) == (False, "Kiosko")


def test_N10_users_of_an_unknown_store(site: Site) -> None:
    log(site, 5, ("PUT", "/store/A/add/user", {"users": ["u"]}), ("PUT", "/store/B/remove/user", {"users": ["u"]}))
    assert (of(site, "is_placeholder"), users(site)) == ((True,), ["u"])
    assert (of(site, "is_placeholder", code="B"), users(site, "B")) == ((True,), [])


def test_N10_a_late_definition_promotes_and_a_late_call_never_downgrades(site: Site) -> None:
    log(site, 5, ("PUT", "/store/A/status", {"enabled": False}))
    load(site, "2024-05-01.json", [store("A", enabled=True)])
    assert of(site, "is_placeholder", "enabled") == (False, False)
    load(site, "2024-05-06.json", [store("B")])
    log(site, 4, ("POST", "/store/B/credit", {"amount": 4}))
    assert of(site, "is_placeholder", "credit_limit", "name", code="B") == (False, 4, "Kiosko")


@pytest.mark.parametrize(
    ("path", "field"), [("status", "enabled"), ("add/user", "users"), ("remove/user", "users"), ("credit", "amount")]
)
def test_N10_a_call_without_its_field_is_a_reject(site: Site, path: str, field: str) -> None:
    method = "POST" if path == "credit" else "PUT"
    log(site, 5, (method, f"/store/A/{path}", {}))
    assert rejects_of(site) == [("1/1", "required", field)]
    assert codes(site) == set()


# -- the way of a file -----------------------------------------------------------------------------------------


def test_N2_an_unchanged_store_writes_nothing(site: Site) -> None:
    full = store(users=["u"], settings={"a": 1}, latitude="1°", longitude=2, rating=1)
    load(site, "2024-05-01.json", [full])
    before = site.query("select ctid::text, xmin::text from sync.stores")
    assert outcomes(load(site, "2024-05-02.json", [full])) == {"unchanged": 1}
    assert site.query("select ctid::text, xmin::text from sync.stores") == before


def test_N5_a_strict_source_turns_each_leniency_into_a_reject(site: Site) -> None:
    settings = '{"sources": [{"partner": "nilo", "tenant": "acme", "streams": {"stores": {"strict": true}}}]}'
    (site.folder / "sources.yaml").write_text(settings)
    load(site, "2024-05-01.json", [store(latitude="1°", longitude=2), store("B", latitude="1 N", longitude=2)])
    assert rejects_of(site) == [("1", "stripped_degree_sign", "latitude"), ("2", "compass_letter", "latitude")]
