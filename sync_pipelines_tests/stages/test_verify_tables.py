"""Verification of the tables: equal after any history of loads, and every changed cell is found and repaired."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.stages.verify_tables import Difference, verifiable, verify_stream
from sync_pipelines.stages.withdrawal import Decided, undo
from sync_pipelines.tables.schema import metadata
from sync_pipelines.verification.verified_rows import Verification
from sync_pipelines_tests import test_laws, test_laws_identity, test_laws_partners, test_laws_references
from sync_pipelines_tests.examples import examples, rounds
from sync_pipelines_tests.loading import Site, deleted, item, lines, order
from sync_pipelines_tests.stages.table_mutations import mutate
from sync_pipelines_tests.test_laws import loading_plan


def differences(site: Site, **options: Any) -> list[Difference]:
    workspace = site.workspace()
    return [
        difference
        for stream, tenant in verifiable(workspace)
        for difference in verify_stream(workspace, stream, tenant, **options).differences
    ]


def load_any(site: Site, data: st.DataObject) -> None:
    """Loads a random history of one of the law tests, in any order, with exports repeated and late."""
    kind = data.draw(st.sampled_from(["orders", "commerces", "customers", "stores", "identities", "references"]))
    if kind == "orders":
        orders = data.draw(test_laws.history())
        test_laws.load(site, orders, data.draw(loading_plan(len(orders))))
    elif kind in ("commerces", "customers"):
        record, path, body, folder = {
            "commerces": (test_laws_partners.commerce, "/api/commerces/sync", "items", "reten/acme/commerces"),
            "customers": (test_laws_partners.customer, "/customers/sync", "customers", "traede/acme/customers"),
        }[kind]
        some = data.draw(test_laws_partners.history(record, path, body))
        test_laws_partners.load(site, folder, some, data.draw(loading_plan(len(some))))
    else:
        laws = test_laws_identity
        exports = data.draw(
            {
                "stores": laws.history(
                    "nilo/acme/stores", st.one_of(laws.whole_store, laws.part_store, laws.store_call())
                ),
                "identities": laws.history(
                    "pocketflows/acme/customers", st.one_of(laws.customer, laws.customer_call())
                ),
                "references": test_laws_references.history(),
            }[kind]
        )
        laws.load(site, exports, data.draw(loading_plan(len(exports))))


@examples(40)
@given(data=st.data())
def test_any_history_of_loads_verifies_as_equal(fresh_site: Callable[[], Site], data: st.DataObject) -> None:
    site = fresh_site()
    load_any(site, data)
    assert differences(site) == []
    assert differences(site, by_columns=False) == []
    loaded = [entry.id for entry in site.ledger() if entry.status == "loaded"]
    wrong = data.draw(st.lists(st.sampled_from(loaded), unique=True, max_size=2))
    if wrong:
        undo(site.workspace(), wrong, Decided("wrong", "tester"))
        assert differences(site) == []


# -- any changed cell ----------------------------------------------------------------------------------------------


def load_something_of_everything(site: Site) -> None:
    """Rows of all tables: defined, placeholders, tombstones; lists, nested lists, links, names from pairs."""
    site.load("2024-03-01.json", [order("A", Email="ana@x.cl", OrderItems=[item("P1"), item("P2")], Unknown=1)])
    site.load("2024-03-02.json", [order("A", TotalQuantity=5), order("B", Email="leo@x.cl"), order("C")])
    site.load("2024-03-03.ndjson", lines(deleted("2024-03-03T10:00:00+00:00", "C")))
    site.load_at(
        "reten/acme/commerces/2024-03-01.json",
        [
            {
                "external_id": "K",
                "name": "One",
                "metadata": {"a": 1},
                "addresses": [{"source_ref": "1", "city": "Lima"}, {"address_alias": "Casa", "is_primary": True}],
                "users": [
                    {
                        "external_id": "u",
                        "name": "Ana",
                        "roles": ["OWNER"],
                        "contacts": [
                            {"contact_type": "PHONE", "value": "1", "is_primary": True},
                            {"contact_type": "EMAIL", "value": "2"},
                        ],
                    }
                ],
            },
            {"external_id": "L", "name": "Two"},
        ],
    )
    address = {"title": "Home", "name": "n", "address": "a", "zip": "z", "city": "c", "country": "DK"}
    site.load_at(
        "traede/acme/customers/2024-03-01.json",
        [
            {
                "customer_number": "1",
                "name": "x",
                "currency": "USD",
                "addresses_sync_mode": "replace",
                "addresses_sync_key": "address_title",
                "addresses": [{**address, "remote_erp_id": "1"}, {**address, "title": "Shop", "remote_erp_id": "2"}],
            },
            {"customer_number": "2", "name": "y", "currency": "DKK"},
        ],
    )
    site.load_at("traede/acme/customers/2024-03-02.json", [{"customer_number": "2", "delete": True}])
    store = {"name": "K", "legalName": "L", "legalId": "1", "addresses": [{"address": "Tres", "zipCode": "3"}]}
    site.load_at(
        "nilo/acme/stores/2024-03-01.json",
        [{**store, "internalCode": "A", "users": ["u1", "u2"], "settings": {"a": 1}}, {**store, "internalCode": "B"}],
    )
    business = {"name": "K", "metadata": {"x": 1}}
    site.load_at("pocketflows/acme/businesses/2024-03-01.json", [{**business, "id": "7"}, {**business, "id": "8"}])
    site.load_at(
        "pocketflows/acme/customers/2024-03-01.json",
        [
            {"business_id": "7", "business_external_id": "e", "id": "1", "external_id": "a", "full_name": "Ana"},
            {"business_id": "9", "business_external_id": "f", "id": "2", "external_id": "b"},
            {"business_external_id": "g", "external_id": "c"},
        ],
    )


def whole_tables(site: Site) -> Any:
    contacts = site.query(
        "select u.external_id, c.line_no, c.contact_type, c.value, c.is_primary, c.extra"
        " from sync.commerce_users u join sync.commerce_user_contacts c on c.commerce_user_id = u.id order by 1, 2"
    )
    return site.tables(), contacts


def test_any_changed_cell_is_found_and_repaired(site: Site) -> None:
    load_something_of_everything(site)
    assert differences(site) == []
    expected = whole_tables(site)
    workspace = site.workspace()
    chance = random.Random(17)
    with site.database.connect(autocommit=True) as connection, workspace.keeping_connections() as kept:
        for _ in range(rounds(500, at_least=40)):
            table, done = mutate(connection, chance)
            concerned = [one for one in verifiable(kept) if table in concerned_tables(one[0])]
            found = [verify_stream(kept, *one, repair=True) for one in concerned]
            assert sum(one.count for one in found), f"not found: {done}"
            again = [difference for one in concerned for difference in verify_stream(kept, *one).differences]
            assert again == [], f"not repaired: {done}"
            assert whole_tables(site) == expected, done


def test_one_repair_is_enough_for_a_renamed_row_and_for_a_live_row_marked_as_deleted(site: Site) -> None:
    load_something_of_everything(site)
    expected = whole_tables(site)
    with site.database.connect(autocommit=True) as connection:
        # Its customers refer to it until their links are repaired.
        connection.execute("update sync.commerces set external_id = 'gx' where external_id = 'g'")
        connection.execute("update sync.stores set deleted_at = now() where external_id = 'B'")
    workspace = site.workspace()
    found = [verify_stream(workspace, *one, repair=True) for one in verifiable(workspace)]
    assert sum(one.count for one in found)
    assert differences(site) == []
    assert whole_tables(site) == expected


def test_a_live_row_marked_as_deleted_differs_in_nothing_else(site: Site) -> None:
    site.load("2024-03-01.json", [order("A")])
    with site.database.connect() as connection:
        connection.execute("update sync.orders set deleted_at = now()")
    assert [(found.key, found.column, found.archived) for found in differences(site)] == [("A", "deleted_at", None)]


def concerned_tables(stream: Stream) -> set[str]:
    """The tables whose rows a verification of a stream compares."""
    tables = {stream.table, *(reference.table for reference in stream.references)}
    while further := {t.name for t in metadata.tables.values() if t.info.get("parent") in tables} - tables:
        tables |= further
    return tables


def test_rows_that_equal_their_columns_are_not_folded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = 'a\\b "q", (x) é'
    orders = [order(f"{odd} {n}", Email=f"u{n}@x.cl", OrderItems=[item(odd), item()], Unknown={odd: n}) for n in "12"]
    site.load("2024-03-01.ndjson", lines(*orders))
    site.load("2024-03-02.ndjson", lines(*orders))
    monkeypatch.setattr(Verification, "verify", None)
    assert differences(site) == []
