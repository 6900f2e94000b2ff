"""Placeholders for what is referred to (X7), and the counts of a file (X11)."""

from __future__ import annotations

import random

import psycopg
import pytest

from sync_pipelines_tests.loading import TENANT, Site, deleted, item, lines, order, outcomes, posted


def customer(key: str) -> tuple[str, str, str]:
    return (TENANT, "replenit", key)


def test_X7_a_reference_to_what_is_not_there_makes_a_placeholder(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c"), order("B", Email="a@b.c"), order("C", Email="x@y.z")])
    assert site.customers() == [(customer("a@b.c"), True), (customer("x@y.z"), True)]
    tables = site.tables()
    assert {row["customer_id"] for row in tables["orders"].values()} == {customer("a@b.c"), customer("x@y.z")}
    assert {row["name"] for row in tables["customers"].values()} == {None}


def test_X7_a_placeholder_never_overwrites_or_downgrades_a_real_row(site: Site) -> None:
    with site.database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into sync.customers (tenant, partner, external_id, name, is_placeholder)"
            " values (%s, 'replenit', 'a@b.c', 'Ana', false)",
            [TENANT],
        )
    before = site.versions()["customers"]
    site.load("2024-05-01.json", [order("A", Email="a@b.c")])
    row = site.tables()["customers"][customer("a@b.c")]
    assert (row["name"], row["is_placeholder"]) == ("Ana", False)
    assert [version[:2] for version in site.versions()["customers"]] == [version[:2] for version in before]


def test_X7_the_same_row_is_kept_once_it_is_defined(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c")])
    (before,) = site.query("select id from sync.customers")
    with site.database.connect(autocommit=True) as connection:
        connection.execute("update sync.customers set name = 'Ana', is_placeholder = false")
    site.load("2024-05-02.json", [order("B", Email="a@b.c")])
    assert site.query("select id, name from sync.customers") == [{"id": before["id"], "name": "Ana"}]


def test_X7_a_stale_record_creates_its_references_too(site: Site) -> None:
    site.load("2024-05-02.json", [order("A", Email="new@x.y", OrderDate="2024-05-01")])
    assert outcomes(site.load("2024-05-01.json", [order("A", Email="old@x.y")])) == {"stale": 1}
    site.load("2024-05-03.ndjson", lines(deleted("2024-05-03T00:00:00Z", "B")))
    assert outcomes(site.load("2024-05-02b.json", [order("B", Email="dead@x.y")])) == {"stale": 1}
    assert [key[2] for key, _ in site.customers()] == ["dead@x.y", "new@x.y", "old@x.y"]


def test_X7_every_repeat_in_a_file_creates_its_references(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="one@x.y"), order("A", Email="two@x.y"), order("A", Email=None)])
    assert [key[2] for key, _ in site.customers()] == ["one@x.y", "two@x.y"]


def test_X7_a_rejected_record_creates_none(site: Site) -> None:
    site.load("2024-05-01.json", [{"OrderId": "A", "Email": "a@b.c"}])
    assert site.customers() == []


def test_X11_created_updated_unchanged_stale_deleted_not_found_rejected(site: Site) -> None:
    site.load("2024-05-02.json", [order(key, TotalQuantity=5, OrderDate="2024-05-01") for key in "UVWX"])
    log = lines(
        posted("2024-05-03T00:00:00Z", order("N")),  # no row before
        posted("2024-05-03T00:00:00Z", order("U", TotalQuantity=6)),
        posted("2024-05-03T00:00:00Z", order("V", TotalQuantity=5)),
        posted("2024-05-01T00:00:00Z", order("W", TotalQuantity=4)),
        deleted("2024-05-03T00:00:00Z", "X"),
        deleted("2024-05-03T00:00:00Z", "gone"),
        posted("2024-05-03T00:00:00Z", {"OrderId": "bad"}),
    )
    entry = site.load("2024-05-03.ndjson", log)
    wanted = ("created", "updated", "unchanged", "stale", "deleted", "not_found", "rejected")
    assert outcomes(entry) == dict.fromkeys(wanted, 1)
    assert entry.read == 7


def test_X11_a_record_is_an_order_with_its_items(site: Site) -> None:
    entry = site.load("2024-05-01.json", [order("A", OrderItems=[item(), item(), item()])])
    assert (entry.read, entry.created) == (1, 1)


@pytest.mark.parametrize(
    "records",
    [
        [order("A", OrderItems=[item("q"), item("p")])],
        [order("A", OrderItems=[item("p")])],
        [order("A", OrderItems=[item("p"), item("q"), item("q")])],
        [order("A", OrderItems=[item("p"), item("q", x=1)])],
        [order("A", OrderItems=[])],
    ],
)
def test_X11_a_change_in_the_items_alone_is_an_update(site: Site, records: list[object]) -> None:
    site.load("2024-05-01.json", [order("A", OrderItems=[item("p"), item("q")])])
    assert outcomes(site.load("2024-05-02.json", records)) == {"updated": 1}


def test_X11_an_unchanged_record_writes_nothing_to_its_row(site: Site) -> None:
    fields = {"Email": "a@b.c", "TotalRevenue": "1.50", "X": {"b": 1, "a": 1.50}, "OrderItems": [item()]}
    records = [order(key, **fields) for key in "AB"]
    site.load("2024-05-02.json", records)
    before = site.versions()
    assert outcomes(site.load("2024-05-03.json", records)) == {"unchanged": 2}
    assert site.versions() == before


def test_X11_a_stale_record_writes_nothing_to_its_row(site: Site) -> None:
    full = {"Email": "a@b.c", "OrderDate": "2024-05-02T00:00Z", "OrderItems": [item()]}
    totals = {"TotalQuantity": 1, "TotalRevenue": 2, "UniqueQuantity": 1, "IsOrderCancelled": False}
    site.load("2024-05-02.json", [order("A", **full, **totals)])
    before = site.versions()
    assert outcomes(site.load("2024-05-01.json", [order("A", Email="a@b.c", TotalQuantity=7)])) == {"stale": 1}
    assert site.versions() == before


def test_X11_counts_never_change_afterwards(site: Site) -> None:
    first = site.load("2024-05-02.json", [order("A"), {"OrderId": "B"}])
    site.load("2024-05-01.json", [order("A", TotalQuantity=5)])
    site.load("2024-05-03.json", [order("A", TotalQuantity=6), order("B")])
    again = next(entry for entry in site.ledger() if entry.path == first.path)
    assert again == first


def test_X11_the_accounting_cannot_be_violated(site: Site) -> None:
    entry = site.load("2024-05-02.json", [order("A")])
    with site.database.connect() as connection, pytest.raises(psycopg.errors.CheckViolation, match="accounting"):
        connection.execute("update sync.export_files set created = 2 where id = %s", [entry.id])


def test_X11_the_accounting_holds_for_any_mixture(site: Site) -> None:
    rng = random.Random(11)
    for day in rng.sample(range(1, 9), 8):
        log = [rng.choice(_events(rng)) for _ in range(12)]
        entry = site.load(f"2024-05-0{day}.ndjson", lines(*log))
        assert entry.status == "loaded"
        assert entry.read == sum(outcomes(entry).values())
        assert len([r for r in site.rejects() if r["path"] == entry.path]) == entry.rejected


def _events(rng: random.Random) -> list[object]:
    at, key = f"2024-05-0{rng.randint(1, 9)}T00:00:00Z", rng.choice("ABC")
    return [posted(at, order(key, TotalQuantity=rng.randint(1, 2))), deleted(at, key), {"OrderId": key}, order(key)]
