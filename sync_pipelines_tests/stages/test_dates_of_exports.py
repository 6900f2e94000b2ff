"""When an export holds: by its path, by the source's pattern, by its modification time; and ties (X4)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations

from sync_pipelines_tests.loading import Site, order

TOUCHED = datetime(2024, 6, 7, 8, 9, tzinfo=UTC)


def test_x4_the_ledger_notes_when_an_export_holds_and_how_it_is_known(site: Site) -> None:
    site.put("2024/05/06/orders.json", [order("A")])
    site.put("orders_20240506_1030.json", [order("B")])
    site.put("orders.json", [order("C")], TOUCHED)
    found = {e.path.split("/orders/")[1]: (e.effective_at, e.has_own_date) for e in site.sync()}
    assert found == {
        "2024/05/06/orders.json": (datetime(2024, 5, 6, tzinfo=UTC), True),
        "orders_20240506_1030.json": (datetime(2024, 5, 6, 10, 30, tzinfo=UTC), True),
        "orders.json": (TOUCHED, False),
    }


def test_x4_file_date_is_a_pattern_or_required(site: Site) -> None:
    site.sources({"file_date": "ventas_%d-%m-%Y"})
    site.put("ventas_02-01-2024.json", [order("A", Email="new@x.cl")])
    site.put("ventas_01-02-2023.json", [order("A", Email="old@x.cl")])
    site.put("2024-03-04.json", [order("B")], TOUCHED)
    found = {e.path.split("/orders/")[1]: (e.effective_at, e.has_own_date) for e in site.sync()}
    assert found == {
        "ventas_02-01-2024.json": (datetime(2024, 1, 2, tzinfo=UTC), True),
        "ventas_01-02-2023.json": (datetime(2023, 2, 1, tzinfo=UTC), True),
        "2024-03-04.json": (TOUCHED, False),
    }
    site.sources({"file_date": "required"})
    site.put("mayo.json", [order("C")])
    (refused,) = site.sync()
    assert refused.status == "failed"
    assert (refused.error or "").startswith("file_date_missing: the path 'mayo.json' has no date")
    site.sources()
    (loaded,) = site.sync()
    assert (loaded.status, loaded.has_own_date) == ("loaded", False)


def test_x4_exports_of_one_time_go_by_path_in_natural_order(fresh_site: Callable[[], Site]) -> None:
    for turn in permutations((9, 10, 100)):
        site = fresh_site()
        for number in turn:
            refused = order("B", Currency="XXXX") if number == 9 else order("B")
            site.load(f"orders_2024-03-01_{number}.json", [order("A", Email=f"{number}@x.cl"), refused])
        found = site.order("A")
        assert found is not None and found["email"] == "100@x.cl"
        assert [reject["status"] for reject in site.rejects()] == ["superseded"]
