"""Reten commerces: what the partner's page and the rules say of them (R1 to R10)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration import metadata
from sync_pipelines.partners import find_stream
from sync_pipelines_tests.loading import Site, call, lines, outcomes

AT = "2024-05-06T10:00:00Z"
PAGE = {
    "items": [
        {
            "external_id": "store-001",
            "name": "Main Street Store",
            "tax_id": "12345678-9",
            "addresses": [
                {
                    "street": "123 Main St",
                    "city": "Santiago",
                    "region": "Metropolitana",
                    "country_code": "CL",
                    "is_primary": True,
                    "latitude": -33.4489,
                    "longitude": -70.6693,
                }
            ],
            "users": [
                {
                    "external_id": "usr-001",
                    "name": "Maria Garcia",
                    "roles": ["OWNER"],
                    "contacts": [{"contact_type": "PHONE", "value": "+56912345678", "is_primary": True}],
                }
            ],
        }
    ]
}
"""The example of Reten's page."""


def load(site: Site, day: int, content: Any) -> LedgerFile:
    suffix = ".ndjson" if isinstance(content, str) else ".json"
    return site.load_at(f"reten/acme/commerces/2024-05-{day:02}{suffix}", content)


def sent(site: Site, day: int, *items: Any) -> LedgerFile:
    """Loads a documented body of commerces that all loaded."""
    entry = load(site, day, {"items": list(items)})
    assert (entry.status, entry.rejected) == ("loaded", 0), site.rejects()
    return entry


def commerce(key: Any = "A", **fields: Any) -> dict[str, Any]:
    return {"external_id": key, "name": f"Store {key}", **fields}


def row(site: Site, key: str = "A") -> dict[str, Any]:
    return site.tables()["commerces"][("acme", "reten", key)]


def rejects_of(site: Site) -> list[tuple[str, str, str | None]]:
    return [(r["position"], r["code"], r["field_path"]) for r in site.rejects()]


def addresses(site: Site, *columns: str) -> list[Any]:
    """The addresses of A in order, by some columns."""
    found = [tuple(address[c] for c in columns) for address in row(site)["commerce_addresses"]]
    return [values[0] for values in found] if len(columns) == 1 else found


def users(site: Site) -> list[dict[str, Any]]:
    """The users of A, their contacts as (type, value, is_primary)."""
    found = site.query("select id, external_id, name, roles, extra from sync.commerce_users order by line_no")
    for user in found:
        user["contacts"] = [
            (c["contact_type"], c["value"], c["is_primary"])
            for c in site.query(
                "select * from sync.commerce_user_contacts where commerce_user_id = %s order by line_no",
                [user.pop("id")],
            )
        ]
    return found


def ids(site: Site, table: str) -> list[int]:
    return [found["id"] for found in site.query(f"select id from sync.{table} order by line_no")]


# -- R1: bodies and the route ----------------------------------------------------------------------------------


def test_R1_the_example_of_the_page_is_one_created_commerce(site: Site) -> None:
    entry = load(site, 1, PAGE)

    assert (entry.status, entry.read, outcomes(entry), entry.leniencies) == ("loaded", 1, {"created": 1}, {})
    stored = row(site, "store-001")
    assert (stored["name"], stored["tax_id"], stored["is_placeholder"]) == ("Main Street Store", "12345678-9", False)
    (address,) = stored["commerce_addresses"]
    assert (address["street"], address["country_code"], address["is_primary"]) == ("123 Main St", "CL", True)
    assert (address["latitude"], address["longitude"]) == (Decimal("-33.448900"), Decimal("-70.669300"))
    assert users(site) == [
        {
            "external_id": "usr-001",
            "name": "Maria Garcia",
            "roles": ["OWNER"],
            "extra": None,
            "contacts": [("PHONE", "+56912345678", True)],
        }
    ]


