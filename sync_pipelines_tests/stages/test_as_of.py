"""The tables as of a date equal those of a database that loaded only the records until then (X5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync_pipelines.stages.as_of import TooEarly, check_date, streams_filling, tables_as_of
from sync_pipelines_tests import test_laws, test_laws_identity, test_laws_references
from sync_pipelines_tests.examples import examples
from sync_pipelines_tests.loading import Site, deleted, lines, order, posted, rows_of, table_values
from sync_pipelines_tests.test_laws import DAYS, Export, as_oracle_says, oracle, said_in


def as_of(site: Site, moment: datetime, names: Sequence[str] | None = None) -> Any:
    with (
        site.database.connect(autocommit=True) as connection,
        tables_as_of(connection, site.settings.archive, moment, lambda: names),
    ):
        return table_values(connection)


def content_of(site: Site) -> Any:
    ledger = [(entry.path, entry.status, entry.counts, entry.kept) for entry in site.ledger()]
    archive = sorted(path.name for path in site.settings.archive.rglob("*"))
    return site.tables(), site.rejects(), ledger, archive


def until(exports: Sequence[Export], moment: datetime) -> list[Export]:
    """The records of a history until a moment, as exports."""
    found = []
    for export in exports:
        entries = [e for e in export.entries if "method" not in e or datetime.fromisoformat(e["at"]) <= moment]
        found.append(
            Export(export.name, export.day, tuple(e for e in entries if "method" in e or export.day <= moment))
        )
    return [export for export in found if export.entries]


@examples(12)
@given(data=st.data())
def test_as_of_equals_the_fold_of_the_records_until_then(fresh_site: Any, data: st.DataObject) -> None:
    exports = data.draw(test_laws.history())
    site = fresh_site()
    test_laws.load(site, exports, data.draw(test_laws.loading_plan(len(exports))))
    before = content_of(site)
    moment = data.draw(st.sampled_from([said.version[0] for export in exports for said in said_in(export)] or DAYS))
    assert as_oracle_says(as_of(site, moment)) == oracle(until(exports, moment))
    assert content_of(site) == before


class Inside:
    """The tables that a transaction sees, as a site's."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def query(self, statement: str, values: Any = None) -> list[dict[str, Any]]:
        return rows_of(self._connection, statement, values)


def rows(site: Any) -> dict[str, list[str]]:
    return {
        table: sorted(map(repr, test_laws_identity.rows(site, table))) for table in ("commerces", "customers", "stores")
    }


STORES = test_laws_identity.history("nilo/acme/stores", test_laws_identity.store_call())


@examples(10)
@given(data=st.data())
@pytest.mark.parametrize("histories", [test_laws_references.history(), STORES], ids=["businesses", "stores"])
def test_as_of_equals_loading_only_the_records_until_then(
    fresh_site: Callable[[], Site], data: st.DataObject, histories: Any
) -> None:
    exports = data.draw(histories)
    whole = fresh_site()
    test_laws_identity.load(whole, exports, data.draw(test_laws.loading_plan(len(exports))))
    moment = data.draw(st.sampled_from(exports)).day + timedelta(hours=1)
    with (
        whole.database.connect(autocommit=True) as connection,
        tables_as_of(connection, whole.settings.archive, moment, lambda: None),
    ):
        found = rows(Inside(connection))
    kept = [replace(e, entries=tuple(x for x in e.entries if is_early(e, x, moment))) for e in exports]
    early = [export for export in kept if export.entries]
    part = fresh_site()
    test_laws_identity.load(part, early, [[number] for number in range(len(early))])
    assert found == rows(part)


def is_early(export: test_laws_identity.Export, entry: dict[str, Any], moment: datetime) -> bool:
    return datetime.fromisoformat(entry.get("at", export.day.isoformat())) <= moment


def test_loads_go_on_and_see_nothing_of_it(site: Site) -> None:
    site.load("2024-03-01.json", [order("A", TotalQuantity=1)])
    site.load("2024-03-02.json", [order("A", TotalQuantity=2)])
    with (
        site.database.connect(autocommit=True) as connection,
        tables_as_of(connection, site.settings.archive, DAYS[0], lambda: ["orders"]),
    ):
        assert site.load("2024-03-03.json", [order("A", TotalQuantity=3), order("B")]).status == "loaded"
        assert site.load_at("nilo/acme/stores/2024-03-03.json", [{"internalCode": "S"}]).status == "loaded"
        found = rows_of(connection, "select external_id, total_quantity from sync.live_orders")
    assert found == [{"external_id": "A", "total_quantity": 1}]
    stored = site.query("select external_id, total_quantity from sync.live_orders order by 1")
    assert stored == [{"external_id": "A", "total_quantity": 3}, {"external_id": "B", "total_quantity": 1}]
    assert site.query("select nspname from pg_namespace where nspname like 'sync%%'", []) == [{"nspname": "sync"}]


def test_an_export_counts_up_to_the_moment(site: Site) -> None:
    at = [f"2024-03-01T{hour:02}:00:00+00:00" for hour in (1, 2, 3)]
    calls = [
        posted(at[0], order("A", TotalQuantity=1)),
        posted(at[1], order("A", TotalQuantity=2)),
        deleted(at[2], "A"),
    ]
    site.load("2024-03-01.ndjson", lines(*calls))
    quantities = [
        [row["total_quantity"] for row in as_of(site, datetime.fromisoformat(moment))["orders"].values()]
        for moment in at
    ]
    assert quantities == [[1], [2], [None]]


def test_a_query_loads_the_streams_that_fill_its_tables() -> None:
    def names(*tables: str) -> set[str]:
        return {stream.full_name for stream in streams_filling(tables)}

    assert names("order_items") == {"replenit/orders"}
    assert {"replenit/orders", "traede/customers", "pocketflows/businesses"} <= names("customers")
    assert names("stores") == {"nilo/stores"}
    assert names("export_files") == names("orders", "customers", "commerces", "stores")


def test_a_date_before_the_first_record_is_too_early(site: Site) -> None:
    site.load("2024-03-01.json", [order("A")])
    with site.database.connect(autocommit=True) as connection, pytest.raises(TooEarly) as error:
        check_date(connection, DAYS[0] - timedelta(microseconds=1))
    assert error.value.first == DAYS[0]
