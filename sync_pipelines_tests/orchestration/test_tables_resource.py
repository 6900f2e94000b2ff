"""What whoever builds on the tables inside Dagster uses: the resource, the IO manager, and the example of the docs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from sync_pipelines.database.postgres import Database
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.orchestration.tables_resource import Tables, TablesIOManager, table_input
from sync_pipelines_tests.loading import Site, item, order

PAGE = Path(__file__).parents[2] / "docs" / "build_on_the_tables.md"
TABLES_ORDERS = dg.AssetKey(["tables", "orders"])


@pytest.fixture
def synced(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with three orders, and its address in the environment."""
    site.load(
        "2024-01-01.json",
        [
            order("A", OrderDate="2024-01-01T10:00:00Z", TotalRevenue="1.10", Email="Ana@x.cl", OrderItems=[item()]),
            order("B", OrderDate="2024-01-01T11:00:00Z", TotalRevenue="2.20", Email="o'hara%@x.cl", Note={"a": [1]}),
            order("C", OrderDate="2024-01-02T10:00:00Z", TotalRevenue="4", IsOrderCancelled=True),
        ],
    )
    monkeypatch.setenv("SYNC_HOME", str(site.folder / "home"))
    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    return site


def keys(frame: pd.DataFrame) -> list[str]:
    return sorted(frame["external_id"])


def test_tables_are_read_with_exact_types(synced: Site) -> None:
    orders = Tables().read("orders")
    assert orders.columns[-1] == "customer_is_deleted"
    kinds = {name: str(orders.dtypes[name]) for name in ("total_revenue", "ordered_at", "total_quantity", "email")}
    assert kinds == {
        "total_revenue": "decimal128(18, 4)[pyarrow]",
        "ordered_at": "datetime64[us, UTC]",
        "total_quantity": "Int64",
        "email": "string",
    }
    assert (str(orders["is_cancelled"].dtype), str(orders["extra"].dtype)) == ("boolean", "object")
    assert orders["total_revenue"].sum() == Decimal("7.30")
    of = orders.set_index("external_id")
    assert of.loc["A", "ordered_at"] == pd.Timestamp("2024-01-01 10:00", tz="UTC")
    assert of.loc["B", "extra"] == {"Note": {"a": [1]}}
    assert of["email"].isna().to_dict() == {"A": False, "B": False, "C": True}
    totals = Tables().read("order_revenue", columns=["external_id", "items_total"])
    assert list(totals.columns) == ["external_id", "items_total"]
    assert totals.set_index("external_id").loc["A", "items_total"] == Decimal(2)
    empty = Tables().read("stores")
    assert len(empty) == 0
    assert str(empty["credit_limit"].dtype) == "decimal128(18, 4)[pyarrow]"


@pytest.mark.parametrize(
    ("where", "parameters", "expected"),
    [
        ({"external_id": "A"}, None, "A"),
        ({"external_id": ["A", "C"], "is_cancelled": True}, None, "C"),
        ({"email": None}, None, "C"),
        ({"email": "o'hara%@x.cl"}, None, "B"),
        ({"external_id": "A' or '1' = '1"}, None, ""),
        ({"external_id": []}, None, ""),
        ({}, None, "ABC"),
        ("email like '%@x.cl' and total_revenue > 1.5", None, "B"),
        ("email = %(email)s", {"email": "' or true --"}, ""),
        ("ordered_at >= %(since)s", {"since": datetime(2024, 1, 2, tzinfo=UTC)}, "C"),
        ("external_id = any(%(keys)s) and email like '%%@x.cl'", {"keys": ["A", "C"]}, "A"),
    ],
)
def test_conditions_take_any_value(synced: Site, where: Any, parameters: Any, expected: str) -> None:
    assert "".join(keys(Tables().read("orders", where=where, parameters=parameters))) == expected


def test_names_that_are_unknown_and_tables_that_are_missing(
    synced: Site, bare_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="unknown table 'order': did you mean orders"):
        Tables().read("order")
    with pytest.raises(ValueError, match="unknown table 'orders; drop table x'"):
        Tables().read("orders; drop table x")
    for given in ({"columns": ["Currency"]}, {"where": {"Currency": "CLP"}}):
        with pytest.raises(ValueError, match="has no column 'Currency': did you mean currency"):
            Tables().read("orders", **given)
    assert keys(Tables().read("sync.orders", columns=["external_id"])) == ["A", "B", "C"]
    monkeypatch.setenv("SYNC_DATABASE_URL", bare_database.url)
    with pytest.raises(ConfigurationError, match=r"tables_missing.*has no sync.live_orders.*sync-pipelines sync"):
        Tables().read("orders")


def test_the_example_of_the_docs_runs(synced: Site) -> None:
    (code,) = re.findall(r"<!-- example: definitions -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec", dont_inherit=True), module)
    defs = module["defs"]
    dg.Definitions.validate_loadable(defs)
    graph = defs.resolve_asset_graph()
    assert graph.get(dg.AssetKey("revenue_by_day")).parent_keys == {TABLES_ORDERS}
    resources = defs.resources | {"io_manager": dg.mem_io_manager}
    upstream = dg.AssetSpec(TABLES_ORDERS)
    done = dg.materialize([module["revenue_by_day"], upstream], resources=resources)
    revenue = done.output_for_node("revenue_by_day")
    assert revenue.to_dict("records") == [
        {"day": datetime(2024, 1, 1).date(), "currency": "USD", "total_revenue": Decimal("3.3000")}
    ]
    counted = dg.materialize([module["cancelled_orders"]], resources=resources, partition_key="2024-01-02")
    (event,) = counted.asset_materializations_for_node("cancelled_orders")
    assert event.metadata["orders"].value == 1


def test_an_asset_takes_orders_beside_the_asset_of_the_table(synced: Site) -> None:
    seen: list[pd.DataFrame] = []

    @dg.asset(key=TABLES_ORDERS)
    def table() -> None:
        """Stands for the asset of the synced project."""

    @dg.asset(ins={"orders": dg.AssetIn(TABLES_ORDERS, input_manager_key="tables_io_manager")})
    def plain(orders: pd.DataFrame) -> None:
        seen.append(orders)

    chosen = table_input("order_items", where="ordered_at < %(end)s", parameters={"end": "2024-01-02T00:00:00Z"})

    @dg.asset(ins={"items": chosen})
    def of_items(items: pd.DataFrame) -> None:
        seen.append(items)

    resources = {"tables_io_manager": TablesIOManager(), "io_manager": dg.mem_io_manager}
    assert dg.materialize([table, plain, of_items], resources=resources).success
    plain_orders, items = sorted(seen, key=len, reverse=True)
    assert keys(plain_orders) == ["A", "B", "C"]
    assert items["order_external_id"].to_list() == ["A"]
    assert items.dtypes["price"] == pd.ArrowDtype(pa.decimal128(18, 4))
    with pytest.raises(ValueError, match="belongs to no asset"):
        table_input("export_files")


def test_the_io_manager_refuses_to_write(synced: Site) -> None:
    @dg.asset(io_manager_key="tables_io_manager")
    def mine() -> int:
        return 1

    done = dg.materialize([mine], resources={"tables_io_manager": TablesIOManager()}, raise_on_error=False)
    (failure,) = [event for event in done.all_events if event.is_step_failure]
    assert "only reads the tables; give mine another io_manager_key" in str(failure.step_failure_data.error)