def test_R1_records_body_and_log_are_one_export(site: Site) -> None:
    log = lines(call("2024-05-04T08:00:00Z", "POST", "/api/commerces/sync", PAGE))
    assert outcomes(load(site, 1, PAGE["items"])) == {"created": 1}
    assert outcomes(load(site, 2, PAGE)) == {"unchanged": 1}
    assert outcomes(load(site, 3, lines(*PAGE["items"]))) == {"unchanged": 1}
    assert outcomes(load(site, 4, log)) == {"unchanged": 1}
    assert outcomes(load(site, 5, PAGE["items"][0])) == {"unchanged": 1}


def test_R1_a_flat_file_has_a_commerce_a_line(site: Site) -> None:
    entry = site.load_at("reten/acme/commerces/2024-05-01.csv", "externalId,Name,tax_id\nA,Ana,007\nB,Beto,\n")
    assert outcomes(entry) == {"created": 2}
    assert (row(site)["tax_id"], row(site, "B")["tax_id"]) == ("007", None)


def test_R1_camel_case_is_read_too(site: Site) -> None:
    sent(
        site,
        1,
        {"externalId": "A", "name": "x", "globalExternalId": "G", "taxId": "1", "addresses": [{"addressAlias": "h"}]},
    )
    assert (row(site)["global_external_id"], addresses(site, "alias")) == ("G", ["h"])


@pytest.mark.parametrize(
    "body", [{}, {"commerces": []}, {"items": None}, {"items": commerce()}, {"items": "x"}, {"name": "no key"}]
)
def test_R1_an_object_without_key_and_items_fails_the_file(site: Site, body: dict[str, Any]) -> None:
    entry = load(site, 1, body)
    assert (entry.status, (entry.error or "").split(":")[0]) == ("failed", "wrong_envelope")
    assert site.tables()["commerces"] == {}


def test_R1_an_object_with_an_external_id_is_one_record_whatever_else_it_has(site: Site) -> None:
    assert outcomes(load(site, 1, commerce(items=[]))) == {"created": 1}
    assert outcomes(load(site, 2, commerce("B", items={"a": 1}))) == {"created": 1}
    assert sorted(key[2] for key in site.tables()["commerces"]) == ["A", "B"]


def test_R1_no_items_are_a_loaded_file(site: Site) -> None:
    for number, empty in enumerate(({"items": []}, []), start=1):
        entry = load(site, number, empty)
        assert (entry.status, entry.read) == ("loaded", 0)


def test_R1_other_calls_do_not_write(site: Site) -> None:
    path = "/api/commerces/sync"
    log = [call(AT, "GET", path), call(AT, "POST", "/api/commerces"), call(AT, "POST", path, {"items": [commerce()]})]
    assert outcomes(load(site, 6, lines(*log))) == {"rejected": 2, "created": 1}
    assert rejects_of(site) == [("1", "route_unknown", "path"), ("2", "route_unknown", "path")]


# -- R2, R3, R4: the commerce itself ---------------------------------------------------------------------------


def test_R2_external_id_and_name_are_required_on_every_item(site: Site) -> None:
    sent(site, 1, commerce("A"))
    bad = [{"name": "x"}, {"external_id": " ", "name": "x"}, {"external_id": None, "name": "x"}, {"external_id": "A"}]
    bad += [{"external_id": "A", "name": name} for name in (None, "", "  ")]
    entry = load(site, 2, {"items": [*bad, commerce("B")]})
    assert outcomes(entry) == {"rejected": 7, "created": 1}
    assert rejects_of(site) == [
        ("1", "key_missing", "external_id"),
        ("2", "key_missing", "external_id"),
        ("3", "key_missing", "external_id"),
        *((str(n), "required", "name") for n in range(4, 8)),
    ]
    assert row(site)["name"] == "Store A"


def test_R2_the_key_is_trimmed_text_and_case_sensitive(site: Site) -> None:
    entry = sent(site, 1, commerce(" A "), commerce("a"), commerce(7))
    assert outcomes(entry) == {"created": 3}
    assert entry.leniencies["coerced_number_to_text"] == 1
    assert {key[2] for key in site.tables()["commerces"]} == {"A", "a", "7"}


