"""Versions, and tables that equal the records in version order (X4, X5, X6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sync_pipelines_tests.loading import LONG_AGO, Site, deleted, item, lines, order, outcomes, posted


def of(site: Site, column: str, key: str = "A") -> Any:
    row = site.order(key)
    assert row is not None
    return row[column]


def test_X4_a_request_logs_own_time_beats_the_files_date(site: Site) -> None:
    dated = {"OrderDate": "2024-05-01"}
    site.load("2024-05-02.json", [order("A", TotalQuantity=2, **dated)])
    entry = site.load("2024-05-03.ndjson", lines(posted("2024-05-01T00:00:00Z", order("A", TotalQuantity=1, **dated))))
    assert outcomes(entry) == {"stale": 1}
    assert of(site, "total_quantity") == 2


def test_X4_the_newest_record_may_stand_in_an_older_export(site: Site) -> None:
    said_twice = order("A", TotalQuantity=5, IsOrderCancelled=True)
    site.load("2024-05-01_a.ndjson", lines(posted("2024-05-03T00:00:00Z", order("A", TotalQuantity=7))))
    site.load("2024-05-01_b.ndjson", lines(said_twice))
    assert of(site, "total_quantity") == 7
    entry = site.load("2024-05-03_c.ndjson", lines(said_twice))
    assert outcomes(entry) == {"updated": 1}
    assert of(site, "total_quantity") == 5


@pytest.mark.parametrize("name", ["UpdatedAt", "updated_at"])
def test_X4_a_records_own_time_beats_the_files_date(site: Site, name: str) -> None:
    site.sources({"effective_at": name})
    site.load("2024-05-01.json", [order("A", TotalQuantity=2, UpdatedAt="2024-04-02")])
    entry = site.load("2024-05-02.json", [order("A", TotalQuantity=1, UpdatedAt="2024-04-01T23:00:00Z")])
    assert outcomes(entry) == {"updated": 1}  # UpdatedAt itself is an unknown field of an older record
    assert of(site, "total_quantity") == 2
    assert site.load("2024-05-03.json", [order("A", TotalQuantity=3)]).updated == 1
    assert of(site, "total_quantity") == 3


def test_X4_a_records_own_time_in_a_flat_file(site: Site) -> None:
    site.sources({"effective_at": "Changed", "columns": {"OrderId": "No"}})
    header = "No,Currency,TotalQuantity,Changed,ProductId,Sku,Quantity,Price\n"
    site.load("2024-05-01.csv", header + "A,USD,2,2024-04-02,p,s,1,1\nA,USD,2,2024-04-02,q,s,1,1\n")
    site.load("2024-05-02.csv", header + "A,USD,1,2024-04-01,p,s,1,1\n")
    assert (of(site, "total_quantity"), len(site.items("A"))) == (2, 2)
    assert of(site, "extra") == {"Changed": "2024-04-02"}


def test_X4_a_records_own_time_may_be_a_mapped_column(site: Site) -> None:
    site.sources({"effective_at": "OrderDate", "columns": {"OrderDate": "When"}})
    site.load("2024-05-01.csv", "OrderId,Currency,TotalQuantity,When\nA,USD,2,2024-04-02\n")
    site.load("2024-05-02.csv", "OrderId,Currency,TotalQuantity,When\nA,USD,1,2024-04-01\n")
    site.load("2024-05-03.json", [order("A", TotalQuantity=3, When="2024-03-01")])
    assert of(site, "total_quantity") == 2


def test_X4_an_own_time_that_is_none_or_out_of_range_is_a_reject(site: Site) -> None:
    site.sources({"effective_at": "At"})
    far = (datetime.now(UTC) + timedelta(days=5)).isoformat()
    records = [order("A", At="soon"), order("B", At="2009-01-01"), order("C", At=far), order("D", At=None)]
    site.load("2024-05-01.json", records)
    found = [(r["position"], r["code"], r["field_path"]) for r in site.rejects()]
    assert found == [("1", "not_a_date", "At"), ("2", "date_out_of_range", "At"), ("3", "date_out_of_range", "At")]
    assert site.order("D") is not None


def test_X4_the_date_in_the_path_beats_the_modification_time(site: Site) -> None:
    site.put("late/2024-05-02.json", [order("A", TotalQuantity=2)], mtime=LONG_AGO)
    site.put("2024-05-03/a.json", [order("A", TotalQuantity=3)], mtime=LONG_AGO - timedelta(days=9))
    site.put("b_2024-05-01T235959.json", [order("A", TotalQuantity=1)], mtime=LONG_AGO + timedelta(days=9))
    entries = site.sync()
    assert [entry.effective_at.isoformat() for entry in entries] == [
        "2024-05-01T23:59:59+00:00",
        "2024-05-02T00:00:00+00:00",
        "2024-05-03T00:00:00+00:00",
    ]
    assert of(site, "total_quantity") == 3


def test_X4_a_file_without_a_date_has_its_modification_time(site: Site) -> None:
    newer, older = ([order("A", TotalQuantity=n, OrderDate="2024-05-01")] for n in (1, 2))
    site.load("b.json", newer, mtime=datetime(2024, 5, 1, 0, 0, 1, 500_000, UTC))
    entry = site.load("a.json", older, mtime=datetime(2024, 5, 1, 0, 0, 1, 400_000, UTC))
    assert outcomes(entry) == {"stale": 1}
    assert entry.effective_at == datetime(2024, 5, 1, 0, 0, 1, 400_000, UTC)


@pytest.mark.parametrize("turn", [1, -1])
def test_X4_ties_go_by_path_then_revision_then_position(site: Site, turn: int) -> None:
    files = {"2024-05-01a.json": 2, "2024-05-01é.json": 4, "2024-05-01Z.json": 1, "2024-05-01z.json": 3}
    for name, quantity in list(files.items())[::turn]:
        site.load(name, [order("A", TotalQuantity=quantity)])
    assert of(site, "total_quantity") == 4
    site.load("2024-05-01é.json", [order("A", TotalQuantity=5), order("A", TotalQuantity=6)])
    assert of(site, "total_quantity") == 6


def test_X4_equal_content_under_the_same_path_is_the_same_export(site: Site) -> None:
    site.load("a.json", [order("A")], mtime=LONG_AGO)
    site.put("a.json", [order("A")], mtime=LONG_AGO + timedelta(days=3))
    assert site.sync() == []
    (entry,) = site.ledger()
    assert (entry.revision, entry.effective_at) == (1, LONG_AGO)


def test_X4_other_content_is_the_next_revision_and_former_content_one_more(site: Site) -> None:
    for quantity in (1, 2, 1):
        site.load("2024-05-01.json", [order("A", TotalQuantity=quantity)])
    assert [(entry.revision, entry.status) for entry in site.ledger()] == [(1, "loaded"), (2, "loaded"), (3, "loaded")]
    assert of(site, "total_quantity") == 1


def test_X4_equal_content_under_another_path_is_another_export(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", TotalQuantity=1)])
    site.load("2024-05-02.json", [order("A", TotalQuantity=2)])
    entry = site.load("2024-05-03.json", [order("A", TotalQuantity=1)])
    assert outcomes(entry) == {"updated": 1}
    assert len(site.ledger()) == 3


def test_X5_an_older_version_never_overwrites_but_fills(site: Site) -> None:
    site.load("2024-05-02.json", [order("A", Email="new@x.y", TotalQuantity=2)])
    entry = site.load("2024-05-01.json", [order("A", Email="old@x.y", CustomerId="c1", TotalRevenue=5, X=1)])
    assert outcomes(entry) == {"updated": 1}
    assert (of(site, "email"), of(site, "total_quantity")) == ("new@x.y", 2)
    assert (of(site, "customer_external_id"), of(site, "total_revenue"), of(site, "extra")) == ("c1", 5, {"X": 1})


def test_X5_a_field_a_newer_record_cleared_stays_cleared(site: Site) -> None:
    site.load("2024-05-02.json", [order("A", Email=None, OrderItems=None)])
    site.load("2024-05-01.json", [order("A", Email="old@x.y", OrderItems=[item()])])
    assert (of(site, "email"), of(site, "order_items")) == (None, [])


def test_X5_a_late_list_fills_where_newer_ones_had_none(site: Site) -> None:
    site.load("2024-05-02.json", [order("A")])
    site.load("2024-05-01.json", [order("A", OrderItems=[item("p"), item("q")])])
    assert [row["product_id"] for row in site.items("A")] == ["p", "q"]


def test_X5_an_older_upsert_does_not_resurrect(site: Site) -> None:
    site.load("2024-05-02.ndjson", lines(deleted("2024-05-02T00:00:00Z", "A")))
    entry = site.load("2024-05-01.json", [order("A", Email="a@b.c", OrderItems=[item()])])
    assert outcomes(entry) == {"stale": 1}
    assert of(site, "deleted_at") == datetime(2024, 5, 2, tzinfo=UTC)
    assert of(site, "email") is None


def test_X5_a_newer_upsert_starts_from_an_empty_row(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c", TotalQuantity=9, X=1, OrderItems=[item()])])
    site.load("2024-05-02.ndjson", lines(deleted("2024-05-02T00:00:00Z", "A")))
    entry = site.load("2024-05-03.json", [order("A", TotalRevenue=3)])
    assert outcomes(entry) == {"created": 1}
    assert (of(site, "deleted_at"), of(site, "email"), of(site, "customer_id"), of(site, "extra")) == (None,) * 4
    assert (of(site, "total_quantity"), of(site, "total_revenue"), of(site, "order_items")) == (1, 3, [])
    assert of(site, "ordered_at") == datetime(2024, 5, 3, tzinfo=UTC)


def test_X5_a_tombstone_keeps_only_its_key_and_deleted_at(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c", TotalQuantity=9, X=1, OrderItems=[item()])])
    site.load("2024-05-02.ndjson", lines(deleted("2024-05-02T10:00:00Z", "A")))
    row = site.order("A")
    assert row is not None
    kept = {name: value for name, value in row.items() if value not in (None, [], False)}
    assert kept.keys() == {"tenant", "partner", "external_id", "deleted_at"}
    assert kept["deleted_at"] == datetime(2024, 5, 2, 10, tzinfo=UTC)
    assert site.query("select count(*) as n from sync.order_items") == [{"n": 0}]
    assert site.query("select count(*) as n from sync.live_orders") == [{"n": 0}]


def test_X5_F13_deleting_an_unknown_or_dead_key_leaves_a_tombstone_of_the_first_delete(site: Site) -> None:
    log = lines(deleted("2024-05-02T00:00:00Z", "A"), deleted("2024-05-03T00:00:00Z", "A"))
    assert outcomes(site.load("2024-05-02.ndjson", log)) == {"not_found": 2}
    assert of(site, "deleted_at") == datetime(2024, 5, 2, tzinfo=UTC)
    late = site.load("2024-05-01.ndjson", lines(deleted("2024-05-01T00:00:00Z", "A")))
    assert outcomes(late) == {"not_found": 1}
    assert of(site, "deleted_at") == datetime(2024, 5, 1, tzinfo=UTC)
    assert outcomes(site.load("2024-05-02b.json", [order("A")])) == {"stale": 1}
    assert of(site, "deleted_at") == datetime(2024, 5, 3, tzinfo=UTC), "it lived on the 2nd"


def test_X5_a_late_delete_between_two_upserts_empties_what_came_before_it(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c", OrderItems=[item()])])
    site.load("2024-05-03.json", [order("A", TotalQuantity=3)])
    entry = site.load("2024-05-02.ndjson", lines(deleted("2024-05-02T00:00:00Z", "A")))
    assert outcomes(entry) == {"updated": 1} or outcomes(entry) == {"deleted": 1}
    assert (of(site, "email"), of(site, "order_items"), of(site, "total_quantity")) == (None, [], 3)


def test_X6_the_same_key_several_times_in_a_file_as_if_in_separate_files(site: Site) -> None:
    log = lines(
        order("A", Email="a@b.c", TotalQuantity=1),
        order("B"),
        order("A", TotalQuantity=2, OrderItems=[item()]),
        order("A", TotalQuantity=2),
    )
    assert outcomes(site.load("2024-05-01.ndjson", log)) == {"created": 2, "updated": 1, "unchanged": 1}
    assert (of(site, "email"), of(site, "total_quantity"), len(site.items("A"))) == ("a@b.c", 2, 1)


def test_X6_in_version_order_not_in_file_order(site: Site) -> None:
    log = lines(
        posted("2024-05-03T00:00:00Z", order("A", TotalQuantity=3)),
        deleted("2024-05-02T00:00:00Z", "A"),
        posted("2024-05-01T00:00:00Z", order("A", TotalQuantity=1, Email="a@b.c")),
    )
    assert outcomes(site.load("2024-05-01.ndjson", log)) == {"created": 2, "deleted": 1}
    assert (of(site, "total_quantity"), of(site, "email")) == (3, None)


def test_X6_on_top_of_a_stored_row(site: Site) -> None:
    site.load("2024-05-01.json", [order("A", Email="a@b.c", X=1, OrderItems=[item(Size="1 l")])])
    entry = site.load("2024-05-02.json", [order("A", Email="a@b.c"), order("A", Y=2), order("A", Currency="EUR")])
    assert outcomes(entry) == {"unchanged": 1, "updated": 2}
    assert (of(site, "extra"), of(site, "currency"), len(site.items("A"))) == ({"X": 1, "Y": 2}, "EUR", 1)


def test_X6_repeats_that_change_nothing_write_nothing(site: Site) -> None:
    records = [
        order("A", Email="a@b.c", X={"y": [1.5]}, OrderItems=[item(Size="1 l", z=1)], OrderDate="2024-05-01T00:00Z")
    ]
    site.load("2024-05-01.json", records)
    before = site.versions()
    assert outcomes(site.load("2024-05-02.json", records * 3)) == {"unchanged": 3}
    assert site.versions() == before
