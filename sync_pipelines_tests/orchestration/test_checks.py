"""The checks of a table: a state made by loads in which each passes, and one in which it must not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import quality
from sync_pipelines.database.quality import EVERYTHING, Arrivals, Extent
from sync_pipelines.orchestration.check_steps import extent
from sync_pipelines.orchestration.checks import Asked, is_missed, row_checks, stream_checks
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.partners.replenit import ORDERS
from sync_pipelines_tests.loading import TENANT, Site, call, item, lines, order

NOW = datetime(2024, 1, 3, 12, tzinfo=UTC)
"""When 2 January is the day that is due."""


def stream_of(name: str) -> Stream:
    found = find_stream(*name.split("/"))
    assert found
    return found


def ask(
    site: Site, name: str, stream: Stream = ORDERS, now: datetime = NOW, about: Extent = EVERYTHING
) -> tuple[str, dict[str, int], list[dict[str, Any]]]:
    """`passed`, `WARN` or `ERROR`, with numbers and examples."""
    check = next(c for c in (*stream_checks(stream), *row_checks(stream)) if c.name == name)
    workspace = site.workspace()
    with workspace.connection() as connection:
        answer = check.ask(Asked(connection, stream, workspace, about, now))
    assert answer.text
    assert answer.passed or answer.todo.endswith(".")
    return "passed" if answer.passed else answer.severity.value, answer.numbers, answer.examples or []


def execute(site: Site, statements: str) -> None:
    with site.database.connect(autocommit=True) as connection:
        connection.execute(statements.encode())


def commerces(*records: Any) -> dict[str, Any]:
    return {"items": list(records)}


# -- totals -----------------------------------------------------------------------------------------------------


def test_O10_totals_are_held_against_items(site: Site) -> None:
    right = [
        order("A", TotalRevenue=4, OrderItems=[item(), item()]),
        order("B", TotalRevenue="4.01", OrderItems=[item(Quantity=2)]),
    ]
    site.load("2024-01-01.json", right)
    assert ask(site, "totals_match_items")[:2] == ("passed", {"orders": 2, "differing": 0})

    wrong = [
        order("C", TotalRevenue="4.02", OrderItems=[item(Quantity=2)]),
        order("D", TotalRevenue=9, OrderItems=[item()]),
    ]
    entry = site.load("2024-01-02.json", wrong)
    said, numbers, examples = ask(site, "totals_match_items")
    assert (said, numbers) == ("WARN", {"orders": 4, "differing": 2})
    assert [(e["external_id"], e["total_revenue"], e["items_total"]) for e in examples] == [
        ("D", "9.0000", "2.0000"),
        ("C", "4.0200", "4.0000"),
    ]
    assert entry.rejected == 0


def test_O10_leaves_out_what_says_nothing_of_its_items(site: Site) -> None:
    site.load(
        "2024-01-01.json",
        [
            order("no items", TotalRevenue=5),
            order("cleared items", TotalRevenue=5, OrderItems=[]),
            order("defaulted total", OrderItems=[item()]),
            order("null total", TotalRevenue=None, OrderItems=[item()]),
            order("cancelled", TotalRevenue=5, OrderItems=[item()], IsOrderCancelled=True),
            order("deleted", TotalRevenue=5, OrderItems=[item()]),
        ],
    )
    site.load("2024-01-02.ndjson", lines(call("2024-01-02T01:00:00Z", "DELETE", f"/orders/{TENANT}/deleted")))
    site.load(
        "2024-01-03.csv", "OrderId,Currency,ProductId,Sku,Quantity,Price\nflat,EUR,P,S,3,1.50\nflat,EUR,Q,T,1,2\n"
    )
    print(
        ask(site, "totals_match_items"),
        site.ledger(),
        site.query("select external_id, total_revenue, defaulted_fields from sync.orders"),
        site.rejects(),
    )
    assert ask(site, "totals_match_items")[:2] == ("passed", {"orders": 1, "differing": 0})


def test_O10_a_late_total_is_compared_once_it_is_sent(site: Site) -> None:
    site.load("2024-01-02.json", [order("A", OrderItems=[item()])])
    site.load("2024-01-01.json", [order("A", TotalRevenue=7)])
    assert ask(site, "totals_match_items")[1] == {"orders": 1, "differing": 1}


def test_F12_orders_of_deleted_customers_are_counted(site: Site) -> None:
    site.sources({"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}})
    customer = {"customer_number": "1", "name": "Ana", "currency": "DKK"}
    site.load_at("traede/acme/customers/2024-01-01.json", {"customers": [customer]})
    site.load("2024-01-03.json", [order("A", CustomerId="2"), order("B")])
    assert ask(site, "customers_are_not_deleted")[:2] == ("passed", {"orders": 0})
    site.load_at("traede/acme/customers/2024-01-02.json", {"customers": [{"customer_number": "1", "delete": True}]})
    site.load("2024-01-04.json", [order("C", CustomerId="1"), order("D", CustomerId="1")])
    site.load("2024-01-05.ndjson", lines(call("2024-01-05T01:00:00Z", "DELETE", f"/orders/{TENANT}/D")))
    said, numbers, examples = ask(site, "customers_are_not_deleted")
    assert (said, numbers) == ("WARN", {"orders": 1})
    assert [(e["external_id"], str(e["customer_deleted_at"].date())) for e in examples] == [("C", "2024-01-02")]


def test_large_tables_are_looked_at_by_the_days_of_the_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.load("2024-01-01.json", [order("A", TotalRevenue=9, OrderItems=[item()])])
    site.load("2024-01-02.json", [order("B", TotalRevenue=2, OrderItems=[item()])])
    second = [date(2024, 1, 2)]
    with site.database.connect() as connection:
        assert extent(site.workspace(), connection, ORDERS, second) == EVERYTHING
        monkeypatch.setattr(quality, "SMALL", 0)
        assert extent(site.workspace(), connection, ORDERS, None) == EVERYTHING
        about = extent(site.workspace(), connection, ORDERS, second)
        written = connection.execute("select id from sync.orders where external_id = 'B'").fetchall()
    assert [about.ids] == written
    assert ask(site, "totals_match_items", about=about)[:2] == ("passed", {"orders": 1, "differing": 0})
    assert ask(site, "keys_and_references", about=about)[0] == "passed"
    assert ask(site, "totals_match_items")[1] == {"orders": 2, "differing": 1}


# -- misplaced --------------------------------------------------------------------------------------------------


def test_what_no_stream_takes_is_seen_by_its_partners_checks(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    assert ask(site, "nothing_is_misplaced") == ("passed", {"misplaced": 0}, [])
    site.put_at(f"replenit/{TENANT}/Orders/2024-01-01.json", "[]")
    site.put_at("who/knows/whose.json", "[]")
    said, numbers, examples = ask(site, "nothing_is_misplaced")
    assert (said, numbers) == ("WARN", {"misplaced": 2})
    assert [(one["path"][-6:], one["what to do"][:12]) for one in examples] == [
        ("who", "known partne"),
        ("Orders", "did you mean"),
    ]
    assert ask(site, "nothing_is_misplaced", stream_of("nilo/stores"))[1] == {"misplaced": 1}
    site.load("2024-01-01.cvs", "OrderId")
    assert ask(site, "nothing_is_misplaced")[1] == {"misplaced": 3}


def test_a_landing_that_does_not_answer_is_said_by_the_check(site: Site) -> None:
    site.landing.rmdir()
    site.landing.write_text("a file")
    assert ask(site, "nothing_is_misplaced")[0] == "WARN"


# -- freshness --------------------------------------------------------------------------------------------------


def fresh(site: Site, now: datetime) -> tuple[str, dict[str, int], list[dict[str, Any]]]:
    return ask(site, "yesterday_is_loaded", now=now)


def test_a_stream_without_exports_is_not_waited_for(site: Site) -> None:
    assert fresh(site, NOW)[:2] == ("passed", {"tenants": 0, "late": 0, "missed": 0})


def test_yesterdays_export_is_waited_for_until_it_becomes_an_error_and_is_given_up(site: Site) -> None:
    site.load("2024-01-02.json", [order("A")])
    told = {n: fresh(site, NOW + timedelta(days=n))[0] for n in (0, 1, 2, 3, 30, 31)}
    assert told == {0: "passed", 1: "WARN", 2: "WARN", 3: "ERROR", 30: "ERROR", 31: "WARN"}
    at_night = datetime(2024, 1, 4, 5, 59, tzinfo=UTC)
    assert fresh(site, at_night)[0] == "passed"
    assert fresh(site, at_night + timedelta(minutes=1))[0] == "WARN"


def test_a_backfill_makes_nobody_punctual(site: Site) -> None:
    site.load("2024-01-02.json", [order("A")])
    later = NOW + timedelta(days=1)
    assert fresh(site, later)[0] == "WARN"
    site.load("2023-12-01.json", [order("B")])
    said, numbers, examples = fresh(site, later)
    assert (said, numbers) == ("WARN", {"tenants": 1, "late": 1, "missed": 0, "days_late": 1})
    assert examples == [
        {"tenant": TENANT, "latest": date(2024, 1, 2), "days_late": 1, "usual_gap_days": 1, "not_loaded": 0}
    ]
    site.load("2024-01-03.json", [order("C")])
    assert fresh(site, later)[0] == "passed"


def test_an_export_that_failed_is_not_there(site: Site) -> None:
    site.load("2024-01-02.json", [order("A")])
    site.load("2024-01-03.json", "not json")
    said, _, (example,) = fresh(site, NOW + timedelta(days=1))
    assert (said, example["not_loaded"]) == ("WARN", 1)


def test_one_punctual_tenant_does_not_hide_another(site: Site) -> None:
    other = "11111111-2222-3333-4444-555555555555"
    site.load("2024-01-02.json", [order("A")])
    site.load("2024-01-01.json", [order("A")], tenant=other)
    said, numbers, (example,) = fresh(site, NOW)
    assert (said, numbers["tenants"], numbers["late"], example["tenant"]) == ("WARN", 2, 1, other)
    site.sources(tenant=TENANT)
    assert fresh(site, NOW)[0] == "passed"


def test_who_sends_every_week_is_late_at_once_and_missed_after_two() -> None:
    weekly = [Arrivals("t", date(2024, 1, 1), 7, late, 0) for late in (1, 13, 14, 30, 31)]
    assert [is_missed(tenant) for tenant in weekly] == [False, False, True, True, False]


def test_the_usual_gap_is_that_of_the_last_ten_days(site: Site) -> None:
    for day in ("2023-11-01", "2023-12-20", "2023-12-27", "2024-01-01"):
        site.put(f"{day}.json", [order("A")])
    site.sync()
    with site.database.connect() as connection:
        (found,) = quality.arrivals(connection, ORDERS, None, NOW)
    assert (found.gap, found.late) == (49, 1)


# -- open rejects -----------------------------------------------------------------------------------------------


def test_open_rejects_are_counted_by_code_with_the_command_to_list_them(site: Site) -> None:
    site.load("2024-01-01.json", [order("A")])
    assert ask(site, "no_open_rejects")[:2] == ("passed", {"open": 0})
    site.load(
        "2024-01-02.json", [order("B", Currency="XXXX"), order("C", Currency="YYYY"), {"Currency": "EUR"}, order("D")]
    )
    said, numbers, examples = ask(site, "no_open_rejects")
    assert (said, numbers) == (
        "WARN",
        {"open": 3, "open/currency_unknown": 2, "open/key_missing": 1},
    )
    assert examples[0]["replay them"] == (
        "sync-pipelines rejects replay --partner replenit --stream orders --code currency_unknown"
    )
    site.load("2024-01-03.json", [order("B"), order("C")])
    assert ask(site, "no_open_rejects")[1] == {"open": 1, "open/key_missing": 1}


# -- placeholders -----------------------------------------------------------------------------------------------

BUSINESS = "pocketflows/p1/businesses/2024-01-0{}.json"


@pytest.mark.parametrize(
    ("stream", "refer", "define"),
    [
        (
            "pocketflows/businesses",
            ("pocketflows/p1/customers/2024-01-01.json", [{"id": "c1", "business_id": "b1"}]),
            ("pocketflows/p1/businesses/2024-01-02.json", [{"id": "b1", "name": "Uno"}]),
        ),
        (
            "nilo/stores",
            (
                "nilo/n1/stores/2024-01-01.ndjson",
                lines(call("2024-01-01T00:00:00Z", "POST", "/store/S1/credit", {"amount": 5})),
            ),
            (
                "nilo/n1/stores/2024-01-02.json",
                [
                    {
                        "internalCode": "S1", "name": "Uno", "legalName": "Uno SA", "legalId": "1",
                        "addresses": [{"address": "Calle 1", "zipCode": "1"}],
                    }
                ],
            ),
        ),
    ],
)  # fmt: skip
def test_placeholders_that_an_export_could_define(
    site: Site, stream: str, refer: tuple[str, Any], define: tuple[str, Any]
) -> None:
    declared = stream_of(stream)
    today, tomorrow = datetime.now(UTC), datetime.now(UTC) + timedelta(days=1, minutes=1)
    site.load_at(*refer)
    assert ask(site, "placeholders_are_defined", declared, today)[:2] == ("passed", {"placeholders": 0})
    said, numbers, (example,) = ask(site, "placeholders_are_defined", declared, tomorrow)
    assert (said, numbers, example["named_by"]) == ("WARN", {"placeholders": 1}, refer[0])
    site.load_at(*define)
    assert ask(site, "placeholders_are_defined", declared, tomorrow)[0] == "passed"


def test_customers_of_another_partner_are_waited_for_and_replenits_own_are_not(site: Site) -> None:
    site.sources({"customer_identifier": "customer_id", "customers_of": {"partner": "traede", "tenant": "acme"}})
    site.load("2024-01-01.json", [order("A", CustomerId="7")])
    later = datetime.now(UTC) + timedelta(days=2)
    said, _, (example,) = ask(site, "placeholders_are_defined", stream_of("traede/customers"), later)
    assert (said, example["external_id"]) == ("WARN", "7")
    site.sources({})
    site.load("2024-01-02.json", [order("B", Email="ana@example.com")])
    assert ask(site, "placeholders_are_defined", stream_of("traede/customers"), later)[1] == {"placeholders": 1}
    assert "placeholders_are_defined" not in {check.name for check in row_checks(ORDERS)}


# -- keys and references ----------------------------------------------------------------------------------------


def filled(site: Site) -> Site:
    """Every table with rows of every partner, tombstones among them."""
    site.put("2024-01-01.json", [order("A", Email="a@x", OrderItems=[item(), item()]), order("B", OrderItems=[item()])])
    site.put("2024-01-02.ndjson", lines(call("2024-01-02T01:00:00Z", "DELETE", f"/orders/{TENANT}/B")))
    contacts = [{"contact_type": "EMAIL", "value": "u@x"}]
    site.put_at(
        "reten/r1/commerces/2024-01-01.json",
        commerces(
            {
                "external_id": "c",
                "name": "C",
                "addresses": [{"city": "Lima"}],
                "users": [{"external_id": "u", "contacts": contacts}],
            }
        ),
    )
    site.put_at("pocketflows/p1/businesses/2024-01-01.json", [{"id": "b1", "external_id": "e1", "name": "Uno"}])
    site.put_at(
        "pocketflows/p1/customers/2024-01-01.json",
        [{"id": "c1", "business_id": "b1"}, {"external_id": "x", "business_id": "b2"}],
    )
    site.put_at(
        "traede/t1/customers/2024-01-01.json",
        {
            "customers": [
                {"customer_number": "1", "name": "N", "currency": "EUR"},
                {"customer_number": "2", "delete": True},
            ]
        },
    )
    assert {entry.status for entry in site.sync()} == {"loaded"}
    return site


def test_what_loads_make_is_sound(site: Site) -> None:
    filled(site)
    for stream in STREAMS:
        assert ask(site, "keys_and_references", stream) == ("passed", {"unsound": 0}, [])


BROKEN = [
    ("replenit/orders", "child_without_parent", "delete from sync.orders where external_id = 'A'"),
    ("replenit/orders", "child_of_tombstone", "update sync.orders set deleted_at = now() where external_id = 'A'"),
    ("replenit/orders", "key_missing", "update sync.orders set external_id = null where external_id = 'A'"),
    ("replenit/orders", "key_missing", "update sync.orders set external_id = '' where external_id = 'A'"),
    (
        "replenit/orders",
        "key_twice",
        "alter table sync.orders drop constraint orders_tenant_partner_external_id_key;"
        " insert into sync.orders (tenant, partner, external_id)"
        " select tenant, partner, external_id from sync.orders where external_id = 'A'",
    ),
    (
        "replenit/orders",
        "reference_wrong",
        "alter table sync.orders drop constraint orders_customer_id_fkey;"
        " update sync.orders set customer_id = -1 where external_id = 'A'",
    ),
    ("replenit/orders", "constraint_gone", "alter table sync.order_items drop constraint order_items_pkey"),
    ("reten/commerces", "child_without_parent", "delete from sync.commerce_users"),
    (
        "pocketflows/businesses",
        "record_id_twice",
        "insert into sync.commerces (tenant, partner, partner_record_id) values ('p1', 'pocketflows', 'b1')",
    ),
    (
        "pocketflows/customers",
        "reference_wrong",
        "update sync.customers set commerce_id = (select id from sync.commerces where partner = 'reten')"
        " where partner_record_id = 'c1'",
    ),
]


@pytest.mark.parametrize(("stream", "rule", "statements"), BROKEN)
def test_what_hands_broke_is_an_error(site: Site, stream: str, rule: str, statements: str) -> None:
    filled(site)
    execute(site, statements)
    said, numbers, examples = ask(site, "keys_and_references", stream_of(stream))
    assert said == "ERROR"
    assert numbers[rule] >= 1
    assert rule in {example["rule"] for example in examples}