def test_R3_optional_fields_are_kept_cleared_and_left(site: Site) -> None:
    sent(site, 1, commerce(global_external_id="G", tax_id="0012", metadata={"a": 1}, segment="gold"))
    entry = sent(site, 2, commerce(tax_id=None, colour="red"))
    assert (outcomes(entry), entry.unknown_fields) == ({"updated": 1}, {"colour": 1})
    stored = row(site)
    assert (stored["global_external_id"], stored["tax_id"], stored["metadata"]) == ("G", None, {"a": 1})
    assert stored["extra"] == {"segment": "gold", "colour": "red"}


def test_R3_a_tax_id_keeps_its_leading_zeros(site: Site) -> None:
    entry = sent(site, 1, commerce("A", tax_id="000123"), commerce("B", tax_id=76123456))
    assert (row(site)["tax_id"], row(site, "B")["tax_id"]) == ("000123", "76123456")
    assert entry.leniencies == {"coerced_number_to_text": 1}


@pytest.mark.parametrize("value", ["text", 1, [{"a": 1}], True])
def test_R3_metadata_is_an_object(site: Site, value: Any) -> None:
    load(site, 1, [commerce(metadata=value)])
    assert rejects_of(site) == [("1", "not_an_object", "metadata")]


def test_R4_metadata_merges_at_its_top_level(site: Site) -> None:
    sent(site, 1, commerce(metadata={"keep": 1, "deep": {"a": 1, "b": 2}, "gone": "x"}))
    assert outcomes(sent(site, 2, commerce(metadata={"deep": {"c": 3}, "new": [1], "gone": None}))) == {"updated": 1}
    merged = {"keep": 1, "deep": {"c": 3}, "new": [1], "gone": None}
    assert row(site)["metadata"] == merged
    assert outcomes(sent(site, 3, commerce(metadata={}))) == {"unchanged": 1}
    assert outcomes(sent(site, 4, commerce())) == {"unchanged": 1}
    assert row(site)["metadata"] == merged


def test_R4_null_clears_metadata_and_a_late_one_comes_before(site: Site) -> None:
    sent(site, 2, commerce(metadata={"b": 2}))
    sent(site, 4, commerce(metadata={"d": 4}))
    assert outcomes(sent(site, 1, commerce(metadata={"a": 1, "b": 1}))) == {"updated": 1}
    assert row(site)["metadata"] == {"a": 1, "b": 2, "d": 4}
    assert outcomes(sent(site, 3, commerce(metadata=None))) == {"updated": 1}
    assert row(site)["metadata"] == {"d": 4}
    sent(site, 5, commerce(metadata=None))
    assert row(site)["metadata"] is None


# -- R5, R6: addresses -----------------------------------------------------------------------------------------


def test_R5_every_field_of_an_address_is_stored(site: Site) -> None:
    texts = {
        "address_alias": "Home", "country_code": "CL", "region": "RM", "commune": "Ñuñoa", "city": "Santiago",
        "street": "Irarrázaval", "street_number": "0123", "unit": "4B", "formatted_address": "x, y",
        "source_ref": "S-1",
    }  # fmt: skip
    sent(site, 1, commerce(addresses=[texts | {"is_primary": False, "latitude": "-33.1234565", "longitude": -70}]))
    (address,) = row(site)["commerce_addresses"]
    expected = {("alias" if name == "address_alias" else name): text for name, text in texts.items()}
    assert {name: address[name] for name in expected} == expected
    assert (address["is_primary"], address["latitude"]) == (False, Decimal("-33.123457"))


