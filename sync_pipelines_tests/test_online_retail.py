"""Real exports with known answers: twenty days of UCI's Online Retail (CC BY 4.0, doi:10.24432/C5BW33).

The data lies beside the project, `../shared/data`; without it these tests are skipped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.database.postgres import Database
from sync_pipelines.stages.export_stages import discover, load_all
from sync_pipelines_tests.databases import TEMPLATE, make_database
from sync_pipelines_tests.loading import Site, Tables, outcomes

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "uci_online_retail_2010-12"
DAYS = sorted(DATA.glob("*.csv"))
SETTINGS = {
    "columns": {
        "OrderId": "InvoiceNo",
        "ProductId": "StockCode",
        "Sku": "StockCode",
        "Quantity": "Quantity",
        "Price": "UnitPrice",
        "OrderDate": "InvoiceDate",
        "CustomerId": "CustomerID",
    },
    "constants": {"Currency": "GBP"},
    "customer_identifier": "customer_id",
}

pytestmark = pytest.mark.skipif(not DAYS, reason=f"no data in {DATA.name}")


@pytest.fixture(scope="module")
def retail(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    for database in make_database(server, TEMPLATE):
        site = new_site(tmp_path_factory.mktemp("retail"), database)
        for path in DAYS:
            site.put(path.name, path.read_bytes())
        assert [entry.status for entry in site.sync()] == ["loaded"] * 20
        yield site


def new_site(folder: Path, database: Database) -> Site:
    site = Site(folder, database)
    site.sources(SETTINGS)
    return site


def scalar(site: Site, statement: str) -> Any:
    (row,) = site.query(statement)
    (value,) = row.values()
    return value


def test_the_known_answers(retail: Site) -> None:
    assert scalar(retail, "select count(*) from sync.live_orders") == 2_025
    assert scalar(retail, "select count(*) from sync.order_items") == 42_481
    assert scalar(retail, "select sum(quantity * price) from sync.order_items") == Decimal("748957.02")
    assert scalar(retail, "select sum(total_revenue) from sync.orders") == Decimal("748957.02")
    assert scalar(retail, "select count(*) from sync.customers where is_placeholder and name is null") == 948
    assert scalar(retail, "select count(distinct product_id) from sync.order_items") == 2_822
    assert scalar(retail, "select count(distinct extra->>'Country') from sync.order_items") == 24
    assert scalar(retail, "select count(*) from sync.order_items where quantity < 0") == 798
    assert scalar(retail, "select sum(total_quantity) = (select sum(quantity) from sync.order_items) from sync.orders")
    lines = "select count(*) from sync.order_items i join sync.orders o on o.id = i.order_id where "
    assert scalar(retail, lines + "o.external_id like 'C%'") == 728
    assert scalar(retail, lines + "o.customer_id is null") == 15_631


def test_the_ledger_accounts_for_every_line(retail: Site) -> None:
    entries = retail.ledger()
    assert sum(entry.lines or 0 for entry in entries) == 42_481
    assert all(entry.read == sum(outcomes(entry).values()) and not entry.rejected for entry in entries)
    assert retail.rejects() == []
    assert [entry.partition_date for entry in entries] == [date.fromisoformat(path.stem) for path in DAYS]


def test_a_second_look_finds_nothing(retail: Site) -> None:
    found = retail.discover()
    assert (found.pending, found.failed) == ([], [])
    assert retail.sync() == []


def test_copies_under_new_names_with_later_dates_write_no_row(server: Database, retail: Site, tmp_path: Path) -> None:
    before, tables = retail.versions(), retail.tables()
    for path in DAYS:
        later = date.fromisoformat(path.stem) + timedelta(days=31)
        retail.put(f"again/{later}.csv", path.read_bytes())
    entries = retail.sync()
    assert len(entries) == 20
    assert sum(entry.unchanged for entry in entries) == sum(entry.read for entry in entries) == 2_025
    assert {name: [v[:2] for v in rows] for name, rows in retail.versions().items()} == {
        name: [v[:2] for v in rows] for name, rows in before.items()
    }
    assert retail.tables() == tables
    assert sum(retail.dead_tuples().values()) == 0


@pytest.fixture(scope="module")
def in_order(server: Database, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    found: Tables = {}
    for database in make_database(server, TEMPLATE):
        site = new_site(tmp_path_factory.mktemp("in_order"), database)
        for name, content in late_story():
            site.put(name, content)
        site.sync()
        found = site.tables()
    return found


def late_story() -> list[tuple[str, bytes]]:
    """Every sixth day, and the same lines once more with other prices a month before: late files with folds."""
    story = [(path.name, path.read_bytes()) for path in DAYS[::6]]
    for path in DAYS[:7:6]:
        earlier = date.fromisoformat(path.stem) - timedelta(days=31)
        story.append((f"{earlier}.csv", path.read_bytes().replace(b".55,", b".44,").replace(b"United", b"Untied")))
    return story


def test_late_days_one_by_one_in_random_order_with_three_twice(site: Site, in_order: Tables) -> None:
    rng = random.Random(3)
    site.sources(SETTINGS)
    story = late_story()
    rng.shuffle(story)
    for name, content in story:
        site.put(name, content)
        assert [entry.status for entry in site.sync()] == ["loaded"]
    for name, content in rng.sample(story, 3):
        site.put(f"twice/{name}", content)
        assert [entry.status for entry in site.sync()] == ["loaded"]
    assert site.tables() == in_order


def test_all_twenty_in_random_order_with_three_twice(site: Site, retail: Site) -> None:
    rng = random.Random(20)
    site.sources(SETTINGS)
    files = list(DAYS)
    rng.shuffle(files)
    for path in files:
        site.put(path.name, path.read_bytes())
        workspace = site.workspace()
        assert [entry.status for entry in load_all(workspace, discover(workspace).pending)] == ["loaded"]
    for path in rng.sample(files, 3):
        site.put(f"twice/{path.name}", path.read_bytes())
        assert sum(entry.unchanged for entry in site.sync()) > 0
    assert site.tables() == retail.tables()
