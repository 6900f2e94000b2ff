"""The last state that an explanation shows is the stored row; with a date, the row as of that date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.as_of import tables_as_of
from sync_pipelines.stages.explain import Asked, NothingToExplain, explain
from sync_pipelines.tables.schema import MAIN_TABLES
from sync_pipelines_tests import test_laws, test_laws_identity, test_laws_references
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import TENANT, Site, deleted, item, lines, order, rows_of

NAMES = ("external_id", "partner_record_id")


def explained(site: Site, table: str, key: str, column: str | None = None, **asked: Any) -> Any:
    tenant = asked.pop("tenant", TENANT)
    with site.database.connect(autocommit=True) as connection:
        wanted = Asked(table, tenant, key, column, **asked)
        return explain(connection, site.settings.archive, wanted, unmasked=True)


def stored_rows(connection: Any) -> dict[str, list[dict[str, Any]]]:
    """Every row of the main tables with references as names and children in lists."""
    found = {table.name: rows_of(connection, f"select * from sync.{table.name} order by id") for table in MAIN_TABLES}
    names = {
        (table, row["id"]): row["external_id"] or f"id {row['partner_record_id']}"
        for table, rows in found.items()
        for row in rows
    }
    for table, rows in found.items():
        for stream in STREAMS:
            if stream.table != table:
                continue
            for row in [row for row in rows if row["partner"] == stream.partner]:
                for reference in stream.references:
                    row[reference.column] = names.get((reference.table, row[reference.column]))
                row |= {c.table: _children(connection, c, row["id"]) for c in stream.children}
    return found


def _children(connection: Any, declared: Any, parent: int) -> list[dict[str, Any]]:
    rows = rows_of(
        connection, f"select * from sync.{declared.table} where {declared.parent} = {parent} order by line_no"
    )
    for row in rows:
        row |= {c.table: _children(connection, c, row["id"]) for c in declared.nested}
    return [_filled(row, {"id", "line_no", declared.parent}) for row in rows]


def _filled(row: dict[str, Any], without: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    return {name: value for name, value in row.items() if name not in without and value not in (None, [], {})}


def check_rows(site: Site, stored: dict[str, list[dict[str, Any]]], at: datetime | None = None) -> None:
    """Every stored row is what an explanation of each of its names ends with."""
    for table, rows in stored.items():
        for row in rows:
            for key in filter(None, (row["external_id"], row["partner_record_id"])):
                last = explained(site, table, key, tenant=row["tenant"], partner=row["partner"], at=at).rows
                same = [r for r in rows if key in (r["external_id"], r["partner_record_id"])]
                same = [r for r in same if (r["tenant"], r["partner"]) == (row["tenant"], row["partner"])]
                assert sorted(map(repr, map(_shown, last))) == sorted(
                    repr(_shown({n: v for n, v in r.items() if n in last[0]})) for r in same
                ), (table, key)


def _shown(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(
        (name, _plain(value))
        for name, value in _filled(row, {"effective_at", "source_file", "source_position"}).items()
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, _plain(below)) for name, below in value.items() if below not in (None, []))
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Decimal | int) and not isinstance(value, bool):
        return format(Decimal(value).normalize(), "f")
    return [_plain(below) for below in value] if isinstance(value, list | tuple) else value


HISTORIES = {
    "orders": test_laws.history(),
    "businesses": test_laws_references.history(),
    "customers": test_laws_identity.history(
        "pocketflows/acme/customers", st.one_of(test_laws_identity.customer, test_laws_identity.customer_call())
    ),
    "stores": test_laws_identity.history("nilo/acme/stores", test_laws_identity.store_call()),
}


@examples(8, at_least=3)
@given(data=st.data())
@pytest.mark.parametrize("kind", HISTORIES)
def test_the_last_state_is_the_row_now_and_at_a_date(
    fresh_site: Callable[[], Site], data: st.DataObject, kind: str
) -> None:
    exports: Any = data.draw(HISTORIES[kind])
    site = fresh_site()
    (test_laws if kind == "orders" else test_laws_identity).load(
        site, exports, data.draw(test_laws.loading_plan(len(exports)))
    )
    with site.database.connect(autocommit=True) as connection:
        check_rows(site, stored_rows(connection))
        moment = data.draw(st.sampled_from(exports)).day + timedelta(hours=data.draw(st.integers(0, 2)))
        with tables_as_of(connection, site.settings.archive, moment, lambda: None):
            then = stored_rows(connection)
    check_rows(site, then, moment)


def test_what_each_record_said_of_a_column(site: Site) -> None:
    site.load("2024-03-01.json", [order("A", TotalQuantity=1)])
    site.load("2024-03-02.json", [order("A", TotalQuantity=2), order("A", Email="a@x.cl")])
    site.load("2024-03-03.json", [order("A", TotalQuantity=None)])
    site.load("2024-03-04.json", [order("A", Currency="ZZZ", TotalQuantity=9)])
    site.load("2024-03-05.ndjson", lines(deleted("2024-03-05T01:00:00+00:00", "A")))
    found = explained(site, "orders", "A", "total_quantity").records
    assert [(r.said, r.value, r.row, r.outcome) for r in found] == [
        ("value", 1, 1, "created"),
        ("value", 2, 2, "updated"),
        ("absent", None, 2, "updated"),
        ("null", None, None, "updated"),
        ("", None, None, "rejected"),
        ("deleted", None, None, "deleted"),
    ]
    assert [r.overridden_by.rpartition("orders/")[2] for r in found[:4]] == [
        "2024-03-02.json at 1",
        "2024-03-03.json at 1",
        "",
        "2024-03-05.ndjson at 1/1",
    ]
    assert found[4].reason.startswith("currency_unknown: Currency: ")
    assert explained(site, "orders", "A", "total_revenue").records[0].said == "default"
    assert explained(site, "live_orders", "A", "TotalQuantity").column == "total_quantity"


def test_a_stale_record_and_one_that_is_late_are_in_version_order(site: Site) -> None:
    for day in (1, 3, 2):
        site.load(f"2024-03-0{day}.json", [order("A", TotalQuantity=day)])
    found = explained(site, "orders", "A", "total_quantity")
    assert [(r.value, r.outcome) for r in found.records] == [(1, "created"), (2, "stale"), (3, "updated")]
    assert found.rows[0]["total_quantity"] == 3


def test_lists_are_columns(site: Site) -> None:
    site.load("2024-03-01.json", [order("A", OrderItems=[item("P1"), item("P2")])])
    assert [r["product_id"] for r in explained(site, "order_items", "A").rows[0]["order_items"]] == ["P1", "P2"]
    shown = explained(site, "live_order_items", "A", "product_id").records[0].value
    assert shown == [{"product_id": "P1"}, {"product_id": "P2"}]


def test_a_placeholder_says_who_refers_to_it(site: Site) -> None:
    site.load("2024-03-02.json", [order("A", Email="ana@x.cl")])
    found = explained(site, "customers", "ana@x.cl")
    assert (found.records, found.rows[0]["is_placeholder"]) == ([], True)
    assert any(line.startswith("orders A refers to it, by replenit/") for line in found.referred_by)
    with pytest.raises(NothingToExplain, match=r"no record of 'ana@x.cl' until 2024-03-01"):
        explained(site, "customers", "ana@x.cl", at=datetime(2024, 3, 1, tzinfo=UTC))


def test_records_of_withdrawn_and_held_exports_are_shown_and_not_applied(site: Site) -> None:
    site.load("2024-03-01.json", [order("A", TotalQuantity=1)])
    for day, status in (("02", "withdrawn"), ("03", "held")):
        entry = site.load(f"2024-03-{day}.json", [order("A", TotalQuantity=2)])
        with site.database.connect(autocommit=True) as connection:
            connection.execute(f"update sync.export_files set status = '{status}' where id = {entry.id}")
    found = explained(site, "orders", "A", "total_quantity")
    assert [(r.outcome, r.said, r.row) for r in found.records] == [
        ("created", "value", 1),
        ("withdrawn", "value", None),
        ("held", "value", None),
    ]
    assert found.rows[0]["total_quantity"] == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("ordrs", "A"), "unknown table 'ordrs'; did you mean orders"),
        (("orders", "AA-19"), "has the key 'AA-19'; did you mean AA-18"),
        (("orders", "AA-18", "total_revenu"), "unknown column 'total_revenu' of orders; did you mean total_revenue"),
        (("order_items", "AA-18", "prise"), "unknown column 'prise' of order_items; did you mean price"),
    ],
)
def test_unknown_names_get_the_nearest_known_one(site: Site, asked: Any, says: str) -> None:
    site.load("2024-03-01.json", [order("AA-18")])
    with pytest.raises(NothingToExplain, match=says):
        explained(site, *asked)


def test_an_unknown_tenant_or_partner_is_an_error(site: Site) -> None:
    site.load("2024-03-01.json", [order("A")])
    with pytest.raises(
        NothingToExplain, match=f"no tenant '{TENANT[:-1]}' has exports for orders; did you mean {TENANT}"
    ):
        explained(site, "orders", "A", tenant=TENANT[:-1])
    with pytest.raises(NothingToExplain, match="'nilo' is no partner with orders"):
        explained(site, "orders", "A", partner="nilo")
    with pytest.raises(
        NothingToExplain, match="no record of 'A' until 2024-02-01 00:00:00; the first is of 2024-03-01"
    ):
        explained(site, "orders", "A", at=datetime(2024, 2, 1, tzinfo=UTC))


def test_several_partners_with_one_key_need_a_partner(site: Site) -> None:
    site.load_at("traede/acme/customers/2024-03-01.json", [{"customer_number": "7", "name": "Ana", "currency": "USD"}])
    site.load_at("pocketflows/acme/customers/2024-03-01.json", [{"business_id": "1", "external_id": "7"}])
    with pytest.raises(NothingToExplain, match="add --partner pocketflows or --partner traede"):
        explained(site, "customers", "7", tenant="acme")
    assert explained(site, "customers", "7", tenant="acme", partner="pocketflows").partner == "pocketflows"