def test_R5_an_empty_object_is_ignored_and_counted(site: Site) -> None:
    entry = sent(site, 1, commerce(addresses=[{}, {"city": "Lima"}, {}]))
    assert entry.leniencies == {"empty_object_ignored": 2}
    assert addresses(site, "city") == ["Lima"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("latitude", 90.000001, "out_of_range"),
        ("latitude", -91, "out_of_range"),
        ("longitude", 180.5, "out_of_range"),
        ("longitude", "-180.0000001", "out_of_range"),
        ("latitude", "north", "not_a_number"),
        ("longitude", True, "not_a_number"),
    ],
)
def test_R5_coordinates_lie_on_the_earth(site: Site, name: str, value: Any, code: str) -> None:
    pair = {"latitude": 1, "longitude": 1} | {name: value}
    load(site, 1, [commerce(addresses=[{"city": "x"}, pair]), commerce("B")])
    assert rejects_of(site) == [("1", code, f"addresses[1].{name}")]
    assert ("acme", "reten", "B") in site.tables()["commerces"]


def test_R5_the_poles_and_the_date_line_are_accepted_and_half_a_pair_is_absent(site: Site) -> None:
    pairs = [{"latitude": 90, "longitude": -180}, {"latitude": -90, "longitude": 180}]
    entry = sent(site, 1, commerce(addresses=[*pairs, {"city": "x", "latitude": 5}]))
    assert entry.leniencies == {"incomplete_coordinates": 1}
    assert addresses(site, "latitude", "longitude") == [(90, -180), (-90, 180), (None, None)]


def test_R6_an_address_matches_by_source_ref_first(site: Site) -> None:
    stored = [{"source_ref": "1", "address_alias": "Home", "city": "a"}, {"source_ref": "2", "address_alias": "Work"}]
    sent(site, 1, commerce(addresses=stored))
    before = ids(site, "commerce_addresses")
    entry = sent(site, 2, commerce(addresses=[{"source_ref": "2", "address_alias": "Home", "city": "b"}]))
    assert outcomes(entry) == {"updated": 1}
    assert addresses(site, "source_ref", "alias", "city") == [("1", "Home", "a"), ("2", "Home", "b")]
    assert ids(site, "commerce_addresses") == before


def test_R6_if_that_finds_none_by_alias_trimmed_and_without_case(site: Site) -> None:
    sent(site, 1, commerce(addresses=[{"address_alias": "Casa Matriz", "city": "a", "unit": "1"}]))
    before = ids(site, "commerce_addresses")
    sent(site, 2, commerce(addresses=[{"source_ref": "9", "address_alias": "  CASA matriz ", "city": "b"}]))
    assert addresses(site, "source_ref", "city", "unit") == [("9", "b", "1")]
    assert ids(site, "commerce_addresses") == before


def test_R6_if_neither_is_given_by_content_null_being_absent(site: Site) -> None:
    sent(site, 1, commerce(addresses=[{"city": "a", "unit": None}, {"city": "a", "unit": "2"}]))
    assert outcomes(sent(site, 2, commerce(addresses=[{"city": "a"}, {"unit": "2", "city": "a"}]))) == {"unchanged": 1}
    sent(site, 3, commerce(addresses=[{"city": "a", "is_primary": True}]))
    assert addresses(site, "city", "unit", "is_primary") == [("a", None, True), ("a", "2", None)]
    sent(site, 4, commerce(addresses=[{"city": "a", "unit": "3"}]))
    assert addresses(site, "unit") == [None, "2", "3"]


def test_R6_a_matched_one_is_patched_and_the_others_kept(site: Site) -> None:
    sent(site, 1, commerce(addresses=[{"source_ref": "1", "city": "a", "unit": "u", "floor": 3}, {"city": "other"}]))
    before = ids(site, "commerce_addresses")
    sent(
        site, 2, commerce(addresses=[{"source_ref": "1", "unit": None, "street": "s", "gate": 1}, {"source_ref": "2"}])
    )
    assert addresses(site, "city", "unit", "street") == [("a", None, "s"), ("other", None, None), (None, None, None)]
    assert addresses(site, "extra")[0] == {"floor": 3, "gate": 1}
    assert ids(site, "commerce_addresses")[:2] == before
    nothings: list[dict[str, Any]] = [{}, {"addresses": None}, {"addresses": []}]
    for day, nothing in enumerate(nothings, start=3):
        assert outcomes(sent(site, day, commerce(**nothing))) == {"unchanged": 1}
    assert len(ids(site, "commerce_addresses")) == 3


def test_R6_a_late_file_finds_its_addresses_too(site: Site) -> None:
    sent(site, 3, commerce(addresses=[{"source_ref": "1", "city": "new"}]))
    before = ids(site, "commerce_addresses")
    assert outcomes(sent(site, 1, commerce(addresses=[{"source_ref": "1", "city": "old", "unit": "7"}]))) == {
        "updated": 1
    }
    assert addresses(site, "city", "unit") == [("new", "7")]
    assert ids(site, "commerce_addresses") == before


# -- R7: primaries ---------------------------------------------------------------------------------------------


def test_R7_the_last_of_several_primary_addresses_wins_counted(site: Site) -> None:
    entry = sent(site, 1, commerce(addresses=[{"city": c, "is_primary": True} for c in "abc"]))
    assert entry.leniencies == {"several_primaries": 1}
    assert addresses(site, "city", "is_primary") == [("a", False), ("b", False), ("c", True)]


def test_R7_a_new_primary_demotes_the_old_one(site: Site) -> None:
    sent(site, 1, commerce(addresses=[{"city": "a", "is_primary": True}, {"city": "b"}]))
    entry = sent(site, 2, commerce(addresses=[{"city": "b", "is_primary": True}]))
    assert (outcomes(entry), entry.leniencies) == ({"updated": 1}, {})
    assert addresses(site, "city", "is_primary") == [("a", False), ("b", True)]
    sent(site, 3, commerce(addresses=[{"city": "b", "is_primary": False}]))
    assert addresses(site, "is_primary") == [False, False]


def test_R7_one_primary_contact_for_each_user_and_type(site: Site) -> None:
    def contact(kind: str, value: str) -> dict[str, Any]:
        return {"contact_type": kind, "value": value, "is_primary": True}

    both = [contact("PHONE", "1"), contact("EMAIL", "e"), contact("PHONE", "2")]
    entry = sent(
        site, 1, commerce(users=[{"external_id": "u", "contacts": both}, {"external_id": "v", "contacts": both[:1]}])
    )
    assert entry.leniencies == {"several_primaries": 1}
    assert [u["contacts"] for u in users(site)] == [
        [("PHONE", "1", False), ("EMAIL", "e", True), ("PHONE", "2", True)],
        [("PHONE", "1", True)],
    ]
    sent(site, 2, commerce(users=[{"external_id": "u", "contacts": [contact("PHONE", "3")]}]))
    assert users(site)[0]["contacts"][2:] == [("PHONE", "2", False), ("PHONE", "3", True)]
    assert users(site)[1]["contacts"] == [("PHONE", "1", True)]


# -- R8, R9: users and contacts --------------------------------------------------------------------------------


def test_R8_a_user_needs_its_external_id(site: Site) -> None:
    load(site, 1, [commerce(users=[{"external_id": "u"}, {"name": "x"}]), commerce(users=[{"external_id": " "}])])
    assert [(code, path) for _, code, path in rejects_of(site)] == [
        ("required", "users[1].external_id"),
        ("key_missing", "users[0].external_id"),
    ]


def test_R8_users_match_by_external_id_within_their_commerce_and_are_kept(site: Site) -> None:
    sent(site, 1, commerce(users=[{"external_id": "u", "name": "Ana"}, {"external_id": "v", "name": "Leo"}]))
    before = ids(site, "commerce_users")
    sent(site, 2, commerce(users=[{"external_id": "v", "name": "Leonor"}, {"external_id": "w"}]))
    assert [(u["external_id"], u["name"]) for u in users(site)] == [("u", "Ana"), ("v", "Leonor"), ("w", None)]
    assert ids(site, "commerce_users")[:2] == before
    sent(site, 3, commerce("B", users=[{"external_id": "u", "name": "Another"}]))
    assert [user["name"] for user in row(site)["commerce_users"]] == ["Ana", "Leonor", None]
    nothings: list[dict[str, Any]] = [{}, {"users": None}, {"users": []}]
    for day, nothing in enumerate(nothings, start=4):
        assert outcomes(sent(site, day, commerce(**nothing))) == {"unchanged": 1}


def test_R8_roles_are_kept_when_absent_and_cleared_by_an_empty_list(site: Site) -> None:
    sent(site, 1, commerce(users=[{"external_id": "u", "roles": ["OWNER", "BUYER"]}]))
    assert outcomes(sent(site, 2, commerce(users=[{"external_id": "u"}]))) == {"unchanged": 1}
    assert users(site)[0]["roles"] == ["OWNER", "BUYER"]
    sent(site, 3, commerce(users=[{"external_id": "u", "roles": ["BUYER"]}]))
    assert users(site)[0]["roles"] == ["BUYER"]
    sent(site, 4, commerce(users=[{"external_id": "u", "roles": []}]))
    assert users(site)[0]["roles"] == []
    assert outcomes(sent(site, 5, commerce(users=[{"external_id": "u", "roles": None}]))) == {"unchanged": 1}


@pytest.mark.parametrize(("roles", "code"), [("OWNER", "not_a_list"), ([["x"]], "not_text"), ([None], "not_text")])
def test_R8_roles_are_a_list_of_text(site: Site, roles: Any, code: str) -> None:
    load(site, 1, [commerce(users=[{"external_id": "u", "roles": roles}])])
    assert rejects_of(site) == [("1", code, "users[0].roles")]


def test_R8_contacts_are_kept_when_absent_and_merge_by_type_and_value(site: Site) -> None:
    phone, mail = {"contact_type": "PHONE", "value": "1"}, {"contact_type": "EMAIL", "value": "1"}
    sent(site, 1, commerce(users=[{"external_id": "u", "contacts": [phone, mail]}]))
    before = ids(site, "commerce_user_contacts")
    nothings: list[dict[str, Any]] = [{}, {"contacts": None}, {"contacts": []}, {"contacts": [mail]}]
    for day, nothing in enumerate(nothings, start=2):
        assert outcomes(sent(site, day, commerce(users=[{"external_id": "u", **nothing}]))) == {"unchanged": 1}
    change = [mail | {"is_primary": True}, phone | {"value": "2"}]
    assert outcomes(sent(site, 6, commerce(users=[{"external_id": "u", "contacts": change}]))) == {"updated": 1}
    assert users(site)[0]["contacts"] == [("PHONE", "1", None), ("EMAIL", "1", True), ("PHONE", "2", None)]
    assert ids(site, "commerce_user_contacts")[:2] == before


def test_R8_unknown_fields_are_kept_where_they_stood_and_told_once(site: Site) -> None:
    contacts = [{"contact_type": "PHONE", "value": value, "note": "n"} for value in "12"]
    entry = sent(site, 1, commerce(users=[{"external_id": "u", "shift": 1, "contacts": contacts}]))
    assert entry.unknown_fields == {"users[].shift": 1, "users[].contacts[].note": 2}
    assert users(site)[0]["extra"] == {"shift": 1}
    assert site.query("select extra from sync.commerce_user_contacts") == [{"extra": {"note": "n"}}] * 2


def test_R8_a_late_file_adds_users_and_contacts_without_undoing(site: Site) -> None:
    contact = {"contact_type": "PHONE", "value": "9", "is_primary": True}
    sent(site, 3, commerce(users=[{"external_id": "u", "name": "new", "contacts": [contact]}]))
    late = {"external_id": "u", "name": "old", "roles": ["A"], "contacts": [contact | {"value": "1"}]}
    assert outcomes(sent(site, 1, commerce(users=[late, {"external_id": "v"}]))) == {"updated": 1}
    found = {user["external_id"]: user for user in users(site)}
    assert (found["u"]["name"], found["u"]["roles"]) == ("new", ["A"])
    assert sorted(found["u"]["contacts"]) == [("PHONE", "1", False), ("PHONE", "9", True)]
    assert "v" in found


def test_R9_contact_types_are_a_closed_list_case_folded_and_counted(site: Site) -> None:
    kinds = ["PHONE", "EMAIL", "WHATSAPP", "OTHER", "whatsapp", "Phone"]
    contacts = [{"contact_type": kind, "value": str(n)} for n, kind in enumerate(kinds)]
    entry = sent(site, 1, commerce(users=[{"external_id": "u", "contacts": contacts}]))
    assert entry.leniencies == {"folded_case": 2}
    assert [kind for kind, _, _ in users(site)[0]["contacts"]] == [kind.upper() for kind in kinds]


@pytest.mark.parametrize(
    ("contact", "code", "name"),
    [
        ({"contact_type": "FAX", "value": "1"}, "not_a_choice", "contact_type"),
        ({"contact_type": None, "value": "1"}, "required", "contact_type"),
        ({"value": "1"}, "required", "contact_type"),
        ({"contact_type": "PHONE"}, "required", "value"),
        ({"contact_type": "PHONE", "value": None}, "required", "value"),
        ({"contact_type": "PHONE", "value": " "}, "required", "value"),
        ({"contact_type": "PHONE", "value": "1\x00"}, "nul_character", "value"),
        ({"contact_type": "PHONE", "value": "1", "is_primary": "maybe"}, "not_a_boolean", "is_primary"),
    ],
)
def test_R9_the_error_path_is_exact(site: Site, contact: dict[str, Any], code: str, name: str) -> None:
    good = {"contact_type": "PHONE", "value": "1"}
    entry = load(
        site, 1, {"items": [commerce(users=[{"external_id": "u", "contacts": [good, contact]}]), commerce("B")]}
    )
    assert outcomes(entry) == {"rejected": 1, "created": 1}
    assert rejects_of(site) == [("1", code, f"users[0].contacts[1].{name}")]


def test_R9_a_strict_source_refuses_what_would_be_forgiven(site: Site) -> None:
    source = {"partner": "reten", "tenant": "acme", "streams": {"commerces": {"strict": True}}}
    (site.folder / "sources.yaml").write_text(json.dumps({"sources": [source]}))
    load(site, 1, [commerce(users=[{"external_id": "u", "contacts": [{"contact_type": "phone", "value": "1"}]}])])
    assert rejects_of(site) == [("1", "folded_case", "users[0].contacts[0].contact_type")]


# -- R10 -------------------------------------------------------------------------------------------------------


def stream() -> Stream:
    found = find_stream("reten", "commerces")
    assert found is not None
    return found


def test_R10_the_outcome_in_the_api_s_own_shape(site: Site) -> None:
    first = load(site, 1, PAGE)
    assert metadata.loaded(stream(), [first], [], 0.0)["response"] == {"created": 1, "updated": 0, "total": 1}

    second = load(site, 2, {"items": [*PAGE["items"], commerce("A"), commerce("store-001"), {"name": "no key"}]})

    assert outcomes(second) == {"unchanged": 1, "created": 1, "updated": 1, "rejected": 1}
    day = metadata.loaded(stream(), [first, second], [], 0.0)
    assert day["response"] == {"created": 2, "updated": 2, "total": 4}


def test_F19_R10_a_stale_record_counts_as_updated_and_other_streams_have_no_response(site: Site) -> None:
    sent(site, 2, commerce(tax_id="1"))
    late = load(site, 1, [commerce(tax_id="2")])
    assert outcomes(late) == {"stale": 1}
    assert metadata.loaded(stream(), [late], [], 0.0)["response"] == {"created": 0, "updated": 1, "total": 1}
    orders = find_stream("replenit", "orders")
    assert orders is not None and "response" not in metadata.loaded(orders, [late], [], 0.0)
